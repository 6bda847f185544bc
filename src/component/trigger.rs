//! A tick that a person asks for.

use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

/// Asks a schedule for a tick at once. Asked twice before it comes, it comes once.
#[derive(Debug, Default)]
pub struct Trigger {
    is_asked: AtomicBool,
    changed: Event,
}

impl Trigger {
    pub fn ask(&self) {
        self.is_asked.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// Whether a tick is asked for.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// The tick comes.
    pub fn answer(&self) {
        self.is_asked.store(false, Ordering::Release);
    }

    /// Waits until a tick is asked for.
    pub async fn asked(&self) {
        loop {
            let changed = self.changed.listen();
            if self.is_asked() {
                return;
            }
            changed.await;
        }
    }
}
