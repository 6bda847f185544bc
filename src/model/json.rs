//! JSON text to values and back.
//!
//! Integers keep every digit, whatever their length. What JSON has no word for (bytes) is written as base64 text.

mod diagnosis;
mod raw;
mod scan;
mod selection;
mod window;

use std::fmt;

use bytes::Bytes;

use self::diagnosis::diagnose;
pub(super) use self::raw::{Place, Raw};
use self::scan::scan;
pub use self::selection::{Field, Selected, Selection};
use super::{Number, Value};

/// How deep arrays and objects may stand inside each other. Beyond it, text is refused: walking a value
/// needs stack in proportion to its depth.
pub const MAX_DEPTH: usize = 256;

/// Text that is not JSON, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonError {
    /// The first byte that does not fit.
    pub offset: usize,
    pub reason: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not JSON at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for JsonError {}

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Parses exactly one JSON value (RFC 8259) in UTF-8; a byte order mark before it is passed over.
///
/// The whole text is looked at, but arrays and objects stay text until somebody looks inside.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let found = str::from_utf8(text.strip_prefix(MARK).unwrap_or(text)).ok();
    let found = found.and_then(|body| Some(raw::copied(body, &checked(body)?)));
    found.ok_or_else(|| error_in(text))
}

/// [`parse`] for a text that need not be copied if nobody else holds it.
pub fn parse_bytes(text: Bytes) -> Result<Value, JsonError> {
    if text.starts_with(MARK) {
        return parse(&text);
    }
    let text = String::from_utf8(text.into()).map_err(|error| error_in(error.as_bytes()))?;
    match checked(&text) {
        Some(scan) => Ok(raw::whole(text, &scan)),
        None => Err(error_in(text.as_bytes())),
    }
}

fn checked(text: &str) -> Option<scan::Scan> {
    if text.len() <= raw::MAX_LENGTH { scan(text) } else { None }
}

fn error_in(text: &[u8]) -> JsonError {
    let body = text.strip_prefix(MARK).unwrap_or(text);
    match diagnose(body) {
        Some(error) => JsonError { offset: error.offset + (text.len() - body.len()), ..error },
        None => JsonError { offset: raw::MAX_LENGTH.min(text.len()), reason: "too long".to_owned() },
    }
}

/// `value` as JSON for people, indented and with a line break at its end.
pub fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    write_pretty(value, "\n", &mut out);
    out.push(b'\n');
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

/// `margin` is a line break and what stands before the value's own lines.
fn write_pretty(value: &Value, margin: &str, out: &mut Vec<u8>) {
    let inner = format!("{margin}  ");
    match value {
        Value::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                out.extend_from_slice(inner.as_bytes());
                write_pretty(value, &inner, out);
            }
            out.extend_from_slice(margin.as_bytes());
            out.push(b']');
        }
        Value::Object(object) if !object.is_empty() => {
            for (index, (key, value)) in object.iter().enumerate() {
                out.push(if index == 0 { b'{' } else { b',' });
                out.extend_from_slice(inner.as_bytes());
                write_text(key, out);
                out.extend_from_slice(b": ");
                write_pretty(value, &inner, out);
            }
            out.extend_from_slice(margin.as_bytes());
            out.push(b'}');
        }
        plain => write(plain, out),
    }
}

/// Appends `value` as compact JSON without a line break.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(Number::Int(int)) => write_scalar(int, out),
        Value::Number(Number::Float(float)) => write_scalar(float, out),
        Value::Number(Number::Literal(digits)) => out.extend_from_slice(digits.as_bytes()),
        Value::Text(text) => write_text(text, out),
        Value::Bytes(bytes) => {
            out.push(b'"');
            let encoded = data_encoding::BASE64.encode(bytes);
            out.extend_from_slice(encoded.as_bytes());
            out.push(b'"');
        }
        Value::Array(values) => values.write(out),
        Value::Object(object) => object.write(out),
    }
}

/// Appends a key or another text with its quotes.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    if !scan::is_plain(text) {
        return write_scalar(text, out);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn write_scalar<T: serde::Serialize + ?Sized>(scalar: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, scalar).expect("numbers and text always serialize, and a Vec takes every write");
}

/// `value` as compact JSON.
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write(value, &mut out);
    out
}

#[cfg(test)]
mod tests;
