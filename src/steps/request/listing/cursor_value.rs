//! The values of a cursor: numbers, times and texts, their order, and how far back a `lag` goes.

use std::cmp::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz};
use ring::digest::{Context, SHA256};

use crate::model::{Number, Text, Value, json};
use crate::store::{Digest, Rank};

/// What the values of a cursor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CursorType {
    Number,
    /// RFC 3339, compared as instants.
    Time,
    Text,
}

/// A value of a cursor, in the form that the API gave it.
#[derive(Clone, Debug)]
pub(super) enum CursorValue {
    Number(Number),
    Time(Timestamp, Text),
    Text(Text),
}

/// How far before the cursor a run asks again.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lag {
    Duration(Duration),
    Number(Number),
}

impl CursorType {
    pub(super) fn name(self) -> &'static str {
        match self {
            CursorType::Number => "number",
            CursorType::Time => "time",
            CursorType::Text => "text",
        }
    }

    /// The type that a value seems to have.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(_) => Some(CursorType::Number),
            Value::Text(text) if text.parse::<Timestamp>().is_ok() => Some(CursorType::Time),
            Value::Text(_) => Some(CursorType::Text),
            _ => None,
        }
    }
}

impl CursorValue {
    /// Reads a value of this type. The error says what it is instead.
    pub(super) fn read(value: &Value, expected: CursorType) -> Result<Self, String> {
        match (value, expected) {
            (Value::Number(number), CursorType::Number) => Ok(CursorValue::Number(number.clone())),
            // Some APIs write their numbers as text.
            (Value::Text(text), CursorType::Number) => match json::parse(text.as_bytes()) {
                Ok(Value::Number(number)) => Ok(CursorValue::Number(number)),
                _ => Err(format!("gives `{}`, which is not a number", beginning(text))),
            },
            (Value::Text(text), CursorType::Text) => Ok(CursorValue::Text(text.clone())),
            (Value::Text(text), CursorType::Time) => match text.parse() {
                Ok(time) => Ok(CursorValue::Time(time, text.clone())),
                Err(_) => Err(format!("gives `{}`, which is not a time as in RFC 3339", beginning(text))),
            },
            (Value::Null, _) => Err("gives null: the item has no value to go by".to_owned()),
            (other, _) => {
                let (found, expected) = (other.type_name(), expected.name());
                Err(format!("gives a value of type {found}, where the others have a {expected}"))
            }
        }
    }

    pub(super) fn cursor_type(&self) -> CursorType {
        match self {
            CursorValue::Number(_) => CursorType::Number,
            CursorValue::Time(..) => CursorType::Time,
            CursorValue::Text(_) => CursorType::Text,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            CursorValue::Number(number) => Value::Number(number.clone()),
            CursorValue::Time(_, text) | CursorValue::Text(text) => Value::Text(text.clone()),
        }
    }

    /// Their order, if both are of one type.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (CursorValue::Number(one), CursorValue::Number(other)) => Some(compare_numbers(one, other)),
            (CursorValue::Time(one, _), CursorValue::Time(other, _)) => Some(one.cmp(other)),
            (CursorValue::Text(one), CursorValue::Text(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    /// The value that lies `lag` before this one, in the form of this one. The error says why there is none.
    pub(super) fn before(&self, lag: &Lag) -> Result<Self, String> {
        match (self, lag) {
            (CursorValue::Time(time, text), Lag::Duration(lag)) => {
                let earlier = SignedDuration::try_from(*lag).ok().and_then(|lag| time.checked_sub(lag).ok());
                let earlier = earlier.unwrap_or(Timestamp::MIN);
                Ok(CursorValue::Time(earlier, written_like(text, earlier).into()))
            }
            (CursorValue::Number(number), Lag::Number(lag)) => Ok(CursorValue::Number(difference(number, lag))),
            (CursorValue::Text(_), _) => Err("`lag` says nothing of a cursor that is text".to_owned()),
            (CursorValue::Number(_), Lag::Duration(_)) => {
                Err("the cursor is a number, so `lag` must be one too, in its unit".to_owned())
            }
            (CursorValue::Time(..), Lag::Number(_)) => {
                Err("the cursor is a time, so `lag` must be a duration such as \"5m\"".to_owned())
            }
        }
    }

    pub(super) fn rank(&self) -> Rank {
        match self {
            CursorValue::Number(Number::Int(int)) => Rank::Integer(*int),
            CursorValue::Number(number) => Rank::Real(number.as_f64()),
            CursorValue::Time(time, _) => {
                Rank::Integer(i64::try_from(time.as_nanosecond()).unwrap_or(if time.as_second() < 0 {
                    i64::MIN
                } else {
                    i64::MAX
                }))
            }
            CursorValue::Text(text) => Rank::Text(text.clone()),
        }
    }

    /// Tells an item with this key and value from all others. Two forms of one time are one value.
    pub(super) fn digest(&self, key: &[u8]) -> Digest {
        let mut context = Context::new(&SHA256);
        context.update(&(key.len() as u64).to_le_bytes());
        context.update(key);
        match self {
            CursorValue::Time(time, _) => context.update(&time.as_nanosecond().to_le_bytes()),
            CursorValue::Text(text) => context.update(text.as_bytes()),
            CursorValue::Number(Number::Int(int)) => context.update(int.to_string().as_bytes()),
            CursorValue::Number(Number::Literal(digits)) => context.update(digits.as_bytes()),
            // `1.0` and `1` are one number.
            CursorValue::Number(Number::Float(float)) => context.update(float.to_string().as_bytes()),
        }
        context.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
    }
}

/// Exact for whole numbers of any size.
fn compare_numbers(one: &Number, other: &Number) -> Ordering {
    match (one, other) {
        (Number::Int(one), Number::Int(other)) => one.cmp(other),
        (Number::Literal(one), Number::Literal(other)) => compare_digits(one, other),
        _ => one.as_f64().total_cmp(&other.as_f64()),
    }
}

fn compare_digits(one: &str, other: &str) -> Ordering {
    let size = |digits: &str| (digits.len(), digits.to_owned());
    match (one.strip_prefix('-'), other.strip_prefix('-')) {
        (None, None) => size(one).cmp(&size(other)),
        (Some(one), Some(other)) => size(other).cmp(&size(one)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

fn difference(number: &Number, lag: &Number) -> Number {
    let whole = |number: &Number| match number {
        Number::Int(int) => Some(i128::from(*int)),
        Number::Literal(digits) => digits.parse().ok(),
        Number::Float(_) => None,
    };
    match (whole(number), whole(lag)) {
        (Some(number), Some(lag)) => {
            let difference = number.saturating_sub(lag);
            i64::try_from(difference).map_or_else(|_| Number::Literal(difference.to_string().into()), Number::Int)
        }
        _ => Number::Float(number.as_f64() - lag.as_f64()),
    }
}

/// A time in the form of another: the same offset, separator and digits after the point, and `Z` where that has it.
fn written_like(text: &str, time: Timestamp) -> String {
    let point = text.find('.').or_else(|| text.find(','));
    let digits = point.map_or(0, |point| text[point + 1..].bytes().take_while(u8::is_ascii_digit).count());
    let separator = text.get(10..11).unwrap_or("T");
    let zone_start = text.rfind(['Z', 'z', '+', '-']).filter(|place| *place > 10).unwrap_or(text.len());
    let zone = &text[zone_start..];
    let local = time.to_zoned(tz::TimeZone::fixed(offset(zone)));
    let mut written = local.strftime(&format!("%Y-%m-%d{separator}%H:%M:%S")).to_string();
    if digits > 0 {
        let nanoseconds = format!("{:09}", local.subsec_nanosecond());
        written.push_str(&text[point.unwrap_or_default()..=point.unwrap_or_default()]);
        written.push_str(&nanoseconds[..digits.min(9)]);
    }
    written + zone
}

/// The offset that a zone such as `Z`, `+02:00` or `-0530` stands for.
fn offset(zone: &str) -> tz::Offset {
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let number =
        |range: std::ops::Range<usize>| digits.get(range).and_then(|part| part.parse::<i32>().ok()).unwrap_or(0);
    let seconds = number(0..2) * 3600 + number(2..4) * 60 + number(4..6);
    let signed = if zone.starts_with('-') { -seconds } else { seconds };
    tz::Offset::from_seconds(signed).unwrap_or(tz::Offset::UTC)
}

/// The beginning of a text, for a message.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> CursorValue {
        let value = json::parse(text.as_bytes()).unwrap();
        CursorValue::read(&value, CursorType::of(&value).unwrap()).unwrap()
    }

    #[test]
    fn cursors_are_compared_as_what_they_are() {
        for (less, greater) in [
            ("9", "10"),
            ("9", "9.5"),
            ("-1", "0.5"),
            ("9007199254740993", "9007199254740994"),
            ("99999999999999999999", "100000000000000000000"),
            ("-100000000000000000000", "-99999999999999999999"),
            (r#""2026-01-01T01:00:00+02:00""#, r#""2026-01-01T00:00:00Z""#),
            (r#""2026-01-01T00:00:00Z""#, r#""2026-01-01T00:00:00.000001Z""#),
            (r#""a9""#, r#""b10""#),
            (r#""a10""#, r#""a9""#),
        ] {
            assert_eq!(value(less).compare(&value(greater)), Some(Ordering::Less), "{less} {greater}");
            assert_eq!(value(greater).compare(&value(less)), Some(Ordering::Greater), "{less} {greater}");
        }
        let (one, other) = (value(r#""2026-01-01T02:00:00+02:00""#), value(r#""2026-01-01T00:00:00Z""#));
        assert_eq!(one.compare(&other), Some(Ordering::Equal));
        assert_eq!(one.digest(b"7"), other.digest(b"7"));
        assert_ne!(one.digest(b"7"), other.digest(b"8"));
        assert_eq!(value("1.0").digest(b""), value("1").digest(b""));
        assert_eq!(value("1").compare(&other), None);
    }

    #[test]
    fn a_lag_gives_a_value_in_the_form_of_the_cursor() {
        let lag = |lag: &Lag, cursor: &str| match value(cursor).before(lag) {
            Ok(earlier) => earlier.to_value().to_string(),
            Err(why) => why,
        };
        let hour = Lag::Duration(Duration::from_secs(3600));
        for (cursor, expected) in [
            (r#""2026-01-01T00:30:00Z""#, r#""2025-12-31T23:30:00Z""#),
            (r#""2026-01-01T00:30:00.120Z""#, r#""2025-12-31T23:30:00.120Z""#),
            (r#""2026-01-01T02:30:00+02:00""#, r#""2026-01-01T01:30:00+02:00""#),
            (r#""2026-01-01 02:30:00.5-05:30""#, r#""2026-01-01 01:30:00.5-05:30""#),
            ("7", "the cursor is a number, so `lag` must be one too, in its unit"),
            (r#""b""#, "`lag` says nothing of a cursor that is text"),
        ] {
            assert_eq!(lag(&hour, cursor), expected, "{cursor}");
        }
        for (cursor, expected) in [
            ("7", "-3"),
            ("7.5", "-2.5"),
            ("18446744073709551616", "18446744073709551606"),
            (r#""2026-01-01T00:30:00Z""#, "the cursor is a time, so `lag` must be a duration such as \"5m\""),
        ] {
            assert_eq!(lag(&Lag::Number(Number::Int(10)), cursor), expected, "{cursor}");
        }
    }

    #[test]
    fn a_number_that_is_written_as_text_is_one_if_it_is_asked_for() {
        let number = |text: &str| CursorValue::read(&Value::from(text), CursorType::Number).unwrap();
        assert_eq!(number("9").compare(&number("10")), Some(Ordering::Less));
        assert_eq!(number("10").to_value(), Value::from(10));
    }

    #[test]
    fn what_is_no_cursor_of_its_type_is_told() {
        for (text, expected, why) in [
            ("null", CursorType::Time, "gives null: the item has no value to go by"),
            ("7", CursorType::Time, "gives a value of type number, where the others have a time"),
            (r#""9a""#, CursorType::Number, "gives `9a`, which is not a number"),
            (r#""soon""#, CursorType::Time, "gives `soon`, which is not a time as in RFC 3339"),
            ("[1]", CursorType::Number, "gives a value of type array, where the others have a number"),
        ] {
            let value = json::parse(text.as_bytes()).unwrap();
            assert_eq!(CursorValue::read(&value, expected).unwrap_err(), why);
        }
    }
}
