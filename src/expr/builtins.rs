//! The words of the language that are written in Rust.

use jaq_core::native::{Filter as Native, bome, unary, v};
use jaq_core::{Error, RunPtr, ValR};

use super::arithmetic::compare;
use super::language::Language;
use super::metered::{Metered, array_mut, bounds, object_mut, position};
use super::{fuel, regular};
use crate::model::{Number, Object, Text, Value, json};

/// Each with its number of arguments.
pub(super) fn functions() -> Vec<Native<RunPtr<Language>>> {
    let mut ours: Vec<Native<RunPtr<Language>>> = vec![
        ("labels", v(0), |cv| bome(Ok(Metered::input(cv.0.data().seen.labels())))),
        // `labels.NAME` is rewritten to this, so that the other labels need not be made.
        ("labels", v(1), |mut cv| {
            let name = cv.0.pop_var();
            let label =
                |name: &Value| Metered::input(name.as_text().map_or(Value::Null, |n| cv.0.data().seen.label(n)));
            bome(Ok(label(&name.value)))
        }),
        ("window", v(0), |cv| bome(Ok(Metered::input(cv.0.data().seen.window())))),
        ("now", v(0), |cv| bome(Ok(cv.0.data().seen.now()))),
        ("nan", v(0), |_| bome(Ok(Metered::from(f64::NAN)))),
        ("infinite", v(0), |_| bome(Ok(Metered::from(f64::INFINITY)))),
        ("type", v(0), |cv| bome(Ok(Metered::scalar(Value::from(cv.1.value.type_name()))))),
        ("length", v(0), |cv| bome(length(&cv.1))),
        ("not", v(0), |cv| bome(Ok(Metered::from(!jaq_core::ValT::as_bool(&cv.1))))),
        ("keys", v(0), |cv| bome(keys(&cv.1))),
        ("has", v(1), |cv| unary(cv, |value, key| has(&value, &key))),
        ("contains", v(1), |cv| unary(cv, |value, part| contains(&value, &part))),
        ("indices", v(1), |cv| unary(cv, |value, part| value.indices(&part))),
        ("bsearch", v(1), |cv| unary(cv, |values, wanted| binary_search(values, &wanted))),
        ("delpaths", v(1), |cv| unary(cv, delete_paths)),
        ("add", v(0), |cv| bome(add(cv.1))),
        ("join", v(1), |cv| unary(cv, |values, separator| join(&values, &separator))),
        ("flatten", v(0), |cv| bome(flatten(&cv.1, usize::MAX))),
        ("flatten", v(1), |cv| {
            unary(cv, |values, depth| match jaq_std::ValT::as_isize(&depth).map(usize::try_from) {
                Some(Ok(depth)) => flatten(&values, depth),
                _ => Err(Error::str(format_args!("{depth} is no depth to flatten to"))),
            })
        }),
        ("reverse", v(0), |cv| bome(reverse(&cv.1))),
        ("ltrimstr", v(1), |cv| unary(cv, |value, start| Ok(without_start(value, &start)))),
        ("rtrimstr", v(1), |cv| unary(cv, |value, end| Ok(without_end(value, &end)))),
        ("to_entries", v(0), |cv| bome(to_entries(cv.1))),
        ("from_entries", v(0), |cv| bome(from_entries(cv.1))),
        ("tojson", v(0), |cv| bome(Ok(Metered::text(cv.1.json())))),
        ("fromjson", v(0), |cv| bome(from_json(&cv.1))),
        ("tonumber", v(0), |cv| bome(to_number(cv.1))),
        ("toboolean", v(0), |cv| bome(to_boolean(cv.1))),
        ("tobytes", v(0), |cv| bome(to_bytes(cv.1))),
        ("csv_row", v(0), |cv| bome(row(&cv.1, ",", |text| format!("\"{}\"", text.replace('"', "\"\""))))),
        ("tsv_row", v(0), |cv| {
            let escape =
                |text: &str| text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
            bome(row(&cv.1, "\t", escape))
        }),
        ("encode_base32", v(0), |cv| {
            bome(string(&cv.1).map(|bytes| Metered::text(data_encoding::BASE32.encode(bytes))))
        }),
        ("decode_base32", v(0), |cv| {
            let decode = |bytes: &[u8]| data_encoding::BASE32.decode(bytes).map_err(Error::str);
            bome(string(&cv.1).and_then(decode).map(jaq_std::ValT::from_utf8_bytes))
        }),
    ];
    ours.extend(regular::functions());
    ours
}

type Failure = Error<Metered>;

fn string(value: &Metered) -> Result<&[u8], Failure> {
    jaq_std::ValT::as_bytes(value).ok_or_else(|| Error::typ(value.clone(), "string"))
}

pub(super) fn length(value: &Metered) -> ValR<Metered> {
    let failed = || Error::str(format_args!("{value} has no length"));
    length_of(&value.value).ok_or_else(failed)
}

pub(super) fn length_of(value: &Value) -> Option<Metered> {
    Some(match value {
        Value::Null => Metered::from(0_i64),
        Value::Number(Number::Int(int)) => {
            int.checked_abs().map_or_else(|| Metered::from(-(*int as f64)), Metered::from)
        }
        Value::Number(Number::Float(float)) => Metered::from(float.abs()),
        Value::Number(Number::Literal(digits)) => {
            Metered::number(Number::Literal(digits.strip_prefix('-').unwrap_or(digits).into()))
        }
        Value::Text(text) => {
            fuel::spend(text.len() / 32);
            Metered::from(if text.is_ascii() { text.len() } else { text.chars().count() })
        }
        Value::Bytes(bytes) => Metered::from(bytes.len()),
        Value::Array(values) => Metered::from(values.len()),
        Value::Object(object) => Metered::from(object.len()),
        Value::Bool(_) => return None,
    })
}

pub(super) fn keys(value: &Metered) -> ValR<Metered> {
    match &value.value {
        Value::Array(values) => Ok((0..values.len()).map(Metered::from).collect()),
        Value::Object(object) => {
            fuel::spend(4 * object.len());
            let mut keys: Vec<_> = object.entries().map(|(key, _)| key).collect();
            keys.sort_unstable();
            Ok(keys.into_iter().map(|key| Metered::scalar(Value::Text(key))).collect())
        }
        _ => Err(Error::str(format_args!("{value} has no keys"))),
    }
}

pub(super) fn has(value: &Metered, key: &Metered) -> ValR<Metered> {
    match (&value.value, &key.value) {
        (Value::Object(_), Value::Text(_)) => value.clone().find(key).map(|found| found.is_some().into()),
        (Value::Array(values), Value::Number(number)) => {
            let index = number.as_f64();
            Ok(Metered::from(index >= 0.0 && index < values.len() as f64))
        }
        (Value::Null, Value::Text(_) | Value::Number(_)) => Ok(false.into()),
        _ => Err(Error::index(value.clone(), key.clone())),
    }
}

pub(super) fn contains(value: &Metered, part: &Metered) -> ValR<Metered> {
    fn inside(value: &Value, part: &Value) -> bool {
        fuel::spend(1);
        match (value, part) {
            (Value::Text(text), Value::Text(part)) => {
                fuel::spend(text.len() / 16);
                text.contains(&**part)
            }
            (Value::Array(values), Value::Array(parts)) => {
                parts.iter().all(|part| values.iter().any(|value| inside(value, part)))
            }
            (Value::Object(values), Value::Object(parts)) => {
                parts.iter().all(|(key, part)| values.get(key).is_some_and(|value| inside(value, part)))
            }
            _ => value == part,
        }
    }
    if std::mem::discriminant(&value.value) != std::mem::discriminant(&part.value) {
        return Err(Error::str(format_args!("{value} and {part} cannot have their containment checked")));
    }
    Ok(inside(&value.value, &part.value).into())
}

/// The index of the value in this sorted array, or -1 minus where it belongs.
fn binary_search(values: Metered, wanted: &Metered) -> ValR<Metered> {
    match &values.value {
        Value::Array(array) => {
            let found = array.binary_search_by(|value| compare(value, &wanted.value));
            Ok(Metered::from(found.map_or_else(|place| -1 - place as i64, |index| index as i64)))
        }
        _ => Err(Error::typ(values, "array")),
    }
}

/// The value without what stands at these paths.
pub(super) fn delete_paths(mut value: Metered, paths: Metered) -> ValR<Metered> {
    let Value::Array(array) = &paths.value else { return Err(Error::typ(paths, "array")) };
    let mut sorted: Vec<&Value> = array.iter().collect();
    // From the last one on, so that no deletion moves what another path names.
    sorted.sort_by(|left, right| compare(right, left));
    for path in sorted {
        match path {
            Value::Array(path) => delete(&mut value.value, path)?,
            other => return Err(Error::typ(Metered::input(other.clone()), "path")),
        }
    }
    Ok(value)
}

fn delete(value: &mut Value, path: &[Value]) -> Result<(), Failure> {
    fuel::spend(2);
    let Some((part, inside)) = path.split_first() else {
        *value = Value::Null;
        return Ok(());
    };
    match (value, part) {
        (Value::Null, _) => {}
        (Value::Object(object), Value::Text(key)) => {
            if inside.is_empty() {
                fuel::spend(object.len() / 4);
                object_mut(object).remove(key);
            } else if object.contains_key(key)
                && let Some(value) = object_mut(object).get_mut(key)
            {
                delete(value, inside)?;
            }
        }
        (Value::Array(values), Value::Number(index)) => {
            let Some(index) = position(index, values.len()).filter(|index| *index < values.len()) else {
                return Ok(());
            };
            if inside.is_empty() {
                fuel::spend(values.len() / 4);
                array_mut(values).remove(index);
            } else {
                delete(&mut array_mut(values)[index], inside)?;
            }
        }
        (Value::Array(values), Value::Object(slice)) if inside.is_empty() => {
            let bound = |name| slice.get(name).map(|value| Metered::input(value.clone()));
            let slice = bounds(bound("start").as_ref()..bound("end").as_ref(), values.len())?;
            array_mut(values).drain(slice);
        }
        (value, part) => {
            let (value, part) = (Metered::input(value.clone()), Metered::input(part.clone()));
            return Err(Error::str(format_args!("cannot delete {part} of {value}")));
        }
    }
    Ok(())
}

/// The sum of an array's or an object's members. Text is joined in one go.
pub(super) fn add(values: Metered) -> ValR<Metered> {
    if let Value::Array(array) = &values.value
        && array.len() > 2
        && array.iter().all(|value| value.as_text().is_some())
    {
        let length = array.iter().filter_map(Value::as_text).map(str::len).sum();
        fuel::make(length);
        let mut sum = String::with_capacity(length);
        array.iter().filter_map(Value::as_text).for_each(|text| sum.push_str(text));
        return Ok(Metered::scalar(Value::from(sum)));
    }
    jaq_core::ValT::values(values).try_fold(Metered::scalar(Value::Null), |sum, value| sum + value?)
}

pub(super) fn join(values: &Metered, separator: &Metered) -> ValR<Metered> {
    let Some(separator) = separator.value.as_text() else { return Err(Error::typ(separator.clone(), "string")) };
    let mut joined = String::new();
    for (index, value) in jaq_core::ValT::values(values.clone()).enumerate() {
        let value = value?.value;
        let before = joined.len();
        if index > 0 {
            joined.push_str(separator);
        }
        match value {
            Value::Null => {}
            Value::Text(text) => joined.push_str(&text),
            Value::Bool(_) | Value::Number(_) => joined.push_str(&value.to_string()),
            _ => return Err(Error::typ(Metered::input(value), "string")),
        }
        fuel::make(joined.len() - before);
    }
    Ok(Metered::scalar(Value::from(joined)))
}

/// The members of arrays in an array as members of it, down to this depth.
pub(super) fn flatten(values: &Metered, depth: usize) -> ValR<Metered> {
    fn collect(value: Metered, depth: usize, out: &mut Vec<Metered>) -> Result<(), Failure> {
        for member in jaq_core::ValT::values(value) {
            match member? {
                inner @ Metered { value: Value::Array(_), .. } if depth > 0 => collect(inner, depth - 1, out)?,
                other => {
                    fuel::make(size_of::<Metered>());
                    out.push(other);
                }
            }
        }
        Ok(())
    }
    let mut flat = Vec::new();
    collect(values.clone(), depth, &mut flat)?;
    Ok(flat.into_iter().collect())
}

pub(super) fn reverse(value: &Metered) -> ValR<Metered> {
    match &value.value {
        Value::Null => Ok(std::iter::empty().collect()),
        Value::Text(text) => Ok(Metered::text(text.chars().rev().collect::<String>())),
        Value::Array(_) => {
            let mut values = jaq_core::ValT::values(value.clone()).collect::<Result<Vec<_>, Failure>>()?;
            values.reverse();
            Ok(values.into_iter().collect())
        }
        _ => Err(Error::typ(value.clone(), "array")),
    }
}

pub(super) fn without_start(value: Metered, start: &Metered) -> Metered {
    trimmed(value, start, |text, start| text.strip_prefix(start))
}

pub(super) fn without_end(value: Metered, end: &Metered) -> Metered {
    trimmed(value, end, |text, end| text.strip_suffix(end))
}

/// What `strip` leaves of text; anything else as it is.
fn trimmed(value: Metered, end: &Metered, strip: impl for<'t> FnOnce(&'t str, &str) -> Option<&'t str>) -> Metered {
    match (&value.value, &end.value) {
        (Value::Text(text), Value::Text(end)) => strip(text, end).map(Metered::text).unwrap_or(value),
        _ => value,
    }
}

pub(super) fn to_entries(object: Metered) -> ValR<Metered> {
    let (key_name, value_name): (Text, Text) = ("key".into(), "value".into());
    let entry = |entry: ValR<(Metered, Metered), Metered>| {
        let (key, value) = entry?;
        let names = [&key_name, &value_name].map(|name| Metered::scalar(Value::Text(name.clone())));
        jaq_core::ValT::from_map(names.into_iter().zip([key, value]))
    };
    match object.value {
        Value::Object(_) | Value::Array(_) => jaq_core::ValT::key_values(object).map(entry).collect(),
        _ => Err(Error::typ(object, "object")),
    }
}

pub(super) fn from_entries(entries: Metered) -> ValR<Metered> {
    let mut members = Vec::new();
    for entry in jaq_core::ValT::values(entries) {
        let entry = entry?;
        let first = |names: &[&str]| {
            let value = names.iter().find_map(|name| entry.value.get(name).filter(|value| **value != Value::Null));
            value.cloned().unwrap_or_default()
        };
        if !matches!(entry.value, Value::Object(_)) {
            return Err(Error::index(entry, Metered::text("key")));
        }
        let key = match first(&["key", "k", "name", "Name", "Key", "K"]) {
            key @ (Value::Null | Value::Bool(_) | Value::Number(_)) => Value::from(key.to_string()),
            key => key,
        };
        members.push((Metered::scalar(key), Metered::input(first(&["value", "v", "Value", "V"]))));
    }
    jaq_core::ValT::from_map(members)
}

fn parse(text: &Metered, as_what: &str) -> ValR<Metered> {
    let Value::Text(json) = &text.value else { return Err(Error::typ(text.clone(), "string")) };
    fuel::make(json.len().saturating_mul(4));
    let failure =
        |error| Error::str(format_args!("cannot parse {} as {as_what}: {error}", super::shortened(&text.json())));
    json::parse(json.as_bytes()).map(Metered::input).map_err(failure)
}

pub(super) fn from_json(text: &Metered) -> ValR<Metered> {
    parse(text, "JSON")
}

pub(super) fn to_number(value: Metered) -> ValR<Metered> {
    match &value.value {
        Value::Number(_) => Ok(value),
        Value::Text(_) => match parse(&value, "a number")? {
            number @ Metered { value: Value::Number(_), .. } => Ok(number),
            _ => Err(Error::typ(value, "number")),
        },
        _ => Err(Error::typ(value, "number")),
    }
}

fn to_boolean(value: Metered) -> ValR<Metered> {
    match &value.value {
        Value::Bool(_) => Ok(value),
        Value::Text(text) if &**text == "true" => Ok(true.into()),
        Value::Text(text) if &**text == "false" => Ok(false.into()),
        _ => Err(Error::typ(value, "boolean")),
    }
}

/// The bytes of text, or of numbers from 0 to 255 in arrays.
fn to_bytes(value: Metered) -> ValR<Metered> {
    fn collect(value: &Value, out: &mut Vec<u8>) -> Option<()> {
        fuel::make(1);
        match value {
            Value::Number(Number::Int(int)) => out.push(u8::try_from(*int).ok()?),
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Bytes(bytes) => out.extend_from_slice(bytes),
            Value::Array(values) => values.iter().try_for_each(|value| collect(value, out))?,
            _ => return None,
        }
        Some(())
    }
    let mut out = Vec::new();
    collect(&value.value, &mut out).ok_or_else(|| Error::typ(value, "bytes"))?;
    fuel::make(out.len());
    Ok(Metered::scalar(Value::bytes(out)))
}

/// An array as a row of a table; text goes through `escape`.
fn row(values: &Metered, separator: &str, escape: fn(&str) -> String) -> ValR<Metered> {
    let Value::Array(array) = &values.value else { return Err(Error::typ(values.clone(), "array")) };
    let cell = |value: &Value| match value {
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Text(text) => {
            fuel::make(text.len());
            Ok(escape(text))
        }
        _ => Err(Error::str(format_args!("{} cannot stand in a row", Metered::input(value.clone())))),
    };
    let cells: Vec<_> = array.iter().map(cell).collect::<Result<_, Failure>>()?;
    Ok(Metered::text(cells.join(separator)))
}

/// An object with these members, for native functions.
pub(super) fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::object(members.into_iter().map(|(name, value)| (Text::from(name), value)).collect::<Object>())
}
