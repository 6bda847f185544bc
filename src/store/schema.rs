//! The tables, how they came about version by version, and how connections to them are set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::checksum::{Table, is_whole, put};
use crate::model::Planted;

/// The schema that this gatherd writes.
pub(super) const VERSION: i64 = 2;

/// What brings a store from each version to the next; the first makes an empty file a store. A version that was
/// released is never changed. New columns go to the end and may be null, see [`super::checksum`]. A new table also
/// has its place in [`TABLES`].
const MIGRATIONS: [&str; VERSION as usize] = [
    "
    CREATE TABLE meta (
        crc INTEGER NOT NULL, name TEXT NOT NULL, value ANY,
        PRIMARY KEY (name)
    ) STRICT, WITHOUT ROWID;

    -- A source's position is written by turns to these two, so that the one before it is there to fall back to.
    CREATE TABLE position_even (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL,
        turn INTEGER NOT NULL, position TEXT NOT NULL,
        PRIMARY KEY (pipeline, component)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE position_odd (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL,
        turn INTEGER NOT NULL, position TEXT NOT NULL,
        PRIMARY KEY (pipeline, component)
    ) STRICT, WITHOUT ROWID;

    -- Keys are text, or the SHA-256 of a long text. `until` is in milliseconds since 1970, null for ever.
    CREATE TABLE seen (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL, key ANY NOT NULL, until INTEGER,
        PRIMARY KEY (pipeline, component, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE last (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL, key ANY NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (pipeline, component, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE dead_letter (
        id INTEGER PRIMARY KEY AUTOINCREMENT, crc INTEGER NOT NULL,
        pipeline TEXT NOT NULL, component TEXT NOT NULL, item TEXT NOT NULL, trace TEXT NOT NULL,
        last TEXT NOT NULL, first TEXT NOT NULL, count INTEGER NOT NULL,
        fault TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL,
        window_start TEXT, window_end TEXT,
        value TEXT NOT NULL, labels TEXT NOT NULL, history TEXT NOT NULL,
        UNIQUE (pipeline, component, item)
    ) STRICT;
    CREATE INDEX dead_letter_last ON dead_letter (last);

    -- Dead letters that are asked to be replayed: where they enter, and how many microseconds to wait after each.
    CREATE TABLE replay (
        letter INTEGER PRIMARY KEY, crc INTEGER NOT NULL, start TEXT, interval INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE queue (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, name TEXT NOT NULL UNIQUE) STRICT;

    -- The entries of a push, for all queues that got it. Each entry has a checksum of its own.
    CREATE TABLE batch (id INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;

    -- What has become of a batch in each queue. The row stays until every queue has settled the batch. Times are in
    -- milliseconds since 1970; `waiting` is how many entries can be handed out, `due` when the next one can.
    CREATE TABLE progress (
        crc INTEGER NOT NULL, queue INTEGER NOT NULL, batch INTEGER NOT NULL, priority INTEGER NOT NULL,
        waiting INTEGER NOT NULL, due INTEGER, pushed INTEGER NOT NULL, expires INTEGER,
        bytes INTEGER NOT NULL, queues INTEGER NOT NULL, states BLOB NOT NULL, dues BLOB,
        PRIMARY KEY (queue, batch)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX progress_waiting ON progress (queue, priority DESC, batch) WHERE waiting > 0;
    CREATE INDEX progress_due ON progress (queue, due) WHERE due IS NOT NULL;
",
    "
    -- What a named HTTP client must remember, such as a refresh token that changes with each use.
    CREATE TABLE client_state (
        crc INTEGER NOT NULL, client TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (client, name)
    ) STRICT, WITHOUT ROWID;

    -- What tells whether the reply to a request has changed. `request` is a digest of it in base64, `onward` one of
    -- what becomes of the reply, `url` and `body` are SHA-256, `until` is in milliseconds since 1970.
    CREATE TABLE validator (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL, request TEXT NOT NULL,
        until INTEGER NOT NULL, onward BLOB NOT NULL, url BLOB NOT NULL, etag TEXT, last_modified TEXT, body BLOB,
        size INTEGER NOT NULL,
        PRIMARY KEY (pipeline, component, request)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX validator_until ON validator (until);

    -- How far a component has come in a remote's data, by partition; written by turns, as positions are.
    CREATE TABLE cursor_even (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL, partition TEXT NOT NULL,
        turn INTEGER NOT NULL, cursor TEXT NOT NULL,
        PRIMARY KEY (pipeline, component, partition)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE cursor_odd (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL, partition TEXT NOT NULL,
        turn INTEGER NOT NULL, cursor TEXT NOT NULL,
        PRIMARY KEY (pipeline, component, partition)
    ) STRICT, WITHOUT ROWID;

    -- A run that has not come to its end: where it goes on.
    CREATE TABLE run (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL, partition TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (pipeline, component, partition)
    ) STRICT, WITHOUT ROWID;

    -- Items that have settled and may come again: their place in the order of the cursor's values, and a SHA-256 of
    -- their key and value of the cursor.
    CREATE TABLE settled (
        crc INTEGER NOT NULL, pipeline TEXT NOT NULL, component TEXT NOT NULL, partition TEXT NOT NULL,
        rank ANY NOT NULL, item BLOB NOT NULL,
        PRIMARY KEY (pipeline, component, partition, rank, item)
    ) STRICT, WITHOUT ROWID;

    -- The pipelines that a person has paused.
    CREATE TABLE paused (crc INTEGER NOT NULL, pipeline TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
",
];

pub(super) const META: Table = Table { name: "meta", crc: 0, key: "name", put: "REPLACE INTO meta VALUES (?, ?, ?)" };
pub(super) const POSITIONS: [Table; 2] = [
    Table { name: "position_even", put: "REPLACE INTO position_even VALUES (?, ?, ?, ?, ?)", ..OF_COMPONENTS },
    Table { name: "position_odd", put: "REPLACE INTO position_odd VALUES (?, ?, ?, ?, ?)", ..OF_COMPONENTS },
];
pub(super) const SEEN: Table = Table { name: "seen", put: "REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", ..OF_COMPONENTS };
pub(super) const LAST: Table = Table { name: "last", put: "REPLACE INTO last VALUES (?, ?, ?, ?, ?)", ..OF_COMPONENTS };
pub(super) const DEAD_LETTER: Table = Table {
    name: "dead_letter",
    crc: 1,
    key: "id",
    put: "REPLACE INTO dead_letter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
};
pub(super) const REPLAY: Table =
    Table { name: "replay", crc: 1, key: "letter", put: "REPLACE INTO replay VALUES (?, ?, ?, ?)" };
pub(super) const QUEUE: Table = Table { name: "queue", crc: 1, key: "id", put: "REPLACE INTO queue VALUES (?, ?, ?)" };
pub(super) const PROGRESS: Table = Table {
    name: "progress",
    crc: 0,
    key: "queue",
    put: "REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
};
/// Without a checksum of the row: each entry in it has its own.
pub(super) const BATCH: Table =
    Table { name: "batch", crc: Table::NO_CRC, key: "id", put: "INSERT INTO batch VALUES (?, ?)" };

pub(super) const CLIENT_STATE: Table =
    Table { name: "client_state", crc: 0, key: "client", put: "REPLACE INTO client_state VALUES (?, ?, ?, ?)" };

pub(super) const VALIDATOR: Table = Table {
    name: "validator",
    put: "REPLACE INTO validator VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ..OF_COMPONENTS
};

pub(super) const CURSORS: [Table; 2] = [
    Table { name: "cursor_even", put: "REPLACE INTO cursor_even VALUES (?, ?, ?, ?, ?, ?)", ..OF_COMPONENTS },
    Table { name: "cursor_odd", put: "REPLACE INTO cursor_odd VALUES (?, ?, ?, ?, ?, ?)", ..OF_COMPONENTS },
];
pub(super) const RUN: Table = Table { name: "run", put: "REPLACE INTO run VALUES (?, ?, ?, ?, ?)", ..OF_COMPONENTS };
pub(super) const SETTLED: Table =
    Table { name: "settled", put: "REPLACE INTO settled VALUES (?, ?, ?, ?, ?, ?)", ..OF_COMPONENTS };

pub(super) const PAUSED: Table = Table { name: "paused", put: "REPLACE INTO paused VALUES (?, ?)", ..OF_COMPONENTS };

const OF_COMPONENTS: Table = Table { name: "", crc: 0, key: "pipeline", put: "" };

/// Every table that holds what the store was given: looked for at each start, and rescued from a damaged store.
pub(super) const TABLES: &[&Table] = &[
    &POSITIONS[0],
    &POSITIONS[1],
    &SEEN,
    &LAST,
    &DEAD_LETTER,
    &REPLAY,
    &QUEUE,
    &BATCH,
    &PROGRESS,
    &CLIENT_STATE,
    &VALIDATOR,
    &CURSORS[0],
    &CURSORS[1],
    &RUN,
    &SETTLED,
    &PAUSED,
];

/// Which schema a store has, told twice: damage to the file's header must not pass for a store of the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Known(i64),
    /// Written by a later gatherd.
    Newer(i64),
    /// The two disagree.
    Damaged,
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<Version> {
    let header: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let has_meta = connection.table_exists(None, META.name)?;
    if header == 0 && !has_meta {
        return Ok(Version::Known(0));
    }
    let noted = if has_meta { noted_version(connection)? } else { None };
    Ok(match noted {
        Some(noted) if noted != header => Version::Damaged,
        Some(noted) if noted > VERSION => Version::Newer(noted),
        Some(noted) => Version::Known(noted),
        // A later gatherd may keep its note elsewhere.
        None if header > VERSION => Version::Newer(header),
        None => Version::Damaged,
    })
}

fn noted_version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let read = |row: &rusqlite::Row<'_>| Ok(if is_whole(&META, row)? { row.get("value").ok() } else { None });
    Ok(connection.query_row("SELECT * FROM meta WHERE name = 'schema'", [], read).optional()?.flatten())
}

/// Brings a store from version `from` to version `to`, one commit a version.
pub(super) fn migrate(connection: &mut Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    for (version, migration) in (1..).zip(MIGRATIONS) {
        if version > from && version <= to {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            put(&transaction, &META, &[], &[ValueRef::Text(b"schema"), ValueRef::Integer(version)])?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

/// Opens the file for the writer. A commit on this connection is on disk when it answers.
pub(super) fn connect_to_write(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(file, flags)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = if Planted::AckBeforeFsync.is_on() { "off" } else { "full" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // About 16 MiB between checkpoints, each of which costs two more fsyncs.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // In KiB if negative: what queues were given a moment ago is handed out and deleted without being read back.
    connection.pragma_update(None, "cache_size", -8192)?;
    Ok(connection)
}

pub(super) fn connect_to_read(file: &Path) -> rusqlite::Result<Connection> {
    connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn connect(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags)?;
    // Only ever waited for while a checkpoint or a recovery holds the file for a moment.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
