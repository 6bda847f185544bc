//! What an error of SQLite means for the store.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};

use crate::model::{Fault, FaultKind, Verdict};

/// The fault of something that was attempted with the store at `path`. No item can pass until the store works again.
pub(super) fn stop(attempted: &str, path: &Path, cause: impl fmt::Display) -> Fault {
    Fault::stop(FaultKind::Store, format!("cannot {attempted} `{}`: {cause}", path.display()))
}

/// The fault of a store that cannot be opened: for now, if that is because the disk is full.
pub(super) fn unopened(attempted: &str, path: &Path, cause: &impl Cause) -> Fault {
    let fault = stop(attempted, path, cause);
    if cause.is_full() { Fault { verdict: Verdict::Retry { not_before: None }, ..fault } } else { fault }
}

/// What may be the cause of a fault.
pub(super) trait Cause: fmt::Display {
    /// Whether the disk has no room for what was to be written.
    fn is_full(&self) -> bool;
}

impl Cause for Error {
    fn is_full(&self) -> bool {
        is_full(self)
    }
}

impl Cause for io::Error {
    fn is_full(&self) -> bool {
        matches!(self.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    }
}

impl Cause for Box<dyn std::error::Error> {
    fn is_full(&self) -> bool {
        self.downcast_ref::<Error>().is_some_and(Cause::is_full)
            || self.downcast_ref::<io::Error>().is_some_and(Cause::is_full)
    }
}

/// Whether the disk has no room for what was to be written. SQLite reports a lack of room for its shared index as
/// an I/O error of its own.
pub(super) fn is_full(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => {
            failure.code == ErrorCode::DiskFull || failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE
        }
        _ => false,
    }
}

/// Whether another process holds the file.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the file does not hold what SQLite or the schema says it must.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation | ErrorCode::Unknown
        ),
        other => is_wrong_type(other),
    }
}

/// Whether a column holds something else than the store writes there.
pub(super) fn is_wrong_type(error: &Error) -> bool {
    matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
    )
}
