//! The table that rows go to: its columns, how it is made and grows, and the statement for each shape of row.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use rusqlite::Connection;

use super::cell::{Affinity, column_type};
use super::rows::TOGETHER;
use super::{Extra, Options};
use crate::model::{Text, Value};

/// A table as it is now.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    /// The place of each column by its name in lower case: to SQLite `Id` and `id` are one.
    places: HashMap<String, usize>,
    /// The statements for the shapes of row that have come along.
    shapes: HashMap<Vec<Text>, Arc<Shape>>,
}

#[derive(Debug)]
struct Column {
    name: String,
    affinity: Affinity,
    /// SQLite computes it.
    is_generated: bool,
}

/// The fields of a row in turn.
pub(super) type Row<'a> = Vec<(&'a str, Cow<'a, Value>)>;

/// What rows with the same fields have in common.
#[derive(Debug)]
pub(super) struct Shape {
    names: Vec<Text>,
    /// Writes one row.
    pub(super) insert: String,
    /// Writes [`TOGETHER`] rows.
    pub(super) insert_together: String,
    /// For each field in turn what its column does to it; nothing if it is left out.
    pub(super) fields: Vec<Option<Affinity>>,
}

impl Shape {
    /// Whether a row has these fields, in this order.
    pub(super) fn is_of(&self, row: &Row<'_>) -> bool {
        row.len() == self.names.len() && row.iter().zip(&self.names).all(|((key, _), name)| **key == **name)
    }
}

/// Why a row cannot be written.
#[derive(Debug)]
pub(super) enum RowFault {
    /// It is the row's own fault.
    Refused(String),
    /// Nothing can be written.
    Failed(rusqlite::Error),
}

/// How many shapes are remembered. Beyond it all are forgotten and found again.
const SHAPES: usize = 256;

impl Table {
    /// The table of this name, if there is one.
    pub(super) fn load(connection: &Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare("SELECT name, type, hidden FROM pragma_table_xinfo(?1)")?;
        let columns = statement.query_map([name], |row| {
            let declared: String = row.get(1)?;
            Ok(Column {
                name: row.get(0)?,
                affinity: Affinity::of(&declared),
                is_generated: row.get::<_, i64>(2)? != 0,
            })
        })?;
        let columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
        let places = columns.iter().enumerate().map(|(place, column)| (folded(&column.name), place)).collect();
        Ok((!columns.is_empty()).then(|| Self { columns, places, shapes: HashMap::new() }))
    }

    /// Makes the table with the columns of the options and, unless those are all, with what `rows` hold.
    pub(super) fn create(connection: &Connection, options: &Options, rows: &[Row<'_>]) -> rusqlite::Result<()> {
        let mut columns: IndexMap<String, (&str, &str)> = IndexMap::new();
        for (name, declared) in &options.columns {
            columns.entry(folded(name)).or_insert((name, declared));
        }
        if options.columns.is_empty() {
            let mut values: IndexMap<String, (&str, Vec<&Value>)> = IndexMap::new();
            for (name, value) in rows.iter().flatten() {
                values.entry(folded(name)).or_insert((name, Vec::new())).1.push(value);
            }
            for (key, (name, values)) in values {
                columns.insert(key, (name, column_type(values.into_iter())));
            }
        }
        let mut definitions: Vec<_> =
            columns.values().map(|(name, declared)| format!("{} {declared}", quoted(name))).collect();
        if !options.primary_key.is_empty() {
            definitions.push(format!("PRIMARY KEY ({})", quoted_list(&options.primary_key)));
        }
        let table = quoted(&options.table);
        connection.execute_batch(&format!("CREATE TABLE {table} ({})", definitions.join(", ")))
    }

    /// Adds the columns of the options that the table lacks.
    pub(super) fn complete(&mut self, connection: &Connection, options: &Options) -> rusqlite::Result<()> {
        for (name, declared) in &options.columns {
            if !self.places.contains_key(&folded(name)) {
                self.add(connection, options, name, declared)?;
            }
        }
        Ok(())
    }

    /// The shape of a row with these fields. Adds the columns that it needs, if the options say so.
    pub(super) fn shape(
        &mut self,
        connection: &Connection,
        options: &Options,
        row: &Row<'_>,
    ) -> Result<Arc<Shape>, RowFault> {
        let keys: Vec<Text> = row.iter().map(|(key, _)| Text::from(*key)).collect();
        if let Some(shape) = self.shapes.get(&keys) {
            return Ok(shape.clone());
        }
        let shape = Arc::new(self.find_shape(connection, options, row, keys.clone())?);
        if self.shapes.len() >= SHAPES {
            self.shapes.clear();
        }
        self.shapes.insert(keys, shape.clone());
        Ok(shape)
    }

    fn find_shape(
        &mut self,
        connection: &Connection,
        options: &Options,
        row: &Row<'_>,
        keys: Vec<Text>,
    ) -> Result<Shape, RowFault> {
        let refused = |message: String| Err(RowFault::Refused(message));
        let mut fields = Vec::with_capacity(row.len());
        let mut chosen: Vec<usize> = Vec::with_capacity(row.len());
        for (name, value) in row {
            let place = match (self.places.get(&folded(name)), options.extra) {
                (Some(place), _) if !self.columns[*place].is_generated => *place,
                (_, Extra::Ignore) => {
                    fields.push(None);
                    continue;
                }
                (Some(_), _) => return refused(format!("its column `{name}` is one that SQLite computes")),
                (None, Extra::Reject) => {
                    return refused(format!("it has no column `{name}`, and `extra` is \"reject\""));
                }
                (None, Extra::Add) => {
                    let declared = column_type(std::iter::once(&**value));
                    self.add(connection, options, name, declared).map_err(RowFault::of)?
                }
            };
            if chosen.contains(&place) {
                let column = &self.columns[place].name;
                return refused(format!("two of its fields are the column `{column}`: SQLite takes no note of case"));
            }
            chosen.push(place);
            fields.push(Some(self.columns[place].affinity));
        }
        if chosen.is_empty() {
            return refused("it has no field that is a column".to_owned());
        }
        let names: Vec<&str> = chosen.iter().map(|place| self.columns[*place].name.as_str()).collect();
        let [insert, insert_together] = [1, TOGETHER].map(|rows| insert(options, &names, rows));
        Ok(Shape { names: keys, insert, insert_together, fields })
    }

    fn add(
        &mut self,
        connection: &Connection,
        options: &Options,
        name: &str,
        declared: &str,
    ) -> rusqlite::Result<usize> {
        let table = quoted(&options.table);
        connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {} {declared}", quoted(name)))?;
        log::info!(table = &*options.table, column = name; "added a column for a new field");
        self.shapes.clear();
        self.places.insert(folded(name), self.columns.len());
        self.columns.push(Column { name: name.to_owned(), affinity: Affinity::of(declared), is_generated: false });
        Ok(self.columns.len() - 1)
    }
}

impl RowFault {
    pub(super) fn of(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            // `Unknown` is what SQLite answers to a column that it does not want to add.
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::Unknown) => {
                RowFault::Refused(error.to_string())
            }
            _ => RowFault::Failed(error),
        }
    }
}

/// The statement that writes these columns of so many rows.
pub(super) fn insert(options: &Options, names: &[&str], rows: usize) -> String {
    let places = format!("({})", vec!["?"; names.len()].join(", "));
    let rows = vec![places; rows].join(", ");
    let mut sql = format!("INSERT INTO {} ({}) VALUES {rows}", quoted(&options.table), quoted_list(names));
    if !options.primary_key.is_empty() {
        let is_key = |name: &&&str| options.primary_key.iter().any(|key| key.eq_ignore_ascii_case(name));
        let updates: Vec<_> = names.iter().filter(|name| !is_key(name)).map(|name| update(name)).collect();
        let conflict = quoted_list(&options.primary_key);
        sql += &match &updates[..] {
            [] => format!(" ON CONFLICT ({conflict}) DO NOTHING"),
            _ => format!(" ON CONFLICT ({conflict}) DO UPDATE SET {}", updates.join(", ")),
        };
    }
    sql
}

fn update(name: &str) -> String {
    let name = quoted(name);
    format!("{name} = excluded.{name}")
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}
