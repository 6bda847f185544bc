//! The one thread that writes to the store, and joins what waits into one commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indexmap::IndexMap;
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::cursor::{self, Editions};
use super::dead_letter::{self, DeadBoard, Tally};
use super::fault::{is_busy, is_damage, is_full, stop, unopened};
use super::queue::{Board, HandedOut, Ledger, PackedPush};
use super::seen::{self, Purge, SeenKey, SeenKeys};
use super::{Change, Compacted, CursorKey, CursorMove, client_state, compact, paused, salvage, state, validator};
use crate::model::{Fault, FaultKind, Planted, Text, Value};
use crate::runtime::{Clock, GroupThread, GroupWork};

/// How many changes one commit joins. Beyond it a commit gets slower for each, and no cheaper.
const CHANGES: usize = 10_000;

/// How often a full disk is tried again.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);

/// The handle of the writer's thread. Dropping it finishes the commit at hand, and ends the thread.
pub(super) struct Writer {
    thread: GroupThread<Commits>,
    board: Arc<Board>,
    dead_board: Arc<DeadBoard>,
    editions: Editions,
    seen_keys: Arc<SeenKeys>,
    waiting_for_space: Arc<AtomicBool>,
    file: PathBuf,
}

impl Writer {
    pub(super) fn start(connection: Connection, ledger: Ledger, file: PathBuf, clock: Clock) -> Result<Self, Fault> {
        let board = ledger.board().clone();
        let tally = Tally::recover(&connection).map_err(|error| unopened("open", &file, &error))?;
        let dead_board = tally.board().clone();
        let waiting_for_space = Arc::new(AtomicBool::new(false));
        let editions = Editions::default();
        let seen_keys = Arc::<SeenKeys>::default();
        let commits = Commits {
            connection,
            ledger,
            tally,
            editions: editions.clone(),
            seen_keys: seen_keys.clone(),
            file: file.clone(),
            clock,
            waiting_for_space: waiting_for_space.clone(),
            purge: Purge::from_the_start(),
            failed: None,
        };
        let started = GroupThread::start("gatherd-store", commits);
        let thread = started.map_err(|error| stop("start the thread that writes to", &file, error))?;
        Ok(Self { thread, board, dead_board, editions, seen_keys, waiting_for_space, file })
    }

    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), Fault> {
        self.ask(Request::Write(changes.into_iter().map(Write::from).collect())).await.map(drop)
    }

    /// Ends the recovery if nothing is left to recover, or no time.
    pub(super) async fn end_recovery_in_time(&self) -> Result<(), Fault> {
        self.ask(Request::EndRecoveryInTime).await.map(drop)
    }

    pub(super) async fn compact(&self) -> Result<Compacted, Fault> {
        match self.ask(Request::Compact).await? {
            Answer::Compacted(compacted) => compacted,
            Answer::Written | Answer::HandedOut(_) => unreachable!("each request gets the answer of its kind"),
        }
    }

    /// Hands out entries of a queue.
    pub(super) async fn lease(&self, queue: Text, count: usize, now: Timestamp) -> Result<HandedOut, Fault> {
        match self.ask(Request::Lease { queue, count, now }).await? {
            Answer::HandedOut(handed) => Ok(handed),
            Answer::Written | Answer::Compacted(_) => unreachable!("each request gets the answer of its kind"),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer, Fault> {
        let answer = self.thread.ask(request).await;
        answer.unwrap_or_else(|| Err(stop("write to", &self.file, "its writer has ended")))
    }

    pub(super) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    pub(super) fn dead_board(&self) -> &Arc<DeadBoard> {
        &self.dead_board
    }

    pub(super) fn seen_keys(&self) -> &SeenKeys {
        &self.seen_keys
    }

    /// How often a person has set this cursor since the store was opened.
    pub(super) fn edition(&self, key: &CursorKey) -> u64 {
        self.editions.current(key)
    }

    pub(super) fn is_waiting_for_space(&self) -> bool {
        self.waiting_for_space.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.thread.close_blocking();
    }
}

/// What the thread is asked to do.
enum Request {
    Write(Vec<Write>),
    Lease { queue: Text, count: usize, now: Timestamp },
    EndRecoveryInTime,
    Compact,
}

/// What a request is answered, each by its kind.
enum Answer {
    Written,
    HandedOut(HandedOut),
    Compacted(Result<Compacted, Fault>),
}

/// A change, made ready where it was asked for.
enum Write {
    Change(Change),
    Push(PackedPush),
}

impl From<Change> for Write {
    fn from(change: Change) -> Self {
        match change {
            Change::Push(push) => Write::Push(PackedPush::new(&push)),
            other => Write::Change(other),
        }
    }
}

/// What the thread does.
struct Commits {
    connection: Connection,
    ledger: Ledger,
    tally: Tally,
    editions: Editions,
    seen_keys: Arc<SeenKeys>,
    file: PathBuf,
    clock: Clock,
    waiting_for_space: Arc<AtomicBool>,
    purge: Purge,
    /// After a failed write nothing is known of the file until it is opened again.
    failed: Option<Fault>,
}

impl GroupWork for Commits {
    type Request = Request;
    type Answer = Result<Answer, Fault>;
    const WEIGHT_LIMIT: usize = CHANGES;
    const REQUESTS: usize = 1024;

    fn weight(request: &Request) -> usize {
        let weight = |write: &Write| match write {
            Write::Change(_) => 1,
            Write::Push(push) => push.len(),
        };
        match request {
            Request::Write(writes) => writes.iter().map(weight).sum(),
            Request::Lease { count, .. } => *count,
            Request::EndRecoveryInTime => 1,
            // Whatever else has come by then is committed first.
            Request::Compact => CHANGES,
        }
    }

    fn work(&mut self, requests: Vec<Request>, is_closing: &dyn Fn() -> bool) -> Vec<Self::Answer> {
        match self.commit(&requests, is_closing) {
            Ok(mut answers) => {
                for (request, answer) in requests.iter().zip(&mut answers) {
                    if matches!(request, Request::Compact) {
                        *answer = Answer::Compacted(compact::compact(&self.connection, &self.file));
                    }
                }
                answers.into_iter().map(Ok).collect()
            }
            Err(fault) => requests.iter().map(|_| Err(fault.clone())).collect(),
        }
    }
}

impl Commits {
    /// Tries until the group is on disk, the disk fails, or the store is closed.
    fn commit(&mut self, group: &[Request], is_closing: &dyn Fn() -> bool) -> Result<Vec<Answer>, Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let mut log_is_empty = false;
        let answers = loop {
            let written = self.write(group);
            match written {
                Ok(_) => {
                    self.ledger.committed();
                    self.tally.committed();
                    self.editions.committed();
                }
                Err(_) => {
                    self.ledger.rolled_back();
                    self.tally.rolled_back();
                    self.editions.rolled_back();
                }
            }
            match written {
                Ok(answers) => break answers,
                Err(error) if is_full(&error) => {
                    // Its log takes space that the store can have back.
                    if !std::mem::replace(&mut log_is_empty, true) {
                        self.empty_log();
                    } else {
                        self.wait_for_space(is_closing)?;
                    }
                }
                Err(error) if is_busy(&error) => self.wait_for_others(is_closing)?,
                Err(error) => {
                    if is_damage(&error) {
                        salvage::suspect(&self.file);
                    }
                    let cause = format!("{error}; the next start recovers what was committed");
                    return Err(self.failed.insert(stop("write to", &self.file, cause)).clone());
                }
            }
        };
        if self.waiting_for_space.swap(false, Ordering::Relaxed) {
            log::info!(file:% = self.file.display(); "there is space for the state again; going on");
        }
        Ok(answers)
    }

    /// Moves the log into the file. Where that takes space itself, it is left for later.
    fn empty_log(&self) {
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            log::debug!(error:%; "cannot empty the log of the store");
        }
    }

    fn wait_for_space(&self, is_closing: &dyn Fn() -> bool) -> Result<(), Fault> {
        if !self.waiting_for_space.swap(true, Ordering::Relaxed) {
            log::warn!(file:% = self.file.display(); "the disk of the state folder is full; waiting for space");
        }
        std::thread::sleep(SPACE_INTERVAL);
        if is_closing() {
            return Err(stop("write to", &self.file, "the disk is full, and gatherd stops"));
        }
        Ok(())
    }

    /// SQLite has already waited a while for whoever holds the file, such as someone with a shell.
    fn wait_for_others(&self, is_closing: &dyn Fn() -> bool) -> Result<(), Fault> {
        log::warn!(file:% = self.file.display(); "another process writes to the store; waiting for it");
        if is_closing() {
            return Err(stop("write to", &self.file, "another process holds it, and gatherd stops"));
        }
        Ok(())
    }

    fn write(&mut self, group: &[Request]) -> rusqlite::Result<Vec<Answer>> {
        self.ledger.begin();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = self.clock.timestamp();
        let mut joined = Joined {
            connection: &transaction,
            ledger: &mut self.ledger,
            tally: &mut self.tally,
            editions: &mut self.editions,
            now,
            positions: IndexMap::default(),
            cursors: IndexMap::default(),
            seen: Vec::new(),
            passing_keys: 0,
            validators: 0,
        };
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            answers.push(match request {
                Request::Write(writes) => {
                    writes.iter().try_for_each(|write| joined.write(write))?;
                    Answer::Written
                }
                Request::Lease { queue, count, now } => {
                    Answer::HandedOut(joined.ledger.lease(&transaction, queue, *count, *now)?)
                }
                Request::EndRecoveryInTime => {
                    joined.ledger.end_recovery_in_time(&transaction)?;
                    Answer::Written
                }
                // Its work comes after the commit.
                Request::Compact => Answer::Written,
            });
        }
        joined.finish(&self.seen_keys, &mut self.purge)?;
        let committed = transaction.commit();
        if !Planted::FsyncIgnored.is_on() {
            committed?;
        }
        Ok(answers)
    }
}

impl Drop for Commits {
    /// An end in good order: nothing that is out becomes suspect.
    fn drop(&mut self) {
        if self.failed.is_none()
            && !std::thread::panicking()
            && let Err(error) = self.ledger.close(&mut self.connection)
        {
            log::warn!(error:%; "cannot take back what queues have handed out; the next start takes it for suspect");
        }
    }
}

/// The changes of one commit.
struct Joined<'a> {
    connection: &'a Connection,
    ledger: &'a mut Ledger,
    tally: &'a mut Tally,
    editions: &'a mut Editions,
    now: Timestamp,
    /// Of several positions in one commit only the newest one counts, and the one before the commit is kept.
    positions: IndexMap<(&'a Text, &'a Text), &'a Value, foldhash::fast::RandomState>,
    /// The same for cursors.
    cursors: IndexMap<&'a CursorKey, Option<&'a Value>, foldhash::fast::RandomState>,
    /// Keys that `new` steps have seen.
    seen: Vec<SeenKey<'a>>,
    /// Keys of queues.
    passing_keys: u32,
    validators: u32,
}

impl<'a> Joined<'a> {
    fn write(&mut self, write: &'a Write) -> rusqlite::Result<()> {
        let Self { connection, ledger, tally, .. } = self;
        match write {
            Write::Push(push) => {
                self.passing_keys = self.passing_keys.saturating_add(push.passing_keys());
                ledger.push(connection, push, self.now)
            }
            Write::Change(change) => match change {
                Change::Position { pipeline, component, position } => {
                    self.positions.insert((pipeline, component), position);
                    Ok(())
                }
                Change::ResetPosition { pipeline, component } => {
                    self.positions.swap_remove(&(pipeline, component));
                    state::reset_position(connection, pipeline, component)
                }
                Change::Cursor(change) => {
                    if !self.editions.is_current(&change.key, change.edition) {
                        log::debug!(pipeline = &*change.key.pipeline, component = &*change.key.component;
                            "a cursor was set while a run was on its way; the run does not move it");
                        return Ok(());
                    }
                    match &change.cursor {
                        CursorMove::Stays => None,
                        CursorMove::To(value) => self.cursors.insert(&change.key, Some(value)),
                        CursorMove::Away => self.cursors.insert(&change.key, None),
                    };
                    cursor::write(connection, change)
                }
                Change::ResetCursor { key, value } => {
                    self.editions.set(key);
                    self.cursors.swap_remove(key);
                    validator::forget(connection, &key.pipeline, &key.component)?;
                    cursor::reset(connection, key, value.as_ref())
                }
                Change::Seen { pipeline, component, key, until } => {
                    self.seen.push(SeenKey { pipeline, component, key, until: *until });
                    Ok(())
                }
                Change::Last { pipeline, component, key, digest } => {
                    state::put_last(connection, pipeline, component, key, digest)
                }
                Change::Validator { pipeline, component, request, validator } => {
                    self.validators = self.validators.saturating_add(1);
                    validator::write(connection, pipeline, component, request, validator.as_deref())
                }
                Change::ClientState { client, name, value } => {
                    client_state::write(connection, client, name, value.as_ref())
                }
                Change::Paused { pipeline, is_paused } => paused::write(connection, pipeline, *is_paused),
                Change::Dead(letter) => {
                    tally.add(dead_letter::put_dead_letter(connection, letter)?);
                    Ok(())
                }
                Change::DeadAgain { letter, replayed } => {
                    tally.add(dead_letter::put_again(connection, letter, Some(*replayed))?);
                    Ok(())
                }
                Change::EditDead { letter, value } => {
                    tally.add(dead_letter::edit(connection, *letter, value)?);
                    Ok(())
                }
                Change::Replay(replay) => {
                    tally.ask();
                    dead_letter::put_replay(connection, replay)
                }
                Change::EndReplay(letter) => {
                    tally.add(dead_letter::end_replay(connection, *letter)?);
                    Ok(())
                }
                Change::DropDead(letter) => {
                    tally.add(dead_letter::remove(connection, *letter)?);
                    Ok(())
                }
                Change::Push(push) => ledger.push(connection, &PackedPush::new(push), self.now),
                Change::DropOldest { queue, items } => ledger.drop_oldest(connection, queue, *items),
                Change::Settle(lease) => ledger.settle(connection, *lease),
                Change::Release { lease, due } => ledger.release(connection, *lease, *due),
            },
        }
    }

    fn finish(self, seen_keys: &SeenKeys, purge: &mut Purge) -> rusqlite::Result<()> {
        self.ledger.finish(self.connection)?;
        for ((pipeline, component), position) in self.positions {
            state::put_position(self.connection, pipeline, component, position)?;
        }
        for (key, value) in self.cursors {
            cursor::put_cursor(self.connection, key, value)?;
        }
        let added = self.passing_keys.saturating_add(u32::try_from(self.seen.len()).unwrap_or(u32::MAX));
        if !self.seen.is_empty() {
            seen_keys.add(&self.seen);
            seen::put_all_seen(self.connection, self.seen)?;
        }
        if self.passing_keys > 0 {
            seen_keys.some_will_end();
        }
        if added > 0 && seen_keys.some_may_end() {
            // Two looked at for each one added: the table cannot outgrow what is alive by much, and costs nothing
            // while nothing is added.
            purge.walk(self.connection, added.saturating_mul(2).max(16), self.now)?;
        }
        if self.validators > 0 {
            validator::purge(self.connection, self.validators.saturating_mul(2).max(16), self.now)?;
        }
        Ok(())
    }
}

/// The answer of a store that was opened to look only.
pub(super) fn refuse_to_write() -> Fault {
    Fault::stop(FaultKind::Store, "cannot write to a store that was opened to look only")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::Value;
    use crate::store::{folder, schema};

    #[test]
    fn a_commit_waits_for_whoever_holds_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gatherd.db");
        folder::create(&file).unwrap();
        let mut connection = schema::connect_to_write(&file).unwrap();
        schema::migrate(&mut connection, 0, schema::VERSION).unwrap();
        let ledger = Ledger::recover(&mut connection, file.clone(), &Clock::system()).unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        let shell = Connection::open(&file).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        let tally = Tally::recover(&connection).unwrap();
        let mut commits = Commits {
            connection,
            ledger,
            tally,
            editions: Editions::default(),
            seen_keys: Arc::default(),
            file,
            clock: Clock::system(),
            waiting_for_space: Arc::default(),
            purge: Purge::from_the_start(),
            failed: None,
        };
        let asked = Cell::new(0);
        // Asked after each try: the third one finds the file free.
        let is_closing = || {
            asked.set(asked.get() + 1);
            if asked.get() == 2 {
                shell.execute_batch("COMMIT").unwrap();
            }
            false
        };
        let position = Value::from(1);
        let change = Change::Position { pipeline: "p".into(), component: "lines".into(), position };
        commits.commit(&[Request::Write(vec![change.into()])], &is_closing).unwrap();
        assert_eq!(asked.get(), 2);
    }
}
