//! Values as JSON text that anyone can read in the `sqlite3` shell and that comes back exactly.
//!
//! Bytes are `{"$bytes": "<base64>"}`; an object that would be taken for such a mark is wrapped as
//! `{"$object": {…}}`. Everything else is plain JSON.

use crate::model::{Object, Value, json};

const BYTES: &str = "$bytes";
const OBJECT: &str = "$object";

pub(super) fn encode(value: &Value) -> String {
    let out = if is_plain(value) { json::to_vec(value) } else { json::to_vec(&marked(value)) };
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

/// The value that was encoded, or nothing if the text is not one that [`encode`] writes.
pub(super) fn decode(text: &[u8]) -> Option<Value> {
    unmarked(json::parse(text).ok()?)
}

/// Whether JSON shows the value as it is.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Bytes(_) => false,
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(object) => !looks_like_mark(object) && object.values().all(is_plain),
        _ => true,
    }
}

fn looks_like_mark(object: &Object) -> bool {
    object.len() == 1 && object.keys().all(|key| matches!(key, BYTES | OBJECT))
}

/// The value with its bytes marked, so that JSON shows them.
pub(super) fn marked(value: &Value) -> Value {
    match value {
        Value::Bytes(bytes) => mark(BYTES, Value::from(data_encoding::BASE64.encode(bytes))),
        Value::Array(values) => Value::array(values.iter().map(marked).collect()),
        Value::Object(object) => {
            let inner: Value = object.entries().map(|(key, value)| (key, marked(value))).collect();
            if looks_like_mark(object) { mark(OBJECT, inner) } else { inner }
        }
        other => other.clone(),
    }
}

fn mark(name: &str, value: Value) -> Value {
    std::iter::once((name.into(), value)).collect()
}

/// The value that was marked, or nothing if a mark is none that [`marked`] makes.
pub(super) fn unmarked(value: Value) -> Option<Value> {
    Some(match &value {
        Value::Array(values) => Value::array(values.iter().cloned().map(unmarked).collect::<Option<_>>()?),
        Value::Object(object) if looks_like_mark(object) => {
            let (name, inner) = object.first()?;
            match (name, inner) {
                (BYTES, Value::Text(text)) => Value::bytes(data_encoding::BASE64.decode(text.as_bytes()).ok()?),
                (OBJECT, Value::Object(inner)) => unmarked_entries(inner)?,
                _ => return None,
            }
        }
        Value::Object(object) => unmarked_entries(object)?,
        _ => value,
    })
}

fn unmarked_entries(object: &Object) -> Option<Value> {
    object.entries().map(|(key, value)| Some((key, unmarked(value.clone())?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_as_it_was() {
        let object = |name: &str, value| std::iter::once((name.into(), value)).collect::<Value>();
        for (value, text) in [
            (Value::Null, "null"),
            (Value::from("{}"), r#""{}""#),
            (Value::bytes(vec![0u8, 255]), r#"{"$bytes":"AP8="}"#),
            (
                json::parse(b"[1,1.5,12345678901234567890123,{\"a\":[]}]").unwrap(),
                "[1,1.5,12345678901234567890123,{\"a\":[]}]",
            ),
            (object("$bytes", Value::from("AP8=")), r#"{"$object":{"$bytes":"AP8="}}"#),
            (
                object("$object", object("$object", Value::Null)),
                r#"{"$object":{"$object":{"$object":{"$object":null}}}}"#,
            ),
            (object("a", Value::array(vec![Value::bytes(vec![1u8])])), r#"{"a":[{"$bytes":"AQ=="}]}"#),
        ] {
            assert_eq!(encode(&value), text);
            let back = decode(text.as_bytes()).unwrap();
            assert_eq!(back, value);
            assert_eq!(back.type_name(), value.type_name());
        }
    }

    #[test]
    fn a_mark_that_no_encoding_writes_is_refused() {
        for text in [r#"{"$bytes":1}"#, r#"{"$bytes":"?"}"#, r#"{"$object":1}"#, "nul"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
