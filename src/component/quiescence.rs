//! When a single run that is fed by queues has come to its end.

use std::sync::{Mutex, PoisonError};

use event_listener::{Event, EventListener};

/// What is still going on in an engine: sources that are not at their end, and their items in flight.
///
/// A source that reads a queue cannot tell by itself that it is at its end: what is in flight elsewhere may still
/// fill it. With everything else done and every queue empty, nothing can.
#[derive(Debug, Default)]
pub struct Quiescence {
    busy: Mutex<usize>,
    changed: Event,
}

impl Quiescence {
    /// For the engine: `count` more things go on.
    pub fn begin(&self, count: usize) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) += count;
    }

    /// For the engine: `count` things have ended.
    pub fn end(&self, count: usize) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = busy.saturating_sub(count);
        drop(busy);
        self.changed.notify(usize::MAX);
    }

    /// Whether nothing goes on any more.
    pub fn is_quiet(&self) -> bool {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) == 0
    }

    /// Wakes at the next change.
    pub fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    /// A source that has nothing to do no longer counts as busy while it waits.
    pub fn pause(&self) -> Paused<'_> {
        self.end(1);
        Paused(self)
    }
}

/// A source that waits; busy again once this is dropped.
#[derive(Debug)]
pub struct Paused<'a>(&'a Quiescence);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.begin(1);
    }
}
