//! Sinks deliver items to a destination.

use std::time::Duration;

use async_trait::async_trait;

use super::{Opened, Retry, SinkContext};
use crate::model::{Fault, Item, Size, Text};

/// Delivers batches. With `workers` above one, several writes run at the same time.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Writes a batch, and answers once the destination has it for good. The future may be dropped at a stop;
    /// the items are then abandoned, and come again.
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault>;

    /// The host that it delivers to, if that is one: what goes there is counted together.
    fn host(&self) -> Option<&Text> {
        None
    }

    /// Answers as soon as a batch that was to wait for room may find some. A sink that cannot tell never does, and is
    /// asked again at the time that it named.
    async fn wait_for_room(&self) {
        std::future::pending::<()>().await;
    }

    /// Finishes what is open, after the last write.
    async fn close(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Which of a batch's items were not delivered, and why.
#[derive(Clone, Debug)]
pub enum WriteFault {
    /// None of them, or nothing is known: the fault's verdict holds for all.
    Batch(Fault),
    /// These (by place in the batch); all others were delivered. Those that are to be tried again are so together.
    Items(Vec<(usize, Fault)>),
    /// None was delivered, because some items in the batch are bad and the destination does not say which:
    /// the engine cuts the batch in halves until it has found them.
    Mixed(Fault),
}

impl From<Fault> for WriteFault {
    fn from(fault: Fault) -> Self {
        WriteFault::Batch(fault)
    }
}

/// When a batch is written: as soon as one of these limits is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    pub items: usize,
    pub bytes: Size,
    pub age: Duration,
}

impl BatchLimits {
    /// How long an item waits for others at most: short beside the usual schedule, so that a tick has settled before
    /// the next one, and long beside a write.
    pub const AGE: Duration = Duration::from_millis(200);

    /// Every item by itself.
    pub const SINGLE: Self = Self { items: 1, bytes: Size::mib(16), age: Duration::ZERO };
}

/// A sink's settings: describes it, and opens it.
pub trait SinkSettings: Send + Sync {
    /// How it batches unless the config says otherwise.
    fn batch(&self) -> BatchLimits;

    /// How it tries again unless the config says otherwise.
    fn retry(&self) -> Retry {
        Retry::SINK
    }

    fn open(&self, context: SinkContext) -> Opened<Box<dyn Sink>>;
}
