//! Cursors: how far components have come in a remote's data, the runs that are to move them, and the items at a cursor
//! that may come again.

mod edition;
mod rows;

use super::state::Found;
use super::{Digest, Store};
use crate::model::{Fault, Text, Value};

pub(super) use edition::Editions;
pub(super) use rows::{put_cursor, reset, write};

/// What a cursor belongs to. A component has one for each of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CursorKey {
    pub pipeline: Text,
    pub component: Text,
    pub partition: Text,
}

/// A cursor, and the run that is to move it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cursor {
    /// Nothing before the first run has come to its end.
    pub value: Option<Value>,
    /// Where a run goes on that has not come to its end, as its component wrote it.
    pub run: Option<Value>,
    /// For [`CursorChange::edition`].
    pub edition: u64,
}

/// What a page of a run leaves behind once it has settled, and every page before it.
#[derive(Clone, Debug)]
pub struct CursorChange {
    pub key: CursorKey,
    /// Of the cursor that the run began with. If a person has set or reset the cursor since, nothing is written.
    pub edition: u64,
    pub cursor: CursorMove,
    /// Where the run goes on; nothing if it is over.
    pub run: Option<Value>,
    /// Items of the page that may come again.
    pub settled: Vec<SettledItem>,
    /// Those below this rank cannot come again.
    pub forget_below: Option<Rank>,
}

/// What becomes of a cursor.
#[derive(Clone, Debug, PartialEq)]
pub enum CursorMove {
    Stays,
    To(Value),
    /// There is none, as before the first run.
    Away,
}

/// An item that has settled, as far as it must be known again.
#[derive(Clone, Debug, PartialEq)]
pub struct SettledItem {
    pub rank: Rank,
    /// Of its key and its value of the cursor.
    pub digest: Digest,
}

/// Where an item stands in the order of the cursor's values: of two values the greater has no lower rank.
#[derive(Clone, Debug, PartialEq)]
pub enum Rank {
    Integer(i64),
    Real(f64),
    Text(Text),
}

impl Store {
    /// The newest whole cursor, and its run. A damaged run counts as none: the cursor it began at is there.
    pub fn cursor(&self, key: &CursorKey) -> Result<Cursor, Fault> {
        // First of all: of a cursor that is set meanwhile, this may be too old, but never too new.
        let edition = self.inner.writer.as_ref().map_or(0, |writer| writer.edition(key));
        self.inner.readers.read(|connection| {
            let cursor = rows::cursor(connection, key)?;
            let run = rows::run(connection, key)?;
            let value = Cursor { value: cursor.value.map(|(_, value)| value), run: run.value, edition };
            Ok(Found { value, damaged: cursor.damaged + run.damaged })
        })
    }

    /// Which of the items are known to have settled. A damaged row counts as unknown.
    pub fn are_settled(&self, key: &CursorKey, items: &[SettledItem]) -> Result<Vec<bool>, Fault> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.readers.read(|connection| rows::are_settled(connection, key, items))
    }
}

#[cfg(test)]
mod tests;
