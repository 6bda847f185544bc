//! Durable queues: entries that wait in the store until someone has worked on them.
//!
//! ```text
//! batch     the entries of a push, one blob for all queues that got them (see `batch`)
//! progress  one row a queue and batch: which entries are settled, out, held back (see `progress`)
//! seen      keys of entries, under no pipeline and the component `queue.NAME`
//! ```
//!
//! The writer's thread keeps in memory the rows of what is handed out, and counts; everything else stays on disk.

mod batch;
mod board;
mod check;
mod encoding;
mod gauge;
mod ledger;
mod look;
mod progress;
mod recovery;
mod suspects;

use bytes::Bytes;
use indexmap::IndexSet;
use jiff::Timestamp;

pub(super) use board::{Board, HandedOut};
pub(super) use check::check;
pub use gauge::QueueGauge;
pub(super) use ledger::Ledger;
pub(super) use look::{counts, next_due, oldest, sizes};
pub(super) use recovery::reconcile;

use super::{Lease, Leased, Push};
use crate::model::Text;
use batch::Payload;

/// A push whose entries are bytes already, so that the writer's thread need not make them.
#[derive(Debug)]
pub(super) struct PackedPush {
    queues: Vec<Text>,
    payloads: Vec<Payload>,
    priority: i32,
    due: Option<i64>,
    expires: Option<i64>,
    keys: Option<Vec<(Text, Option<Timestamp>)>>,
}

impl PackedPush {
    pub(super) fn new(push: &Push) -> Self {
        let Push { queues, entries, priority, due, expires, keys } = push;
        let payloads = entries.iter().map(|entry| Payload::new(encoding::encode(entry))).collect();
        // One that is named twice gets them once.
        let queues = queues.iter().cloned().collect::<IndexSet<_>>().into_iter().collect();
        let (due, expires) = (due.map(not_before), expires.map(not_before));
        Self { queues, payloads, priority: *priority, due, expires, keys: keys.clone() }
    }

    /// How many of its keys are to be forgotten at some time.
    pub(super) fn passing_keys(&self) -> u32 {
        let passing = self.keys.iter().flatten().filter(|(_, until)| until.is_some()).count();
        u32::try_from(passing).unwrap_or(u32::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.payloads.len()
    }
}

/// A time in milliseconds since 1970, never before the time itself.
fn not_before(time: Timestamp) -> i64 {
    time.as_millisecond() + i64::from(time.subsec_nanosecond() % 1_000_000 != 0)
}

fn time_of(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// An entry that was handed out, not yet decoded.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) lease: Lease,
    bytes: Bytes,
    attempts: u32,
    expires: Option<i64>,
    suspect: bool,
}

impl Handed {
    /// The entry, or nothing if another gatherd wrote it in a way that this one cannot read.
    pub(super) fn decode(&self) -> Option<Leased> {
        let Self { lease, bytes, attempts, expires, suspect } = self;
        let (entry, expires) = (encoding::decode(bytes)?, expires.map(time_of));
        Some(Leased { lease: *lease, entry, attempts: *attempts, expires, suspect: *suspect })
    }
}

#[cfg(test)]
mod tests;
