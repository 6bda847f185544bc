//! The value of an item: JSON data, text or bytes, cheap to clone and to share.

use std::sync::Arc;

use bytes::Bytes;

use super::{Array, Object};

/// Immutable UTF-8 text, shared by every clone.
pub type Text = Arc<str>;

/// JSON data, text or bytes. A clone shares the contents, so it costs at most one counter.
///
/// Equality is structural; an object's key order does not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    Array(Array),
    Object(Object),
    /// Bytes that are not text, such as an image. JSON shows them as base64.
    Bytes(Arc<Bytes>),
}

/// A number as its author wrote it, as far as JSON output can tell.
#[derive(Clone, Debug)]
pub enum Number {
    Int(i64),
    /// Finite: JSON knows neither NaN nor infinities.
    Float(f64),
    /// An integer beyond 64 bits, kept digit by digit so that no identifier is ever rounded.
    Literal(Text),
}

impl Number {
    pub fn as_f64(&self) -> f64 {
        match self {
            Number::Int(int) => *int as f64,
            Number::Float(float) => *float,
            Number::Literal(digits) => digits.parse().unwrap_or(f64::NAN),
        }
    }
}

/// `1` and `1.0` are the same number, as in jq.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (Number::Literal(a), Number::Literal(b)) => a == b,
            _ => self.as_f64() == other.as_f64(),
        }
    }
}

impl Value {
    pub fn text(text: impl Into<Text>) -> Self {
        Value::Text(text.into())
    }

    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Value::Bytes(Arc::new(bytes.into()))
    }

    pub fn array(values: Vec<Value>) -> Self {
        Value::Array(values.into())
    }

    pub fn object(object: Object) -> Self {
        Value::Object(object)
    }

    /// The value under `key`, if this is an object that has one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(object) => object.get(key),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Number(Number::Int(int)) => Some(*int),
            _ => None,
        }
    }

    /// Whether both share their contents: a cheap test that may miss equal values, but never mixes up different ones.
    pub fn is_same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Text(a), Value::Text(b)) => Arc::ptr_eq(a, b),
            (Value::Array(a), Value::Array(b)) => a.is_same(b),
            (Value::Object(a), Value::Object(b)) => a.is_same(b),
            (Value::Bytes(a), Value::Bytes(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The text of an array or an object that is still what its author wrote.
    pub fn json_text(&self) -> Option<&str> {
        match self {
            Value::Array(values) => values.json_text(),
            Value::Object(object) => object.json_text(),
            _ => None,
        }
    }

    /// What [`super::json::write`] makes of an array or an object, if that is there already.
    pub fn compact_json(&self) -> Option<&str> {
        match self {
            Value::Array(values) => values.compact_json(),
            Value::Object(object) => object.compact_json(),
            _ => None,
        }
    }

    /// The word for this value's type in messages, the one that jq uses.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::Text(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Bytes(_) => "bytes",
        }
    }

    /// About how many bytes this value holds in memory, shared parts counted as if they were its own.
    ///
    /// What came from JSON text counts as if it were open. Walks through what was made otherwise.
    pub fn size_in_memory(&self) -> usize {
        size_of::<Value>()
            + match self {
                Value::Null | Value::Bool(_) => 0,
                Value::Number(Number::Literal(digits)) => digits.len(),
                Value::Number(_) => 0,
                Value::Text(text) => text.len(),
                Value::Bytes(bytes) => bytes.len(),
                Value::Array(values) => values.size_in_memory(),
                Value::Object(object) => object.size_in_memory(),
            }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Number(Number::Int(value))
    }
}

impl From<f64> for Value {
    /// NaN and infinities, which JSON lacks, become null.
    fn from(value: f64) -> Self {
        if value.is_finite() { Value::Number(Number::Float(value)) } else { Value::Null }
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value.into())
    }
}

impl FromIterator<(Text, Value)> for Value {
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(entries: I) -> Self {
        Value::object(entries.into_iter().collect())
    }
}

/// Compact JSON.
impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::new();
        super::json::write(self, &mut out);
        formatter.write_str(&String::from_utf8_lossy(&out))
    }
}
