//! The marks of items that are in flight, so that of two items with the same key only one goes on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;

use super::ack::Ack;
use crate::component::{Mark, MarkKind};
use crate::model::{Outcome, Text};
use crate::store::Digest;

/// The marks in flight of one pipeline.
#[derive(Default)]
pub(super) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    by_key: HashMap<Key, Vec<Holder>, RandomState>,
    next_number: u64,
}

type Key = (Text, Text);

/// An item in flight, and those that wait to share its outcome.
struct Holder {
    number: u64,
    /// The value that a `changed` carries; nothing for a `new`.
    digest: Option<Digest>,
    sharers: Vec<Ack>,
}

/// The right to leave a mark behind. Given back by [`Flights::end`].
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    number: u64,
}

impl Flight {
    /// The component that looks for the mark again.
    pub(super) fn component(&self) -> &str {
        &self.key.0
    }
}

/// What [`Flights::begin`] found.
pub(super) enum Begun {
    /// Nothing else with this key is in flight: what the store knows decides.
    First(Flight, Ack),
    /// Another value of the same key is in flight: this one differs, so it goes on.
    Differs(Flight, Ack),
    /// The same is in flight already; its outcome will be this item's too.
    Shares,
}

impl Flights {
    pub(super) fn begin(&self, mark: &Mark, ack: Ack) -> Begun {
        let digest = match mark.kind {
            MarkKind::Seen { .. } | MarkKind::Validator(_) => None,
            MarkKind::Last { digest } => Some(digest),
        };
        let key = (mark.component.clone(), mark.key.clone());
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.next_number += 1;
        let number = state.next_number;
        let holders = state.by_key.entry(key.clone()).or_default();
        let first = holders.is_empty();
        if let Some(last) = holders.last_mut()
            && last.digest == digest
        {
            last.sharers.push(ack);
            return Begun::Shares;
        }
        holders.push(Holder { number, digest, sharers: Vec::new() });
        let flight = Flight { key, number };
        if first { Begun::First(flight, ack) } else { Begun::Differs(flight, ack) }
    }

    /// The item ended like this; so do those that shared its flight. Answers how many those were.
    pub(super) fn end(&self, flight: &Flight, outcome: Outcome) -> usize {
        let sharers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(holders) = state.by_key.get_mut(&flight.key) else { return 0 };
            let Some(place) = holders.iter().position(|holder| holder.number == flight.number) else { return 0 };
            let sharers = holders.remove(place).sharers;
            if holders.is_empty() {
                state.by_key.remove(&flight.key);
            }
            sharers
        };
        let count = sharers.len();
        // What the first delivered, the second need not: it ends as a duplicate.
        let shared = if outcome == Outcome::Delivered { Outcome::Filtered } else { outcome };
        sharers.into_iter().for_each(|ack| ack.settle(shared));
        count
    }
}
