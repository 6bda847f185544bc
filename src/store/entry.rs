//! Items as queues hold them.

use jiff::Timestamp;

use crate::model::{Item, ItemId, Text, Value, Window};

/// An item as a queue holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The pipeline that the item comes from, and its id there: kept, so that its trace and its idempotency key stay.
    pub pipeline: Text,
    pub item: ItemId,
    pub window: Option<Window>,
    pub value: Value,
    /// An object.
    pub labels: Value,
    /// What was tried with it at the component that it goes back to.
    pub tried: Option<Tried>,
}

/// The tries of an item that a queue holds until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    pub count: u32,
    /// When the first was, or when it was due.
    pub since: Timestamp,
}

impl Entry {
    pub fn of(item: &Item) -> Self {
        Self {
            pipeline: item.origin.pipeline.clone(),
            item: item.id,
            window: item.origin.window,
            value: item.value.clone(),
            labels: item.labels.to_value(),
            tried: None,
        }
    }
}

/// Entries for one queue or several; the payload is written once.
#[derive(Clone, Debug)]
pub struct Push {
    pub queues: Vec<Text>,
    pub entries: Vec<Entry>,
    /// Higher comes first.
    pub priority: i32,
    /// Not handed out before this time.
    pub due: Option<Timestamp>,
    /// Dropped if it was not taken before this time.
    pub expires: Option<Timestamp>,
    /// The entries' keys, in order, and until when each is known: an entry whose key is known is left out.
    pub keys: Option<Vec<(Text, Option<Timestamp>)>>,
}

impl Push {
    /// The plain push of one item.
    pub fn of(queues: Vec<Text>, item: &Item) -> Self {
        Self { queues, entries: vec![Entry::of(item)], priority: 0, due: None, expires: None, keys: None }
    }
}

/// A place in a queue: what an entry is settled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub queue: i64,
    pub batch: i64,
    pub index: u32,
}

/// An entry that was handed out.
#[derive(Clone, Debug)]
pub struct Leased {
    pub lease: Lease,
    pub entry: Entry,
    /// How many times it has been handed out, this time included.
    pub attempts: u32,
    pub expires: Option<Timestamp>,
    /// It was in flight when a process died: nothing else is worked on until it is settled, for a short while at least.
    pub suspect: bool,
}

/// What a queue holds, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    pub size: QueueSize,
    /// Handed out, and not settled yet.
    pub in_flight: u64,
    /// Not due yet.
    pub held_back: u64,
    /// In flight when a process died, and not worked on since.
    pub suspects: u64,
}

/// How much a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSize {
    pub items: u64,
    /// Of the items, those that are handed out.
    pub out: u64,
    pub bytes: u64,
}
