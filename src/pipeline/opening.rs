//! Opens what a plan names: each sink, and each pipeline with its source and its steps. Nothing runs by that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::aside::Aside;
use super::budget::PipelineBudget;
use super::buffer::Buffer;
use super::counters::Counters;
use super::deliver::{Delivery, Feeder, RunningSink, SinkInput};
use super::ends::Ends;
use super::engine::Shared;
use super::expect::{Expect, telling};
use super::plan::{BufferPlan, PipelinePlan, Plan, SinkPlan, SourcePlan};
use super::running::{Running, RunningStep, StepWork};
use super::settle::Ledger;
use super::stage::Stage;
use super::status::{PipelineHandle, SinkHandle};
use super::switch::Switch;
use crate::component::{Progress, SinkContext, Source, SourceContext, SourceSettings, Step, StepContext, Trigger};
use crate::expr::Filter;
use crate::model::{Fault, FaultKind, Text};
use crate::runtime::{self, Clock, Receiver, Sender, WeakSender};

/// The way into a sink that is open.
#[derive(Clone)]
pub(super) struct SinkDoor {
    gate: Arc<Option<Filter>>,
    input: WeakSender<Delivery>,
    pub(super) buffer: Option<Arc<Buffer>>,
}

/// A sink that is open, but does not run yet.
pub(super) struct OpenedSink {
    pub(super) sink: Arc<RunningSink>,
    pub(super) output: Receiver<Delivery>,
    pub(super) workers: usize,
    pub(super) door: SinkDoor,
    pub(super) handle: SinkHandle,
    /// Keeps the sink's channel open until its pipelines are.
    _input: Sender<Delivery>,
}

/// A pipeline that is open, but does not run yet.
pub(super) struct OpenedPipeline {
    pub(super) handle: PipelineHandle,
    pub(super) running: Arc<Running>,
    pub(super) settings: Arc<dyn SourceSettings>,
    pub(super) source: Box<dyn Source>,
    pub(super) context: SourceContext,
    pub(super) limits: usize,
}

impl OpenedPipeline {
    /// The queues that it reads.
    pub(super) fn queues(&self) -> impl Iterator<Item = Text> {
        let asides = self.running.stages.iter().filter_map(|stage| stage.aside.as_ref());
        self.settings.queue().map(Text::from).into_iter().chain(asides.map(|aside| aside.plan.queue.clone()))
    }
}

/// A pipeline's steps, open.
#[derive(Default)]
struct Steps {
    steps: Vec<Arc<RunningStep>>,
    stages: Vec<Stage>,
    /// How many of them are a `limit`.
    limits: usize,
}

/// All pipelines of a plan: those it names, those that empty the buffers of its sinks, and the one that tells of alerts.
/// A buffer that takes nothing any more is emptied if it holds something, or if that `is_emptied` already.
pub(super) fn pipelines_of(plan: &Plan, shared: &Shared, is_emptied: impl Fn(&Text) -> bool) -> Vec<PipelinePlan> {
    let holds_items = |queue: &Text| shared.store.queue_size(queue).is_ok_and(|size| size.items > 0);
    let is_to_be_emptied =
        |buffer: &BufferPlan| buffer.takes_items() || is_emptied(&buffer.queue) || holds_items(&buffer.queue);
    let buffers = plan.sinks.iter().filter_map(|sink| {
        sink.buffer.as_ref().filter(|buffer| is_to_be_emptied(buffer)).map(|buffer| emptying(sink, buffer))
    });
    // A single run is over before anything could be late.
    let telling = if shared.options.once { None } else { telling(plan, &shared.alerts, &shared.sources) };
    plan.pipelines.iter().cloned().chain(buffers).chain(telling).collect()
}

/// What a pipeline is that empties a buffer.
pub(super) const EMPTYING: &str = "buffer";

/// The pipeline that brings what a buffer holds to its sink.
fn emptying(sink: &SinkPlan, buffer: &BufferPlan) -> PipelinePlan {
    let BufferPlan { queue, source, .. } = buffer;
    let source = SourcePlan { id: "buffer".into(), settings: source.clone(), durable: None };
    PipelinePlan {
        name: queue.clone(),
        part: Some(EMPTYING),
        uses_window: true,
        expect: Expect::default(),
        source,
        steps: Vec::new(),
        sinks: vec![sink.name.clone()],
        fingerprint: sink.fingerprint,
    }
}

pub(super) fn counters(plan: &PipelinePlan, clock: &Clock) -> Arc<Counters> {
    Arc::new(Counters::new(
        plan.source.id.clone(),
        plan.steps.iter().map(|step| (step.id.clone(), step.settings.is_network())),
        plan.sinks.iter().map(|sink| format!("sink.{sink}").into()),
        &plan.expect.fields,
        clock,
    ))
}

/// Opens the parts of a plan.
pub(super) struct Opening<'a> {
    pub(super) plan: &'a Plan,
    pub(super) shared: &'a Shared,
}

impl Opening<'_> {
    pub(super) fn sink(&self, plan: &SinkPlan) -> Result<OpenedSink, Fault> {
        let Shared { store, options, life, recent, retries, .. } = self.shared;
        let clock = &options.clock;
        let (clients, store) = (self.plan.clients.clone(), store.clone());
        let buffer = plan.taking_buffer().map(|buffer| Buffer::open(buffer.clone(), &store));
        let context = SinkContext { name: plan.name.clone(), clock: clock.clone(), clients, store };
        let (input, output) = runtime::channel(plan.channel());
        let opened = plan.settings.open(context)?;
        let sink = Arc::new(RunningSink {
            name: plan.name.to_string(),
            retries: opened.host().map(|host| retries.of(host)),
            sink: Arc::from(opened),
            limits: plan.batch,
            retry: plan.retry,
            give_up: options.give_up,
            buffer: buffer.clone(),
            clock: clock.clone(),
            life: life.part(),
            recent: recent.clone(),
            record: Arc::default(),
            input: output.downgrade(),
        });
        let handle = SinkHandle {
            name: plan.name.clone(),
            room: plan.channel(),
            record: sink.record.clone(),
            sink: Arc::downgrade(&sink),
        };
        let door = SinkDoor { gate: Arc::new(plan.when.clone()), input: input.downgrade(), buffer };
        Ok(OpenedSink { sink, output, workers: plan.workers, door, handle, _input: input })
    }

    pub(super) fn pipeline(
        &self,
        plan: &PipelinePlan,
        sinks: &HashMap<Text, SinkDoor>,
        budget: Arc<PipelineBudget>,
    ) -> Result<OpenedPipeline, Fault> {
        let Shared { store, options, life, listeners, quiescence, recent, .. } = self.shared;
        let clock = &options.clock;
        let is_emptying = plan.part == Some(EMPTYING);
        let life = life.part();
        let counters = counters(plan, clock);
        let inputs = plan.sinks.iter().zip(&counters.sinks).map(|(name, of_sink)| {
            let feeder = Feeder {
                pipeline: plan.name.clone(),
                counters: of_sink.clone(),
                recent: recent.clone(),
                clock: clock.clone(),
                life: life.clone(),
                is_buffer: is_emptying,
            };
            sinks.get(name).and_then(|door| input(door, feeder)).ok_or_else(|| no_sink(plan, name))
        });
        let inputs = inputs.collect::<Result<_, Fault>>()?;
        let Steps { steps, stages, limits } = self.steps(plan, &counters)?;
        let position = store.position(&plan.name, &plan.source.id)?;
        let progress = Arc::new(Progress::starting_at(position.clone()));
        let trigger = Arc::<Trigger>::default();
        let context = SourceContext {
            pipeline: plan.name.clone(),
            id: plan.source.id.clone(),
            clock: clock.clone(),
            position,
            progress: progress.clone(),
            trigger: trigger.clone(),
            once: options.once,
            store: store.clone(),
            clients: self.plan.clients.clone(),
            listeners: listeners.clone(),
            quiescence: quiescence.clone(),
        };
        let source = plan.source.settings.open(context.clone())?;
        let ends = Arc::<Ends>::default();
        let settler = ends.settler();
        let ledger = Arc::new(Ledger {
            pipeline: plan.name.clone(),
            source_id: plan.source.id.clone(),
            ends,
            flights: Default::default(),
            replays: Default::default(),
            counters: counters.clone(),
            progress,
            store: store.clone(),
            quiescence: quiescence.clone(),
        });
        let running = Arc::new(Running {
            name: plan.name.clone(),
            sources: self.entrances(plan),
            uses_window: plan.uses_window,
            takes_replays: plan.part.is_none(),
            dead_limits: self.plan.dead_letters,
            is_paused: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            // What a durable source takes in is kept all the same, and a single run was asked for by name.
            switch: Switch::new(options.once || plan.part.is_some() || !store.is_paused(&plan.name)?),
            trigger: plan.source.settings.can_be_triggered().then(|| trigger.clone()),
            ledger,
            steps,
            stages,
            sinks: inputs,
            budget,
            counters: counters.clone(),
            recent: recent.clone(),
            settler,
            clock: clock.clone(),
            life,
        });
        if plan.part.is_none() {
            self.shared.alerts.watch(&plan.expect, &running);
        }
        let handle = PipelineHandle::new(plan, counters, running.life.clone(), Arc::downgrade(&running));
        Ok(OpenedPipeline { handle, running, settings: plan.source.settings.clone(), source, context, limits })
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
        for ((number, step), of_step) in plan.steps.iter().enumerate().zip(&counters.steps) {
            let context = StepContext {
                pipeline: plan.name.clone(),
                id: step.id.clone(),
                clock: self.shared.options.clock.clone(),
                clients: self.plan.clients.clone(),
                store: self.shared.store.clone(),
                onward: step.onward,
            };
            let work = match step.settings.open(&context, limits)? {
                Step::Transform(transform) => StepWork::Transform(transform),
                Step::Fetch(fetch) => {
                    if fetch.has_partitions() {
                        counters.has_cursor(number);
                    }
                    let (retries, give_up) = (self.shared.retries.clone(), self.shared.options.give_up);
                    let aside = step.aside.clone().map(|aside| Aside::open(aside, &self.shared.store));
                    stages.push(Stage::new(number, fetch, step.retry, step.workers, retries, give_up, aside));
                    StepWork::Fetch(stages.len() - 1)
                }
            };
            limits += usize::from(step.settings.is_limit());
            let (id, when, counters) = (step.id.clone(), step.when.clone(), of_step.clone());
            steps.push(Arc::new(RunningStep { id, when, work, counters }));
        }
        Ok(Steps { steps, stages, limits })
    }
}

/// A pipeline's way into a sink; nothing if the sink has come to its end.
fn input(door: &SinkDoor, feeder: Feeder) -> Option<SinkInput> {
    // What comes out of a buffer went through the gate before it went in.
    let (gate, buffer) = if feeder.is_buffer { Default::default() } else { (door.gate.clone(), door.buffer.clone()) };
    Some(SinkInput::new(feeder, gate, door.input.upgrade()?, buffer))
}

fn no_sink(plan: &PipelinePlan, name: &str) -> Fault {
    Fault::stop(FaultKind::Write, format!("cannot open pipeline `{}`: there is no sink `{name}`", plan.name))
}
