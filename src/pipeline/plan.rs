//! What the engine is asked to run.

use std::sync::Arc;
use std::time::Duration;

use super::expect::Expect;
use crate::component::{BatchLimits, Clients, Full, Onward, Retry, SinkSettings, SourceSettings, StepSettings};
use crate::expr::Filter;
use crate::model::{Fingerprint, Size, Text};

/// Everything that one process runs. Names in it are known to be good.
#[derive(Clone)]
pub struct Plan {
    pub pipelines: Vec<PipelinePlan>,
    /// Every sink that a pipeline names, once.
    pub sinks: Vec<SinkPlan>,
    pub clients: Clients,
    /// The budget for values in memory.
    pub memory: Size,
    /// How long a stop lets the channels run dry.
    pub drain: Duration,
    pub dead_letters: DeadLimits,
    /// Names of the sinks that are told of alerts.
    pub alerts: Vec<Text>,
}

/// A pipeline with so many dead letters, or so large ones, pauses until there are fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLimits {
    pub items: usize,
    pub bytes: Size,
}

impl DeadLimits {
    pub const DEFAULT: Self = Self { items: 100_000, bytes: Size::mib(1024) };
}

#[derive(Clone)]
pub struct PipelinePlan {
    pub name: Text,
    /// What it does for the pipeline or sink of its name, if it is only a part.
    pub part: Option<&'static str>,
    /// Whether something in it asks for an item's window. Where nothing does, one tick is like the other, and those
    /// that are given up share a dead letter.
    pub uses_window: bool,
    pub expect: Expect,
    pub source: SourcePlan,
    pub steps: Vec<StepPlan>,
    /// Names of sinks; none means that the items are discarded.
    pub sinks: Vec<Text>,
    /// Of all that its config says, and of the sinks, queues and clients that it names.
    pub fingerprint: Fingerprint,
}

#[derive(Clone)]
pub struct SourcePlan {
    /// The queue that keeps what the source has made, if it has to.
    pub durable: Option<DurablePlan>,
    /// What the source's state belongs to, such as `every` or `lines-2`.
    pub id: Text,
    pub settings: Arc<dyn SourceSettings>,
}

/// The queue behind a durable source.
#[derive(Clone)]
pub struct DurablePlan {
    pub queue: Text,
    /// What writes to it.
    pub input: Arc<dyn SinkSettings>,
    /// What reads it back.
    pub output: Arc<dyn SourceSettings>,
}

#[derive(Clone)]
pub struct StepPlan {
    pub id: Text,
    pub settings: Arc<dyn StepSettings>,
    /// An item for which this is false passes the step by.
    pub when: Option<Filter>,
    pub retry: Retry,
    /// How many items the step's stage works on at once; only a network step has a stage.
    pub workers: usize,
    /// Where its stage sets items aside; without it all of them stay in memory.
    pub aside: Option<AsidePlan>,
    pub onward: Onward,
}

/// The queue for what waits at a stage.
#[derive(Clone)]
pub struct AsidePlan {
    pub queue: Text,
    /// What reads it back.
    pub source: Arc<dyn SourceSettings>,
}

#[derive(Clone)]
pub struct SinkPlan {
    pub name: Text,
    pub settings: Arc<dyn SinkSettings>,
    /// An item for which this is false is left to the other sinks.
    pub when: Option<Filter>,
    pub batch: BatchLimits,
    pub retry: Retry,
    /// How many batches are written at once.
    pub workers: usize,
    /// Where items wait for a sink that lags. Without it they wait at their source.
    pub buffer: Option<BufferPlan>,
    /// Of all that its config says, and of the client that it names.
    pub fingerprint: Fingerprint,
}

#[derive(Clone)]
pub struct BufferPlan {
    /// The queue of the store that holds it.
    pub queue: Text,
    /// What reads it back.
    pub source: Arc<dyn SourceSettings>,
    /// How much it may take on disk. If nothing, it only gives back what it took under another config.
    pub disk: Size,
    pub full: Full,
}

impl BufferPlan {
    /// Whether new items go into it.
    pub fn takes_items(&self) -> bool {
        self.disk > Size(0)
    }
}

impl SinkPlan {
    /// The buffer that takes its items, if they do not wait at their source.
    pub fn taking_buffer(&self) -> Option<&BufferPlan> {
        self.buffer.as_ref().filter(|buffer| buffer.takes_items())
    }

    /// How many items the channel before the sink holds: two batches, and no fewer than a burst of items.
    pub fn channel(&self) -> usize {
        const LEAST: usize = 1024;
        LEAST.max(2 * self.batch.items)
    }
}
