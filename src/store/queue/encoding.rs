//! Entries as bytes: exact, compact, and quicker to read than JSON.
//!
//! ```text
//! entry   version (1 byte), id (8), window (a 0, or a 1 and 2 times of 8 + 4), pipeline, labels, value;
//!         in version 2 tries (4) and the time of the first (8 + 4) behind the id
//! value   kind (1 byte), then by kind: nothing | an integer (8) | a float (8) | bytes | a count and that many values
//!         | a count and that many keys with values | JSON text
//! ```
//!
//! Lengths and counts are LEB128 numbers, everything else is little-endian. A checksum guards each entry from outside.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::model::{ItemId, Number, Object, Text, Value, Window, json};
use crate::store::{Entry, Tried};

const VERSION: u8 = 1;

/// Of an entry that was tried.
const TRIED: u8 = 2;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const LITERAL: u8 = 5;
const TEXT: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;
const BYTES: u8 = 9;
const JSON: u8 = 10;

pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.push(if entry.tried.is_some() { TRIED } else { VERSION });
    out.extend(entry.item.0.to_le_bytes());
    if let Some(Tried { count, since }) = entry.tried {
        out.extend(count.to_le_bytes());
        put_time(since, &mut out);
    }
    match entry.window {
        None => out.push(0),
        Some(Window { start, end }) => {
            out.push(1);
            put_time(start, &mut out);
            put_time(end, &mut out);
        }
    }
    put_bytes(entry.pipeline.as_bytes(), &mut out);
    put_value(&entry.labels, &mut out);
    put_value(&entry.value, &mut out);
    out
}

/// The entry that was encoded, or nothing if these are not the bytes that [`encode`] writes.
pub(super) fn decode(bytes: &[u8]) -> Option<Entry> {
    let mut input = Input(bytes);
    let version = input.byte()?;
    let item = ItemId(u64::from_le_bytes(input.array()?));
    let tried = match version {
        VERSION => None,
        TRIED => Some(Tried { count: u32::from_le_bytes(input.array()?), since: input.time()? }),
        _ => return None,
    };
    let window = match input.byte()? {
        0 => None,
        1 => Some(Window { start: input.time()?, end: input.time()? }),
        _ => return None,
    };
    let pipeline = input.text()?;
    let labels = input.value()?;
    let value = input.value()?;
    input.0.is_empty().then_some(Entry { pipeline, item, window, value, labels, tried })
}

fn put_time(time: Timestamp, out: &mut Vec<u8>) {
    out.extend(time.as_second().to_le_bytes());
    out.extend(time.subsec_nanosecond().to_le_bytes());
}

fn put_value(value: &Value, out: &mut Vec<u8>) {
    if let Some(text) = value.json_text() {
        // It need not be opened for this.
        out.push(JSON);
        return put_bytes(text.as_bytes(), out);
    }
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(Number::Int(int)) => {
            out.push(INT);
            out.extend(int.to_le_bytes());
        }
        Value::Number(Number::Float(float)) => {
            out.push(FLOAT);
            out.extend(float.to_le_bytes());
        }
        Value::Number(Number::Literal(digits)) => {
            out.push(LITERAL);
            put_bytes(digits.as_bytes(), out);
        }
        Value::Text(text) => {
            out.push(TEXT);
            put_bytes(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            out.push(BYTES);
            put_bytes(bytes, out);
        }
        Value::Array(values) => {
            out.push(ARRAY);
            put_number(values.len(), out);
            values.iter().for_each(|value| put_value(value, out));
        }
        Value::Object(object) => {
            out.push(OBJECT);
            put_number(object.len(), out);
            for (key, value) in object.iter() {
                put_bytes(key.as_bytes(), out);
                put_value(value, out);
            }
        }
    }
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len(), out);
    out.extend_from_slice(bytes);
}

pub(super) fn put_number(number: usize, out: &mut Vec<u8>) {
    let mut left = number as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// What is left to be read. Every method answers nothing if that is not what it should be.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(number).ok();
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Option<Text> {
        str::from_utf8(self.bytes()?).ok().map(Text::from)
    }

    fn time(&mut self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = (i64::from_le_bytes(self.array()?), i32::from_le_bytes(self.array()?));
        Timestamp::new(seconds, nanoseconds).ok()
    }

    /// How many elements follow: no more than there are bytes, so that no damage asks for memory without end.
    fn count(&mut self) -> Option<usize> {
        self.number().filter(|count| *count <= self.0.len())
    }

    fn value(&mut self) -> Option<Value> {
        Some(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::from(i64::from_le_bytes(self.array()?)),
            FLOAT => Value::Number(Number::Float(f64::from_le_bytes(self.array()?))),
            LITERAL => Value::Number(Number::Literal(self.text()?)),
            TEXT => Value::Text(self.text()?),
            JSON => json::parse(self.bytes()?).ok()?,
            BYTES => Value::Bytes(Arc::new(Bytes::copy_from_slice(self.bytes()?))),
            ARRAY => {
                let count = self.count()?;
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    values.push(self.value()?);
                }
                Value::array(values)
            }
            OBJECT => {
                let count = self.count()?;
                let mut object = Object::with_capacity(count);
                for _ in 0..count {
                    object.insert(self.text()?, self.value()?);
                }
                Value::object(object)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            Just(Value::from(-0.0)),
            Just(Value::Number(Number::Literal("123456789012345678901234567890".into()))),
            any::<String>().prop_map(Value::from),
            any::<Vec<u8>>().prop_map(Value::bytes),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::array),
                inner.clone().prop_map(|value| json::parse(&json::to_vec(&value)).unwrap()),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|entries| entries.into_iter().map(|(key, value)| (key.into(), value)).collect()),
            ]
        })
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (-100_000_000_000i64..100_000_000_000, 0..1_000_000_000)
            .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let tried = prop::option::of((any::<u32>(), time()));
        (any::<String>(), any::<u64>(), prop::option::of((time(), time())), value(), value(), tried).prop_map(
            |(pipeline, item, window, value, labels, tried)| Entry {
                pipeline: pipeline.into(),
                item: ItemId(item),
                window: window.map(|(start, end)| Window { start, end }),
                value,
                labels,
                tried: tried.map(|(count, since)| Tried { count, since }),
            },
        )
    }

    proptest! {
        #[test]
        fn every_entry_comes_back_as_it_was(entry in entry()) {
            let bytes = encode(&entry);
            let back = decode(&bytes).unwrap();
            // The text of both tells -0.0 from 0.0, and the order of keys, which equality does not.
            prop_assert_eq!(format!("{entry:?}"), format!("{back:?}"));
        }

        #[test]
        fn bytes_of_any_kind_are_read_without_harm(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
            let mut versioned = vec![VERSION; 9];
            versioned.push(0);
            versioned.extend(bytes);
            let _ = decode(&versioned);
        }

        #[test]
        fn a_cut_entry_is_none(entry in entry(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&entry);
            prop_assert_eq!(decode(&bytes[..at.index(bytes.len())]), None);
        }
    }
}
