//! The books of what was handed over and what arrived, by id and hash of the payload. They are kept by the test process,
//! which no proof harms.

use std::collections::BTreeMap;

use ring::digest::{Digest, SHA256, digest};
use serde_json::{Value, json};

use super::support::gatherd::Workplace;

/// What was handed over to gatherd.
#[derive(Default)]
pub(crate) struct Oracle {
    handed_over: BTreeMap<u64, Entry>,
}

struct Entry {
    hash: Vec<u8>,
    /// False if nobody can know whether gatherd took it.
    is_accepted: bool,
}

/// What has come of it at one destination.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Accepted, and not arrived.
    pub(crate) lost: Vec<u64>,
    /// Arrived with another payload than was handed over, or never handed over.
    pub(crate) altered: Vec<u64>,
    /// Arrivals beyond the first of each item.
    pub(crate) duplicates: usize,
}

impl Oracle {
    /// Books an item that gatherd has accepted.
    pub(crate) fn accepted(&mut self, item: &Value) {
        self.book(item, true);
    }

    /// Books an item that gatherd has perhaps accepted.
    pub(crate) fn perhaps(&mut self, item: &Value) {
        self.book(item, false);
    }

    fn book(&mut self, item: &Value, is_accepted: bool) {
        let entry = Entry { hash: hash(item).as_ref().to_owned(), is_accepted };
        self.handed_over.insert(id(item), entry);
    }

    pub(crate) fn accepted_count(&self) -> usize {
        self.handed_over.values().filter(|entry| entry.is_accepted).count()
    }

    pub(crate) fn compare(&self, arrived: &[Value]) -> Findings {
        let mut arrivals: BTreeMap<u64, usize> = BTreeMap::new();
        let mut findings = Findings::default();
        for item in arrived {
            *arrivals.entry(id(item)).or_default() += 1;
            if self.handed_over.get(&id(item)).is_none_or(|entry| entry.hash != hash(item).as_ref()) {
                findings.altered.push(id(item));
            }
        }
        let accepted = self.handed_over.iter().filter(|(_, entry)| entry.is_accepted).map(|(id, _)| *id);
        findings.lost = accepted.filter(|id| !arrivals.contains_key(id)).collect();
        findings.duplicates = arrivals.values().map(|count| count - 1).sum();
        findings
    }

    /// Whether everything that was accepted has arrived.
    pub(crate) fn has_all(&self, arrived: &[Value]) -> bool {
        self.compare(arrived).lost.is_empty()
    }

    /// Nothing is lost, nothing altered, and nothing arrived again more often than `most_duplicates`.
    #[track_caller]
    pub(crate) fn check(&self, destination: &str, arrived: &[Value], most_duplicates: usize) -> usize {
        let findings = self.compare(arrived);
        let Findings { lost, altered, duplicates } = &findings;
        let is_kept = lost.is_empty() && altered.is_empty() && *duplicates <= most_duplicates;
        assert!(is_kept, "{destination}, at most {most_duplicates} duplicates: {findings:?}");
        *duplicates
    }
}

/// An item whose payload is random text of random length.
pub(crate) fn item(id: u64, random: &mut fastrand::Rng) -> Value {
    let length = random.usize(0..300);
    let payload: String = std::iter::repeat_with(|| random.char('!'..'\u{2fff}')).take(length).collect();
    json!({ "id": id, "payload": payload })
}

/// Whole lines of an NDJSON file: a line that is being written is left out.
pub(crate) fn in_file(workplace: &Workplace, name: &str) -> Vec<Value> {
    let bytes = std::fs::read(workplace.path(name)).unwrap_or_default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {name}: {line}"));
    std::str::from_utf8(&bytes[..whole]).unwrap().lines().map(line).collect()
}

/// The rows of a table with the columns `id` and `payload`.
pub(crate) fn in_table(workplace: &Workplace, database: &str, table: &str) -> Vec<Value> {
    let database = rusqlite::Connection::open(workplace.path(database)).unwrap();
    let Ok(mut query) = database.prepare(&format!("SELECT id, payload FROM {table}")) else {
        // Nothing was written yet.
        return Vec::new();
    };
    let item =
        |row: &rusqlite::Row<'_>| Ok(json!({ "id": row.get::<_, i64>(0)?, "payload": row.get::<_, String>(1)? }));
    query.query_map([], item).unwrap().map(Result::unwrap).collect()
}

fn id(item: &Value) -> u64 {
    item["id"].as_u64().unwrap_or_else(|| panic!("an item without an id: {item}"))
}

fn hash(item: &Value) -> Digest {
    digest(&SHA256, item["payload"].as_str().unwrap_or_else(|| panic!("an item without a payload: {item}")).as_bytes())
}
