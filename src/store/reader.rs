//! A few connections to read with, each held for microseconds.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::Connection;

use super::fault::{is_damage, stop};
use super::state::Found;
use super::{salvage, schema};
use crate::model::Fault;

pub(super) struct Readers {
    connections: Vec<Mutex<Connection>>,
    next: AtomicUsize,
    damaged_rows: AtomicU64,
    file: PathBuf,
}

impl Readers {
    pub(super) fn open(file: &Path, count: usize) -> rusqlite::Result<Self> {
        let connect = |_| schema::connect_to_read(file).map(Mutex::new);
        let connections = (0..count).map(connect).collect::<rusqlite::Result<_>>()?;
        Ok(Self { connections, next: AtomicUsize::new(0), damaged_rows: AtomicU64::new(0), file: file.to_owned() })
    }

    /// Reads with a connection that is free. Damaged rows are counted and reported here.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<Found<T>>) -> Result<T, Fault> {
        match read(&self.free_connection()) {
            Ok(found) => {
                if found.damaged > 0 {
                    self.damaged_rows.fetch_add(found.damaged, Ordering::Relaxed);
                    log::error!(
                        file:% = self.file.display(), rows = found.damaged;
                        "passed over damaged rows in the store"
                    );
                }
                Ok(found.value)
            }
            Err(error) => {
                if !is_damage(&error) {
                    return Err(stop("read", &self.file, error));
                }
                salvage::suspect(&self.file);
                let cause = format!("{error}; what is whole of it is taken over when it is next opened");
                Err(stop("read", &self.file, cause))
            }
        }
    }

    pub(super) fn version(&self) -> rusqlite::Result<schema::Version> {
        schema::version(&self.free_connection())
    }

    /// How many damaged rows were passed over since the store was opened.
    pub(super) fn damaged_rows(&self) -> u64 {
        self.damaged_rows.load(Ordering::Relaxed)
    }

    fn free_connection(&self) -> MutexGuard<'_, Connection> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let at = |offset: usize| &self.connections[(start.wrapping_add(offset)) % self.connections.len()];
        for offset in 0..self.connections.len() {
            match at(offset).try_lock() {
                Ok(connection) => return connection,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        at(0).lock().unwrap_or_else(PoisonError::into_inner)
    }
}
