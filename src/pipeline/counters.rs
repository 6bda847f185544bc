//! What is counted of a pipeline while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::component::Reason;

/// One pipeline's counters, all since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    produced: AtomicU64,
    settled: AtomicU64,
    delivered: AtomicU64,
    filtered: [AtomicU64; Reason::ALL.len()],
    rejected: AtomicU64,
    abandoned: AtomicU64,
    retried: AtomicU64,
    saved: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that the source made.
    pub produced: u64,
    /// Items of the source that have ended, with all their descendants.
    pub settled: u64,
    /// Items that a sink took, one for each sink.
    pub delivered: u64,
    /// Items that ended on purpose before a sink.
    pub filtered: u64,
    /// Items that became dead letters.
    pub rejected: u64,
    /// Items of the source that will come again.
    pub abandoned: u64,
    /// Tries after the first.
    pub retried: u64,
    /// Bytes of replies that did not have to come again, since they had not changed.
    pub saved: u64,
}

impl Counters {
    pub(super) fn produced(&self) {
        add(&self.produced, 1);
    }

    pub(super) fn settled(&self, count: usize) {
        add(&self.settled, count);
    }

    pub(super) fn delivered(&self, count: usize) {
        add(&self.delivered, count);
    }

    pub(super) fn filtered(&self, reason: Reason, count: usize) {
        add(&self.filtered[reason as usize], count);
    }

    pub(super) fn rejected(&self) {
        add(&self.rejected, 1);
    }

    pub(super) fn abandoned(&self) {
        add(&self.abandoned, 1);
    }

    pub(super) fn retried(&self, count: usize) {
        add(&self.retried, count);
    }

    pub(super) fn saved(&self, bytes: u64) {
        self.saved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            produced: read(&self.produced),
            settled: read(&self.settled),
            delivered: read(&self.delivered),
            filtered: self.filtered.iter().map(read).sum(),
            rejected: read(&self.rejected),
            abandoned: read(&self.abandoned),
            retried: read(&self.retried),
            saved: read(&self.saved),
        }
    }

    /// How many items were filtered for each reason; reasons that never occurred are left out.
    pub(super) fn filtered_by_reason(&self) -> Vec<(Reason, u64)> {
        let counts =
            Reason::ALL.iter().map(|reason| (*reason, self.filtered[*reason as usize].load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            produced: self.produced + other.produced,
            settled: self.settled + other.settled,
            delivered: self.delivered + other.delivered,
            filtered: self.filtered + other.filtered,
            rejected: self.rejected + other.rejected,
            abandoned: self.abandoned + other.abandoned,
            retried: self.retried + other.retried,
            saved: self.saved + other.saved,
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
