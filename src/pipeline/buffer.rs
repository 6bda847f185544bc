//! A sink's durable buffer: takes what the sink's channel has no room for, so that a sink that lags does not hold up
//! its neighbours.
//!
//! What is put into it goes to the store in the commit that settles the item for its source. A pipeline of its own,
//! without steps, brings it from there to the sink. As long as it holds anything, new items queue up behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::life::Life;
use super::plan::BufferPlan;
use crate::component::Full;
use crate::model::{Fault, FaultKind, Size};
use crate::runtime::Clock;
use crate::store::{QueueSize, Store};

/// How often a full buffer is looked at again.
const FULL_INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Buffer {
    pub(super) plan: BufferPlan,
    /// Items put in and not yet delivered, those included that are not committed yet.
    held: AtomicU64,
    store: Store,
    clock: Clock,
}

/// Whether a buffer takes an item.
pub(super) enum Room {
    Free,
    /// So many of the oldest items have to go first.
    After(u64),
    /// The item becomes a dead letter.
    Refused(Fault),
    /// The engine stops.
    Never,
}

impl Buffer {
    pub(super) fn open(plan: BufferPlan, store: &Store, clock: &Clock) -> Result<Arc<Self>, Fault> {
        let held = AtomicU64::new(store.queue_size(&plan.queue)?.items);
        Ok(Arc::new(Self { plan, held, store: store.clone(), clock: clock.clone() }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Acquire) == 0
    }

    /// One more item is put in: the caller commits it.
    pub(super) fn put(&self) {
        self.held.fetch_add(1, Ordering::AcqRel);
    }

    /// So many items have left it, delivered or dropped. One that is dropped while it is on its way to the sink leaves
    /// twice, so the count may be too low, but it never wraps.
    pub(super) fn left(&self, count: u64) {
        let fewer = |held: u64| Some(held.saturating_sub(count));
        // The closure always gives a value, so this cannot fail.
        let _ = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer);
    }

    /// Waits for room, if that is what a full buffer does.
    pub(super) async fn room(&self, life: &Life) -> Result<Room, Fault> {
        loop {
            let QueueSize { items, bytes, .. } = self.store.queue_size(&self.plan.queue)?;
            if bytes < self.plan.disk.0 {
                return Ok(Room::Free);
            }
            match self.plan.full {
                Full::Block => {
                    let again = self.clock.instant() + FULL_INTERVAL;
                    if !life.sleep_until(&self.clock, again).await {
                        return Ok(Room::Never);
                    }
                }
                Full::DeadLetter => {
                    let held = Size(bytes);
                    let message = format!("the sink lags, and its buffer is full: it holds {items} items, {held}");
                    return Ok(Room::Refused(Fault::reject(FaultKind::Refused, message)));
                }
                Full::DropOldest => return Ok(Room::After(1)),
            }
        }
    }
}
