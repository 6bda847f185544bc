//! JSON text to values and back.
//!
//! Integers keep every digit, whatever their length. What JSON has no word for (bytes) is written as base64 text.

use std::fmt;

use hifijson::SliceLexer;
use hifijson::num::LexWrite;
use hifijson::str::LexAlloc;
use hifijson::token::{Expect, Lex};

use super::{Number, Object, Text, Value};

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

/// Parses exactly one JSON value (RFC 8259) in UTF-8; a byte order mark before it is passed over.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let body = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lexer = SliceLexer::new(body);
    let parsed = lexer.exactly_one(Lex::ws_peek, |next, lexer| parse_value(next, lexer, MAX_DEPTH));
    parsed.map_err(|reason| {
        // A value cut short is the usual case; the lexer then stands at the end.
        JsonError { offset: text.len() - lexer.as_slice().len(), reason: reason.to_string() }
    })
}

enum Wrong {
    Lexer(hifijson::Error),
    Depth,
}

impl<E: Into<hifijson::Error>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Wrong::Lexer(error.into())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Lexer(error) => write!(formatter, "{error}"),
            Wrong::Depth => write!(formatter, "nested deeper than {MAX_DEPTH}"),
        }
    }
}

/// Parses the value that begins with `next`, the byte at the lexer.
fn parse_value(next: u8, lexer: &mut SliceLexer<'_>, depth: usize) -> Result<Value, Wrong> {
    Ok(match next {
        b'n' | b't' | b'f' => match lexer.null_or_bool().ok_or(Expect::Value)? {
            None => Value::Null,
            Some(truth) => Value::Bool(truth),
        },
        b'"' => Value::Text(lexer.discarded().str_string().map_err(hifijson::Error::Str)?.as_ref().into()),
        b'-' | b'0'..=b'9' => Value::Number(parse_number(lexer)?),
        b'[' => {
            let depth = depth.checked_sub(1).ok_or(Wrong::Depth)?;
            let mut values = Vec::new();
            lexer.discarded().seq(b']', Lex::ws_peek, |next, lexer| {
                values.push(parse_value(next, lexer, depth)?);
                Ok::<_, Wrong>(())
            })?;
            Value::array(values)
        }
        b'{' => {
            let depth = depth.checked_sub(1).ok_or(Wrong::Depth)?;
            let mut object = Object::default();
            lexer.discarded().seq(b'}', Lex::ws_peek, |next, lexer| {
                if next != b'"' {
                    return Err(Expect::String.into());
                }
                let key: Text = lexer.discarded().str_string().map_err(hifijson::Error::Str)?.as_ref().into();
                lexer.expect(Lex::ws_peek, b':').ok_or(Expect::Colon)?;
                let next = lexer.ws_peek().ok_or(Expect::Value)?;
                object.insert(key, parse_value(next, lexer, depth)?);
                Ok::<_, Wrong>(())
            })?;
            Value::object(object)
        }
        _ => return Err(Expect::Value.into()),
    })
}

fn parse_number(lexer: &mut SliceLexer<'_>) -> Result<Number, Wrong> {
    let (digits, parts) = lexer.num_string().validated().map_err(hifijson::Error::Num)?;
    if parts.is_int() {
        return Ok(digits.parse().map_or_else(|_| Number::Literal(digits.into()), Number::Int));
    }
    let float: f64 = digits.parse().map_err(|_| Expect::Value)?;
    // 1e999 is JSON, but no finite float: keep it as it was written.
    Ok(if float.is_finite() { Number::Float(float) } else { Number::Literal(digits.into()) })
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
                write_scalar(key, out);
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
        Value::Text(text) => write_scalar(&**text, out),
        Value::Bytes(bytes) => {
            out.push(b'"');
            let encoded = data_encoding::BASE64.encode(bytes);
            out.extend_from_slice(encoded.as_bytes());
            out.push(b'"');
        }
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (index, (key, value)) in object.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_scalar(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn json_comes_out_as_it_went_in() {
        for text in [
            "null",
            "true",
            "-7",
            "1.5",
            "12345678901234567890123",
            "1e999",
            r#""a\"\\\u0001é""#,
            "[]",
            r#"{"b":1,"a":[{"c":null}],"":{}}"#,
        ] {
            let value = parse(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), text);
        }
        assert_eq!(parse(b"\xef\xbb\xbf [1]\n").unwrap(), parse(b"[1]").unwrap());
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, offset) in [("", 0), ("[1,", 3), ("{\"a\" 1}", 5), ("1 2", 2), ("nul", 1), ("NaN", 0), ("[01]", 2)] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().offset, offset, "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_has_a_limit_instead_of_overflowing_the_stack() {
        let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().reason.contains("nested deeper"));
        assert!(parse(&nested(1_000_000)).is_err());
    }
}
