//! How far a queue has come with a batch: a small row beside the blob, rewritten as its entries come and go.

use std::collections::BTreeMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::batch::Header;
use super::encoding::Input;
use crate::store::checksum::{is_whole, put};
use crate::store::schema::PROGRESS;

/// A batch in a queue, by the ids of both: the key of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) queue: i64,
    pub(super) batch: i64,
}

/// What became of one entry so far. Two bytes in the row, from the top: settled, out, suspect, crashes (2 bits),
/// attempts (11 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) settled: bool,
    /// Handed out by the process that wrote this.
    pub(super) out: bool,
    /// It was out when a process died.
    pub(super) suspect: bool,
    /// How many processes died while it was out alone; stays at 3.
    pub(super) crashes: u8,
    /// How many times it was handed out; stays at 2047.
    pub(super) attempts: u16,
}

impl State {
    pub(super) const SETTLED: Self = Self { settled: true, out: false, suspect: false, crashes: 0, attempts: 0 };
    const MOST_CRASHES: u8 = 3;
    const MOST_ATTEMPTS: u16 = 0x7ff;

    fn from_bits(bits: u16) -> Self {
        Self {
            settled: bits & 0x8000 != 0,
            out: bits & 0x4000 != 0,
            suspect: bits & 0x2000 != 0,
            crashes: (bits >> 11 & 3) as u8,
            attempts: bits & Self::MOST_ATTEMPTS,
        }
    }

    fn to_bits(self) -> u16 {
        u16::from(self.settled) << 15
            | u16::from(self.out) << 14
            | u16::from(self.suspect) << 13
            | u16::from(self.crashes.min(Self::MOST_CRASHES)) << 11
            | self.attempts.min(Self::MOST_ATTEMPTS)
    }
}

/// The row of one batch in one queue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Progress {
    pub(super) place: Place,
    pub(super) priority: i32,
    /// In milliseconds since 1970, as all times here.
    pub(super) pushed: i64,
    pub(super) expires: Option<i64>,
    /// What the entries take on disk.
    pub(super) bytes: u64,
    /// How many queues share the batch.
    pub(super) queues: u32,
    states: Vec<State>,
    /// Entries that may not be handed out before a time.
    dues: BTreeMap<u32, i64>,
    counts: Counts,
}

/// How many entries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) unsettled: u32,
    pub(super) out: u32,
    /// Suspects that are not out.
    pub(super) suspects: u32,
    /// Due and not suspect: what can be handed out at once.
    pub(super) waiting: u32,
}

impl Progress {
    /// The row of a new batch, whose entries take so many bytes on disk.
    pub(super) fn new(place: Place, header: &Header, bytes: usize, states: Vec<State>) -> Self {
        let Header { pushed, priority, due, expires, queues, .. } = header;
        let held_back = |due| (0..).zip(&states).filter(|(_, state)| !state.settled).map(move |(at, _)| (at, due));
        let mut new = Self {
            place,
            priority: *priority,
            pushed: *pushed,
            expires: *expires,
            bytes: bytes as u64,
            queues: u32::try_from(queues.len()).unwrap_or(u32::MAX),
            dues: due.map(|due| held_back(due).collect()).unwrap_or_default(),
            states,
            counts: Counts::default(),
        };
        new.count();
        new
    }

    fn count(&mut self) {
        self.counts = Counts::default();
        for (index, state) in (0..).zip(&self.states) {
            self.counts.unsettled += u32::from(!state.settled);
            self.counts.out += u32::from(state.out);
            self.counts.suspects += u32::from(is_waiting_suspect(*state));
            self.counts.waiting += u32::from(is_waiting(*state, self.dues.contains_key(&index)));
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Entries that may not be handed out before a time.
    pub(super) fn held_back(&self) -> usize {
        self.dues.len()
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Settled, if there is no such entry.
    pub(super) fn state(&self, index: u32) -> State {
        self.states.get(index as usize).copied().unwrap_or(State::SETTLED)
    }

    /// Sets the state of an entry, and until when it is held back.
    pub(super) fn set(&mut self, index: u32, state: State, due: Option<i64>) {
        let Some(place) = self.states.get_mut(index as usize) else { return };
        let before = std::mem::replace(place, state);
        let was_delayed = self.dues.remove(&index).is_some();
        if let Some(due) = due {
            self.dues.insert(index, due);
        }
        let move_by = |count: &mut u32, was: bool, is: bool| *count = *count + u32::from(is) - u32::from(was);
        let counts = &mut self.counts;
        move_by(&mut counts.unsettled, !before.settled, !state.settled);
        move_by(&mut counts.out, before.out, state.out);
        move_by(&mut counts.suspects, is_waiting_suspect(before), is_waiting_suspect(state));
        move_by(&mut counts.waiting, is_waiting(before, was_delayed), is_waiting(state, due.is_some()));
    }

    /// What the entries that are not settled take on disk, about.
    pub(super) fn bytes_left(&self) -> u64 {
        self.bytes * u64::from(self.counts.unsettled) / (self.states.len() as u64).max(1)
    }

    pub(super) fn unsettled(&self) -> impl Iterator<Item = u32> {
        self.indexes(|_, state| !state.settled)
    }

    pub(super) fn out(&self) -> impl Iterator<Item = u32> {
        self.indexes(|_, state| state.out)
    }

    pub(super) fn suspects(&self) -> impl Iterator<Item = u32> {
        self.indexes(|_, state| is_waiting_suspect(state))
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.indexes(|index, state| is_waiting(state, self.dues.contains_key(&index)))
    }

    fn indexes(&self, is_wanted: impl Fn(u32, State) -> bool) -> impl Iterator<Item = u32> {
        (0..).zip(&self.states).filter(move |(index, state)| is_wanted(*index, **state)).map(|(index, _)| index)
    }

    /// Lets go of the entries whose time has come.
    pub(super) fn promote(&mut self, now: i64) {
        self.dues.retain(|_, due| *due > now);
        self.count();
    }

    /// Writes the row in place of the one that is there.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let states: Vec<u8> = self.states.iter().flat_map(|state| state.to_bits().to_le_bytes()).collect();
        let dues: Vec<u8> = self.dues.iter().flat_map(|(index, due)| due_to_bytes(*index, *due)).collect();
        let integer = |number: u64| ValueRef::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let row = [
            ValueRef::Integer(self.place.queue),
            ValueRef::Integer(self.place.batch),
            ValueRef::Integer(self.priority.into()),
            integer(self.counts.waiting.into()),
            self.dues.values().min().map_or(ValueRef::Null, |due| ValueRef::Integer(*due)),
            ValueRef::Integer(self.pushed),
            self.expires.map_or(ValueRef::Null, ValueRef::Integer),
            integer(self.bytes),
            integer(self.queues.into()),
            ValueRef::Blob(&states),
            if dues.is_empty() { ValueRef::Null } else { ValueRef::Blob(&dues) },
        ];
        put(connection, &PROGRESS, &[], &row)
    }

    /// Reads a row, unless it is damaged.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        if !is_whole(&PROGRESS, row)? {
            return Ok(None);
        }
        // By number, since a store that is opened reads every row: a look-up by name takes longer than all else.
        let states = row.get_ref(10)?.as_blob()?.chunks_exact(2);
        let dues = row.get_ref(11)?.as_blob_or_null()?.unwrap_or_default().chunks_exact(12);
        let mut read = Self {
            place: Place { queue: row.get(1)?, batch: row.get(2)? },
            priority: row.get(3)?,
            pushed: row.get(6)?,
            expires: row.get(7)?,
            bytes: row.get::<_, i64>(8)?.unsigned_abs(),
            queues: row.get(9)?,
            states: states.map(|bits| State::from_bits(u16::from_le_bytes([bits[0], bits[1]]))).collect(),
            dues: dues.filter_map(due_from_bytes).collect(),
            counts: Counts::default(),
        };
        read.count();
        Ok(Some(read))
    }

    pub(super) fn delete(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Place { queue, batch } = self.place;
        connection.prepare_cached("DELETE FROM progress WHERE queue = ?1 AND batch = ?2")?.execute([queue, batch])?;
        Ok(())
    }
}

fn is_waiting_suspect(state: State) -> bool {
    state.suspect && !state.out && !state.settled
}

fn is_waiting(state: State, is_delayed: bool) -> bool {
    !state.settled && !state.out && !state.suspect && !is_delayed
}

fn due_to_bytes(index: u32, due: i64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&index.to_le_bytes());
    bytes[4..].copy_from_slice(&due.to_le_bytes());
    bytes
}

fn due_from_bytes(bytes: &[u8]) -> Option<(u32, i64)> {
    let mut input = Input(bytes);
    Some((u32::from_le_bytes(input.array()?), i64::from_le_bytes(input.array()?)))
}
