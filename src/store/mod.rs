//! The embedded durable store: one SQLite file, one writer, an fsync before every answer.
//!
//! ```text
//! commit, lease ──► channel ──► writer thread: joins what waits, one transaction, fsync ──► answers
//! position, is_seen, … ──► a few read connections, called right on the executor
//! ```

mod change;
mod check;
mod checksum;
mod client_state;
mod compact;
mod cursor;
mod dead_letter;
mod entry;
mod fault;
mod folder;
mod holdings;
mod kept;
mod layout;
mod lock;
mod lost_log;
mod paused;
mod payload;
mod queue;
mod reader;
mod rescue;
mod salvage;
mod schema;
mod seen;
mod state;
mod statistics;
mod validator;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use event_listener::{Event, EventListener};
use jiff::Timestamp;
use rusqlite::Connection;

pub use change::{Change, Digest};
pub use check::{CheckReport, Damage};
pub use compact::Compacted;
pub use cursor::{Cursor, CursorChange, CursorKey, CursorMove, Rank, SettledItem};
pub use dead_letter::{DeadLetter, DeadLetterFilter, DeadSize, FaultRecord, Replay};
pub use entry::{Entry, Lease, Leased, Push, QueueCounts, QueueSize, Tried};
pub use folder::{make_folder_of, sync_folder_of};
pub use holdings::{Held, Holding};
pub use kept::{Kept, KeptAt, KeptPlace};
pub use queue::QueueGauge;
pub use statistics::{PipelineStatistics, QueueStatistics, Statistics, TableStatistics};
pub use validator::Validator;

use crate::model::{Fault, Text, Value};
use crate::runtime::{self, Clock};
use fault::{is_damage, stop, unopened};
use layout::Layout;
use lock::FolderLock;
use lost_log::IndexFile;
use queue::Ledger;
use reader::Readers;
use schema::Version;
use state::Found;
use writer::Writer;

/// The store's file in its state folder.
const FILE: &str = "gatherd.db";

/// The store of one state folder. A clone shares it; the last one to go closes it, and waits for the commit at hand.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// Dropped from the top down: the file is closed before the folder is let go.
struct Inner {
    readers: Readers,
    /// Nothing if the store was opened to look only.
    writer: Option<Writer>,
    _index: Option<IndexFile>,
    clock: Clock,
    folder: PathBuf,
    _lock: Option<FolderLock>,
}

impl Store {
    /// Opens the store in `folder`, makes both if they are not there, and holds them for this process alone.
    ///
    /// A damaged store stops no start: it is set aside under a name of its own, what can be read of it is kept, and
    /// the log says so. A store that a later gatherd wrote is left alone, and is an error. If the disk is too full to
    /// open it, the fault's verdict is to try again.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        Self::open_with(folder, Clock::system())
    }

    /// [`Store::open`] with a clock, by which seen keys are forgotten.
    pub fn open_with(folder: &Path, clock: Clock) -> Result<Self, Fault> {
        folder::make_private(folder).map_err(|error| unopened("make the state folder", folder, &error))?;
        let lock = FolderLock::take(folder)?;
        let file = folder.join(FILE);
        let (index, connection, ledger) = open_whole(&file, &clock)?;
        let count = std::thread::available_parallelism().map_or(1, usize::from).clamp(2, 4);
        let readers = Readers::open(&file, count).map_err(|error| unopened("open", &file, &error))?;
        let writer = Some(Writer::start(connection, ledger, file, clock.clone())?);
        let inner = Inner { readers, writer, _index: Some(index), clock, folder: folder.to_owned(), _lock: Some(lock) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether there is a store in a folder.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Opens an existing store to look only; works while a daemon holds it.
    pub fn open_to_read(folder: &Path) -> Result<Self, Fault> {
        let file = existing_file(folder)?;
        let open = || {
            let readers = Readers::open(&file, 1)?;
            let version = readers.version()?;
            Ok((readers, version))
        };
        let (readers, version) = open().map_err(|error: rusqlite::Error| stop("look into", &file, error))?;
        match version {
            Version::Known(schema::VERSION) => {}
            Version::Newer(newer) => return Err(newer_schema(&file, newer)),
            Version::Known(_) | Version::Damaged => {
                return Err(stop("look into", &file, "it is of an older gatherd, or damaged; `gatherd run` mends it"));
            }
        }
        let (clock, folder) = (Clock::system(), folder.to_owned());
        let inner = Inner { readers, writer: None, _index: None, clock, folder, _lock: None };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes all of `changes` in one commit, and answers once it is on disk. Waits as long as the disk is full.
    /// After any other failure the file's state is unknown: this commit and all later ones answer a
    /// [`crate::model::Verdict::Stop`], and the next start recovers.
    ///
    /// Changes are applied in the order in which commits are called. A future that was dropped may have been
    /// committed all the same.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), Fault> {
        match &self.inner.writer {
            None => Err(writer::refuse_to_write()),
            Some(_) if changes.is_empty() => Ok(()),
            Some(writer) => writer.commit(changes).await,
        }
    }

    /// How far a source had come.
    pub fn position(&self, pipeline: &str, component: &str) -> Result<Option<Value>, Fault> {
        let newest = self.inner.readers.read(|connection| state::position(connection, pipeline, component))?;
        Ok(newest.map(|(_, position)| position))
    }

    /// Whether `new` has seen this key and not yet forgotten it.
    pub fn is_seen(&self, pipeline: &str, component: &str, key: &str) -> Result<bool, Fault> {
        let seen_keys = self.inner.writer.as_ref().map(Writer::seen_keys);
        if seen_keys.is_some_and(|seen_keys| !seen_keys.may_have(pipeline, component, key)) {
            return Ok(false);
        }
        let now = self.inner.clock.timestamp();
        self.inner.readers.read(|connection| {
            if let Some(seen_keys) = seen_keys {
                seen_keys.read_on(connection);
            }
            seen::is_seen(connection, pipeline, component, key, now)
        })
    }

    /// What `changed` saw last under this key.
    pub fn last_digest(&self, pipeline: &str, component: &str, key: &str) -> Result<Option<Digest>, Fault> {
        self.inner.readers.read(|connection| state::last_digest(connection, pipeline, component, key))
    }

    pub fn dead_letter_count(&self) -> Result<u64, Fault> {
        self.inner.readers.read(|connection| Ok(Found { value: dead_letter::count(connection)?, damaged: 0 }))
    }

    /// Up to `count` entries of a queue that are due, the highest priority first, then the oldest. Each belongs to the
    /// caller until it is settled or released, or the process ends; that it was handed out is on disk when this
    /// answers. After a crash suspects come first, one at a time over all queues, and nothing else meanwhile.
    pub async fn lease(&self, queue: &str, count: usize, now: Timestamp) -> Result<Vec<Leased>, Fault> {
        let Some(writer) = &self.inner.writer else { return Err(writer::refuse_to_write()) };
        let handed = writer.lease(queue.into(), count, now).await?;
        let (mut leased, mut unreadable) = (Vec::new(), Vec::new());
        for handed in handed.take() {
            match handed.decode() {
                Some(entry) => leased.push(entry),
                None => unreadable.push(Change::Settle(handed.lease)),
            }
        }
        if !unreadable.is_empty() {
            writer.board().count_damaged(unreadable.len() as u64);
            log::error!(queue, items = unreadable.len(); "entries of a queue cannot be read, and are dropped");
            writer.commit(unreadable).await?;
        }
        Ok(leased)
    }

    /// Takes back entries that nobody works on any more, without waiting for the disk; they are handed out again at the
    /// queue's next lease.
    pub fn give_back(&self, queue: &str, leases: impl IntoIterator<Item = Lease>) {
        if let Some(writer) = &self.inner.writer {
            writer.board().give_back(queue, leases);
        }
    }

    /// Wakes at the next push to the queue, or release into it. Listen first, then lease: so none is missed.
    pub fn pushed(&self, queue: &str) -> EventListener {
        match &self.inner.writer {
            Some(writer) => writer.board().changed(queue),
            // Nothing is ever pushed here.
            None => Event::new().listen(),
        }
    }

    /// When to lease again if there is nothing to hand out now: the earliest time at which an entry is due, or at which
    /// it may be the turn of its queue, while suspects come one at a time.
    pub fn next_due(&self, queue: &str) -> Result<Option<Timestamp>, Fault> {
        let look_again = self.inner.writer.as_ref().and_then(|writer| writer.board().look_again());
        let Some(look_again) = look_again else {
            return self.inner.readers.read(|connection| queue::next_due(connection, queue));
        };
        let wait = look_again.saturating_duration_since(self.inner.clock.instant());
        Ok(self.inner.clock.timestamp().checked_add(wait).ok())
    }

    /// Says which queues are read in this process: what was in flight in others when a process died is not waited for.
    pub fn will_read(&self, queues: impl IntoIterator<Item = Text>) {
        if let Some(writer) = &self.inner.writer {
            writer.board().will_read(queues.into_iter().collect());
        }
    }

    /// Waits until what was in flight when a process died has been worked on alone, for a few seconds at most. Whatever
    /// works on anything else than entries of queues waits for this first.
    pub async fn recovered(&self) -> Result<(), Fault> {
        let Some(writer) = &self.inner.writer else { return Ok(()) };
        loop {
            let recovered = writer.board().recovered();
            if writer.board().look_again().is_none() {
                return Ok(());
            }
            // It may be that nobody reads what is left, or that the time is over.
            writer.end_recovery_in_time().await?;
            let Some(look_again) = writer.board().look_again() else { return Ok(()) };
            runtime::race(recovered, self.inner.clock.sleep_until(look_again)).await;
        }
    }

    /// How much a queue holds, entries that are handed out included. Costs nothing.
    pub fn queue_size(&self, queue: &str) -> Result<QueueSize, Fault> {
        match &self.inner.writer {
            Some(writer) => Ok(writer.board().size(queue)),
            None => {
                let sizes = self.inner.readers.read(queue::sizes)?;
                Ok(sizes.iter().find(|(name, _)| **name == *queue).map(|(_, size)| *size).unwrap_or_default())
            }
        }
    }

    /// How much a queue holds, for who looks often.
    pub fn queue_gauge(&self, queue: &str) -> Arc<QueueGauge> {
        // Nothing ever changes in a store that is only looked into.
        self.inner.writer.as_ref().map(|writer| writer.board().gauge(queue)).unwrap_or_default()
    }

    /// Whether any queue holds anything, entries that are handed out included.
    pub fn is_anything_queued(&self) -> Result<bool, Fault> {
        Ok(self.queue_sizes()?.iter().any(|(_, size)| size.items > 0))
    }

    /// Every queue by name: how much it holds, and since when the oldest entry has been there.
    pub fn queues(&self) -> Result<Vec<(Text, QueueSize, Option<Timestamp>)>, Fault> {
        let with_oldest = |(name, size): (Text, QueueSize)| {
            let oldest = self.inner.readers.read(|connection| queue::oldest(connection, &name))?;
            Ok((name, size, oldest))
        };
        self.queue_sizes()?.into_iter().map(with_oldest).collect()
    }

    /// Every queue by name, and how much it holds.
    pub fn queue_sizes(&self) -> Result<Vec<(Text, QueueSize)>, Fault> {
        match &self.inner.writer {
            Some(writer) => Ok(writer.board().sizes()),
            None => self.inner.readers.read(queue::sizes),
        }
    }

    /// Whether commits wait because the disk is full.
    pub fn is_waiting_for_space(&self) -> bool {
        self.inner.writer.as_ref().is_some_and(Writer::is_waiting_for_space)
    }

    /// How many damaged rows were passed over since the store was opened.
    pub fn damaged_rows(&self) -> u64 {
        let entries = self.inner.writer.as_ref().map_or(0, |writer| writer.board().damaged_entries());
        self.inner.readers.damaged_rows() + entries
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }
}

fn existing_file(folder: &Path) -> Result<PathBuf, Fault> {
    let file = folder.join(FILE);
    if file.exists() {
        return Ok(file);
    }
    let cause = "there is no store yet; `gatherd run` makes one, and `--state` names another folder";
    Err(stop("look into", &file, cause))
}

/// Opens the file for the writer, in this gatherd's schema, and replaces it if it is damaged.
fn open_whole(file: &Path, clock: &Clock) -> Result<(IndexFile, Connection, Ledger), Fault> {
    salvage::finish(file).map_err(|error| unopened("open", file, &error))?;
    folder::create(file).map_err(|error| unopened("open", file, &error))?;
    match open_checked(file, clock) {
        Ok(Checked::Whole(index, connection, ledger)) => return Ok((index, connection, *ledger)),
        Ok(Checked::Newer(version)) => return Err(newer_schema(file, version)),
        Ok(Checked::Damaged(why)) => salvage::replace(file, &why)?,
        Err(error) if is_damage(&error) => salvage::replace(file, &error.to_string())?,
        Err(error) => return Err(unopened("open", file, &error)),
    }
    match open_checked(file, clock) {
        Ok(Checked::Whole(index, connection, ledger)) => Ok((index, connection, *ledger)),
        Ok(_) => Err(stop("open", file, "the store that was made in its place is damaged too; is the disk?")),
        Err(error) => Err(unopened("open", file, &error)),
    }
}

enum Checked {
    Whole(IndexFile, Connection, Box<Ledger>),
    Newer(i64),
    Damaged(String),
}

fn open_checked(file: &Path, clock: &Clock) -> rusqlite::Result<Checked> {
    let index = IndexFile::of(file);
    let before = index.read();
    let mut connection = schema::connect_to_write(file)?;
    let version = schema::version(&connection)?;
    // SQLite has read its log by now, and written nothing yet.
    match before.map_or(0, |before| before.missing(index.read().as_ref())) {
        0 => {}
        pages => lost_log::tell(file, pages),
    }
    let version = match version {
        Version::Known(version) => version,
        Version::Newer(version) => return Ok(Checked::Newer(version)),
        Version::Damaged => return Ok(Checked::Damaged("its version is not what it was".to_owned())),
    };
    if let Some(why) = salvage::damage(&connection, file)? {
        return Ok(Checked::Damaged(why));
    }
    schema::migrate(&mut connection, version, schema::VERSION)?;
    for table in schema::TABLES {
        if !connection.table_exists(None, table.name)? {
            return Ok(Checked::Damaged(format!("it has no table `{}`", table.name)));
        }
    }
    Layout::note(&connection, file);
    let ledger = Ledger::recover(&mut connection, file.to_owned(), clock)?;
    Ok(Checked::Whole(index, connection, Box::new(ledger)))
}

fn newer_schema(file: &Path, version: i64) -> Fault {
    let known = schema::VERSION;
    let cause = format!(
        "a later gatherd wrote it (schema {version}, this one knows {known}); run that one, or name another folder \
         with `--state`"
    );
    stop("open", file, cause)
}

#[cfg(test)]
mod tests;
