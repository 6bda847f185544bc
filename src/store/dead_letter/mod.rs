//! Items that were given up, and what people ask to be done about them.

mod acts;
mod json;
mod rows;
mod tally;

use std::time::Duration;

use jiff::Timestamp;

pub(super) use rows::{count, edit, end_replay, put_again, put_dead_letter, put_replay, remove};
pub use tally::DeadSize;
pub(super) use tally::{DeadBoard, Tally};

use crate::model::{ItemId, Size, Text, Value, Window};

/// An item that was given up, as it entered the component that gave it up.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Given by the store; 0 before that.
    pub id: i64,
    pub pipeline: Text,
    /// The component that gave up: a step's id, or `sink.NAME`.
    pub component: Text,
    pub item: ItemId,
    pub trace: String,
    pub value: Value,
    pub labels: Value,
    pub window: Option<Window>,
    pub fault: FaultRecord,
    /// Every fault of this item, the oldest first, the last one included; at most the newest 20.
    pub history: Vec<FaultRecord>,
    pub first: Timestamp,
    pub last: Timestamp,
    /// How many times the item was given up.
    pub count: u64,
    /// Whether it is asked to be replayed, or on its way. Only the store knows; it is no part of what is written.
    pub is_replay_asked: bool,
}

/// One fault of a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRecord {
    pub at: Timestamp,
    pub kind: String,
    pub message: String,
    /// How many tries it took.
    pub attempts: u32,
}

/// Which dead letters to list.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    pub pipeline: Option<String>,
    pub component: Option<String>,
    pub fault: Option<String>,
    /// Only those whose last fault is at or after this time.
    pub since: Option<Timestamp>,
    /// Only those whose last fault is before this time.
    pub until: Option<Timestamp>,
    pub limit: Option<usize>,
    /// No more of them once their values take so much in memory.
    pub bytes: Option<Size>,
    /// Only those that come after the one with this last fault and this id, for a list that is read in parts.
    pub after: Option<(Timestamp, i64)>,
}

/// What is asked of a dead letter: to go on its way once more.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub letter: i64,
    /// The step where it enters, or `source`; without it, the component that gave it up.
    pub from: Option<Text>,
    /// How long its pipeline waits after it with the next one.
    pub interval: Duration,
}
