//! When a single run that is fed by queues has come to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};

use crate::model::Text;

/// What is still going on in an engine: sources that are not at their end, and their items in flight.
///
/// A source that reads a queue cannot tell by itself that it is at its end: what is in flight elsewhere may still
/// fill it. With everything else done, and nothing left to hand out to anyone who reads a queue, nothing can.
#[derive(Debug, Default)]
pub struct Quiescence {
    busy: Mutex<usize>,
    /// The queues that are read, once for each reader.
    read: Mutex<Vec<Text>>,
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

    /// A source reads this queue until the answer is dropped. What is left in a queue that nobody reads any more is left
    /// for the next run.
    pub fn read(self: &Arc<Self>, queue: Text) -> Reading {
        self.lock_read().push(queue.clone());
        Reading { quiescence: self.clone(), queue }
    }

    /// Whether this holds for any queue that is read.
    pub fn is_any_read(&self, mut holds: impl FnMut(&Text) -> bool) -> bool {
        self.lock_read().iter().any(&mut holds)
    }

    fn lock_read(&self) -> MutexGuard<'_, Vec<Text>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A source that reads a queue.
#[derive(Debug)]
pub struct Reading {
    quiescence: Arc<Quiescence>,
    queue: Text,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut read = self.quiescence.lock_read();
        if let Some(place) = read.iter().position(|queue| *queue == self.queue) {
            read.swap_remove(place);
        }
        drop(read);
        self.quiescence.changed.notify(usize::MAX);
    }
}
