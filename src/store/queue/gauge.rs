//! How much a queue holds, for those who look often.

use std::sync::atomic::{AtomicU64, Ordering};

use event_listener::{Event, EventListener};

use crate::store::QueueSize;

/// What is known of a queue as of the last commit. Looking costs next to nothing.
#[derive(Debug, Default)]
pub struct QueueGauge {
    items: AtomicU64,
    out: AtomicU64,
    bytes: AtomicU64,
    changed: Event,
    shrunk: Event,
}

impl QueueGauge {
    /// Entries that are handed out are included.
    pub fn size(&self) -> QueueSize {
        let look = |number: &AtomicU64| number.load(Ordering::Acquire);
        QueueSize { items: look(&self.items), out: look(&self.out), bytes: look(&self.bytes) }
    }

    /// Wakes when the queue holds less than before. Listen first, then look: so none is missed.
    pub fn shrunk(&self) -> EventListener {
        self.shrunk.listen()
    }

    /// Wakes at the next push to the queue, or release into it.
    pub(super) fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    pub(super) fn show(&self, size: QueueSize) {
        self.out.store(size.out, Ordering::Release);
        let items = self.items.swap(size.items, Ordering::AcqRel);
        let bytes = self.bytes.swap(size.bytes, Ordering::AcqRel);
        if size.items < items || size.bytes < bytes {
            self.shrunk.notify(usize::MAX);
        }
    }

    pub(super) fn wake(&self) {
        self.changed.notify(usize::MAX);
    }
}
