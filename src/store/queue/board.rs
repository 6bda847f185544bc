//! What the writer's thread and everyone else share about queues: sizes, and who waits for what.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use event_listener::{Event, EventListener};

use super::{Handed, QueueGauge};
use crate::model::Text;
use crate::store::{Lease, QueueSize};

#[derive(Debug, Default)]
pub(in crate::store) struct Board {
    queues: Mutex<HashMap<Text, Arc<QueueGauge>>>,
    /// Leases that nobody works on any more.
    given_back: Mutex<Vec<Lease>>,
    damaged_entries: AtomicU64,
    recovery: Mutex<ShownRecovery>,
    recovered: Event,
}

#[derive(Debug, Default)]
struct ShownRecovery {
    read: Option<HashSet<Text>>,
    /// Nothing once it is over.
    look_again: Option<Instant>,
}

impl Board {
    pub(in crate::store) fn size(&self, queue: &str) -> QueueSize {
        self.lock().get(queue).map(|gauge| gauge.size()).unwrap_or_default()
    }

    pub(in crate::store) fn sizes(&self) -> Vec<(Text, QueueSize)> {
        let mut sizes: Vec<_> = self.lock().iter().map(|(name, gauge)| (name.clone(), gauge.size())).collect();
        sizes.sort_by(|(one, _), (other, _)| one.cmp(other));
        sizes
    }

    /// What is read in this process: suspects of other queues are not waited for. Before this is known, all are.
    pub(in crate::store) fn will_read(&self, queues: HashSet<Text>) {
        self.recovery().read = Some(queues);
    }

    pub(super) fn is_read(&self, queue: &str) -> bool {
        self.recovery().read.as_ref().is_none_or(|read| read.contains(queue))
    }

    /// While what was in flight at a crash is worked on alone: when to ask again.
    pub(in crate::store) fn look_again(&self) -> Option<Instant> {
        self.recovery().look_again
    }

    /// Wakes when the recovery is over.
    pub(in crate::store) fn recovered(&self) -> EventListener {
        self.recovered.listen()
    }

    /// Answers whether the recovery has come to its end with this.
    pub(super) fn show_recovery(&self, look_again: Option<Instant>) -> bool {
        let before = std::mem::replace(&mut self.recovery().look_again, look_again);
        let is_over = before.is_some() && look_again.is_none();
        if is_over {
            self.recovered.notify(usize::MAX);
        }
        is_over
    }

    /// Wakes at the next push to the queue, or release into it.
    pub(in crate::store) fn changed(&self, queue: &str) -> EventListener {
        self.gauge(queue).changed()
    }

    pub(super) fn show(&self, queue: &Text, size: QueueSize) {
        self.gauge(queue).show(size);
    }

    pub(super) fn wake(&self, queue: &str) {
        self.gauge(queue).wake();
    }

    /// Takes back what was handed out to someone who is gone; it is handed out again at the queue's next lease.
    pub(in crate::store) fn give_back(&self, queue: &str, leases: impl IntoIterator<Item = Lease>) {
        self.keep_given_back(leases);
        self.wake(queue);
    }

    pub(super) fn keep_given_back(&self, leases: impl IntoIterator<Item = Lease>) {
        self.given_back.lock().unwrap_or_else(PoisonError::into_inner).extend(leases);
    }

    pub(super) fn take_given_back(&self) -> Vec<Lease> {
        std::mem::take(&mut *self.given_back.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(in crate::store) fn count_damaged(&self, entries: u64) {
        self.damaged_entries.fetch_add(entries, Ordering::Relaxed);
    }

    pub(in crate::store) fn damaged_entries(&self) -> u64 {
        self.damaged_entries.load(Ordering::Relaxed)
    }

    fn recovery(&self) -> MutexGuard<'_, ShownRecovery> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn gauge(&self, queue: &str) -> Arc<QueueGauge> {
        let mut queues = self.lock();
        if let Some(gauge) = queues.get(queue) {
            return gauge.clone();
        }
        queues.entry(queue.into()).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Text, Arc<QueueGauge>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a lease. What is still in it when it is dropped goes back, since then nobody waited for it any more.
#[derive(Debug)]
pub(in crate::store) struct HandedOut {
    pub(super) entries: Vec<Handed>,
    pub(super) queue: Text,
    pub(super) board: Arc<Board>,
}

impl HandedOut {
    pub(in crate::store) fn take(mut self) -> Vec<Handed> {
        std::mem::take(&mut self.entries)
    }
}

impl Drop for HandedOut {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            self.board.give_back(&self.queue, self.entries.drain(..).map(|handed| handed.lease));
        }
    }
}
