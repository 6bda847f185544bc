//! Queues when a store is opened: what was in flight when a process died, and what damage has to be made good.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Row, TransactionBehavior};

use super::batch::{Header, unpack};
use super::ledger::{Commit, Ledger, Queue, Rows, put_queue, read_blob};
use super::progress::{Place, Progress, State};
use super::suspects::{Recovery, write_control};
use super::{Board, encoding};
use crate::model::{Item, Labels, Origin, Text};
use crate::runtime::Clock;
use crate::store::checksum::is_whole;
use crate::store::dead_letter::{DeadLetter, FaultRecord, put_dead_letter};
use crate::store::folder;
use crate::store::schema::QUEUE;

/// How often a process may die while it works on an entry alone, before the entry is given up.
const CRASHES: u8 = 3;

/// What a look at every row of the queues finds.
pub(super) struct Scan {
    pub(super) queues: BTreeMap<i64, Queue>,
    /// Rows with entries that are out, or suspect.
    rows: Rows<Progress>,
    last_batch: i64,
    /// The keys of damaged rows, as they are found.
    pub(super) damaged: Vec<[SqlValue; 2]>,
    has_lost_names: bool,
}

impl Scan {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let last_batch = connection.query_row("SELECT max(id) FROM batch", [], |row| row.get::<_, Option<i64>>(0))?;
        let mut scan = Self {
            queues: BTreeMap::new(),
            rows: Rows::default(),
            last_batch: last_batch.unwrap_or(0),
            damaged: Vec::new(),
            has_lost_names: false,
        };
        for_each_row(connection, "SELECT * FROM queue", |row| {
            match read_queue(row)? {
                Some((id, name)) => drop(scan.queues.insert(id, Queue::new(name))),
                None => scan.has_lost_names = true,
            }
            Ok(())
        })?;
        for_each_row(connection, "SELECT * FROM progress", |row| {
            let Some(progress) = Progress::read(row)? else {
                scan.damaged.push([row.get("queue")?, row.get("batch")?]);
                return Ok(());
            };
            scan.last_batch = scan.last_batch.max(progress.place.batch);
            match scan.queues.get_mut(&progress.place.queue) {
                Some(queue) => queue.add(&progress),
                None => scan.has_lost_names = true,
            }
            if progress.counts().out > 0 || progress.counts().suspects > 0 {
                scan.rows.insert(progress.place, progress);
            }
            Ok(())
        })?;
        Ok(scan)
    }
}

pub(super) fn for_each_row(
    connection: &Connection,
    sql: &str,
    mut look: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        look(row)?;
    }
    Ok(())
}

fn read_queue(row: &Row<'_>) -> rusqlite::Result<Option<(i64, Text)>> {
    if !is_whole(&QUEUE, row)? {
        return Ok(None);
    }
    Ok(Some((row.get("id")?, row.get("name")?)))
}

impl Ledger {
    /// Makes good what damage and the death of the last process left behind, in one commit.
    pub(in crate::store) fn recover(
        connection: &mut Connection,
        file: PathBuf,
        clock: &Clock,
    ) -> rusqlite::Result<Self> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut scan = Scan::of(&transaction)?;
        let board = Arc::new(Board::default());
        board.count_damaged(scan.damaged.len() as u64);
        if !scan.damaged.is_empty() || scan.has_lost_names {
            reconcile(&transaction, &file)?;
            scan = Scan::of(&transaction)?;
        }
        let mut ledger = Self {
            board,
            file,
            queues: scan.queues,
            held: scan.rows,
            next_batch: scan.last_batch + 1,
            recovery: Recovery::at(clock.instant()),
            clock: clock.clone(),
            commit: Commit::default(),
        };
        ledger.begin();
        ledger.suspect_what_was_out(&transaction)?;
        ledger.finish(&transaction)?;
        transaction.commit()?;
        ledger.committed();
        Ok(ledger)
    }

    /// Everything that was out when a process died is suspect. A suspect that was alone then is charged with it, and
    /// given up at the third time; see [`super::suspects`].
    fn suspect_what_was_out(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let out = self.held.values().flat_map(|row| row.out().map(|index| (row.place, index)));
        let out: Vec<_> = out.collect();
        let mut suspects = out.iter().filter(|(place, index)| self.held[place].state(*index).suspect);
        let prime = suspects.next().filter(|_| suspects.next().is_none()).copied();
        let is_alone = out.len() == 1;
        if !out.is_empty() {
            log::warn!(items = out.len(); "items were in flight when gatherd died; they come one at a time");
        }
        for (place, index) in out {
            self.take_hold(connection, place)?;
            let state = self.held[&place].state(index);
            let crashes = state.crashes + u8::from(is_alone && state.suspect);
            if crashes >= CRASHES {
                self.give_up(connection, place, index)?;
            } else {
                self.set(place, index, State { out: false, suspect: true, crashes, ..state }, None);
            }
        }
        if Self::has_died_in_control(connection)? {
            self.take_charges_back(connection)?;
            write_control(connection, false)?;
        }
        self.recovery.prime = prime.filter(|_| !is_alone);
        self.recovery.is_on = self.queues.values().any(|queue| queue.suspects > 0);
        Ok(())
    }

    /// The process died while nothing was out: of something else.
    fn take_charges_back(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let suspects = self.held.values().flat_map(|row| row.suspects().map(|index| (row.place, index)));
        for (place, index) in suspects.collect::<Vec<_>>() {
            self.take_hold(connection, place)?;
            let state = State { crashes: 0, ..self.held[&place].state(index) };
            self.set(place, index, state, None);
        }
        Ok(())
    }

    /// Makes a dead letter of an entry. One that cannot be read stays a suspect: it is found damaged when it is due.
    fn give_up(&mut self, connection: &Connection, place: Place, index: u32) -> rusqlite::Result<()> {
        let row = &self.held[&place];
        let state = row.state(index);
        let blob = read_blob(connection, place.batch)?.unwrap_or_default();
        let bytes = unpack(place.batch, &blob, row.len()).into_iter().nth(index as usize).flatten();
        let Some(entry) = bytes.and_then(|bytes| encoding::decode(&bytes)) else {
            self.set(place, index, State { out: false, suspect: true, ..state }, None);
            return Ok(());
        };
        let queue = self.queues[&place.queue].name.clone();
        let origin = Arc::new(Origin::new(entry.pipeline, entry.window, 0));
        let item = Item::new(origin, entry.item, entry.value, Labels::default());
        let trace = item.trace().to_string();
        let now = self.clock.timestamp();
        let fault = FaultRecord {
            at: now,
            kind: "crash".to_owned(),
            message: format!("gatherd died {CRASHES} times while it worked on this item alone"),
            attempts: state.attempts.into(),
        };
        log::error!(queue = &*queue, item:% = trace; "an item is given up, since gatherd died of it again and again");
        let letter = DeadLetter {
            id: 0,
            pipeline: item.origin.pipeline.clone(),
            component: component_of(&queue),
            item: item.id,
            trace,
            value: item.value,
            labels: entry.labels,
            window: item.origin.window,
            history: vec![fault.clone()],
            fault,
            first: now,
            last: now,
            count: 1,
            is_replay_asked: false,
        };
        put_dead_letter(connection, &letter)?;
        self.set(place, index, State::SETTLED, None);
        Ok(())
    }
}

/// How dead letters call what hands out a queue's entries. The engine's own queues are called after theirs, such as
/// `sink.db`.
fn component_of(queue: &Text) -> Text {
    if queue.contains('.') { queue.clone() } else { format!("queue.{queue}").into() }
}

/// Makes the rows of queues anew that are damaged or missing, from what the batches say of themselves: nothing of such
/// a batch counts as settled in such a queue. Sets aside what belongs nowhere.
pub(in crate::store) fn reconcile(connection: &Connection, file: &Path) -> rusqlite::Result<()> {
    for key in Scan::of(connection)?.damaged {
        connection.execute("DELETE FROM progress WHERE queue = ?1 AND batch = ?2", key)?;
    }
    let mut names = read_names(connection)?;
    let (mut made_anew, mut unreadable) = (0, 0);
    let batches: Vec<i64> =
        connection.prepare("SELECT id FROM batch")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for batch in batches {
        let blob = read_blob(connection, batch)?.unwrap_or_default();
        let Some(header) = Header::read(batch, &blob) else {
            // Its entries are still handed out to the queues that know of it.
            let sql = "SELECT count(*) FROM progress WHERE batch = ?1";
            if connection.query_row(sql, [batch], |row| row.get::<_, i64>(0))? == 0 {
                set_aside(file, batch, &blob);
                connection.execute("DELETE FROM batch WHERE id = ?1", [batch])?;
                unreadable += 1;
            }
            continue;
        };
        for (queue, name) in &header.queues {
            if names.insert(*queue, name.clone()).as_ref() != Some(name) {
                connection.execute("DELETE FROM queue WHERE name = ?1", [&**name])?;
                put_queue(connection, *queue, name)?;
            }
            let sql = "SELECT count(*) FROM progress WHERE queue = ?1 AND batch = ?2";
            if connection.query_row(sql, [queue, &batch], |row| row.get::<_, i64>(0))? == 0 {
                let place = Place { queue: *queue, batch };
                let states = vec![State::default(); header.count];
                Progress::new(place, &header, blob.len(), states).write(connection)?;
                made_anew += 1;
            }
        }
    }
    let lost = "DELETE FROM progress WHERE batch NOT IN (SELECT id FROM batch) OR queue NOT IN (SELECT id FROM queue)";
    let lost = connection.execute(lost, [])?;
    log::error!(
        file:% = file.display(), made_anew, unreadable, lost;
        "queues were damaged; batches whose progress is unknown are handed out again, unreadable ones are set aside"
    );
    Ok(())
}

/// The names of queues that are whole; the others are removed.
fn read_names(connection: &Connection) -> rusqlite::Result<HashMap<i64, Text>> {
    let (mut names, mut damaged) = (HashMap::new(), Vec::<i64>::new());
    for_each_row(connection, "SELECT * FROM queue", |row| {
        match read_queue(row)? {
            Some((id, name)) => drop(names.insert(id, name)),
            None => damaged.push(row.get("id")?),
        }
        Ok(())
    })?;
    for id in damaged {
        connection.execute("DELETE FROM queue WHERE id = ?1", [id])?;
    }
    Ok(names)
}

/// Keeps a blob with damage in a file beside the store.
pub(super) fn set_aside(file: &Path, batch: i64, blob: &[u8]) {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".damaged-batch-{batch}"));
    let aside = PathBuf::from(name);
    match folder::create(&aside).and_then(|()| fs::write(&aside, blob)) {
        Ok(()) => log::error!(set_aside:% = aside.display(); "a batch of queue entries is damaged, and set aside"),
        Err(error) => log::error!(batch, error:%; "cannot set a damaged batch of queue entries aside"),
    }
}
