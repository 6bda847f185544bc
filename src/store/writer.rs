//! The one thread that writes to the store, and joins what waits into one commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indexmap::IndexMap;
use rusqlite::{Connection, TransactionBehavior};

use super::fault::{is_busy, is_damage, is_full, stop};
use super::{Change, dead_letter, salvage, state};
use crate::model::{Fault, FaultKind};
use crate::runtime::{Clock, GroupThread, GroupWork};

/// How many changes one commit joins. Beyond it a commit gets slower for each, and no cheaper.
const CHANGES: usize = 10_000;

/// How often a full disk is tried again.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);

/// The handle of the writer's thread. Dropping it finishes the commit at hand, and ends the thread.
pub(super) struct Writer {
    thread: GroupThread<Commits>,
    waiting_for_space: Arc<AtomicBool>,
    file: PathBuf,
}

impl Writer {
    pub(super) fn start(connection: Connection, file: PathBuf, clock: Clock) -> Result<Self, Fault> {
        let waiting_for_space = Arc::new(AtomicBool::new(false));
        let commits = Commits {
            connection,
            file: file.clone(),
            clock,
            waiting_for_space: waiting_for_space.clone(),
            purge: state::Purge::from_the_start(),
            failed: None,
        };
        let started = GroupThread::start("gatherd-store", commits);
        let thread = started.map_err(|error| stop("start the thread that writes to", &file, error))?;
        Ok(Self { thread, waiting_for_space, file })
    }

    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), Fault> {
        let answer = self.thread.ask(changes).await;
        answer.unwrap_or_else(|| Err(stop("write to", &self.file, "its writer has ended")))
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

/// What the thread does.
struct Commits {
    connection: Connection,
    file: PathBuf,
    clock: Clock,
    waiting_for_space: Arc<AtomicBool>,
    purge: state::Purge,
    /// After a failed write nothing is known of the file until it is opened again.
    failed: Option<Fault>,
}

impl GroupWork for Commits {
    type Request = Vec<Change>;
    type Answer = Result<(), Fault>;
    const WEIGHT_LIMIT: usize = CHANGES;

    fn weight(changes: &Vec<Change>) -> usize {
        changes.len()
    }

    fn work(&mut self, requests: Vec<Vec<Change>>, is_closing: &dyn Fn() -> bool) -> Vec<Result<(), Fault>> {
        let result = self.commit(&requests, is_closing);
        vec![result; requests.len()]
    }
}

impl Commits {
    /// Tries until the group is on disk, the disk fails, or the store is closed.
    fn commit(&mut self, group: &[Vec<Change>], is_closing: &dyn Fn() -> bool) -> Result<(), Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let mut log_is_empty = false;
        loop {
            match self.write(group) {
                Ok(()) => break,
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
        }
        if self.waiting_for_space.swap(false, Ordering::Relaxed) {
            log::info!(file:% = self.file.display(); "there is space for the state again; going on");
        }
        Ok(())
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

    fn write(&mut self, group: &[Vec<Change>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Of several positions in one commit only the newest one counts, and the one before the commit is kept.
        let mut positions = IndexMap::<_, _, foldhash::fast::RandomState>::default();
        let mut seen: u32 = 0;
        for change in group.iter().flatten() {
            match change {
                Change::Position { pipeline, component, position } => {
                    positions.insert((pipeline, component), position);
                }
                Change::Seen { pipeline, component, key, until } => {
                    seen += 1;
                    state::put_seen(&transaction, pipeline, component, key, *until)?;
                }
                Change::Last { pipeline, component, key, digest } => {
                    state::put_last(&transaction, pipeline, component, key, digest)?;
                }
                Change::Dead(letter) => dead_letter::put_dead_letter(&transaction, letter)?,
            }
        }
        for ((pipeline, component), position) in positions {
            state::put_position(&transaction, pipeline, component, position)?;
        }
        if seen > 0 {
            // Two looked at for each one added: the table cannot outgrow what is alive by much, and costs nothing
            // while nothing is added.
            self.purge.walk(&transaction, seen.saturating_mul(2).max(16), self.clock.timestamp())?;
        }
        transaction.commit()
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
        connection.busy_timeout(Duration::ZERO).unwrap();
        let shell = Connection::open(&file).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut commits = Commits {
            connection,
            file,
            clock: Clock::system(),
            waiting_for_space: Arc::default(),
            purge: state::Purge::from_the_start(),
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
        commits.commit(&[vec![change]], &is_closing).unwrap();
        assert_eq!(asked.get(), 2);
    }
}
