//! What a person turns a pipeline's source on and off with.

use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

/// Off, the source makes no more items; those in flight go on to their ends.
pub(super) struct Switch {
    is_on: AtomicBool,
    changed: Event,
}

impl Switch {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on: AtomicBool::new(is_on), changed: Event::new() }
    }

    pub(super) fn turn(&self, on: bool) {
        self.is_on.store(on, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Waits until it is turned so.
    pub(super) async fn turned(&self, on: bool) {
        while self.is_on() != on {
            let changed = self.changed.listen();
            if self.is_on() == on {
                return;
            }
            changed.await;
        }
    }
}
