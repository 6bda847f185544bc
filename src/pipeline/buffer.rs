//! A sink's durable buffer: takes what the sink's channel has no room for, so that a sink that lags does not hold up
//! its neighbours.
//!
//! What is put into it goes to the store in the commit that settles the item for its source. A pipeline of its own,
//! without steps, brings it from there to the sink. As long as it holds anything, new items queue up behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event_listener::Event;

use super::life::Life;
use super::plan::BufferPlan;
use crate::component::Full;
use crate::model::{Fault, FaultKind, Size};
use crate::runtime;
use crate::store::{QueueGauge, QueueSize, Store};

pub(super) struct Buffer {
    pub(super) plan: BufferPlan,
    /// What of it is committed.
    gauge: Arc<QueueGauge>,
    /// What is on its way into it, and not committed yet.
    coming_items: AtomicU64,
    coming_bytes: AtomicU64,
    arrived: Event,
}

/// An item on its way into a buffer: from when it is put there until it is committed, or abandoned.
pub(super) struct Coming {
    buffer: Arc<Buffer>,
    bytes: u64,
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
    pub(super) fn open(plan: BufferPlan, store: &Store) -> Arc<Self> {
        let gauge = store.queue_gauge(&plan.queue);
        let (coming_items, coming_bytes) = Default::default();
        Arc::new(Self { plan, gauge, coming_items, coming_bytes, arrived: Event::new() })
    }

    /// Whether nothing is in it, or on its way into it.
    pub(super) fn is_empty(&self) -> bool {
        // In this order: what has come by the first look is counted by the second.
        self.coming_items.load(Ordering::Acquire) == 0 && self.gauge.size().items == 0
    }

    /// One more item is put in: the caller commits it, and keeps what this answers until then.
    pub(super) fn put(self: &Arc<Self>, bytes: usize) -> Coming {
        let bytes = bytes as u64;
        self.coming_items.fetch_add(1, Ordering::AcqRel);
        self.coming_bytes.fetch_add(bytes, Ordering::AcqRel);
        Coming { buffer: self.clone(), bytes }
    }

    fn size(&self) -> QueueSize {
        let coming_items = self.coming_items.load(Ordering::Acquire);
        let coming_bytes = self.coming_bytes.load(Ordering::Acquire);
        let QueueSize { items, out, bytes } = self.gauge.size();
        QueueSize { items: items + coming_items, out, bytes: bytes + coming_bytes }
    }

    /// Waits for room, if that is what a full buffer does.
    pub(super) async fn room(&self, life: &Life) -> Room {
        loop {
            let (shrunk, arrived) = (self.gauge.shrunk(), self.arrived.listen());
            let QueueSize { items, bytes, .. } = self.size();
            if bytes < self.plan.disk.0 {
                return Room::Free;
            }
            match self.plan.full {
                Full::Block => {
                    runtime::race(runtime::race(shrunk, arrived), life.stopping()).await;
                    if life.is_stopping() {
                        return Room::Never;
                    }
                }
                Full::DeadLetter => {
                    let held = Size(bytes);
                    let message = format!("the sink lags, and its buffer is full: it holds {items} items, {held}");
                    return Room::Refused(Fault::reject(FaultKind::Refused, message));
                }
                // What is still on its way cannot be dropped, and is there in a moment.
                Full::DropOldest if self.gauge.size().items == 0 => return Room::Free,
                Full::DropOldest => return Room::After(1),
            }
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.buffer.coming_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.buffer.coming_items.fetch_sub(1, Ordering::AcqRel);
        // It takes another size on disk than on its way, or none if it was abandoned.
        self.buffer.arrived.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::component::{Opened, Promise, Source, SourceContext, SourceSettings};
    use crate::model::{Item, ItemId, Labels, Origin, Text, Value};
    use crate::runtime::{Clock, block_on, spawn};
    use crate::store::{Change, Push};

    /// In place of what brings a buffer's items to its sink.
    struct Nothing;

    impl SourceSettings for Nothing {
        fn promise(&self) -> Promise {
            Promise::AtLeastOnce
        }

        fn open(&self, _context: SourceContext) -> Opened<Box<dyn Source>> {
            Err(Fault::stop(FaultKind::Read, "nothing to open"))
        }
    }

    struct Bench {
        _folder: TempDir,
        store: Store,
        buffer: Arc<Buffer>,
    }

    impl Bench {
        fn new(disk: u64, full: Full) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let queue: Text = "sink.slow".into();
            let plan = BufferPlan { queue, source: Arc::new(Nothing), disk: Size(disk), full };
            let buffer = Buffer::open(plan, &store);
            Self { _folder: folder, store, buffer }
        }

        fn commit(&self, change: Change) {
            block_on(self.store.commit(vec![change])).unwrap();
        }

        fn push(&self) {
            let origin = Arc::new(Origin::new("p".into(), None, 0));
            let item = Item::new(origin, ItemId::root(&[b"1"]), Value::from("x".repeat(1000)), Labels::default());
            self.commit(Change::Push(Push::of(vec!["sink.slow".into()], &item)));
        }

        fn lease(&self) -> Change {
            let now = Clock::system().timestamp();
            Change::Settle(block_on(self.store.lease("sink.slow", 1, now)).unwrap()[0].lease)
        }
    }

    #[test]
    fn a_buffer_is_empty_once_nothing_is_in_it_or_on_its_way() {
        let bench = Bench::new(1 << 20, Full::Block);
        let is_empty = || bench.buffer.is_empty();
        assert!(is_empty());
        let coming = bench.buffer.put(1000);
        assert!(!is_empty());
        bench.push();
        drop(coming);
        assert!(!is_empty());
        let settle = bench.lease();
        assert!(!is_empty(), "on its way to the sink");
        bench.commit(settle);
        assert!(is_empty());
        // One that was abandoned on its way into it.
        drop(bench.buffer.put(1000));
        assert!(is_empty());
        // Some that are dropped, one of them on its way to the sink.
        bench.push();
        bench.push();
        let settle = bench.lease();
        bench.commit(Change::DropOldest { queue: "sink.slow".into(), items: 1 });
        assert!(!is_empty());
        bench.commit(settle);
        assert!(!is_empty());
        bench.commit(Change::DropOldest { queue: "sink.slow".into(), items: 1 });
        assert!(is_empty());
    }

    #[test]
    fn what_waits_for_room_goes_on_with_the_event_that_makes_it() {
        let bench = Bench::new(1500, Full::Block);
        let life = Life::default();
        let room = || {
            let (buffer, life) = (bench.buffer.clone(), life.clone());
            spawn(async move { matches!(buffer.room(&life).await, Room::Free) })
        };
        assert!(block_on(room().join()).unwrap());
        // What is on its way takes room too.
        let coming = [bench.buffer.put(1000), bench.buffer.put(1000)];
        let waiting = room();
        drop(coming);
        assert!(block_on(waiting.join()).unwrap());
        bench.push();
        bench.push();
        let waiting = room();
        let is_waiting = block_on(Clock::system().timeout(Duration::from_millis(50), room().join())).is_none();
        assert!(is_waiting);
        let settle = bench.lease();
        bench.commit(settle);
        assert!(block_on(waiting.join()).unwrap());
        bench.push();
        let waiting = room();
        life.stop();
        assert!(!block_on(waiting.join()).unwrap());
    }
}
