//! The thread that writes batches, each group in one transaction.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::Options;
use super::rows::Rows;
use super::table::{Row, RowFault, Table, insert};
use crate::component::WriteFault;
use crate::model::{Fault, FaultKind, Value};
use crate::runtime::GroupWork;
use crate::store::{make_folder_of, sync_folder_of};

/// How long another process may hold the database before the batch is tried again later.
const BUSY_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Writer {
    options: Arc<Options>,
    /// Nothing while it cannot be opened.
    connection: Option<Connection>,
    /// Which file it is open on, so that one that was moved away is not written any more.
    file: Option<FileId>,
    table: Option<Table>,
    /// SQLite's count of changes to the schema, of when the table was looked at.
    schema_version: Option<i64>,
}

/// The rows of one batch that were refused.
pub(super) type Refused = Vec<(usize, Fault)>;

impl Writer {
    /// Opens the database. What a retry may mend is left to the first batch.
    pub(super) fn open(options: Arc<Options>) -> Result<Self, Fault> {
        let mut writer = Self { options, connection: None, file: None, table: None, schema_version: None };
        match writer.connect() {
            Err(Problem::Lasting(message)) => Err(Fault::stop(FaultKind::Write, message)),
            Err(Problem::Passing(message)) => {
                log::warn!(cause = message; "a database cannot be opened yet; trying again with the first batch");
                Ok(writer)
            }
            Ok(()) => Ok(writer),
        }
    }

    fn connect(&mut self) -> Result<(), Problem> {
        let path = &self.options.path;
        if self.connection.is_some() && self.file == file_id(path) {
            return Ok(());
        }
        (self.connection, self.table, self.schema_version) = (None, None, None);
        let cannot_open = |cause: &dyn std::fmt::Display| format!("cannot open `{}`: {cause}", path.display());
        make_folder_of(path).map_err(|error| Problem::Passing(cannot_open(&error)))?;
        let connection = open(path).map_err(|error| {
            let message = cannot_open(&error);
            let is_passing = is_passing(&error);
            if is_passing { Problem::Passing(message) } else { Problem::Lasting(message) }
        })?;
        sync_folder_of(path).map_err(|error| Problem::Passing(cannot_open(&error)))?;
        check_key(&connection, &self.options)?;
        (self.connection, self.file) = (Some(connection), file_id(path));
        Ok(())
    }

    /// Writes all batches in one transaction.
    fn write(&mut self, batches: &[Vec<Value>]) -> Result<Vec<Refused>, WriteFault> {
        self.connect().map_err(|problem| Fault::retry(FaultKind::Write, problem.into_message()))?;
        let mut connection = self.connection.take().expect("it was just connected");
        let written = self.write_with(&mut connection, batches);
        self.connection = Some(connection);
        written.map_err(|failure| {
            // The table may have been made or grown in what was rolled back.
            (self.table, self.schema_version) = (None, None);
            match failure {
                Failure::Whole(error) => {
                    if !is_passing(&error) {
                        self.connection = None;
                    }
                    let message = format!("cannot write to {}: {error}", self.options.name());
                    WriteFault::Batch(Fault::retry(FaultKind::Write, message))
                }
                Failure::SomeRow(message) => WriteFault::Mixed(self.options.refused(&message)),
            }
        })
    }

    fn write_with(&mut self, connection: &mut Connection, batches: &[Vec<Value>]) -> Result<Vec<Refused>, Failure> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.look_at_table(&transaction, batches)?;
        let mut rows = Rows::of(&transaction, &self.options, self.table.as_mut(), batches.len());
        for (number, batch) in batches.iter().enumerate() {
            for (place, value) in batch.iter().enumerate() {
                rows.add(number, place, value)?;
            }
        }
        let refused = rows.finish()?;
        transaction.commit()?;
        Ok(refused)
    }

    /// Loads the table if it has changed, and makes it if it is not there and some row shows what it looks like.
    fn look_at_table(&mut self, transaction: &Transaction<'_>, batches: &[Vec<Value>]) -> Result<(), Failure> {
        let version = transaction.pragma_query_value(None, "schema_version", |row| row.get(0))?;
        if self.schema_version != Some(version) || self.table.is_none() {
            self.table = Table::load(transaction, &self.options.table)?;
            if self.table.is_none() {
                let rows: Vec<Row<'_>> =
                    batches.iter().flatten().filter_map(|value| checked_row(&self.options, value).ok()).collect();
                if rows.is_empty() {
                    return Ok(());
                }
                // Fields that make no table, such as too many of them, are some row's fault.
                Table::create(transaction, &self.options, &rows).map_err(|error| match RowFault::of(error) {
                    RowFault::Refused(message) => Failure::SomeRow(message),
                    RowFault::Failed(error) => Failure::Whole(error),
                })?;
                self.table = Table::load(transaction, &self.options.table)?;
            }
            if let Some(table) = &mut self.table {
                table.complete(transaction, &self.options)?;
            }
        }
        self.schema_version = Some(version);
        Ok(())
    }
}

impl GroupWork for Writer {
    type Request = Vec<Value>;
    type Answer = Result<(), WriteFault>;
    const WEIGHT_LIMIT: usize = 10_000;
    /// Each worker of the sink has one at a time.
    const REQUESTS: usize = 64;

    fn weight(batch: &Vec<Value>) -> usize {
        batch.len()
    }

    fn work(&mut self, batches: Vec<Vec<Value>>, _is_closing: &dyn Fn() -> bool) -> Vec<Result<(), WriteFault>> {
        match self.write(&batches) {
            Err(fault) => vec![Err(fault); batches.len()],
            Ok(refused) => {
                let answer = |rows: Refused| if rows.is_empty() { Ok(()) } else { Err(WriteFault::Items(rows)) };
                refused.into_iter().map(answer).collect()
            }
        }
    }
}

/// Device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Why there is no connection.
enum Problem {
    /// A retry may mend it.
    Passing(String),
    /// A person has to.
    Lasting(String),
}

impl Problem {
    fn into_message(self) -> String {
        match self {
            Problem::Passing(message) | Problem::Lasting(message) => message,
        }
    }
}

/// Why a transaction was given up.
pub(super) enum Failure {
    Whole(rusqlite::Error),
    /// Because of some row: a trigger has rolled it back, or no table can be made of its fields.
    SomeRow(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Whole(error)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // Without the names that SQLite gives a meaning of its own, such as `:memory:`.
    let path = std::path::absolute(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_LIMIT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// Whether time may mend it: another process holds the database, or the disk is full.
fn is_passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::SystemIoFailure)
    )
}

/// An existing table must have the key that rows are to be told apart by.
fn check_key(connection: &Connection, options: &Options) -> Result<(), Problem> {
    let exists = connection.table_exists(None, options.table.as_str()).unwrap_or(false);
    if options.primary_key.is_empty() || !exists {
        return Ok(());
    }
    let names: Vec<&str> = options.primary_key.iter().map(String::as_str).collect();
    match connection.prepare(&insert(options, &names, 1)) {
        Err(error) if !is_passing(&error) => Err(Problem::Lasting(format!(
            "cannot write to {}: it was made without the primary key ({}): {error}; add a unique index, or change \
             `primary_key`",
            options.name(),
            names.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// The fields of a row, if it is one: an object with its whole key.
pub(super) fn checked_row<'a>(options: &Options, value: &'a Value) -> Result<Row<'a>, String> {
    let Value::Object(object) = value else {
        return Err(format!("a row is made of an object, and this is {}", no_object(value)));
    };
    let row = object.fields();
    for key in &options.primary_key {
        let exactly = row.iter().find(|(name, _)| *name == &**key);
        let found = exactly.or_else(|| row.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)));
        match found.map(|(_, value)| &**value) {
            None => return Err(format!("it has no field `{key}`, which is in its primary key")),
            Some(Value::Null) => return Err(format!("its field `{key}` is null, and in its primary key")),
            Some(_) => {}
        }
    }
    if row.iter().any(|(name, _)| name.contains('\0')) {
        return Err("a column cannot have a NUL in its name".to_owned());
    }
    Ok(row)
}

/// What a value is that is no object, and the way to objects where it may hold some.
fn no_object(value: &Value) -> String {
    match value {
        Value::Array(_) => "of type array: `each = \".[]\"` makes an item of each element".to_owned(),
        value => format!("of type {}", value.type_name()),
    }
}
