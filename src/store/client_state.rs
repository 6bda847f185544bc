//! What named HTTP clients must remember over restarts, such as a refresh token that changes with each use.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::put;
use super::schema::CLIENT_STATE;
use super::state::{Found, read_whole};
use super::{Store, payload};
use crate::model::{Fault, Value};

impl Store {
    /// What [`super::Change::ClientState`] wrote last for this client under this name. A damaged one counts as none.
    pub fn client_state(&self, client: &str, name: &str) -> Result<Option<Value>, Fault> {
        self.inner.readers.read(|connection| read(connection, client, name))
    }
}

fn read(connection: &Connection, client: &str, name: &str) -> rusqlite::Result<Found<Option<Value>>> {
    let decode = |row: &Row<'_>| Ok(payload::decode(row.get_ref("value")?.as_str()?.as_bytes()));
    let sql = "SELECT * FROM client_state WHERE client = ?1 AND name = ?2";
    let row = |row: &Row<'_>| read_whole(&CLIENT_STATE, row, decode);
    let row = connection.prepare_cached(sql)?.query_row([client, name], row).optional()?;
    let damaged = u64::from(row == Some(None));
    Ok(Found { value: row.flatten(), damaged })
}

pub(super) fn write(connection: &Connection, client: &str, name: &str, value: Option<&Value>) -> rusqlite::Result<()> {
    let Some(value) = value else {
        let sql = "DELETE FROM client_state WHERE client = ?1 AND name = ?2";
        connection.prepare_cached(sql)?.execute([client, name])?;
        return Ok(());
    };
    let text = payload::encode(value);
    put(connection, &CLIENT_STATE, &[], &[client.into(), name.into(), ValueRef::from(text.as_str())])
}
