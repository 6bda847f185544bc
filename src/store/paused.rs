//! Which pipelines a person has paused: kept over restarts.

use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::put;
use super::schema::PAUSED;
use super::state::{Found, read_whole};
use super::{Change, Store};
use crate::model::{Fault, Text};

impl Store {
    /// Whether a person has paused this pipeline. A damaged note of it counts as none.
    pub fn is_paused(&self, pipeline: &str) -> Result<bool, Fault> {
        self.inner.readers.read(|connection| read(connection, pipeline))
    }

    /// Notes whether a pipeline is paused. On disk when it answers.
    pub async fn pause(&self, pipeline: Text, is_paused: bool) -> Result<(), Fault> {
        self.commit(vec![Change::Paused { pipeline, is_paused }]).await
    }
}

fn read(connection: &Connection, pipeline: &str) -> rusqlite::Result<Found<bool>> {
    let row = |row: &Row<'_>| read_whole(&PAUSED, row, |_| Ok(Some(())));
    let sql = "SELECT * FROM paused WHERE pipeline = ?1";
    let found = connection.prepare_cached(sql)?.query_row([pipeline], row).optional()?;
    Ok(Found { value: found == Some(Some(())), damaged: u64::from(found == Some(None)) })
}

pub(super) fn write(connection: &Connection, pipeline: &str, is_paused: bool) -> rusqlite::Result<()> {
    if is_paused {
        return put(connection, &PAUSED, &[], &[pipeline.into()]);
    }
    connection.prepare_cached("DELETE FROM paused WHERE pipeline = ?1")?.execute([pipeline])?;
    Ok(())
}
