//! The books themselves: a file that only grows, and what follows from it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

type Hash = [u8; 32];

/// What was handed over, and what has arrived.
pub(super) struct Books {
    file: File,
    handed_over: HashMap<String, BTreeMap<u64, Entry>>,
    arrived: HashMap<String, BTreeMap<u64, Vec<Hash>>>,
    /// Whether answers count for nothing.
    is_distrustful: bool,
}

struct Entry {
    hash: Hash,
    /// False if nobody can know whether gatherd took it.
    is_accepted: bool,
}

/// What has come of a book at one destination.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// How many items were accepted.
    pub(crate) accepted: usize,
    /// Accepted, and not arrived.
    pub(crate) lost: Vec<u64>,
    /// Arrived with another payload than was handed over, or never handed over.
    pub(crate) altered: Vec<u64>,
    /// Arrivals beyond the first of each item.
    pub(crate) duplicates: usize,
}

impl Books {
    pub(super) fn open(file: &Path) -> Self {
        let file = OpenOptions::new().append(true).create_new(true).open(file).unwrap();
        Self { file, handed_over: HashMap::new(), arrived: HashMap::new(), is_distrustful: false }
    }

    /// An item is about to be handed over.
    pub(super) fn offered(&mut self, book: &str, item: &Value) {
        let hash = hash(item);
        self.note("offered", book, id(item), Some(&hash));
        self.handed_over.entry(book.to_owned()).or_default().insert(id(item), Entry { hash, is_accepted: false });
    }

    /// gatherd has it.
    pub(super) fn accepted(&mut self, book: &str, id: u64) {
        if self.is_distrustful {
            return;
        }
        self.note("accepted", book, id, None);
        if let Some(entry) = self.handed_over.get_mut(book).and_then(|entries| entries.get_mut(&id)) {
            entry.is_accepted = true;
        }
    }

    pub(super) fn distrust(&mut self, is_distrustful: bool) {
        self.is_distrustful = is_distrustful;
    }

    pub(super) fn arrived(&mut self, destination: &str, item: &Value) {
        let hash = hash(item);
        self.note("arrived", destination, id(item), Some(&hash));
        self.arrived.entry(destination.to_owned()).or_default().entry(id(item)).or_default().push(hash);
    }

    fn note(&mut self, what: &str, name: &str, id: u64, hash: Option<&Hash>) {
        let hash = hash.map(|hash| data_encoding::HEXLOWER.encode(hash)).unwrap_or_default();
        self.file.write_all(format!("{what} {name} {id} {hash}\n").as_bytes()).unwrap();
    }

    pub(super) fn compare(&self, book: &str, destination: &str) -> Findings {
        let (none_handed_over, none_arrived) = (BTreeMap::new(), BTreeMap::new());
        let handed_over = self.handed_over.get(book).unwrap_or(&none_handed_over);
        let arrived = self.arrived.get(destination).unwrap_or(&none_arrived);
        let is_accepted = |(id, entry): (&u64, &Entry)| entry.is_accepted.then_some(*id);
        let accepted: Vec<u64> = handed_over.iter().filter_map(is_accepted).collect();
        let is_altered = |id: &u64, hashes: &[Hash]| {
            handed_over.get(id).is_none_or(|entry| hashes.iter().any(|hash| *hash != entry.hash))
        };
        Findings {
            accepted: accepted.len(),
            lost: accepted.into_iter().filter(|id| !arrived.contains_key(id)).collect(),
            altered: arrived.iter().filter(|(id, hashes)| is_altered(id, hashes)).map(|(id, _)| *id).collect(),
            duplicates: arrived.values().map(|hashes| hashes.len() - 1).sum(),
        }
    }
}

fn id(item: &Value) -> u64 {
    item["id"].as_u64().unwrap_or_else(|| panic!("an item without an id: {item}"))
}

fn hash(item: &Value) -> Hash {
    let payload = item["payload"].as_str().unwrap_or_else(|| panic!("an item without a payload: {item}"));
    let digest = digest(&SHA256, payload.as_bytes());
    digest.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}
