//! Walks over the seen keys, a few at a time.

use jiff::Timestamp;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, Row, params};

use super::is_over;
use crate::store::checksum::is_whole;
use crate::store::schema::SEEN;

/// A place in the order of the table.
pub(super) struct Walk {
    at: (String, String, SqlValue),
}

/// Where a key stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) pipeline: &'a str,
    pub(super) component: &'a str,
    pub(super) key: ValueRef<'a>,
}

impl Walk {
    pub(super) fn from_the_start() -> Self {
        Self { at: (String::new(), String::new(), SqlValue::Text(String::new())) }
    }

    pub(super) fn is_at_the_start(&self) -> bool {
        self.at.0.is_empty() && self.at.1.is_empty()
    }

    /// Shows the next `count` keys, each with the time at which it is forgotten, if ever; nothing for a damaged
    /// row: going on behind the key that it seems to have could pass over others. After the last one it is at the start
    /// again.
    pub(super) fn next(
        &mut self,
        connection: &Connection,
        count: u32,
        mut show: impl FnMut(Option<Place<'_>>, Option<i64>),
    ) -> rusqlite::Result<()> {
        let sql = "SELECT * FROM seen \
                   WHERE (pipeline, component, key) > (?1, ?2, ?3) ORDER BY pipeline, component, key LIMIT ?4";
        let mut statement = connection.prepare_cached(sql)?;
        let (pipeline, component, key) = &self.at;
        let mut rows = statement.query(params![pipeline, component, key, count])?;
        let (mut looked_at, mut last) = (0, None);
        while let Some(row) = rows.next()? {
            looked_at += 1;
            let place = if is_whole(&SEEN, row)? { Place::of(row) } else { None };
            show(place, row.get("until").unwrap_or_default());
            last = place.map(Place::to_owned).or(last);
        }
        drop(rows);
        *self = last.filter(|_| looked_at == count).map_or_else(Self::from_the_start, |at| Self { at });
        Ok(())
    }
}

impl<'a> Place<'a> {
    fn of(row: &'a Row<'_>) -> Option<Self> {
        let text = |column| row.get_ref(column).ok()?.as_str().ok();
        let key = match row.get_ref("key").ok()? {
            ValueRef::Blob(digest) => ValueRef::Blob(digest),
            key => key.as_str().ok()?.into(),
        };
        Some(Self { pipeline: text("pipeline")?, component: text("component")?, key })
    }

    fn to_owned(self) -> (String, String, SqlValue) {
        let key = match self.key {
            ValueRef::Blob(digest) => SqlValue::Blob(digest.to_owned()),
            key => SqlValue::Text(key.as_str().unwrap_or_default().to_owned()),
        };
        (self.pipeline.to_owned(), self.component.to_owned(), key)
    }
}

/// Walks round and round, and removes the keys that are over.
pub(in crate::store) struct Purge(Walk);

impl Purge {
    pub(in crate::store) fn from_the_start() -> Self {
        Self(Walk::from_the_start())
    }

    /// Looks at the next `count` keys.
    pub(in crate::store) fn walk(
        &mut self,
        connection: &Connection,
        count: u32,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let mut over = Vec::new();
        self.0.next(connection, count, |place, until| {
            // A damaged row is left to whoever asks for it.
            over.extend(place.filter(|_| is_over(until, now)).map(Place::to_owned));
        })?;
        let mut remove =
            connection.prepare_cached("DELETE FROM seen WHERE pipeline = ?1 AND component = ?2 AND key = ?3")?;
        for (pipeline, component, key) in &over {
            remove.execute(params![pipeline, component, key])?;
        }
        Ok(())
    }
}
