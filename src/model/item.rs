//! What travels: a value, its labels, and where it came from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::{Findings, Labels, Text, Value};

/// What travels from a source through steps to sinks. A clone shares its contents.
#[derive(Clone, Debug)]
pub struct Item {
    pub value: Value,
    pub labels: Labels,
    pub origin: Arc<Origin>,
    pub id: ItemId,
}

impl Item {
    pub fn new(origin: Arc<Origin>, id: ItemId, value: Value, labels: Labels) -> Self {
        Self { value, labels, origin, id }
    }

    /// The same item with another value.
    pub fn with_value(&self, value: Value) -> Self {
        Self { value, labels: self.labels.clone(), origin: self.origin.clone(), id: self.id }
    }

    /// The child number `index` of this item.
    pub fn child(&self, index: u64, value: Value) -> Self {
        Self { id: self.id.child(index), ..self.with_value(value) }
    }

    /// The child of this item that these names tell from all others of the pipeline: its id does not depend on this
    /// item.
    pub fn named_child(&self, names: &[&[u8]], value: Value) -> Self {
        let names: Vec<&[u8]> = [self.origin.pipeline.as_bytes()].into_iter().chain(names.iter().copied()).collect();
        Self { id: ItemId::root(&names), ..self.with_value(value) }
    }

    pub fn trace(&self) -> TraceId<'_> {
        TraceId { pipeline: &self.origin.pipeline, id: self.id }
    }
}

/// What all items share that descend from one item of a source. Items of which nothing is known but their pipeline share
/// one.
#[derive(Debug)]
pub struct Origin {
    pub pipeline: Text,
    pub window: Option<Window>,
    /// Nothing else of its source is in flight, so waiting for more to write with it would be in vain.
    pub alone: bool,
    /// The tick that it is, if that is like any other, since nothing asks for its window.
    pub tick: Option<ItemId>,
    /// For a source that wants to know what is found of its item.
    pub findings: Option<Arc<Findings>>,
    /// The dead letter that it is, on its way once more. It passes `new` and `changed`.
    pub replayed: Option<i64>,
    /// How many descendants have passed a `limit` so far, one counter for each such step.
    pub passed: Vec<AtomicU64>,
}

impl Origin {
    pub fn new(pipeline: Text, window: Option<Window>, limits: usize) -> Self {
        let passed = (0..limits).map(|_| AtomicU64::new(0)).collect();
        Self { pipeline, window, alone: false, tick: None, findings: None, replayed: None, passed }
    }

    /// Counts one more descendant at the `limit` step number `limit`, and answers how many came before it.
    pub fn count(&self, limit: usize) -> u64 {
        self.passed[limit].fetch_add(1, Ordering::Relaxed)
    }
}

/// The stretch of time that a tick stands for: from the end of the last settled window to the tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// Tells an item from every other, and is the same when the item comes again after a retry or a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u64);

impl ItemId {
    /// A hash of names that stays the same for ever: FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>),
    /// finished by `mix`.
    pub fn root(parts: &[&[u8]]) -> Self {
        Self(mix(hash_on(FNV_START, parts)))
    }

    fn child(self, index: u64) -> Self {
        Self(mix(self.0 ^ mix(index.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }
}

/// The ids of one source's items.
#[derive(Clone, Copy, Debug)]
pub struct ItemIds {
    /// Of the pipeline and the source.
    hash: u64,
}

impl ItemIds {
    pub fn of(pipeline: &str, source: &str) -> Self {
        Self { hash: hash_on(FNV_START, &[pipeline.as_bytes(), source.as_bytes()]) }
    }

    /// `place` is what tells the item from all others of its source, such as a file and an offset: the same place gives
    /// the same id after a restart.
    #[inline]
    pub fn at(self, place: &[u8]) -> ItemId {
        let (words, rest) = place.as_chunks::<8>();
        let hash = words.iter().fold(self.hash, |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
        // With its length, so that no byte of it is taken for padding.
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = rest.len() as u8;
        ItemId(mix(hash ^ u64::from_le_bytes(last)))
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a goes on from `hash`.
fn hash_on(mut hash: u64, parts: &[&[u8]]) -> u64 {
    for part in parts {
        // 0xff stands in no UTF-8 text, so no two lists of parts run together.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl fmt::Display for ItemId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// How an item is called in logs and dead letters, such as `quakes-7f3a09c2`.
#[derive(Clone, Copy, Debug)]
pub struct TraceId<'a> {
    pipeline: &'a str,
    id: ItemId,
}

impl fmt::Display for TraceId<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:08x}", self.pipeline, self.id.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(place: &str) -> Item {
        let id = ItemIds::of("quakes", "lines").at(place.as_bytes());
        Item::new(Arc::new(Origin::new("quakes".into(), None, 1)), id, Value::Null, Labels::default())
    }

    #[test]
    fn the_same_place_gives_the_same_id_and_another_place_another() {
        assert_eq!(item("a:0").id, item("a:0").id);
        assert_ne!(item("a:0").id, item("a:1").id);
    }

    #[test]
    fn no_byte_of_a_place_is_passed_over() {
        let ids = ItemIds::of("quakes", "lines");
        let places: Vec<Vec<u8>> = (0..40)
            .flat_map(|length| {
                let zeros = vec![0; length];
                let others = (0..length).map({
                    let zeros = zeros.clone();
                    move |at| [&zeros[..at], &[1], &zeros[at + 1..]].concat()
                });
                std::iter::once(zeros).chain(others).collect::<Vec<_>>()
            })
            .collect();
        let found: std::collections::HashSet<_> = places.iter().map(|place| ids.at(place)).collect();
        assert_eq!(found.len(), places.len());
    }

    #[test]
    fn children_have_ids_of_their_own_that_come_again() {
        let (parent, again) = (item("a"), item("a"));
        assert_ne!(parent.child(0, Value::Null).id, parent.id);
        assert_ne!(parent.child(0, Value::Null).id, parent.child(1, Value::Null).id);
        assert_eq!(parent.child(1, Value::Null).id, again.child(1, Value::Null).id);
    }
}
