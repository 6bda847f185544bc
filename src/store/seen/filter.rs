//! A set of keys that says of a key that it is not there, or that it may be.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use rusqlite::types::ValueRef;

/// So many keys have room in the first layer; each next one has four times as many.
const FIRST: usize = 10_000;
const GROWTH: usize = 4;

/// With more keys than this it would take more memory than it is worth: from then on every key may be there.
const MOST: usize = 10_000_000;

/// How much of a layer each key gets, and how many bits of it it sets: about one key in a hundred that is not there is
/// taken for one that may be.
const BITS_A_KEY: usize = 12;
const BITS_SET: u32 = 5;

/// Bits that lie together in memory: a key sets bits of one block alone.
type Block = [u64; 8];
const BLOCK_BITS: usize = 512;

/// So many bits of a hash name one of a block.
const PLACE_BITS: u32 = BLOCK_BITS.ilog2();

/// A Bloom filter (1970) of blocks (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007) that
/// grows by layers (Almeida et al.: Scalable Bloom Filters, 2007).
#[derive(Default)]
pub(super) struct KeyFilter {
    layers: Vec<Layer>,
    /// Keys that were added, and how many more there is room for in the last layer.
    keys: usize,
    room: usize,
    hashes: RandomState,
}

/// A power of two of blocks.
struct Layer(Box<[Block]>);

impl KeyFilter {
    pub(super) fn add(&mut self, pipeline: &str, component: &str, key: ValueRef<'_>) {
        if self.is_full() {
            return;
        }
        let hash = self.hash(pipeline, component, key);
        if self.layers.iter().any(|layer| layer.has(hash)) {
            return;
        }
        if self.room == 0 {
            let capacity = FIRST * GROWTH.pow(u32::try_from(self.layers.len()).unwrap_or(u32::MAX));
            let layer = Layer::of(capacity);
            self.room = layer.0.len() * BLOCK_BITS / BITS_A_KEY;
            self.layers.push(layer);
        }
        if let Some(last) = self.layers.last_mut() {
            last.add(hash);
        }
        (self.room, self.keys) = (self.room - 1, self.keys + 1);
        if self.is_full() {
            self.layers = Vec::new();
        }
    }

    pub(super) fn may_have(&self, pipeline: &str, component: &str, key: ValueRef<'_>) -> bool {
        if self.is_full() {
            return true;
        }
        let hash = self.hash(pipeline, component, key);
        self.layers.iter().any(|layer| layer.has(hash))
    }

    fn is_full(&self) -> bool {
        self.keys >= MOST
    }

    fn hash(&self, pipeline: &str, component: &str, key: ValueRef<'_>) -> u64 {
        let mut hasher = self.hashes.build_hasher();
        hasher.write(pipeline.as_bytes());
        hasher.write(component.as_bytes());
        match key {
            ValueRef::Text(key) | ValueRef::Blob(key) => hasher.write(key),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => {}
        }
        hasher.finish()
    }
}

impl Layer {
    fn of(keys: usize) -> Self {
        let blocks = (keys * BITS_A_KEY).div_ceil(BLOCK_BITS).next_power_of_two();
        Self(vec![[0; 8]; blocks].into())
    }

    fn add(&mut self, hash: u64) {
        let block = &mut self.0[self.block(hash)];
        bits(hash).for_each(|bit| block[bit / 64] |= 1 << (bit % 64));
    }

    fn has(&self, hash: u64) -> bool {
        let block = &self.0[self.block(hash)];
        bits(hash).all(|bit| block[bit / 64] & (1 << (bit % 64)) != 0)
    }

    /// Told by the bits of the hash that [`bits`] leaves over.
    fn block(&self, hash: u64) -> usize {
        (hash >> (BITS_SET * PLACE_BITS)) as usize & (self.0.len() - 1)
    }
}

/// The bits that a key sets in its block.
fn bits(hash: u64) -> impl Iterator<Item = usize> {
    (0..BITS_SET).map(move |number| (hash >> (number * PLACE_BITS)) as usize % BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(filter: &mut KeyFilter, keys: std::ops::Range<usize>) {
        keys.for_each(|key| filter.add("p", "new", key.to_string().as_str().into()));
    }

    fn maybe(filter: &KeyFilter, keys: std::ops::Range<usize>) -> usize {
        keys.filter(|key| filter.may_have("p", "new", key.to_string().as_str().into())).count()
    }

    #[test]
    fn it_knows_every_key_that_was_added_and_few_others() {
        let mut filter = KeyFilter::default();
        assert_eq!(maybe(&filter, 0..1000), 0);
        for (from, to) in [(0, 1), (1, 9_000), (9_000, 100_000), (100_000, 300_000)] {
            add(&mut filter, from..to);
            assert_eq!(maybe(&filter, 0..to), to);
            let wrong = maybe(&filter, 1_000_000..1_100_000);
            assert!(wrong < 4_000, "{wrong} of 100,000 keys are taken for one of {to}");
        }
        assert!(!filter.may_have("q", "new", "1".into()) || !filter.may_have("r", "new", "1".into()));
    }

    #[test]
    fn beyond_its_limit_every_key_may_be_there_and_it_takes_no_memory() {
        let mut filter = KeyFilter { keys: MOST - 1, ..KeyFilter::default() };
        add(&mut filter, 0..1);
        assert_eq!(maybe(&filter, 0..1000), 1000);
        assert!(filter.layers.is_empty());
        add(&mut filter, 0..10);
        assert!(filter.layers.is_empty());
    }
}
