//! Values as rows of a table.

use crate::model::{Number, Value, json};

/// The columns of a table, and its first line.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    names: Vec<String>,
    pub(super) header: Vec<u8>,
}

impl Columns {
    pub(super) fn new(names: Vec<String>) -> Self {
        let mut rows = Rows::new();
        rows.write(names.iter().map(String::as_bytes));
        Self { names, header: rows.finish() }
    }
}

/// Rows on their way into a file.
pub(super) struct Rows(Box<csv::Writer<Vec<u8>>>);

impl Rows {
    pub(super) fn new() -> Self {
        Self(Box::new(csv::Writer::from_writer(Vec::new())))
    }

    /// Appends the row of a value: an object's fields by name, or an array's values in order.
    pub(super) fn push(&mut self, columns: &Columns, value: &Value) -> Result<(), String> {
        let names = &columns.names;
        let cells: Vec<Vec<u8>> = match value {
            Value::Object(object) => {
                names.iter().map(|name| object.get(name.as_str()).map_or_else(Vec::new, cell)).collect()
            }
            Value::Array(values) if values.len() == names.len() => values.iter().map(cell).collect(),
            Value::Array(values) => {
                return Err(format!("a row needs {} values, and this array has {}", names.len(), values.len()));
            }
            other => {
                return Err(format!(
                    "a row is made of an object or an array, and this is of type {}",
                    other.type_name()
                ));
            }
        };
        self.write(cells);
        Ok(())
    }

    fn write<C: AsRef<[u8]>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.write_record(cells).expect("rows have as many cells as there are columns, and a Vec takes every write");
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("a Vec takes every write")
    }
}

/// Null is empty, text is itself, and anything else its JSON; bytes are base64.
fn cell(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::Text(text) | Value::Number(Number::Literal(text)) => text.as_bytes().to_vec(),
        Value::Bytes(bytes) => data_encoding::BASE64.encode(bytes).into_bytes(),
        other => json::to_vec(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_row_of_its_columns() {
        let columns = Columns::new(vec!["id".to_owned(), "a, \"b\"".to_owned()]);
        assert_eq!(columns.header, b"id,\"a, \"\"b\"\"\"\n");
        for (json, row) in [
            (r#"{"id":1,"more":2}"#, "1,\n"),
            (r#"{"id":null}"#, ",\n"),
            (r#"["x\ny",{"a":[true]}]"#, "\"x\ny\",\"{\"\"a\"\":[true]}\"\n"),
            (r#"["",1.5]"#, ",1.5\n"),
            ("[1]", "a row needs 2 values, and this array has 1"),
            ("7", "a row is made of an object or an array, and this is of type number"),
        ] {
            let mut rows = Rows::new();
            let pushed = rows.push(&columns, &json::parse(json.as_bytes()).unwrap());
            let shown = pushed.map_or_else(|message| message, |()| String::from_utf8(rows.finish()).unwrap());
            assert_eq!(shown, row, "{json}");
        }
    }
}
