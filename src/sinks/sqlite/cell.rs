//! How a value becomes a cell, and which type of column suits it.

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};

use crate::model::{Number, Value};

/// The cell of a value in such a column: booleans are 0 and 1, arrays and objects are JSON text.
pub(super) fn cell(value: &Value, column: Affinity) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        // SQLite itself would write no more than 15 of its digits.
        Value::Number(Number::Float(_)) if column == Affinity::Text => {
            return ToSqlOutput::Owned(SqlValue::Text(value.to_string()));
        }
        Value::Bool(truth) => ValueRef::Integer(i64::from(*truth)),
        Value::Number(Number::Int(int)) => ValueRef::Integer(*int),
        Value::Number(Number::Float(float)) => ValueRef::Real(*float),
        // SQLite knows no such number.
        Value::Number(Number::Literal(digits)) => ValueRef::Text(digits.as_bytes()),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Bytes(bytes) => ValueRef::Blob(bytes),
        Value::Array(_) | Value::Object(_) => return ToSqlOutput::Owned(SqlValue::Text(value.to_string())),
    })
}

/// What SQLite does to the cells of a column, by its declared type (<https://sqlite.org/datatype3.html>, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Real,
    Numeric,
    Text,
    /// Cells stay as they are.
    None,
}

impl Affinity {
    pub(super) fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Affinity::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Affinity::Text
        } else if has(&["BLOB"]) || declared.is_empty() {
            Affinity::None
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }

    /// Whether a column would turn this value into another one: `007` is no 7, and no float holds every integer.
    pub(super) fn alters(self, value: &Value) -> bool {
        let digits = match value {
            Value::Text(text) | Value::Number(Number::Literal(text)) => text,
            Value::Number(Number::Int(int)) => {
                return self == Affinity::Real && (*int as f64) as i128 != i128::from(*int);
            }
            _ => return false,
        };
        if matches!(self, Affinity::Text | Affinity::None) {
            return false;
        }
        let digits = digits.trim_ascii();
        let is_integer = digits.strip_prefix(['-', '+']).unwrap_or(digits).bytes().all(|byte| byte.is_ascii_digit());
        is_integer && !digits.is_empty() && digits.parse::<i64>().ok().is_none_or(|int| int.to_string() != digits)
    }
}

/// The type of a column for values such as these; none if they differ, so that each stays as it is.
pub(super) fn column_type<'a>(values: impl Iterator<Item = &'a Value>) -> &'static str {
    let mut found = None;
    for value in values {
        let declared = match value {
            Value::Null => continue,
            Value::Bool(_) | Value::Number(Number::Int(_)) => "INTEGER",
            Value::Number(Number::Float(_)) => "REAL",
            Value::Number(Number::Literal(_)) | Value::Text(_) | Value::Array(_) | Value::Object(_) => "TEXT",
            Value::Bytes(_) => "BLOB",
        };
        match (found, declared) {
            (None, _) => found = Some(declared),
            (Some(before), _) if before == declared => {}
            (Some("INTEGER"), "REAL") | (Some("REAL"), "INTEGER") => found = Some("REAL"),
            _ => return "",
        }
    }
    found.unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_alters_what_it_cannot_hold() {
        let big = || Value::Number(Number::Literal("12345678901234567890".into()));
        for (declared, value, alters) in [
            ("INTEGER", Value::from("007"), true),
            ("INTEGER", Value::from("7"), false),
            ("INTEGER", Value::from("-7"), false),
            ("INTEGER", Value::from("+7"), true),
            ("INTEGER", Value::from("seven"), false),
            ("INTEGER", Value::from("12345678901234567890"), true),
            ("INTEGER", big(), true),
            ("TEXT", big(), false),
            ("", Value::from("007"), false),
            ("REAL", Value::from("1.50"), false),
            ("REAL", Value::from(9_007_199_254_740_993), true),
            ("REAL", Value::from(5), false),
            ("INTEGER", Value::from(1.5), false),
            ("DATE", Value::from("007"), true),
        ] {
            assert_eq!(Affinity::of(declared).alters(&value), alters, "{declared} {value}");
        }
    }

    #[test]
    fn a_type_is_found_where_all_values_agree() {
        for (values, declared) in [
            (vec![Value::Null, Value::from(1), Value::from(true)], "INTEGER"),
            (vec![Value::from(1), Value::from(1.5), Value::from(2)], "REAL"),
            (vec![Value::from("a"), Value::array(vec![])], "TEXT"),
            (vec![Value::bytes(vec![1u8])], "BLOB"),
            (vec![Value::from(1), Value::from("a")], ""),
            (vec![Value::Null], ""),
        ] {
            assert_eq!(column_type(values.iter()), declared, "{values:?}");
        }
    }
}
