//! The columns of a table whose first row names them.

use super::{Object, Text, Value};

/// The names of a table's columns, each different.
#[derive(Debug)]
pub struct Columns(Vec<Text>);

impl Columns {
    /// A name for each field of the first row: its own, unless it has none (`column_3`) or one before it has the
    /// same (`name_2`).
    pub fn named<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<Text> = Vec::new();
        for (index, field) in fields.enumerate() {
            let own = if field.is_empty() { format!("column_{}", index + 1) } else { field.to_owned() };
            let mut name = Text::from(own.as_str());
            let mut count = 1;
            while names.contains(&name) {
                count += 1;
                name = format!("{own}_{count}").into();
            }
            names.push(name);
        }
        Self(names)
    }

    /// A row as an object. The error says how many fields it has too many or too few.
    pub fn row<'a>(&self, fields: impl Iterator<Item = &'a str> + Clone) -> Result<Value, String> {
        let (count, columns) = (fields.clone().count(), self.0.len());
        if count != columns {
            let (field, column) =
                (if count == 1 { "field" } else { "fields" }, if columns == 1 { "column" } else { "columns" });
            return Err(format!("the row has {count} {field}, but the first row names {columns} {column}"));
        }
        Ok(Value::object(self.0.iter().cloned().zip(fields.map(Value::from)).collect::<Object>()))
    }
}
