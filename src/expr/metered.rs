//! Our values as jaq works on them: counted as they are made, so that a filter can be stopped.

mod convert;
mod range;

use std::fmt;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::path::Opt;
use jaq_core::{Error, Exn, ValR, ValX};

pub(super) use self::range::{bounds, position};

use self::range::characters;
use super::arithmetic::compare;
use super::fuel;
use crate::model::json::{self, MAX_DEPTH};
use crate::model::{Array, Number, Object, Text, Value};

/// A value in a run of a filter.
///
/// Unlike anywhere else, its floats may be NaN or infinite; [`Metered::into_value`] replaces them.
#[derive(Clone, Debug)]
pub(super) struct Metered {
    pub(super) value: Value,
    /// For arrays and objects, how deep they nest at most. For null, how long the path is that found nothing.
    bound: u32,
}

type Failure = Error<Metered>;

pub(super) const NODE: usize = size_of::<Value>();
/// What an object's entry takes beside its key's text.
pub(super) const ENTRY: usize = NODE + size_of::<Text>() + 2 * size_of::<usize>();

impl Metered {
    /// A value from outside of the run, no deeper than a value may be.
    pub(super) fn input(value: Value) -> Self {
        let bound = if is_container(&value) { MAX_DEPTH as u32 } else { 0 };
        Self { value, bound }
    }

    /// A value that nests no deeper than `bound`.
    pub(super) fn bounded(value: Value, bound: u32) -> Self {
        Self { value, bound }
    }

    /// Anything but an array or an object.
    pub(super) fn scalar(value: Value) -> Self {
        Self { value, bound: 0 }
    }

    pub(super) fn number(number: Number) -> Self {
        Self::scalar(Value::Number(number))
    }

    pub(super) fn text(text: impl Into<Text>) -> Self {
        let text = text.into();
        fuel::make(text.len());
        Self::scalar(Value::Text(text))
    }

    /// An array or object whose members nest no deeper than `inside`.
    pub(super) fn container(value: Value, inside: u32) -> Self {
        if inside > 0 {
            fuel::nested_made();
        }
        let mut bound = inside + 1;
        if bound > MAX_DEPTH as u32 {
            // What is known is only a bound: look.
            bound = depth(&value, MAX_DEPTH as u32);
        }
        Self { value, bound }
    }

    /// How deep the value nests at most.
    pub(super) fn depth_bound(&self) -> u32 {
        if is_container(&self.value) { self.bound } else { 0 }
    }

    /// A member of this value.
    fn member(&self, value: Value) -> Self {
        member_of(self.bound, value)
    }

    /// The value as it leaves the run.
    #[inline(always)]
    pub(super) fn into_value(self) -> Value {
        // Members that are shared take no memory in here, but out there each counts: `[., .]` doubles what it holds.
        if fuel::was_nested_made() {
            fuel::check_size(size_written_out(&self.value));
        }
        if fuel::was_not_finite_made() { finite(self.value) } else { self.value }
    }

    pub(super) fn key(self) -> Result<Text, Failure> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(Error::typ(self, "an object key")),
        }
    }

    pub(super) fn json(&self) -> String {
        let size = size_written_out(&self.value);
        fuel::make(size);
        let mut out = Vec::with_capacity(size);
        if fuel::was_not_finite_made() {
            json::write(&finite(self.value.clone()), &mut out);
        } else {
            json::write(&self.value, &mut out);
        }
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// What stands under `index`, or nothing if nothing does.
    pub(super) fn find(self, index: &Self) -> Result<Option<Self>, Failure> {
        fuel::spend(1);
        Ok(match (&self.value, &index.value) {
            (Value::Null, _) => None,
            (Value::Object(object), Value::Text(key)) => object.get(key).map(|value| self.member(value.clone())),
            (Value::Array(values), Value::Number(number)) => {
                position(number, values.len()).and_then(|at| values.get(at)).map(|value| self.member(value.clone()))
            }
            (Value::Bytes(bytes), Value::Number(number)) => {
                position(number, bytes.len()).and_then(|at| bytes.get(at)).map(|byte| i64::from(*byte).into())
            }
            (Value::Array(_), Value::Array(_)) => Some(self.indices(index)?),
            (Value::Array(_) | Value::Text(_) | Value::Bytes(_), Value::Object(range)) => {
                let bound = |name| range.get(name).map(|value| Self::input(value.clone()));
                let (start, end) = (bound("start"), bound("end"));
                return jaq_core::ValT::range(self, start.as_ref()..end.as_ref()).map(Some);
            }
            _ => return Err(Error::index(self, index.clone())),
        })
    }

    /// Where `part` stands in this text or array.
    pub(super) fn indices(&self, part: &Self) -> ValR<Self> {
        let found: Vec<usize> = match (&self.value, &part.value) {
            (Value::Null, _) => return Ok(Self::scalar(Value::Null)),
            (Value::Text(text), Value::Text(part)) => {
                fuel::spend(text.len());
                let starts = text.char_indices().enumerate();
                let found = starts.filter(|(_, (byte, _))| !part.is_empty() && text[*byte..].starts_with(&**part));
                found.map(|(index, _)| index).collect()
            }
            (Value::Array(_), Value::Array(part)) if part.is_empty() => Vec::new(),
            (Value::Array(values), Value::Array(part)) => {
                fuel::spend(values.len().saturating_mul(part.len()));
                let windows = values.windows(part.len()).enumerate();
                let same =
                    |window: &[Value]| window.iter().zip(part.iter()).all(|(left, right)| compare(left, right).is_eq());
                windows.filter(|(_, window)| same(window)).map(|(index, _)| index).collect()
            }
            (Value::Array(values), part) => {
                fuel::spend(values.len());
                values
                    .iter()
                    .enumerate()
                    .filter(|(_, value)| compare(value, part).is_eq())
                    .map(|(index, _)| index)
                    .collect()
            }
            _ => return Err(Error::index(self.clone(), part.clone())),
        };
        Ok(found.into_iter().map(Self::from).collect())
    }
}

pub(super) fn is_container(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_))
}

fn member_of(bound: u32, value: Value) -> Metered {
    let bound = if is_container(&value) { bound.saturating_sub(1).max(1) } else { 0 };
    Metered { value, bound }
}

/// About how many bytes a value takes as JSON, with each shared member as often as it occurs.
fn size_written_out(value: &Value) -> usize {
    fuel::spend(1);
    if let Some(text) = value.json_text() {
        return text.len();
    }
    match value {
        Value::Number(Number::Literal(text)) | Value::Text(text) => 2 + text.len(),
        Value::Bytes(bytes) => 2 + bytes.len() / 3 * 4,
        Value::Array(values) => values.iter().map(size_written_out).fold(2, usize::saturating_add),
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| (3 + key.len()).saturating_add(size_written_out(value)));
            entries.fold(2, usize::saturating_add)
        }
        _ => 8,
    }
}

/// How deep a value nests; the run ends if that is more than `limit`.
fn depth(value: &Value, limit: u32) -> u32 {
    fuel::spend(1);
    let inside = match value {
        Value::Array(_) | Value::Object(_) if limit == 0 => fuel::value_too_deep(),
        Value::Array(values) => values.iter().map(|value| depth(value, limit - 1)).max(),
        Value::Object(object) => object.values().map(|value| depth(value, limit - 1)).max(),
        _ => return 0,
    };
    1 + inside.unwrap_or(0)
}

/// The value without numbers that JSON lacks: as in jq, NaN becomes null and infinity the largest number.
fn finite(value: Value) -> Value {
    match value {
        // What came from JSON text and was not changed has no such numbers.
        value if value.json_text().is_some() => value,
        Value::Number(Number::Float(float)) => Value::from(float.clamp(f64::MIN, f64::MAX)),
        Value::Array(values) => Value::array(values.into_vec().into_iter().map(finite).collect()),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, finite(value))).collect(),
        other => other,
    }
}

/// An array that can be changed: copied first if someone else holds it too.
pub(super) fn array_mut(values: &mut Array) -> &mut Vec<Value> {
    if values.is_shared() {
        fuel::make(values.len() * NODE);
    }
    values.make_mut()
}

/// An object that is about to be changed: it is copied then if someone else holds it too.
pub(super) fn object_mut(object: &mut Object) -> &mut Object {
    if object.is_shared() {
        fuel::make(object.len() * ENTRY);
    }
    object
}

impl jaq_core::ValT for Metered {
    fn from_num(digits: &str) -> ValR<Self> {
        fuel::spend(2);
        let integer = digits.bytes().all(|byte| byte.is_ascii_digit());
        Ok(match digits.parse::<i64>() {
            Ok(int) => Self::number(Number::Int(int)),
            Err(_) if integer => Self::number(Number::Literal(digits.into())),
            Err(_) => Self::from(digits.parse().unwrap_or(f64::NAN)),
        })
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(entries: I) -> ValR<Self> {
        let mut inside = 0;
        let mut object = Object::default();
        for (key, value) in entries {
            fuel::make(ENTRY);
            inside = inside.max(value.depth_bound());
            object.insert(key.key()?, value.value);
        }
        Ok(Self::container(Value::object(object), inside))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        let bound = self.bound;
        match self.value {
            Value::Array(values) => Box::new((0..values.len()).map(move |index| {
                fuel::spend(2);
                Ok((Self::from(index), member_of(bound, values[index].clone())))
            })),
            Value::Object(object) => Box::new((0..object.len()).map(move |index| {
                fuel::spend(2);
                let (key, value) = (object.key_text(index), object.get_index(index));
                let (key, (_, value)) = key.zip(value).expect("the index runs up to the length");
                Ok((Self::scalar(Value::Text(key)), member_of(bound, value.clone())))
            })),
            _ => box_once(Err(Error::typ(self, "iterable (array or object)"))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        let bound = self.bound;
        match self.value {
            Value::Array(values) => Box::new((0..values.len()).map(move |index| {
                fuel::spend(2);
                Ok(member_of(bound, values[index].clone()))
            })),
            Value::Object(object) => Box::new((0..object.len()).map(move |index| {
                fuel::spend(2);
                let (_, value) = object.get_index(index).expect("the index runs up to the length");
                Ok(member_of(bound, value.clone()))
            })),
            _ => box_once(Err(Error::typ(self, "iterable (array or object)"))),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        let descents = if let Value::Null = self.value { self.bound + 1 } else { 0 };
        if descents > fuel::PATH_LIMIT {
            fuel::path_too_long();
        }
        Ok(self.find(index)?.unwrap_or(Self { value: Value::Null, bound: descents }))
    }

    fn range(self, range: jaq_core::val::Range<&Self>) -> ValR<Self> {
        match &self.value {
            Value::Null => Ok(self),
            Value::Text(text) => {
                let bytes = characters(text, range)?;
                Ok(Self::text(&text[bytes]))
            }
            Value::Bytes(bytes) => {
                let range = bounds(range, bytes.len())?;
                Ok(Self::scalar(Value::bytes(bytes.slice(range))))
            }
            Value::Array(values) => {
                let range = bounds(range, values.len())?;
                fuel::make(NODE * range.len());
                Ok(Self { value: Value::array(values[range].to_vec()), bound: self.bound })
            }
            _ => Err(Error::typ(self, "rangeable (array or string)")),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a, Self> {
        let bound = self.bound;
        match self.value {
            Value::Array(values) => {
                values.into_vec().into_iter().flat_map(|value| f(member_of(bound, value))).collect()
            }
            Value::Object(object) => {
                fuel::make(object.len() * ENTRY);
                let mut inside = 0;
                let mut mapped = Object::default();
                for (key, value) in object {
                    if let Some(value) = f(member_of(bound, value)).next().transpose()? {
                        inside = inside.max(value.depth_bound());
                        mapped.insert(key, value.value);
                    }
                }
                Ok(Self::container(Value::object(mapped), inside))
            }
            _ => opt.fail(self, |value| Exn::from(Error::typ(value, "iterable (array or object)"))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        mut self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        fuel::spend(2);
        // As in jq, null becomes what it is used as, once there is something to keep.
        let was_null = matches!(self.value, Value::Null);
        if was_null {
            match &index.value {
                Value::Text(_) => self = Self::container(Value::object(Object::default()), 0),
                Value::Number(_) | Value::Object(_) => self = Self::container(Value::array(Vec::new()), 0),
                _ => {}
            }
        }
        let bound = self.bound;
        let changed = match (&mut self.value, &index.value) {
            (Value::Object(object), Value::Text(key)) => {
                let object = object_mut(object);
                let old = object.get_mut(key).map(std::mem::take);
                let present = old.is_some();
                let new = f(old.map_or_else(|| Self::scalar(Value::Null), |old| member_of(bound, old))).next();
                match new.transpose()? {
                    Some(new) => {
                        let inside = new.depth_bound();
                        if !present {
                            fuel::make(ENTRY);
                        }
                        object.insert(key.clone(), new.value);
                        inside
                    }
                    None if present => {
                        fuel::spend(object.len() / 4);
                        object.remove(key);
                        0
                    }
                    None if was_null => return Ok(Self::scalar(Value::Null)),
                    None => 0,
                }
            }
            (Value::Array(values), Value::Number(number)) => {
                let Some(at) = position(number, values.len()) else {
                    let failure = |_| Exn::from(Error::str(format_args!("index {index} out of bounds")));
                    return opt.fail(self, failure);
                };
                if at < values.len() {
                    let values = array_mut(values);
                    let old = member_of(bound, std::mem::take(&mut values[at]));
                    match f(old).next().transpose()? {
                        Some(new) => {
                            let inside = new.depth_bound();
                            values[at] = new.value;
                            inside
                        }
                        None => {
                            fuel::spend(values.len() / 4);
                            values.remove(at);
                            0
                        }
                    }
                } else {
                    match f(Self::scalar(Value::Null)).next().transpose()? {
                        Some(new) => {
                            fuel::make((at + 1 - values.len()).saturating_mul(NODE));
                            let values = array_mut(values);
                            values.resize(at + 1, Value::Null);
                            let inside = new.depth_bound();
                            values[at] = new.value;
                            inside
                        }
                        None if was_null => return Ok(Self::scalar(Value::Null)),
                        None => 0,
                    }
                }
            }
            (Value::Array(_), Value::Object(range)) => {
                let bound = |name| range.get(name).map(|value| Self::input(value.clone()));
                let (start, end) = (bound("start"), bound("end"));
                return self.map_range(start.as_ref()..end.as_ref(), opt, f);
            }
            _ => return opt.fail(self, |value| Exn::from(Error::index(value, index.clone()))),
        };
        Ok(Self::container(self.value, changed.max(bound.saturating_sub(1))))
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        mut self,
        range: jaq_core::val::Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if let Value::Null = self.value {
            self = Self::container(Value::array(Vec::new()), 0);
        }
        let bound = self.bound;
        let Value::Array(values) = &mut self.value else {
            return opt.fail(self, |value| Exn::from(Error::typ(value, "array")));
        };
        let range = match bounds(range, values.len()) {
            Ok(range) => range,
            Err(error) => return opt.fail(self, |_| Exn::from(error)),
        };
        fuel::make(range.len() * NODE);
        let old = Self { value: Value::array(values[range.clone()].to_vec()), bound };
        let new = f(old).next().transpose()?.unwrap_or_else(|| Self::container(Value::array(Vec::new()), 0));
        let inside = new.depth_bound().saturating_sub(1).max(bound.saturating_sub(1));
        let Value::Array(new) = new.value else {
            return Err(Exn::from(Error::typ(new, "array")));
        };
        fuel::make(new.len() * NODE);
        array_mut(values).splice(range, new.iter().cloned());
        Ok(Self::container(self.value, inside))
    }

    fn as_bool(&self) -> bool {
        !matches!(self.value, Value::Null | Value::Bool(false))
    }

    fn into_string(self) -> Self {
        match self.value {
            Value::Text(_) => self,
            Value::Bytes(bytes) => Self::text(String::from_utf8_lossy(&bytes)),
            _ => Self::text(self.json()),
        }
    }
}

/// As JSON, for messages.
impl fmt::Display for Metered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.json())
    }
}
