//! How an engine is doing: what status, metrics and the admin page show.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::budget::Budget;
use super::counters::{ComponentCounters, ComponentCounts, Counters, Counts};
use super::deliver::{RunningSink, SinkRecord};
use super::life::Life;
use super::plan::PipelinePlan;
use super::running::Running;
use super::sink_state::SinkHealth;
use super::stage::Stage;
use crate::model::{Fault, Text};
use crate::runtime::Clock;
use crate::store::{DeadSize, QueueSize, Store};
use crate::telemetry::Distribution;

/// How a pipeline is doing.
#[derive(Clone, Debug)]
pub struct PipelineStatus {
    /// Different from that of any other; a part of a pipeline has the part behind the pipeline's name.
    pub name: Text,
    pub pipeline: Text,
    /// What it does for the pipeline or sink of its name, if it is only a part.
    pub part: Option<&'static str>,
    pub counts: Counts,
    /// By reason.
    pub filtered: Vec<(&'static str, u64)>,
    /// Those of them that no sink wanted.
    pub unwanted: u64,
    /// In the order in which items pass them: the source, the steps, the sinks.
    pub components: Vec<ComponentStatus>,
    pub state: PipelineState,
    /// Why it stopped by itself, if it did.
    pub fault: Option<Fault>,
    /// Items that wait before each stage.
    pub waiting: usize,
    /// Why it is paused, if it is.
    pub pause: Option<Pause>,
    /// Items of the source that have not ended.
    pub in_flight: usize,
    /// How long ago the newest item came through all steps; nothing if none has since the start.
    pub newest_age: Option<Duration>,
    /// How long it has been running.
    pub age: Duration,
    /// What its items take in memory.
    pub memory: usize,
    pub dead: DeadSize,
    /// The queue that its source reads, if it reads one.
    pub reads: Option<Text>,
}

/// Why a pipeline's source makes no more items for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It waits for its dead letters to become fewer.
    TooManyDeadLetters,
    /// A person has paused it.
    ByHand,
}

impl Pause {
    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Pause::TooManyDeadLetters => "too many dead letters",
            Pause::ByHand => "by hand",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineState {
    Running,
    /// See [`Pause`].
    Paused,
    /// A fault stopped it.
    Stopped,
    /// Its source is at its end, and all items have ended.
    Ended,
}

impl PipelineState {
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Stopped, Self::Ended];

    pub fn name(self) -> &'static str {
        match self {
            PipelineState::Running => "running",
            PipelineState::Paused => "paused",
            PipelineState::Stopped => "stopped",
            PipelineState::Ended => "ended",
        }
    }
}

/// What a component does in its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Source,
    Step,
    Sink,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Step => "step",
            Role::Sink => "sink",
        }
    }
}

/// How a component of a pipeline is doing.
#[derive(Clone, Debug)]
pub struct ComponentStatus {
    /// As dead letters call it.
    pub id: Text,
    pub role: Role,
    pub counts: ComponentCounts,
    /// Items that wait before a network step.
    pub waiting: Option<usize>,
    /// How long ago its cursor moved, or the pipeline started if it has not; nothing if it has no cursor.
    pub cursor_age: Option<Duration>,
}

/// How a sink is doing, over all pipelines that feed it.
#[derive(Clone, Debug)]
pub struct SinkStatus {
    pub name: Text,
    pub health: SinkHealth,
    /// Items in the channel before it, and how many it holds at most.
    pub waiting: usize,
    pub room: usize,
    /// How long its writes took.
    pub writes: Distribution,
    /// What waits in its buffer, if it has one.
    pub buffer: Option<QueueSize>,
}

/// The budget for values in memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryStatus {
    pub limit: usize,
    pub used: usize,
}

/// What is left of a pipeline outside its tasks.
#[derive(Clone)]
pub(super) struct PipelineHandle {
    pub(super) name: Text,
    pub(super) pipeline: Text,
    pub(super) part: Option<&'static str>,
    pub(super) counters: Arc<Counters>,
    pub(super) life: Life,
    pub(super) reads: Option<Text>,
    /// Gone once the pipeline has come to its end.
    pub(super) running: Weak<Running>,
}

impl PipelineHandle {
    pub(super) fn new(plan: &PipelinePlan, counters: Arc<Counters>, life: Life, running: Weak<Running>) -> Self {
        Self {
            name: plan.part.map_or(plan.name.clone(), |part| format!("{} ({part})", plan.name).into()),
            pipeline: plan.name.clone(),
            part: plan.part,
            counters,
            life,
            reads: plan.source.settings.queue().map(Text::from),
            running,
        }
    }

    pub(super) fn status(&self, store: &Store, clock: &Clock) -> PipelineStatus {
        let running = self.running.upgrade();
        let fault = self.life.fault();
        let pause = running.as_ref().and_then(|running| running.pause());
        let state = match &running {
            _ if fault.is_some() => PipelineState::Stopped,
            None => PipelineState::Ended,
            Some(_) if pause.is_some() => PipelineState::Paused,
            Some(_) => PipelineState::Running,
        };
        let filtered = self.counters.filtered_by_reason();
        // A part's letters are told with those of the pipeline of its name.
        let dead = if self.part.is_none() { store.dead_size(&self.pipeline) } else { DeadSize::default() };
        PipelineStatus {
            name: self.name.clone(),
            pipeline: self.pipeline.clone(),
            part: self.part,
            counts: self.counters.read(),
            filtered: filtered.into_iter().map(|(reason, count)| (reason.name(), count)).collect(),
            unwanted: self.counters.unwanted_count(),
            components: self.components(running.as_deref(), clock),
            state,
            fault,
            waiting: running.as_ref().map_or(0, |running| running.stages.iter().map(Stage::depth).sum()),
            pause,
            in_flight: running.as_ref().map_or(0, |running| running.ledger.progress.in_flight()),
            newest_age: self.counters.newest_age(clock),
            age: self.counters.age(clock),
            memory: running.as_ref().map_or(0, |running| running.budget.used()),
            dead,
            reads: self.reads.clone(),
        }
    }

    fn components(&self, running: Option<&Running>, clock: &Clock) -> Vec<ComponentStatus> {
        let of = |role, counters: &Arc<ComponentCounters>, waiting| ComponentStatus {
            id: counters.id().clone(),
            role,
            counts: counters.read(),
            waiting,
            cursor_age: self.counters.cursor_age(counters, clock),
        };
        let Counters { source, steps, sinks, .. } = &*self.counters;
        let depth = |step| {
            let stage = running?.stages.iter().find(|stage| stage.step == step);
            stage.map(Stage::depth)
        };
        let steps = steps.iter().enumerate().map(|(number, step)| of(Role::Step, step, depth(number)));
        let sinks = sinks.iter().map(|sink| of(Role::Sink, sink, None));
        [of(Role::Source, source, None)].into_iter().chain(steps).chain(sinks).collect()
    }
}

/// What is left of a sink outside its tasks.
pub(super) struct SinkHandle {
    pub(super) name: Text,
    pub(super) room: usize,
    pub(super) record: Arc<SinkRecord>,
    /// Gone once the sink has come to its end.
    pub(super) sink: Weak<RunningSink>,
}

impl SinkHandle {
    pub(super) fn status(&self, store: &Store) -> SinkStatus {
        let sink = self.sink.upgrade();
        let buffer = sink.as_ref().and_then(|sink| sink.buffer.as_ref());
        SinkStatus {
            name: self.name.clone(),
            health: self.record.state.health(),
            waiting: sink.as_ref().map_or(0, |sink| sink.waiting()),
            room: self.room,
            writes: self.record.writes.read(),
            // The sizes are on a board in memory, so that this never fails while the engine runs.
            buffer: buffer.map(|buffer| store.queue_size(&buffer.plan.queue).unwrap_or_default()),
        }
    }
}

/// How the budget of a process is used by these pipelines.
pub(super) fn memory<'a>(budget: &Budget, pipelines: impl Iterator<Item = &'a PipelineHandle>) -> MemoryStatus {
    let used = pipelines.filter_map(|handle| handle.running.upgrade()).map(|running| running.budget.used());
    MemoryStatus { limit: budget.limit(), used: used.sum() }
}
