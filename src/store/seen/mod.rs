//! The keys that `new` steps have seen, and those of queues: their rows, and what is known of them in memory.

mod filter;
mod walk;

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use self::filter::KeyFilter;
pub(super) use self::walk::Purge;
use self::walk::Walk;
use super::checksum::{put, put_all};
use super::schema::SEEN;
use super::state::{Found, Key, read_whole};
use crate::model::Text;

/// So many rows are read into memory with each look into the store, until all have been.
const READ_AT_ONCE: u32 = 64;

/// What is known in memory of the keys of `new` steps: of most keys that were never seen, that they were not. What was in
/// the store before this process is read little by little, with each look into the store.
#[derive(Default)]
pub(super) struct SeenKeys(Mutex<State>);

#[derive(Default)]
struct State {
    filter: KeyFilter,
    reading: Reading,
    /// Whether there was a key that is forgotten one day.
    some_end: bool,
}

/// How far that is which was there at the start.
enum Reading {
    At(Walk),
    Whole,
    /// It cannot be read.
    GivenUp,
}

/// A key that a commit writes.
#[derive(Clone, Copy)]
pub(super) struct SeenKey<'a> {
    pub(super) pipeline: &'a Text,
    pub(super) component: &'a Text,
    pub(super) key: &'a str,
    pub(super) until: Option<Timestamp>,
}

impl Default for Reading {
    fn default() -> Self {
        Reading::At(Walk::from_the_start())
    }
}

impl SeenKeys {
    /// Whether the store may have the key; if not, it has not.
    pub(super) fn may_have(&self, pipeline: &str, component: &str, key: &str) -> bool {
        let state = self.state();
        !matches!(state.reading, Reading::Whole) || state.filter.may_have(pipeline, component, Key::of(key).as_sql())
    }

    /// Whether there may be keys that are forgotten one day.
    pub(super) fn some_may_end(&self) -> bool {
        let state = self.state();
        state.some_end || !matches!(state.reading, Reading::Whole)
    }

    /// There may be some from now on.
    pub(super) fn some_will_end(&self) {
        self.state().some_end = true;
    }

    /// Adds keys that are going to be committed.
    pub(super) fn add(&self, keys: &[SeenKey<'_>]) {
        let mut state = self.state();
        for SeenKey { pipeline, component, key, until } in keys {
            state.add(pipeline, component, Key::of(key).as_sql(), until.is_some());
        }
    }

    /// Reads some more of what was there at the start.
    pub(super) fn read_on(&self, connection: &Connection) {
        let mut state = self.state();
        let Reading::At(walk) = &mut state.reading else { return };
        let mut walk = std::mem::replace(walk, Walk::from_the_start());
        let mut is_whole = true;
        let walked = walk.next(connection, READ_AT_ONCE, |place, until| match place {
            // Those of queues are looked up by the writer.
            Some(place) if place.pipeline.is_empty() => state.some_end |= until.is_some(),
            Some(place) => state.add(place.pipeline, place.component, place.key, until.is_some()),
            None => is_whole = false,
        });
        state.reading = match walked {
            Ok(()) if is_whole && walk.is_at_the_start() => Reading::Whole,
            Ok(()) if is_whole => Reading::At(walk),
            // Whoever asks for a key that cannot be read is told of it.
            _ => Reading::GivenUp,
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, pipeline: &str, component: &str, key: ValueRef<'_>, ends: bool) {
        self.some_end |= ends;
        self.filter.add(pipeline, component, key);
    }
}

/// Whether the key was seen and is not forgotten at `now`. A damaged row counts as unseen.
pub(super) fn is_seen(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    key: &str,
    now: Timestamp,
) -> rusqlite::Result<Found<bool>> {
    let sql = "SELECT * FROM seen WHERE pipeline = ?1 AND component = ?2 AND key = ?3";
    let read = |row: &Row<'_>| read_whole(&SEEN, row, |row| row.get::<_, Option<i64>>("until").map(Some));
    let key = Key::of(key);
    let row = connection.prepare_cached(sql)?.query_row(params![pipeline, component, key.bound()], read).optional()?;
    Ok(match row {
        None => Found { value: false, damaged: 0 },
        Some(None) => Found { value: false, damaged: 1 },
        Some(Some(until)) => Found { value: !is_over(until, now), damaged: 0 },
    })
}

fn is_over(until: Option<i64>, now: Timestamp) -> bool {
    until.is_some_and(|until| until <= now.as_millisecond())
}

pub(super) fn put_seen(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    key: &str,
    until: Option<Timestamp>,
) -> rusqlite::Result<()> {
    put(connection, &SEEN, &[], &[pipeline.into(), component.into(), Key::of(key).as_sql(), until_as_sql(until)])
}

/// Writes all of them; of two for the same key the later one.
pub(super) fn put_all_seen(connection: &Connection, mut keys: Vec<SeenKey<'_>>) -> rusqlite::Result<()> {
    // In the order of the table, where each finds its place beside the one before it.
    keys.sort_by(|a, b| (a.pipeline, a.component, a.key).cmp(&(b.pipeline, b.component, b.key)));
    let stored: Vec<Key<'_>> = keys.iter().map(|key| Key::of(key.key)).collect();
    let rows = keys.iter().zip(&stored).map(|(key, stored)| {
        [(&**key.pipeline).into(), (&**key.component).into(), stored.as_sql(), until_as_sql(key.until)]
    });
    put_all(connection, &SEEN, rows)
}

fn until_as_sql(until: Option<Timestamp>) -> ValueRef<'static> {
    until.map_or(ValueRef::Null, |until| ValueRef::Integer(until.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::{Store, schema};

    #[test]
    fn an_altered_key_hides_none_of_those_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let file = folder.path().join("gatherd.db");
        let connection = schema::connect_to_write(&file).unwrap();
        let (pipeline, component) = (Text::from("p"), Text::from("new"));
        let keys: Vec<String> = (0..200).map(|number| format!("key-{number:03}")).collect();
        let seen = keys.iter().map(|key| SeenKey { pipeline: &pipeline, component: &component, key, until: None });
        put_all_seen(&connection, seen.collect()).unwrap();
        connection.close().unwrap();
        // The last of those that are read at once now seems to come behind all others.
        let last = keys[READ_AT_ONCE as usize - 1].as_bytes();
        let mut bytes = fs::read(&file).unwrap();
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(last)).collect();
        places.iter().for_each(|at| bytes[at + 4] = b'9');
        fs::write(&file, bytes).unwrap();

        let connection = schema::connect_to_read(&file).unwrap();
        let known = SeenKeys::default();
        (0..keys.len()).for_each(|_| known.read_on(&connection));
        assert!(keys.iter().all(|key| known.may_have("p", "new", key)));
    }
}
