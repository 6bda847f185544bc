//! The queues as the writer's thread keeps them: what is handed out, and how much waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::batch::{Header, Payload, pack, unpack};
use super::progress::{Place, Progress, State};
use super::suspects::{Recovery, Turn};
use super::{Board, Handed, HandedOut, PackedPush, not_before, recovery};
use crate::model::{Planted, Text};
use crate::runtime::Clock;
use crate::store::checksum::put;
use crate::store::schema::{BATCH, QUEUE};
use crate::store::{Lease, QueueSize, seen};

/// How many entries share a blob, and how large it grows.
const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// How much is read at once for a lease.
const LEASE_BYTES: usize = 4 << 20;

/// How many rows are looked through at a time for entries that are due.
const PROMOTED: u32 = 1000;

pub(in crate::store) struct Ledger {
    pub(super) board: Arc<Board>,
    pub(super) file: PathBuf,
    pub(super) queues: BTreeMap<i64, Queue>,
    /// The rows that have entries out or suspect, and those that this commit changes.
    pub(super) held: Rows<Progress>,
    pub(super) next_batch: i64,
    pub(super) recovery: Recovery,
    pub(super) clock: Clock,
    pub(super) commit: Commit,
}

/// Something for each of a number of rows.
pub(super) type Rows<T> = HashMap<Place, T, foldhash::fast::RandomState>;

/// One queue, as far as it is kept in memory.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) name: Text,
    pub(super) size: QueueSize,
    /// Suspects that are not out.
    pub(super) suspects: u64,
    is_changed: bool,
    is_woken: bool,
}

impl Queue {
    pub(super) fn new(name: Text) -> Self {
        let size = QueueSize::default();
        Self { name, size, suspects: 0, is_changed: true, is_woken: false }
    }

    pub(super) fn add(&mut self, progress: &Progress) {
        self.size.items += u64::from(progress.counts().unsettled);
        self.size.out += u64::from(progress.counts().out);
        self.size.bytes += progress.bytes_left();
        self.suspects += u64::from(progress.counts().suspects);
        self.is_changed = true;
    }

    fn remove(&mut self, progress: &Progress) {
        self.size.items -= u64::from(progress.counts().unsettled);
        self.size.out -= u64::from(progress.counts().out);
        self.size.bytes -= progress.bytes_left();
        self.suspects -= u64::from(progress.counts().suspects);
        self.is_changed = true;
    }
}

/// What the commit at hand has done so far, and what it takes to undo it.
#[derive(Default)]
pub(super) struct Commit {
    queues: BTreeMap<i64, Queue>,
    recovery: Option<Recovery>,
    /// Rows as they were held before; nothing if they were not.
    rows: Rows<Option<Progress>>,
    /// Rows that are not written yet, in the order of their keys.
    unwritten: BTreeSet<Place>,
    gathering: Option<Gathering>,
    given_back: Vec<Lease>,
}

/// Entries of this commit that go into one batch.
struct Gathering {
    queues: Vec<Text>,
    priority: i32,
    due: Option<i64>,
    expires: Option<i64>,
    pushed: i64,
    payloads: Vec<Payload>,
    /// For each queue, which entries it has had before.
    known: Vec<Vec<bool>>,
    bytes: usize,
}

impl Ledger {
    pub(in crate::store) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    pub(in crate::store) fn begin(&mut self) {
        let recovery = Some(self.recovery.clone());
        self.commit = Commit { queues: self.queues.clone(), recovery, ..Commit::default() };
    }

    /// Writes what is left to write of the commit at hand.
    pub(in crate::store) fn finish(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.write_gathered(connection)?;
        self.write_rows(connection)
    }

    pub(in crate::store) fn committed(&mut self) {
        for place in self.commit.rows.keys() {
            if let Some(row) = self.held.get(place)
                && row.counts().out == 0
                && row.counts().suspects == 0
            {
                self.held.remove(place);
            }
        }
        self.commit = Commit::default();
        for queue in self.queues.values_mut() {
            if std::mem::take(&mut queue.is_changed) {
                self.board.show(&queue.name, queue.size);
            }
        }
        let look_again = self.recovery.is_on.then(|| self.recovery.look_again(self.clock.instant()));
        if self.board.show_recovery(look_again) {
            self.queues.values_mut().for_each(|queue| queue.is_woken = true);
        }
        for queue in self.queues.values_mut() {
            if std::mem::take(&mut queue.is_woken) {
                self.board.wake(&queue.name);
            }
        }
    }

    pub(in crate::store) fn rolled_back(&mut self) {
        let commit = std::mem::take(&mut self.commit);
        self.board.keep_given_back(commit.given_back);
        self.queues = commit.queues;
        self.recovery = commit.recovery.unwrap_or_else(|| self.recovery.clone());
        for (place, row) in commit.rows {
            match row {
                Some(row) => self.held.insert(place, row),
                None => self.held.remove(&place),
            };
        }
    }

    /// Takes everything back that is out, at an end in good order: nothing becomes suspect.
    pub(in crate::store) fn close(&mut self, connection: &mut Connection) -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        for row in self.held.values_mut().filter(|row| row.counts().out > 0) {
            for index in row.out().collect::<Vec<_>>() {
                let state = State { out: false, ..row.state(index) };
                row.set(index, state, None);
            }
            row.write(&transaction)?;
        }
        self.set_control(&transaction, false)?;
        transaction.commit()
    }

    // ---- push

    pub(in crate::store) fn push(
        &mut self,
        connection: &Connection,
        push: &PackedPush,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let mut known = vec![false; push.queues.len()];
        for (place, payload) in push.payloads.iter().enumerate() {
            if let Some((key, until)) = push.keys.as_ref().and_then(|keys| keys.get(place)) {
                for (queue, known) in push.queues.iter().zip(&mut known) {
                    *known = is_known(connection, queue, key, *until, now)?;
                }
            }
            if known.contains(&false) {
                self.gather(connection, push, payload, &known, now)?;
            }
        }
        Ok(())
    }

    fn gather(
        &mut self,
        connection: &Connection,
        push: &PackedPush,
        payload: &Payload,
        known: &[bool],
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let fits = |gathering: &Gathering| {
            let Gathering { queues, priority, due, expires, payloads, bytes, .. } = gathering;
            (queues, priority, due, expires) == (&push.queues, &push.priority, &push.due, &push.expires)
                && payloads.len() < BATCH_ENTRIES
                && bytes + payload.size() <= BATCH_BYTES
        };
        if !self.commit.gathering.as_ref().is_some_and(fits) {
            self.write_gathered(connection)?;
        }
        let gathering = self.commit.gathering.get_or_insert_with(|| Gathering {
            queues: push.queues.clone(),
            priority: push.priority,
            due: push.due,
            expires: push.expires,
            pushed: now.as_millisecond(),
            payloads: Vec::new(),
            known: vec![Vec::new(); push.queues.len()],
            bytes: 0,
        });
        gathering.bytes += payload.size();
        gathering.payloads.push(payload.clone());
        for (all, known) in gathering.known.iter_mut().zip(known) {
            all.push(*known);
        }
        Ok(())
    }

    fn write_gathered(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(gathering) = self.commit.gathering.take() else { return Ok(()) };
        let Gathering { queues: names, priority, due, expires, pushed, payloads, known, bytes } = gathering;
        let queues = names.into_iter().map(|name| Ok((self.queue_id(connection, &name)?, name)));
        let queues: Vec<_> = queues.collect::<rusqlite::Result<_>>()?;
        let batch = self.next_batch;
        self.next_batch += 1;
        let header = Header { pushed, priority, due, expires, count: payloads.len(), queues };
        for ((queue, _), known) in header.queues.iter().zip(known) {
            let states = known.into_iter().map(|known| if known { State::SETTLED } else { State::default() }).collect();
            let place = Place { queue: *queue, batch };
            let row = Progress::new(place, &header, bytes, states);
            row.write(connection)?;
            if let Some(queue) = self.queues.get_mut(queue) {
                queue.add(&row);
                queue.is_woken = true;
            }
        }
        let blob = pack(batch, &header, &payloads);
        connection.prepare_cached(BATCH.put)?.execute((batch, blob))?;
        Ok(())
    }

    /// The id of a queue, which is made if it is not there.
    fn queue_id(&mut self, connection: &Connection, name: &Text) -> rusqlite::Result<i64> {
        if let Some(id) = self.known_queue(name) {
            return Ok(id);
        }
        let id = self.queues.last_key_value().map_or(1, |(id, _)| id + 1);
        put_queue(connection, id, name)?;
        self.queues.insert(id, Queue::new(name.clone()));
        Ok(id)
    }

    fn known_queue(&self, name: &str) -> Option<i64> {
        self.queues.iter().find(|(_, queue)| *queue.name == *name).map(|(id, _)| *id)
    }

    // ---- settle, release, drop

    pub(in crate::store) fn settle(&mut self, connection: &Connection, lease: Lease) -> rusqlite::Result<()> {
        let place = place_of(lease);
        if self.take_hold(connection, place)? {
            self.set(place, lease.index, State::SETTLED, None);
        }
        Ok(())
    }

    pub(in crate::store) fn release(
        &mut self,
        connection: &Connection,
        lease: Lease,
        due: Option<Timestamp>,
    ) -> rusqlite::Result<()> {
        let place = place_of(lease);
        if self.take_hold(connection, place)? {
            let state = self.held[&place].state(lease.index);
            if state.out {
                let state = State { out: false, suspect: false, crashes: 0, ..state };
                self.set(place, lease.index, state, due.map(not_before));
            }
        }
        Ok(())
    }

    pub(in crate::store) fn drop_oldest(
        &mut self,
        connection: &Connection,
        queue: &str,
        items: u64,
    ) -> rusqlite::Result<()> {
        self.finish(connection)?;
        let Some(id) = self.known_queue(queue) else { return Ok(()) };
        let mut left = items;
        let mut statement = connection.prepare_cached("SELECT batch FROM progress WHERE queue = ?1 ORDER BY batch")?;
        let mut batches = statement.query([id])?;
        while left > 0
            && let Some(row) = batches.next()?
        {
            let place = Place { queue: id, batch: row.get(0)? };
            if self.take_hold(connection, place)? {
                let dropped: Vec<_> = self.held[&place].unsettled().zip(0..left).map(|(index, _)| index).collect();
                left -= dropped.len() as u64;
                for index in dropped {
                    self.set(place, index, State::SETTLED, None);
                }
            }
        }
        drop(batches);
        self.write_rows(connection)
    }

    // ---- lease

    /// Hands out up to `count` entries that are due.
    pub(in crate::store) fn lease(
        &mut self,
        connection: &Connection,
        queue: &Text,
        count: usize,
        now: Timestamp,
    ) -> rusqlite::Result<HandedOut> {
        for lease in self.board.take_given_back() {
            self.commit.given_back.push(lease);
            let place = place_of(lease);
            if self.take_hold(connection, place)? {
                let state = self.held[&place].state(lease.index);
                if state.out {
                    self.set(place, lease.index, State { out: false, ..state }, None);
                }
            }
        }
        self.finish(connection)?;
        let mut handed = HandedOut { entries: Vec::new(), queue: queue.clone(), board: self.board.clone() };
        if let Some(id) = self.known_queue(queue) {
            let turn = if self.recovery.is_on { self.turn(connection, id)? } else { Turn::Over };
            match turn {
                Turn::Wait => {}
                Turn::Alone(suspect) => handed.entries.push(suspect),
                Turn::Over => {
                    if self.queues[&id].suspects > 0 {
                        self.let_go_of_suspects(connection, id)?;
                        self.write_rows(connection)?;
                    }
                    self.promote(connection, id, now)?;
                    self.hand_out(connection, id, count, &mut handed.entries)?;
                }
            }
            self.write_rows(connection)?;
        }
        Ok(handed)
    }

    /// Lets go of entries whose time has come.
    fn promote(&mut self, connection: &Connection, queue: i64, now: Timestamp) -> rusqlite::Result<()> {
        let sql = "SELECT batch FROM progress WHERE queue = ?1 AND due <= ?2 ORDER BY due LIMIT ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let batches = statement.query_map((queue, now.as_millisecond(), PROMOTED), |row| row.get(0))?;
        for batch in batches.collect::<rusqlite::Result<Vec<_>>>()? {
            let place = Place { queue, batch };
            if self.take_hold(connection, place)?
                && let Some(row) = self.held.get_mut(&place)
            {
                row.promote(now.as_millisecond());
                self.commit.unwritten.insert(place);
            }
        }
        self.write_rows(connection)
    }

    /// The highest priority first, then the oldest.
    fn hand_out(
        &mut self,
        connection: &Connection,
        queue: i64,
        count: usize,
        handed: &mut Vec<Handed>,
    ) -> rusqlite::Result<()> {
        let sql = "SELECT batch FROM progress WHERE queue = ?1 AND waiting > 0 ORDER BY priority DESC, batch";
        let mut statement = connection.prepare_cached(sql)?;
        let mut batches = statement.query([queue])?;
        let mut bytes = 0;
        while handed.len() < count
            && bytes < LEASE_BYTES
            && let Some(row) = batches.next()?
        {
            let place = Place { queue, batch: row.get(0)? };
            if !self.take_hold(connection, place)? {
                continue;
            }
            let payloads = self.payloads(connection, place)?;
            for index in self.held[&place].waiting().collect::<Vec<_>>() {
                if handed.len() < count
                    && bytes < LEASE_BYTES
                    && let Some(entry) = self.hand_out_entry(place, index, &payloads)
                {
                    bytes += entry.bytes.len();
                    handed.push(entry);
                }
            }
        }
        Ok(())
    }

    /// Hands out one entry; a damaged one is settled instead.
    pub(super) fn hand_out_entry(&mut self, place: Place, index: u32, payloads: &[Option<Bytes>]) -> Option<Handed> {
        let Some(bytes) = payloads.get(index as usize).cloned().flatten() else {
            log::error!(queue = &*self.queues[&place.queue].name; "an entry of a queue is damaged, and set aside");
            self.board.count_damaged(1);
            self.set(place, index, State::SETTLED, None);
            return None;
        };
        let row = &self.held[&place];
        let (state, expires) = (row.state(index), row.expires);
        let settled = Planted::SettledAtLease.is_on();
        let state = State { settled, out: true, attempts: state.attempts.saturating_add(1), ..state };
        self.set(place, index, state, None);
        let lease = Lease { queue: place.queue, batch: place.batch, index };
        Some(Handed { lease, bytes, attempts: state.attempts.into(), expires, suspect: state.suspect })
    }

    /// The entries of a batch as bytes. A blob with damage is kept in a file of its own.
    pub(super) fn payloads(&self, connection: &Connection, place: Place) -> rusqlite::Result<Vec<Option<Bytes>>> {
        let row = &self.held[&place];
        let blob = read_blob(connection, place.batch)?;
        let payloads = blob.as_ref().map(|blob| unpack(place.batch, blob, row.len())).unwrap_or_default();
        if let Some(blob) = blob
            && row.unsettled().any(|index| payloads.get(index as usize).is_none_or(Option::is_none))
        {
            recovery::set_aside(&self.file, place.batch, &blob);
        }
        Ok(payloads)
    }

    // ---- rows

    /// Loads a row for this commit to change it; false if it is gone.
    pub(super) fn take_hold(&mut self, connection: &Connection, place: Place) -> rusqlite::Result<bool> {
        if self.commit.rows.contains_key(&place) {
            return Ok(self.held.contains_key(&place));
        }
        if let Some(row) = self.held.get(&place) {
            self.commit.rows.insert(place, Some(row.clone()));
            return Ok(true);
        }
        let Some(row) = read_row(connection, place)? else { return Ok(false) };
        self.commit.rows.insert(place, None);
        self.held.insert(place, row);
        Ok(true)
    }

    /// Changes one entry of a row that was taken hold of.
    pub(super) fn set(&mut self, place: Place, index: u32, state: State, due: Option<i64>) {
        let (Some(row), Some(queue)) = (self.held.get_mut(&place), self.queues.get_mut(&place.queue)) else { return };
        let was_out = row.state(index).out;
        queue.remove(row);
        row.set(index, state, due);
        queue.add(row);
        if was_out && !state.settled && !state.out {
            queue.is_woken = true;
        }
        if self.recovery.changed(place, index, state) {
            // The others get their turn.
            self.queues.values_mut().for_each(|queue| queue.is_woken = true);
        }
        self.commit.unwritten.insert(place);
    }

    fn write_rows(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let places = std::mem::take(&mut self.commit.unwritten);
        let mut settled = BTreeMap::new();
        for place in places {
            let Some(row) = self.held.get(&place) else { continue };
            if row.counts().unsettled == 0 {
                settled.insert(place.batch, row.queues);
            }
            if row.counts().unsettled > 0 || row.queues > 1 {
                row.write(connection)?;
            } else {
                row.delete(connection)?;
            }
        }
        for (batch, queues) in settled {
            if queues == 1 || self.is_settled_everywhere(connection, batch)? {
                self.delete_batch(connection, batch)?;
            }
        }
        Ok(())
    }

    fn is_settled_everywhere(&self, connection: &Connection, batch: i64) -> rusqlite::Result<bool> {
        for queue in self.queues.keys() {
            let row = read_row(connection, Place { queue: *queue, batch })?;
            if row.is_some_and(|row| row.counts().unsettled > 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn delete_batch(&mut self, connection: &Connection, batch: i64) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM batch WHERE id = ?1")?.execute([batch])?;
        let mut delete = connection.prepare_cached("DELETE FROM progress WHERE queue = ?1 AND batch = ?2")?;
        for queue in self.queues.keys() {
            let place = Place { queue: *queue, batch };
            if let Some(row) = self.held.remove(&place) {
                self.commit.rows.entry(place).or_insert(Some(row));
            }
            delete.execute([place.queue, batch])?;
        }
        Ok(())
    }
}

fn place_of(lease: Lease) -> Place {
    Place { queue: lease.queue, batch: lease.batch }
}

/// Whether the queue has had the key; it has from now on.
fn is_known(
    connection: &Connection,
    queue: &str,
    key: &str,
    until: Option<Timestamp>,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let component = format!("queue.{queue}");
    let is_known = seen::is_seen(connection, "", &component, key, now)?.value;
    if !is_known {
        seen::put_seen(connection, "", &component, key, until)?;
    }
    Ok(is_known)
}

pub(super) fn put_queue(connection: &Connection, id: i64, name: &str) -> rusqlite::Result<()> {
    put(connection, &QUEUE, &[ValueRef::Integer(id)], &[name.into()])
}

pub(super) fn read_blob(connection: &Connection, batch: i64) -> rusqlite::Result<Option<Bytes>> {
    let mut statement = connection.prepare_cached("SELECT entries FROM batch WHERE id = ?1")?;
    statement.query_row([batch], |row| row.get::<_, Vec<u8>>(0).map(Bytes::from)).optional()
}

/// A row that is damaged while the store is open ends this process; the next start makes it anew.
fn read_row(connection: &Connection, place: Place) -> rusqlite::Result<Option<Progress>> {
    let mut statement = connection.prepare_cached("SELECT * FROM progress WHERE queue = ?1 AND batch = ?2")?;
    let row = statement.query_row([place.queue, place.batch], Progress::read).optional()?;
    match row {
        Some(None) => Err(rusqlite::Error::InvalidColumnType(0, "crc".to_owned(), rusqlite::types::Type::Blob)),
        other => Ok(other.flatten()),
    }
}
