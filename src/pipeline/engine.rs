//! The engine as a whole: starts the parts of a plan, brings them to their end, and goes from one plan to the next.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, WeakSender};

use super::budget::Budget;
use super::durable::{INTAKE, split};
use super::expect::{Alert, Alerts, TELLING};
use super::life::Life;
use super::opening::{EMPTYING, OpenedPipeline, OpenedSink, Opening, SinkDoor, pipelines_of};
use super::part::{Busy, End, PipelinePart, SinkPart};
use super::plan::{PipelinePlan, Plan, SinkPlan};
use super::recent::{RecentFault, RecentFaults};
use super::replay::OpenSources;
use super::retries::RetryBudgets;
use super::status::{self, MemoryStatus, PipelineHandle, PipelineStatus, SinkStatus};
use super::tap::Sample;
use crate::component::{Listeners, Quiescence};
use crate::model::{Fault, FaultKind, Text};
use crate::runtime::{self, Clock};
use crate::store::Store;

/// How long the last replies to those who handed items in may take.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// How long parts that a new plan has not, or has otherwise, may run dry.
const CHANGE_DRAIN: Duration = Duration::from_secs(5);

/// How an engine runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub clock: Clock,
    /// Run every source to its end: one tick a schedule, a list once.
    pub once: bool,
    /// Abandon the items of a sink that has failed for so long. Without it they wait.
    pub give_up: Option<Duration>,
}

/// What all parts of an engine share.
pub(super) struct Shared {
    pub(super) life: Life,
    pub(super) store: Store,
    pub(super) options: Options,
    pub(super) budget: Arc<Budget>,
    pub(super) listeners: Listeners,
    pub(super) sources: Arc<OpenSources>,
    pub(super) recent: Arc<RecentFaults>,
    pub(super) alerts: Arc<Alerts>,
    pub(super) retries: Arc<RetryBudgets>,
    /// In a single run: what goes on.
    pub(super) quiescence: Option<Arc<Quiescence>>,
}

/// A running plan.
pub struct Engine {
    shared: Shared,
    parts: Mutex<Parts>,
    /// Held by every part that runs.
    busy: WeakSender<Infallible>,
    finished: Receiver<Infallible>,
}

/// What runs, in the order of the plan.
#[derive(Default)]
struct Parts {
    pipelines: Vec<PipelinePart>,
    sinks: Vec<SinkPart>,
}

/// What a new plan has changed, by the names of pipelines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub started: Vec<Text>,
    pub restarted: Vec<Text>,
    pub stopped: Vec<Text>,
    /// How many go on as they were.
    pub unchanged: usize,
    /// Those that could not be opened, and why.
    pub failed: Vec<(Text, String)>,
}

impl Engine {
    /// Opens everything, then starts it; the first thing that cannot be opened is the answer, and nothing has run.
    pub fn start(plan: &Plan, store: &Store, options: &Options) -> Result<Self, Fault> {
        let plan = &split(plan);
        let shared = Shared {
            life: Life::default(),
            store: store.clone(),
            options: options.clone(),
            budget: Budget::new(plan.memory, options.clock.clone()),
            listeners: Listeners::new(options.clock.clone()),
            sources: Arc::default(),
            recent: Arc::default(),
            alerts: Arc::default(),
            retries: Arc::new(RetryBudgets::new(options.clock.clone())),
            quiescence: options.once.then(Arc::default),
        };
        // Of several who share an address, the first already listens.
        let _change = shared.listeners.change();
        let opening = Opening { plan, shared: &shared };
        let sinks = plan.sinks.iter().map(|sink| Ok((sink, opening.sink(sink)?))).collect::<Result<Vec<_>, Fault>>()?;
        let doors: HashMap<Text, SinkDoor> =
            sinks.iter().map(|(plan, sink)| (plan.name.clone(), sink.door.clone())).collect();
        let plans = pipelines_of(plan, &shared, |_| false);
        let budgets = shared.budget.for_pipelines(plans.len());
        let open = |(plan, budget)| Ok((plan, opening.pipeline(plan, &doors, budget)?));
        let pipelines = plans.iter().zip(budgets).map(open).collect::<Result<Vec<_>, Fault>>()?;
        if let Some(quiescence) = &shared.quiescence {
            // Each has a source, what is to be replayed, and what its stages have set aside.
            let stages: usize = pipelines.iter().map(|(_, pipeline)| pipeline.running.stages.len()).sum();
            quiescence.begin(2 * pipelines.len() + stages);
        }
        warn_of_gone(plan, store)?;
        warn_of_unread(plan, &plans, store)?;
        store.will_read(pipelines.iter().flat_map(|(_, pipeline)| pipeline.queues()));
        let (busy, all_ended) = async_channel::bounded(1);
        let (done, finished) = async_channel::bounded::<Infallible>(1);
        let parts = Parts::start(&shared, sinks, pipelines, &busy);
        let listeners = shared.listeners.clone();
        runtime::spawn(async move {
            End::of(all_ended).reached().await;
            // Those who handed items in are told how they ended.
            listeners.finished(LAST_REPLIES).await;
            drop(done);
        });
        Ok(Self { shared, parts: Mutex::new(parts), busy: busy.downgrade(), finished })
    }

    /// Waits until everything has come to its end: by itself, or after a stop.
    pub async fn finished(&self) {
        // Nothing is ever sent: the channel closes when the last task has ended.
        let _ = self.finished.recv().await;
    }

    /// Stops: sources make no more, the channels run dry for at most `drain`, and what is left then is abandoned.
    pub async fn stop(&self, clock: &Clock, drain: Duration) {
        self.shared.listeners.close();
        self.shared.life.stop();
        if clock.timeout(drain, self.finished()).await.is_none() {
            log::warn!("the time to drain is over; what is left is abandoned and comes again");
            self.abandon().await;
        }
    }

    /// Stops at once; what is in flight is abandoned.
    pub async fn abandon(&self) {
        self.shared.listeners.close();
        self.shared.life.stop();
        self.shared.life.end();
        self.finished().await;
    }

    /// Goes over to another plan. What is the same in both goes on undisturbed. What is not runs dry, for at most five
    /// seconds and no longer than `plan` lets a stop take; what is left of it then is abandoned and comes again. Then
    /// what is new starts, so that nothing of the old overlaps with it. Nothing here waits for a remote.
    ///
    /// A pipeline that a fault has stopped is started anew too. What cannot be opened is told, and stays stopped.
    ///
    /// One change at a time: the caller sees to that.
    pub async fn change(&self, plan: &Plan) -> Changed {
        let Some(busy) = self.busy.upgrade() else { return Changed::default() };
        let plan = &split(plan);
        let emptied: Vec<PartKey> = self.parts().pipelines.iter().map(PipelinePart::key).collect();
        let is_emptied = |queue: &Text| emptied.contains(&(queue.clone(), Some(EMPTYING)));
        let plans = pipelines_of(plan, &self.shared, is_emptied);
        // What looks at the others must not find itself alone while they change.
        let _open = self.shared.sources.open();
        // Nor shall who sends to what changes be told that it is not there.
        let _change = self.shared.listeners.change();
        let leaving = self.leaving(plan, &plans);
        leaving.pipelines.iter().for_each(|(_, life, _)| life.stop());
        let clock = &self.shared.options.clock;
        if clock.timeout(CHANGE_DRAIN.min(plan.drain), leaving.ended()).await.is_none() {
            log::warn!("what changes has not run dry in time; what is left of it is abandoned and comes again");
            leaving.lives().for_each(Life::end);
            leaving.ended().await;
        }
        if self.is_stopping() {
            // What stays has come to its end as well, its sinks too: nothing could start.
            return Changed::default();
        }
        let gone = self.parts().remove(&leaving);
        self.shared.alerts.keep(|pipeline| plans.iter().any(|plan| plan.name == *pipeline));
        let started = self.open_missing(plan, &plans, &busy);
        if let Err(fault) = warn_of_unread(plan, &plans, &self.shared.store) {
            self.shared.life.fail(fault);
        }
        Changed::told(started, &gone, &plans)
    }

    /// Why the engine cannot go on, such as a store that cannot be written.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.life.fault()
    }

    /// Whether a dead letter of this pipeline and component would be replayed now, by its step `from` if one is given;
    /// the error says why not.
    pub fn check_replay(&self, pipeline: &str, component: &str, from: Option<&str>) -> Result<(), String> {
        let parts = self.parts();
        let named: Vec<_> =
            parts.pipelines.iter().map(|part| &part.handle).filter(|handle| *handle.pipeline == *pipeline).collect();
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

    /// Pauses a pipeline, or lets it go on: kept over restarts. Paused, its source makes no more items; those in flight
    /// go on to their ends, and what a durable source takes in is kept.
    pub async fn pause(&self, pipeline: &str, is_paused: bool) -> Result<(), Fault> {
        self.whole(pipeline)?;
        self.shared.store.pause(pipeline.into(), is_paused).await?;
        if let Some(running) = self.whole(pipeline)?.running.upgrade() {
            running.switch.turn(!is_paused);
        }
        match is_paused {
            true => log::info!(pipeline; "pipeline paused"),
            false => log::info!(pipeline; "pipeline resumed"),
        }
        Ok(())
    }

    /// Has a pipeline's schedule tick at once, or as soon as the tick in flight has ended.
    pub fn trigger(&self, pipeline: &str) -> Result<(), Fault> {
        let cannot = |why: String| Fault::stop(FaultKind::Request, format!("cannot trigger `{pipeline}`: {why}"));
        let ended = || cannot("it has come to its end".to_owned());
        let running = self.intake(pipeline)?.running.upgrade().ok_or_else(ended)?;
        let trigger = running.trigger.as_ref().ok_or_else(|| cannot("its source is no schedule".to_owned()))?;
        if let Some(pause) = running.pause() {
            return Err(cannot(format!("it is paused: {}", pause.reason())));
        }
        trigger.ask();
        Ok(())
    }

    /// Samples of the items that pass after a component of a pipeline, one in an `interval` at most, as long as the
    /// pipeline runs; for a sink, of those that it is given. Without a component, of those that have come through all
    /// steps.
    pub fn tap(&self, pipeline: &str, component: Option<&str>, interval: Duration) -> Result<Receiver<Sample>, Fault> {
        let cannot = |why: String| Fault::stop(FaultKind::Request, format!("cannot tap `{pipeline}`: {why}"));
        let whole = self.whole(pipeline)?;
        let handle = match component {
            None => whole,
            Some(component) => self.having(pipeline, component).ok_or_else(|| {
                let ids = whole.counters.components().map(|one| format!("`{}`", one.id())).collect::<Vec<_>>();
                cannot(format!("it has no component `{component}`; it has {}", ids.join(", ")))
            })?,
        };
        // Kept until the tap is there, since the pipeline's end closes all that are.
        let _running = handle.running.upgrade().ok_or_else(|| cannot("it has come to its end".to_owned()))?;
        let point = match component {
            None => handle.counters.steps.last().unwrap_or(&handle.counters.source),
            Some(component) => handle.counters.of(component),
        };
        Ok(point.tap.tap(interval, &self.shared.options.clock))
    }

    /// What of a pipeline has a component of this name, such as the part before a durable source's queue.
    fn having(&self, pipeline: &str, component: &str) -> Option<PipelineHandle> {
        let parts = self.parts();
        let mut handles = parts.pipelines.iter().map(|part| &part.handle).filter(|part| *part.pipeline == *pipeline);
        handles.find(|handle| handle.counters.components().any(|one| **one.id() == *component)).cloned()
    }

    /// The pipeline of this name.
    fn whole(&self, name: &str) -> Result<PipelineHandle, Fault> {
        self.part(name, |part| part.is_none())
    }

    /// What has the source of the pipeline of this name: the pipeline, or the part before a durable source's queue.
    fn intake(&self, name: &str) -> Result<PipelineHandle, Fault> {
        self.part(name, |part| part == Some(INTAKE)).or_else(|_| self.whole(name))
    }

    fn part(&self, name: &str, is_meant: impl Fn(Option<&'static str>) -> bool) -> Result<PipelineHandle, Fault> {
        let parts = self.parts();
        let mut handles = parts.pipelines.iter().map(|part| &part.handle);
        let found = handles.find(|handle| *handle.pipeline == *name && is_meant(handle.part));
        found.cloned().ok_or_else(|| {
            Fault::stop(FaultKind::Request, format!("there is no pipeline `{name}`; see `gatherd status`"))
        })
    }

    pub fn status(&self) -> Vec<PipelineStatus> {
        let Shared { store, options, .. } = &self.shared;
        let parts = self.parts();
        let shown = parts.pipelines.iter().filter(|part| part.handle.part != Some(TELLING));
        shown.map(|part| part.handle.status(store, &options.clock)).collect()
    }

    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.parts().sinks.iter().map(|part| part.handle.status(&self.shared.store)).collect()
    }

    pub fn memory(&self) -> MemoryStatus {
        status::memory(&self.shared.budget, self.parts().pipelines.iter().map(|part| &part.handle))
    }

    /// The newest faults first.
    pub fn recent_faults(&self) -> Vec<RecentFault> {
        self.shared.recent.list()
    }

    /// What is expected of a pipeline and is not so, the oldest first.
    pub fn alerts(&self) -> Vec<Alert> {
        self.shared.alerts.open()
    }

    /// Whether it runs dry, or is at its end.
    pub fn is_stopping(&self) -> bool {
        self.shared.life.is_stopping()
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts that end before a new plan runs.
struct Leaving {
    pipelines: Vec<(PartKey, Life, End)>,
    sinks: Vec<(Text, Life, End)>,
}

/// What tells a pipeline from all others: its name, and which part of it it is.
type PartKey = (Text, Option<&'static str>);

/// A pipeline that was to start, and why it did not.
type Start = (PartKey, Option<Fault>);

impl Engine {
    /// What of the running parts `plan` has not, or has otherwise. `plans` are all its pipelines.
    fn leaving(&self, plan: &Plan, plans: &[PipelinePlan]) -> Leaving {
        let parts = self.parts();
        let is_same_sink = |part: &SinkPart| {
            plan.sinks.iter().any(|sink| sink.name == part.handle.name && sink.fingerprint == part.fingerprint)
        };
        let changed_sinks: HashSet<&Text> =
            parts.sinks.iter().filter(|sink| !is_same_sink(sink)).map(|sink| &sink.handle.name).collect();
        let stays = |part: &&PipelinePart| {
            let is_same = |plan: &PipelinePlan| key(plan) == part.key() && plan.fingerprint == part.fingerprint;
            plans.iter().any(is_same)
                && part.handle.life.fault().is_none()
                && !part.sinks.iter().any(|sink| changed_sinks.contains(sink))
        };
        // A sink ends with the last pipeline that feeds it, and starts with the next.
        let fed: HashSet<&Text> = (parts.pipelines.iter())
            .filter(|part| stays(part) && !part.end().is_reached())
            .flat_map(|part| &part.sinks)
            .collect();
        let pipelines = parts.pipelines.iter().filter(|part| !stays(part));
        let sinks = parts
            .sinks
            .iter()
            .filter(|sink| changed_sinks.contains(&sink.handle.name) || !fed.contains(&sink.handle.name));
        Leaving {
            pipelines: pipelines.map(|part| (part.key(), part.handle.life.clone(), part.end().clone())).collect(),
            sinks: sinks.map(|sink| (sink.handle.name.clone(), sink.life.clone(), sink.end().clone())).collect(),
        }
    }

    /// Opens and starts what the plan has and does not run yet.
    fn open_missing(&self, plan: &Plan, plans: &[PipelinePlan], busy: &Busy) -> Vec<Start> {
        let opening = Opening { plan, shared: &self.shared };
        let mut parts = self.parts();
        let missing: Vec<&PipelinePlan> =
            plans.iter().filter(|plan| parts.pipelines.iter().all(|part| part.key() != key(plan))).collect();
        let mut doors: HashMap<Text, SinkDoor> =
            parts.sinks.iter().map(|sink| (sink.handle.name.clone(), sink.door.clone())).collect();
        let mut faults: HashMap<&Text, Fault> = HashMap::new();
        let mut sinks = Vec::new();
        for sink in &plan.sinks {
            let is_needed = missing.iter().any(|plan| plan.sinks.contains(&sink.name));
            if !is_needed || parts.sinks.iter().any(|part| part.handle.name == sink.name) {
                continue;
            }
            match opening.sink(sink) {
                Ok(opened) => {
                    doors.insert(sink.name.clone(), opened.door.clone());
                    sinks.push((sink, opened));
                }
                Err(fault) => {
                    faults.insert(&sink.name, fault);
                }
            }
        }
        let budgets = self.shared.budget.for_pipelines(missing.len());
        let mut started = Vec::new();
        for (plan, budget) in missing.into_iter().zip(budgets) {
            let fault = plan.sinks.iter().find_map(|sink| faults.get(sink).cloned());
            let opened = fault.map_or_else(|| opening.pipeline(plan, &doors, budget), Err);
            let (part, fault) = match opened {
                Ok(opened) => (PipelinePart::start(plan, opened, &self.shared, busy.clone()), None),
                Err(fault) => {
                    log::error!(pipeline = &*plan.name, fault:% = fault; "pipeline cannot start");
                    (PipelinePart::failed(plan, fault.clone(), &self.shared), Some(fault))
                }
            };
            parts.pipelines.push(part);
            started.push((key(plan), fault));
        }
        // Only now, since a sink ends when nobody feeds it.
        parts.sinks.extend(sinks.into_iter().map(|(plan, sink)| SinkPart::start(plan, sink, busy.clone())));
        parts.pipelines.sort_by_key(|part| plans.iter().position(|plan| key(plan) == part.key()));
        started
    }
}

impl Leaving {
    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.pipelines.iter().map(|(_, life, _)| life).chain(self.sinks.iter().map(|(_, life, _)| life))
    }

    /// Waits until all of them have ended.
    async fn ended(&self) {
        for (_, _, end) in &self.pipelines {
            end.reached().await;
        }
        for (_, _, end) in &self.sinks {
            end.reached().await;
        }
    }
}

impl Parts {
    /// Starts everything that is open.
    fn start(
        shared: &Shared,
        sinks: Vec<(&SinkPlan, OpenedSink)>,
        pipelines: Vec<(&PipelinePlan, OpenedPipeline)>,
        busy: &Busy,
    ) -> Self {
        // All sources count as open before the first can come to its end.
        let _open = shared.sources.open();
        let sinks = sinks.into_iter().map(|(plan, sink)| SinkPart::start(plan, sink, busy.clone())).collect();
        let start = |(plan, opened)| PipelinePart::start(plan, opened, shared, busy.clone());
        Self { pipelines: pipelines.into_iter().map(start).collect(), sinks }
    }

    /// Forgets what has ended, and answers which pipelines that were.
    fn remove(&mut self, leaving: &Leaving) -> Vec<PartKey> {
        self.sinks.retain(|sink| leaving.sinks.iter().all(|(name, ..)| *name != sink.handle.name));
        let is_leaving = |part: &mut PipelinePart| leaving.pipelines.iter().any(|(key, ..)| *key == part.key());
        self.pipelines.extract_if(.., is_leaving).map(|part| part.key()).collect()
    }
}

impl Changed {
    fn told(started: Vec<Start>, gone: &[PartKey], plans: &[PipelinePlan]) -> Self {
        // A pipeline in parts is told of once.
        let whole = |key: &&PartKey| key.1.is_none();
        let was = |name: &Text| gone.iter().filter(whole).any(|(gone, _)| gone == name);
        let mut changed = Self::default();
        for ((name, part), fault) in started {
            if let Some(fault) = fault
                && changed.failed.iter().all(|(failed, _)| *failed != name)
            {
                changed.failed.push((name.clone(), fault.message));
            }
            match (part, was(&name)) {
                (Some(_), _) => {}
                (None, true) => changed.restarted.push(name),
                (None, false) => changed.started.push(name),
            }
        }
        let mut stopped: Vec<Text> = gone
            .iter()
            .filter(whole)
            .map(|(name, _)| name.clone())
            .filter(|name| !changed.restarted.contains(name))
            .collect();
        stopped.sort_unstable();
        let running = plans.iter().filter(|plan| plan.part.is_none()).count();
        Self { stopped, unchanged: running - changed.started.len() - changed.restarted.len(), ..changed }
    }
}

fn key(plan: &PipelinePlan) -> PartKey {
    (plan.name.clone(), plan.part)
}

/// Dead letters are to be replayed that no pipeline of the plan stands for.
fn warn_of_gone(plan: &Plan, store: &Store) -> Result<(), Fault> {
    let is_gone = |pipeline: &Text| plan.pipelines.iter().all(|here| here.name != *pipeline);
    for pipeline in store.replay_pipelines()?.into_iter().filter(is_gone) {
        log::warn!(pipeline = &*pipeline; "dead letters are to be replayed whose pipeline is gone; they stay");
    }
    Ok(())
}

/// The store holds items that nothing of the plan brings on, such as in the buffer of a sink that is gone.
fn warn_of_unread(plan: &Plan, plans: &[PipelinePlan], store: &Store) -> Result<(), Fault> {
    let asides = plans.iter().flat_map(|plan| &plan.steps).filter_map(|step| Some(&*step.aside.as_ref()?.queue));
    let read: HashSet<&str> = plans.iter().filter_map(|plan| plan.source.settings.queue()).chain(asides).collect();
    // One that the config names may be read by another, later.
    let is_named = |queue: &Text| plan.sinks.iter().any(|sink| sink.name == *queue);
    for (queue, size) in store.queue_sizes()? {
        if size.items > 0 && !read.contains(&*queue) && !is_named(&queue) {
            log::warn!(queue = &*queue, items = size.items;
                "the store holds items that nothing of this config brings on; they stay");
        }
    }
    Ok(())
}
