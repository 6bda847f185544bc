//! What a reply showed to tell it from a later one: validators of conditional requests (RFC 9110, section 8.8).

use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::checksum::put;
use super::schema::VALIDATOR;
use super::state::{Found, read_whole};
use super::{Digest, Store};
use crate::model::{Fault, Text};

/// What tells whether the reply to a request is still the one whose items have settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// What became of the reply's items hangs on this: the steps behind the request, for one.
    pub onward: Digest,
    /// Of the URL that the reply came from in the end.
    pub url: Digest,
    /// As the server sent it, if it may be sent back.
    pub etag: Option<Text>,
    /// As the server sent it, if it may be sent back.
    pub last_modified: Option<Text>,
    /// Of the body and its type, if there was one.
    pub body: Option<Digest>,
    /// How long the body was, in bytes after decompression.
    pub size: u64,
    /// When it is forgotten.
    pub until: Timestamp,
}

impl Store {
    /// What [`super::Change::Validator`] wrote last for this request, unless its time is over. A damaged one counts as
    /// none.
    pub fn validator(&self, pipeline: &str, component: &str, request: &str) -> Result<Option<Validator>, Fault> {
        let now = self.inner.clock.timestamp();
        let found = self.inner.readers.read(|connection| read(connection, pipeline, component, request))?;
        Ok(found.filter(|validator| validator.until > now))
    }
}

fn read(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    request: &str,
) -> rusqlite::Result<Found<Option<Validator>>> {
    let decode = |row: &Row<'_>| {
        let text = |name| row.get::<_, Option<String>>(name).map(|text| text.map(Text::from));
        let until = Timestamp::from_millisecond(row.get("until")?);
        let size = u64::try_from(row.get::<_, i64>("size")?);
        let (Ok(until), Ok(size)) = (until, size) else { return Ok(None) };
        Ok(Some(Validator {
            onward: row.get("onward")?,
            url: row.get("url")?,
            etag: text("etag")?,
            last_modified: text("last_modified")?,
            body: row.get("body")?,
            size,
            until,
        }))
    };
    let sql = "SELECT * FROM validator WHERE pipeline = ?1 AND component = ?2 AND request = ?3";
    let row = |row: &Row<'_>| read_whole(&VALIDATOR, row, decode);
    let row = connection.prepare_cached(sql)?.query_row([pipeline, component, request], row).optional()?;
    let damaged = u64::from(row == Some(None));
    Ok(Found { value: row.flatten(), damaged })
}

pub(super) fn write(
    connection: &Connection,
    pipeline: &str,
    component: &str,
    request: &str,
    validator: Option<&Validator>,
) -> rusqlite::Result<()> {
    let Some(validator) = validator else {
        let sql = "DELETE FROM validator WHERE pipeline = ?1 AND component = ?2 AND request = ?3";
        connection.prepare_cached(sql)?.execute([pipeline, component, request])?;
        return Ok(());
    };
    fn text(text: &Option<Text>) -> ValueRef<'_> {
        text.as_deref().map_or(ValueRef::Null, ValueRef::from)
    }
    let covered = [
        pipeline.into(),
        component.into(),
        request.into(),
        ValueRef::Integer(validator.until.as_millisecond()),
        ValueRef::Blob(&validator.onward),
        ValueRef::Blob(&validator.url),
        text(&validator.etag),
        text(&validator.last_modified),
        validator.body.as_ref().map_or(ValueRef::Null, |body| ValueRef::Blob(body)),
        ValueRef::Integer(i64::try_from(validator.size).unwrap_or(i64::MAX)),
    ];
    put(connection, &VALIDATOR, &[], &covered)
}

/// Forgets those of a component, whose items are wanted again.
pub(super) fn forget(connection: &Connection, pipeline: &str, component: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM validator WHERE pipeline = ?1 AND component = ?2";
    connection.prepare_cached(sql)?.execute([pipeline, component])?;
    Ok(())
}

/// Forgets up to `count` of those whose time is over.
pub(super) fn purge(connection: &Connection, count: u32, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "DELETE FROM validator WHERE (pipeline, component, request) IN \
               (SELECT pipeline, component, request FROM validator WHERE until <= ?1 LIMIT ?2)";
    connection.prepare_cached(sql)?.execute((now.as_millisecond(), count))?;
    Ok(())
}
