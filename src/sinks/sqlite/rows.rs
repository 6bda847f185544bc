//! Writes the rows of a transaction: several of one shape by one statement, and each by its own where that is refused.

use std::sync::Arc;

use rusqlite::{CachedStatement, Transaction};

use super::Options;
use super::cell::cell;
use super::table::{Row, RowFault, Shape, Table};
use super::writer::{Failure, Refused, checked_row};
use crate::model::Value;

/// So many rows one statement writes, or one: the text of each statement is prepared once.
pub(super) const TOGETHER: usize = 16;

pub(super) struct Rows<'a> {
    transaction: &'a Transaction<'a>,
    options: &'a Options,
    /// Nothing if no row can be written.
    table: Option<&'a mut Table>,
    /// What wrote the row before: the next one often has the same fields.
    insert: Option<Insert<'a>>,
    /// Rows of that shape that are not written yet.
    pending: Vec<Pending<'a>>,
    /// For each batch.
    refused: Vec<Refused>,
}

/// The statements that write rows of one shape.
struct Insert<'a> {
    shape: Arc<Shape>,
    alone: CachedStatement<'a>,
    together: Option<CachedStatement<'a>>,
}

struct Pending<'a> {
    batch: usize,
    place: usize,
    row: Row<'a>,
}

impl<'a> Rows<'a> {
    pub(super) fn of(
        transaction: &'a Transaction<'a>,
        options: &'a Options,
        table: Option<&'a mut Table>,
        batches: usize,
    ) -> Self {
        let refused = vec![Refused::new(); batches];
        Self { transaction, options, table, insert: None, pending: Vec::with_capacity(TOGETHER), refused }
    }

    /// Writes the value at a place in a batch, at the latest with [`Rows::finish`].
    pub(super) fn add(&mut self, batch: usize, place: usize, value: &'a Value) -> Result<(), Failure> {
        let row = match checked_row(self.options, value) {
            Ok(row) => row,
            Err(message) => return self.refuse(batch, place, RowFault::Refused(message)),
        };
        if !self.insert.as_ref().is_some_and(|insert| insert.shape.is_of(&row)) {
            self.flush()?;
            if let Err(fault) = self.turn_to(&row) {
                return self.refuse(batch, place, fault);
            }
        }
        let Insert { shape, .. } = self.insert.as_ref().expect("it was just looked at");
        for ((name, value), affinity) in row.iter().zip(&shape.fields) {
            if affinity.is_some_and(|affinity| affinity.alters(value)) {
                let message = format!(
                    "its column `{name}` holds numbers, and would turn {value} into another value; make the column TEXT"
                );
                return self.refuse(batch, place, RowFault::Refused(message));
            }
        }
        self.pending.push(Pending { batch, place, row });
        if self.pending.len() == TOGETHER { self.flush() } else { Ok(()) }
    }

    /// Writes what is left, and answers the rows of each batch that were refused.
    pub(super) fn finish(mut self) -> Result<Vec<Refused>, Failure> {
        self.flush()?;
        self.refused.iter_mut().for_each(|refused| refused.sort_by_key(|(place, _)| *place));
        Ok(self.refused)
    }

    /// Prepares the statement for rows with the fields of this one.
    fn turn_to(&mut self, row: &Row<'_>) -> Result<(), RowFault> {
        let table = self.table.as_mut().expect("it was made for the rows that pass the check");
        let shape = table.shape(self.transaction, self.options, row)?;
        let alone = self.transaction.prepare_cached(&shape.insert).map_err(RowFault::Failed)?;
        self.insert = Some(Insert { shape, alone, together: None });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let mut pending = std::mem::take(&mut self.pending);
        if let (TOGETHER, Some(insert)) = (pending.len(), &mut self.insert) {
            match write_together(self.transaction, insert, &pending) {
                Ok(true) => pending.clear(),
                Ok(false) => {}
                Err(fault) => self.refuse(pending[0].batch, pending[0].place, fault)?,
            }
        }
        for Pending { batch, place, row } in pending.drain(..) {
            let Insert { shape, alone, .. } = self.insert.as_mut().expect("a row is pending once it has a statement");
            // SQLite undoes a statement that fails, and no other.
            if let Err(fault) = write(alone, shape, [&row]) {
                self.refuse(batch, place, fault)?;
            }
        }
        self.pending = pending;
        Ok(())
    }

    fn refuse(&mut self, batch: usize, place: usize, fault: RowFault) -> Result<(), Failure> {
        match fault {
            // A trigger can undo everything.
            RowFault::Refused(message) if self.transaction.is_autocommit() => Err(Failure::SomeRow(message)),
            RowFault::Refused(message) => {
                self.refused[batch].push((place, self.options.refused(&message)));
                Ok(())
            }
            RowFault::Failed(error) => Err(error.into()),
        }
    }
}

/// Writes rows by one statement. False if that was refused; then none of them is written, whatever the table says of rows
/// that conflict.
fn write_together<'a>(
    transaction: &'a Transaction<'a>,
    insert: &mut Insert<'a>,
    rows: &[Pending<'_>],
) -> Result<bool, RowFault> {
    let run = |sql| {
        let ran = transaction.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        ran.map_err(RowFault::Failed)
    };
    let Insert { shape, together, .. } = insert;
    let together = match together {
        Some(together) => together,
        None => together.insert(transaction.prepare_cached(&shape.insert_together).map_err(RowFault::Failed)?),
    };
    run("SAVEPOINT together")?;
    match write(together, shape, rows.iter().map(|pending| &pending.row)) {
        Err(RowFault::Refused(_)) if !transaction.is_autocommit() => {
            run("ROLLBACK TO together")?;
            run("RELEASE together")?;
            Ok(false)
        }
        Err(fault) => Err(fault),
        Ok(()) => {
            run("RELEASE together")?;
            Ok(true)
        }
    }
}

fn write<'r, 'v: 'r>(
    statement: &mut CachedStatement<'_>,
    shape: &Shape,
    rows: impl IntoIterator<Item = &'r Row<'v>>,
) -> Result<(), RowFault> {
    let mut place = 0;
    for row in rows {
        for ((_, value), affinity) in row.iter().zip(&shape.fields) {
            let Some(affinity) = affinity else { continue };
            place += 1;
            statement.raw_bind_parameter(place, cell(value, *affinity)).map_err(RowFault::of)?;
        }
    }
    statement.raw_execute().map_err(RowFault::of)?;
    Ok(())
}
