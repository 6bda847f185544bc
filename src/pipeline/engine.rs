//! The engine as a whole: opens what a plan names, starts its tasks, and brings them to their end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_channel::{Receiver, Sender};

use super::budget::Budget;
use super::buffer::Buffer;
use super::counters::Counters;
use super::deliver::{Delivery, Feeder, RunningSink, SinkInput, deliver};
use super::durable::split;
use super::life::Life;
use super::plan::{BufferPlan, PipelinePlan, Plan, SinkPlan, SourcePlan};
use super::produce::produce;
use super::recent::{RecentFault, RecentFaults};
use super::replay::{OpenSource, OpenSources, replay};
use super::retries::RetryBudgets;
use super::running::{Running, RunningStep, StepWork};
use super::settle::{Ahead, Ledger, settle};
use super::stage::{Stage, work};
use super::status::{self, MemoryStatus, PipelineHandle, PipelineStatus, SinkHandle, SinkStatus};
use crate::component::{
    Listeners, Position, Progress, Quiescence, SinkContext, Source, SourceContext, SourceSettings, Step, StepContext,
};
use crate::expr::Filter;
use crate::model::{Fault, FaultKind, Text};
use crate::runtime::{self, Clock, Task};
use crate::store::Store;

/// How long the last replies to those who handed items in may take.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// How an engine runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub clock: Clock,
    /// Run every source to its end: one tick a schedule, a list once.
    pub once: bool,
    /// Abandon the items of a sink that has failed for so long. Without it they wait.
    pub give_up: Option<Duration>,
}

/// A running plan.
pub struct Engine {
    life: Life,
    pipelines: Vec<PipelineHandle>,
    sinks: Vec<SinkHandle>,
    budget: Arc<Budget>,
    recent: Arc<RecentFaults>,
    store: Store,
    clock: Clock,
    finished: Receiver<()>,
}

impl Engine {
    /// Opens everything, then starts it; the first thing that cannot be opened is the answer, and nothing has run.
    pub fn start(plan: &Plan, store: &Store, options: &Options) -> Result<Self, Fault> {
        let plan = &split(plan);
        let life = Life::default();
        let budget = Budget::new(plan.memory, plan.pipelines.len(), options.clock.clone());
        let quiescence = options.once.then(Arc::default);
        let listeners = Listeners::new(options.clock.clone());
        let recent = Arc::<RecentFaults>::default();
        let retries = Arc::new(RetryBudgets::new(options.clock.clone()));
        let mut opening = Opening {
            plan,
            store,
            options,
            life: &life,
            quiescence,
            listeners: &listeners,
            recent: &recent,
            retries,
            handles: Vec::new(),
            tasks: Tasks::default(),
        };
        let sinks = plan.sinks.iter().map(|sink| opening.sink(sink)).collect::<Result<HashMap<_, _>, _>>()?;
        let mut pipelines = Vec::new();
        for pipeline in &plan.pipelines {
            pipelines.push(opening.pipeline(pipeline, &sinks, &budget, None)?);
        }
        for buffer in sinks.values().filter_map(|sink| sink.buffer.as_ref()) {
            pipelines.push(opening.pipeline(&emptying(buffer), &sinks, &budget, Some(buffer))?);
        }
        if let Some(quiescence) = &opening.quiescence {
            // Each has a source, and what is to be replayed.
            quiescence.begin(2 * pipelines.len());
        }
        warn_of_gone(plan, store)?;
        store.will_read(pipelines.iter().filter_map(|pipeline| pipeline.settings.queue()).map(Text::from));
        let sources = Arc::<OpenSources>::default();
        let opened: Vec<_> = pipelines.iter().map(|_| sources.open()).collect();
        drop(sinks);
        let Opening { mut tasks, handles: sinks, .. } = opening;
        let mut handles = Vec::new();
        for (pipeline, source) in pipelines.into_iter().zip(opened) {
            handles.push(pipeline.start(&mut tasks, &life, &sources, source));
        }
        let (done, finished) = async_channel::bounded::<()>(1);
        tasks.supervise(listeners, done);
        let (store, clock) = (store.clone(), options.clock.clone());
        Ok(Self { life, pipelines: handles, sinks, budget, recent, store, clock, finished })
    }

    /// Waits until everything has come to its end: by itself, or after a stop.
    pub async fn finished(&self) {
        // Nothing is ever sent: the channel closes when the last task has ended.
        let _ = self.finished.recv().await;
    }

    /// Stops: sources make no more, the channels run dry for at most `drain`, and what is left then is abandoned.
    pub async fn stop(&self, clock: &Clock, drain: Duration) {
        self.life.stop();
        if clock.timeout(drain, self.finished()).await.is_none() {
            log::warn!("the time to drain is over; what is left is abandoned and comes again");
            self.abandon().await;
        }
    }

    /// Stops at once; what is in flight is abandoned.
    pub async fn abandon(&self) {
        self.life.stop();
        self.life.end();
        self.finished().await;
    }

    /// Why the engine cannot go on, such as a store that cannot be written.
    pub fn fault(&self) -> Option<Fault> {
        self.life.fault()
    }

    /// Whether a dead letter of this pipeline and component would be replayed now, by its step `from` if one is given;
    /// the error says why not.
    pub fn check_replay(&self, pipeline: &str, component: &str, from: Option<&str>) -> Result<(), String> {
        let named: Vec<_> = self.pipelines.iter().filter(|handle| *handle.pipeline == *pipeline).collect();
        if named.is_empty() {
            return Err(format!("there is no pipeline `{pipeline}`; its dead letters stay"));
        }
        match named.iter().filter_map(|handle| handle.running.upgrade()).find(|running| running.takes_replays) {
            Some(running) if running.life.is_stopping() => {
                Err(format!("pipeline `{pipeline}` was stopped by a fault; the next start replays them"))
            }
            Some(running) => running.check_replay(component, from),
            None => Err(format!("pipeline `{pipeline}` has come to its end; the next start replays them")),
        }
    }

    pub fn status(&self) -> Vec<PipelineStatus> {
        self.pipelines.iter().map(|handle| handle.status(&self.store, &self.clock)).collect()
    }

    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.sinks.iter().map(|handle| handle.status(&self.store)).collect()
    }

    pub fn memory(&self) -> MemoryStatus {
        status::memory(&self.budget, &self.pipelines)
    }

    /// The newest faults first.
    pub fn recent_faults(&self) -> Vec<RecentFault> {
        self.recent.list()
    }

    /// Whether it runs dry, or is at its end.
    pub fn is_stopping(&self) -> bool {
        self.life.is_stopping()
    }
}

/// What is at hand while a plan is opened.
struct Opening<'a> {
    plan: &'a Plan,
    store: &'a Store,
    options: &'a Options,
    life: &'a Life,
    quiescence: Option<Arc<Quiescence>>,
    listeners: &'a Listeners,
    recent: &'a Arc<RecentFaults>,
    /// Of the sinks.
    handles: Vec<SinkHandle>,
    retries: Arc<RetryBudgets>,
    tasks: Tasks,
}

/// A sink's gate, and the way into its channel.
struct SinkDoor {
    gate: Arc<Option<Filter>>,
    input: Sender<Delivery>,
    buffer: Option<Arc<Buffer>>,
}

/// The pipeline that brings what a buffer holds to its sink.
fn emptying(buffer: &Buffer) -> PipelinePlan {
    let BufferPlan { queue, source, sink, .. } = &buffer.plan;
    let source = SourcePlan { id: "buffer".into(), settings: source.clone(), durable: None };
    PipelinePlan {
        name: queue.clone(),
        part: Some("buffer"),
        uses_window: true,
        source,
        steps: Vec::new(),
        sinks: vec![sink.clone()],
    }
}

/// A pipeline that is open, but does not run yet.
struct Opened {
    handle: PipelineHandle,
    running: Arc<Running>,
    ends: Receiver<super::ack::Ended>,
    settings: Arc<dyn SourceSettings>,
    source: Box<dyn Source>,
    context: SourceContext,
    limits: usize,
}

/// A pipeline's steps, open.
#[derive(Default)]
struct Steps {
    steps: Vec<Arc<RunningStep>>,
    stages: Vec<Stage>,
    /// How many of them are a `limit`.
    limits: usize,
}

impl Opening<'_> {
    fn sink(&mut self, plan: &SinkPlan) -> Result<(Text, SinkDoor), Fault> {
        let Options { clock, give_up, .. } = self.options;
        let (clients, store) = (self.plan.clients.clone(), self.store.clone());
        let context = SinkContext { name: plan.name.clone(), clock: clock.clone(), clients, store };
        let (input, output) = async_channel::bounded(plan.channel());
        let buffer = plan.buffer.clone().map(|buffer| Buffer::open(buffer, self.store, clock)).transpose()?;
        let sink = plan.settings.open(context)?;
        let running = Arc::new(RunningSink {
            name: plan.name.to_string(),
            retries: sink.host().map(|host| self.retries.of(host)),
            sink: Arc::from(sink),
            limits: plan.batch,
            retry: plan.retry,
            give_up: *give_up,
            buffer: buffer.clone(),
            clock: clock.clone(),
            life: self.life.clone(),
            recent: self.recent.clone(),
            record: Arc::default(),
            input: output.downgrade(),
        });
        self.handles.push(SinkHandle {
            name: plan.name.clone(),
            room: plan.channel(),
            record: running.record.clone(),
            sink: Arc::downgrade(&running),
        });
        self.tasks.sinks.push(OpenedSink { sink: running, output, workers: plan.workers });
        let door = SinkDoor { gate: Arc::new(plan.when.clone()), input, buffer };
        Ok((plan.name.clone(), door))
    }

    fn pipeline(
        &mut self,
        plan: &PipelinePlan,
        sinks: &HashMap<Text, SinkDoor>,
        budget: &Arc<Budget>,
        emptied: Option<&Arc<Buffer>>,
    ) -> Result<Opened, Fault> {
        let clock = &self.options.clock;
        let counters = Arc::new(Counters::new(
            plan.source.id.clone(),
            plan.steps.iter().map(|step| (step.id.clone(), step.settings.is_network())),
            plan.sinks.iter().map(|sink| format!("sink.{sink}").into()),
            clock,
        ));
        let Steps { steps, stages, limits } = self.steps(plan, &counters)?;
        let position = self.store.position(&plan.name, &plan.source.id)?;
        let progress = Arc::new(Progress::starting_at(position.clone().map(Position)));
        let life = self.life.part();
        let context = SourceContext {
            pipeline: plan.name.clone(),
            id: plan.source.id.clone(),
            clock: clock.clone(),
            position,
            progress: progress.clone(),
            once: self.options.once,
            store: self.store.clone(),
            listeners: self.listeners.clone(),
            quiescence: self.quiescence.clone(),
        };
        let source = plan.source.settings.open(context.clone())?;
        let inputs = plan.sinks.iter().zip(&counters.sinks).map(|(name, of_sink)| {
            let door = sinks.get(name).ok_or_else(|| {
                Fault::stop(
                    FaultKind::Write,
                    format!("cannot open pipeline `{}`: there is no sink `{name}`", plan.name),
                )
            })?;
            // What comes out of a buffer went through the gate before it went in.
            let (gate, buffer) = match emptied {
                None => (door.gate.clone(), door.buffer.clone()),
                Some(_) => (Arc::default(), None),
            };
            let feeder = Feeder {
                pipeline: plan.name.clone(),
                counters: of_sink.clone(),
                recent: self.recent.clone(),
                clock: clock.clone(),
                life: life.clone(),
                is_buffer: emptied.is_some(),
            };
            Ok(SinkInput::new(feeder, gate, door.input.clone(), buffer))
        });
        let inputs = inputs.collect::<Result<_, Fault>>()?;
        let (settler, ends) = async_channel::unbounded();
        let ledger = Arc::new(Ledger {
            pipeline: plan.name.clone(),
            source_id: plan.source.id.clone(),
            ahead: Ahead::default(),
            flights: Default::default(),
            replays: Default::default(),
            counters: counters.clone(),
            progress,
            store: self.store.clone(),
            buffer: emptied.cloned(),
            quiescence: self.quiescence.clone(),
        });
        let running = Arc::new(Running {
            name: plan.name.clone(),
            sources: self.entrances(plan),
            uses_window: plan.uses_window,
            takes_replays: plan.part.is_none(),
            dead_limits: self.plan.dead_letters,
            is_paused: AtomicBool::new(false),
            ledger,
            steps,
            stages,
            sinks: inputs,
            budget: budget.for_pipeline(),
            counters: counters.clone(),
            recent: self.recent.clone(),
            settler,
            clock: clock.clone(),
            life,
        });
        let handle = PipelineHandle {
            name: plan.part.map_or(plan.name.clone(), |part| format!("{} ({part})", plan.name).into()),
            pipeline: plan.name.clone(),
            part: plan.part,
            counters,
            life: running.life.clone(),
            reads: plan.source.settings.queue().map(Text::from),
            running: Arc::downgrade(&running),
        };
        Ok(Opened { handle, running, ends, settings: plan.source.settings.clone(), source, context, limits })
    }

    /// What brings items to a pipeline's first step, as its dead letters call it: its source, and all that belongs to a
    /// durable one.
    fn entrances(&self, plan: &PipelinePlan) -> Vec<Text> {
        let parts = self.plan.pipelines.iter().filter(|part| part.name == plan.name);
        let intake = parts.clone().filter(|part| part.part.is_some()).flat_map(|part| &part.sinks);
        let queues = intake.flat_map(|queue| [queue.clone(), format!("sink.{queue}").into()]);
        parts.map(|part| part.source.id.clone()).chain(queues).collect()
    }

    fn steps(&self, plan: &PipelinePlan, counters: &Counters) -> Result<Steps, Fault> {
        let Steps { mut steps, mut stages, mut limits } = Steps::default();
        for ((number, step), counters) in plan.steps.iter().enumerate().zip(&counters.steps) {
            let context = StepContext {
                pipeline: plan.name.clone(),
                id: step.id.clone(),
                clock: self.options.clock.clone(),
                clients: self.plan.clients.clone(),
                store: self.store.clone(),
            };
            let work = match step.settings.open(&context, limits)? {
                Step::Transform(transform) => StepWork::Transform(transform),
                Step::Fetch(fetch) => {
                    let (retries, give_up) = (self.retries.clone(), self.options.give_up);
                    stages.push(Stage::new(number, fetch, step.retry, step.workers, retries, give_up));
                    StepWork::Fetch(stages.len() - 1)
                }
            };
            limits += usize::from(step.settings.is_limit());
            let (id, when, counters) = (step.id.clone(), step.when.clone(), counters.clone());
            steps.push(Arc::new(RunningStep { id, when, work, counters }));
        }
        Ok(Steps { steps, stages, limits })
    }
}

impl Opened {
    fn start(self, tasks: &mut Tasks, life: &Life, sources: &Arc<OpenSources>, open: OpenSource) -> PipelineHandle {
        let Self { handle, running, ends, settings, source, context, limits, .. } = self;
        let sources = sources.clone();
        tasks.settlers.push(runtime::spawn(settle(running.ledger.clone(), ends, life.clone())));
        tasks.pipelines.push(runtime::spawn(async move {
            let life = running.life.clone();
            life.unless_over(run(running, settings, source, context, limits, &sources, open)).await;
        }));
        handle
    }
}

/// Dead letters are to be replayed that no pipeline of the plan stands for.
fn warn_of_gone(plan: &Plan, store: &Store) -> Result<(), Fault> {
    let is_gone = |pipeline: &Text| plan.pipelines.iter().all(|here| here.name != *pipeline);
    for pipeline in store.replay_pipelines()?.into_iter().filter(is_gone) {
        log::warn!(pipeline = &*pipeline; "dead letters are to be replayed whose pipeline is gone; they stay");
    }
    Ok(())
}

/// Runs a pipeline to its end: the source first, then one stage after the other.
async fn run(
    running: Arc<Running>,
    settings: Arc<dyn SourceSettings>,
    source: Box<dyn Source>,
    context: SourceContext,
    limits: usize,
    sources: &OpenSources,
    open: OpenSource,
) {
    let start_worker = |stage: usize| {
        let running = running.clone();
        runtime::spawn(async move {
            let life = running.life.clone();
            life.unless_over(work(running, stage)).await;
        })
    };
    let stages = running.stages.iter().enumerate();
    let workers: Vec<Vec<_>> =
        stages.map(|(place, stage)| (0..stage.workers()).map(|_| start_worker(place)).collect()).collect();
    let quiescence = context.quiescence.clone();
    let produced = async {
        // Queues take turns by themselves.
        if settings.queue().is_none() {
            running.recovered().await;
        }
        produce(&running, settings.as_ref(), source, context, limits).await;
        drop(open);
        if let Some(quiescence) = &quiescence {
            quiescence.end(1);
        }
    };
    // Boxed, since a task is moved a few times on its way to the executor, and each time through a thread's stack.
    let replayed = Box::pin(async {
        running.recovered().await;
        replay(&running, sources, limits, quiescence.clone()).await;
    });
    runtime::both(Box::pin(produced), replayed).await;
    for (stage, workers) in running.stages.iter().zip(workers) {
        stage.close();
        for worker in workers {
            join(worker, &running.name).await;
        }
    }
}

/// Tasks by the order in which they end.
#[derive(Default)]
struct Tasks {
    pipelines: Vec<Task<()>>,
    sinks: Vec<OpenedSink>,
    settlers: Vec<Task<()>>,
}

struct OpenedSink {
    sink: Arc<RunningSink>,
    output: Receiver<Delivery>,
    workers: usize,
}

impl OpenedSink {
    /// Starts the sink; the task ends when every pipeline that feeds it is done.
    fn start(self) -> Task<()> {
        let Self { sink, output, workers } = self;
        runtime::spawn(async move {
            let life = sink.life.clone();
            let start_worker = |_| {
                let (life, sink, output) = (life.clone(), sink.clone(), output.clone());
                runtime::spawn(async move {
                    life.unless_over(deliver(sink, output)).await;
                })
            };
            let workers: Vec<_> = (0..workers).map(start_worker).collect();
            drop(output);
            for worker in workers {
                join(worker, &sink.name).await;
            }
            if let Some(Err(fault)) = life.unless_over(sink.sink.close()).await {
                log::error!(sink = &*sink.name, fault:% = fault; "sink not closed well");
            }
        })
    }
}

impl Tasks {
    /// Waits for all tasks, one layer after the other, and lets go of `done` once those who handed items in have been
    /// told how they ended.
    fn supervise(self, listeners: Listeners, done: Sender<()>) {
        let sinks: Vec<_> = self.sinks.into_iter().map(OpenedSink::start).collect();
        runtime::spawn(async move {
            for task in self.pipelines.into_iter().chain(sinks).chain(self.settlers) {
                join(task, "engine").await;
            }
            listeners.finished(LAST_REPLIES).await;
            drop(done);
        });
    }
}

/// Waits for a task. Components' panics are caught where they are called, so one that comes here is a bug of the
/// engine; the items that the task held are abandoned.
async fn join(task: Task<()>, name: &str) {
    if let Err(panic) = task.join().await {
        log::error!(task = name, panic = &*panic.0; "a task of the engine panicked; its items come again");
    }
}
