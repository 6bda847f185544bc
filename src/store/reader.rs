//! A few connections to read with, each held for microseconds. All but the first are opened when they are first needed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::Connection;

use super::fault::{is_damage, stop};
use super::state::Found;
use super::{salvage, schema};
use crate::model::Fault;

pub(super) struct Readers {
    /// Nothing where one may yet be opened.
    connections: Vec<Mutex<Option<Connection>>>,
    damaged_rows: AtomicU64,
    file: PathBuf,
}

impl Readers {
    pub(super) fn open(file: &Path, count: usize) -> rusqlite::Result<Self> {
        let first = schema::connect_to_read(file)?;
        let mut connections = vec![Mutex::new(Some(first))];
        connections.resize_with(count, Mutex::default);
        Ok(Self { connections, damaged_rows: AtomicU64::new(0), file: file.to_owned() })
    }

    /// Reads with a connection that is free. Damaged rows are counted and reported here.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<Found<T>>) -> Result<T, Fault> {
        match self.with_free_connection(read) {
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
        self.with_free_connection(schema::version)
    }

    /// How many damaged rows were passed over since the store was opened.
    pub(super) fn damaged_rows(&self) -> u64 {
        self.damaged_rows.load(Ordering::Relaxed)
    }

    fn with_free_connection<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let place = self.free_place();
        read(place.as_ref().expect("a free place has a connection"))
    }

    /// One with a connection, which nobody else reads with.
    fn free_place(&self) -> MutexGuard<'_, Option<Connection>> {
        for place in &self.connections {
            let mut place = match place.try_lock() {
                Ok(place) => place,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            if place.is_none() {
                // Where no more can be opened, those that are there do.
                let Ok(connection) = schema::connect_to_read(&self.file) else { break };
                *place = Some(connection);
            }
            return place;
        }
        self.connections[0].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
