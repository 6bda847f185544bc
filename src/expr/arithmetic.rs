//! What `+ - * / %` and comparisons mean to a filter, as the jq manual says.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use jaq_core::ops::Math;
use jaq_core::{Error, ValR};

use super::fuel;
use super::metered::{Metered, array_mut, object_mut};
use crate::model::{Number, Object, Value};

/// Integers as long as the result is one; beyond that, floats.
fn number(left: &Number, right: &Number, int: fn(i64, i64) -> Option<i64>, float: fn(f64, f64) -> f64) -> Metered {
    fuel::spend(1);
    if let (Number::Int(left), Number::Int(right)) = (left, right)
        && let Some(result) = int(*left, *right)
    {
        return Metered::from(result);
    }
    Metered::from(float(left.as_f64(), right.as_f64()))
}

/// What a sign makes of two numbers; nothing if that is an error.
pub(super) fn numbers(math: Math, left: &Number, right: &Number) -> Option<Metered> {
    let exact = |left: i64, right: i64| (left.checked_rem(right)? == 0).then(|| left / right);
    Some(match math {
        Math::Add => number(left, right, i64::checked_add, |l, r| l + r),
        Math::Sub => number(left, right, i64::checked_sub, |l, r| l - r),
        Math::Mul => number(left, right, i64::checked_mul, |l, r| l * r),
        Math::Div if right.as_f64() != 0.0 => number(left, right, exact, |l, r| l / r),
        Math::Div => return None,
        Math::Rem => remainder(left, right)?,
    })
}

/// Of the integer parts, as in jq.
fn remainder(left: &Number, right: &Number) -> Option<Metered> {
    let whole = |number: &Number| match number {
        Number::Int(int) => Some(*int),
        // The cast saturates.
        number => Some(number.as_f64()).filter(|float| !float.is_nan()).map(|float| float as i64),
    };
    fuel::spend(1);
    let right = whole(right).filter(|right| *right != 0)?;
    Some(Metered::from(whole(left)?.wrapping_rem(right)))
}

fn of_numbers(math: Math, left: &Metered, right: &Metered) -> Option<Metered> {
    match (&left.value, &right.value) {
        (Value::Number(left), Value::Number(right)) => numbers(math, left, right),
        _ => None,
    }
}

impl Add for Metered {
    type Output = ValR<Self>;

    fn add(mut self, mut other: Self) -> ValR<Self> {
        if let Some(sum) = of_numbers(Math::Add, &self, &other) {
            return Ok(sum);
        }
        let inside = self.depth_bound().max(other.depth_bound()).saturating_sub(1);
        match (&mut self.value, &mut other.value) {
            (Value::Null, _) => Ok(other),
            (_, Value::Null) => Ok(self),
            (Value::Text(left), Value::Text(right)) => {
                fuel::make(left.len() + right.len());
                Ok(Self::scalar(Value::Text([&**left, &**right].concat().into())))
            }
            (Value::Bytes(left), Value::Bytes(right)) => {
                fuel::make(left.len() + right.len());
                Ok(Self::scalar(Value::bytes([&left[..], &right[..]].concat())))
            }
            (Value::Array(left), Value::Array(right)) => {
                fuel::make(right.len() * size_of::<Value>());
                array_mut(left).extend(right.iter().cloned());
                Ok(Self::container(self.value, inside))
            }
            (Value::Object(left), Value::Object(right)) => {
                fuel::make(right.len() * 2 * size_of::<Value>());
                object_mut(left).insert_all(std::mem::take(right));
                Ok(Self::container(self.value, inside))
            }
            _ => Err(Error::math(self, Math::Add, other)),
        }
    }
}

impl Sub for Metered {
    type Output = ValR<Self>;

    fn sub(mut self, other: Self) -> ValR<Self> {
        if let Some(difference) = of_numbers(Math::Sub, &self, &other) {
            return Ok(difference);
        }
        match (&mut self.value, &other.value) {
            (Value::Array(left), Value::Array(right)) => {
                let mut removed: Vec<&Value> = right.iter().collect();
                fuel::make(size_of_val(removed.as_slice()));
                removed.sort_by(|left, right| compare(left, right));
                array_mut(left).retain(|value| removed.binary_search_by(|removed| compare(removed, value)).is_err());
                Ok(self)
            }
            _ => Err(Error::math(self, Math::Sub, other)),
        }
    }
}

impl Mul for Metered {
    type Output = ValR<Self>;

    fn mul(mut self, mut other: Self) -> ValR<Self> {
        if let Some(product) = of_numbers(Math::Mul, &self, &other) {
            return Ok(product);
        }
        let inside = self.depth_bound().max(other.depth_bound()).saturating_sub(1);
        match (&mut self.value, &mut other.value) {
            (Value::Text(text), Value::Number(times)) | (Value::Number(times), Value::Text(text)) => {
                let times = times.as_f64();
                if times.is_nan() || times <= 0.0 {
                    return Ok(Self::scalar(Value::Null));
                }
                // The cast saturates.
                let times = (times as usize).max(1);
                fuel::make(text.len().saturating_mul(times));
                Ok(Self::scalar(Value::from(text.repeat(if text.is_empty() { 1 } else { times }))))
            }
            (Value::Object(left), Value::Object(right)) => {
                merge(left, right);
                Ok(Self::container(self.value, inside))
            }
            _ => Err(Error::math(self, Math::Mul, other)),
        }
    }
}

/// Merges `right` into `left`, and objects in it into objects.
fn merge(left: &mut Object, right: &Object) {
    fuel::make(right.len() * 2 * size_of::<Value>());
    let left = object_mut(left);
    for (key, value) in right.entries() {
        match (left.get_mut(&key), value) {
            (Some(Value::Object(left)), Value::Object(right)) => merge(left, right),
            (Some(old), value) => *old = value.clone(),
            (None, value) => {
                left.insert(key, value.clone());
            }
        }
    }
}

impl Div for Metered {
    type Output = ValR<Self>;

    fn div(self, other: Self) -> ValR<Self> {
        if let Some(quotient) = of_numbers(Math::Div, &self, &other) {
            return Ok(quotient);
        }
        match (&self.value, &other.value) {
            (Value::Text(text), Value::Text(separator)) => {
                fuel::make(text.len());
                let part = |part: &str| Self::text(part);
                Ok(match (text.is_empty(), separator.is_empty()) {
                    (true, _) => std::iter::empty().collect(),
                    (_, true) => text.chars().map(|character| part(character.encode_utf8(&mut [0; 4]))).collect(),
                    // One letter is looked for faster as such.
                    _ => match separator.parse::<char>() {
                        Ok(letter) => text.split(letter).map(part).collect(),
                        Err(_) => text.split(&**separator).map(part).collect(),
                    },
                })
            }
            _ => Err(Error::math(self, Math::Div, other)),
        }
    }
}

impl Rem for Metered {
    type Output = ValR<Self>;

    fn rem(self, other: Self) -> ValR<Self> {
        of_numbers(Math::Rem, &self, &other).ok_or_else(|| Error::math(self, Math::Rem, other))
    }
}

impl Neg for Metered {
    type Output = ValR<Self>;

    fn neg(self) -> ValR<Self> {
        match &self.value {
            Value::Number(number) => Ok(match number {
                Number::Int(int) => int.checked_neg().map_or_else(|| Self::from(-(*int as f64)), Self::from),
                Number::Float(float) => Self::number(Number::Float(-float)),
                Number::Literal(digits) => Self::number(Number::Literal(match digits.strip_prefix('-') {
                    Some(digits) => digits.into(),
                    None => format!("-{digits}").into(),
                })),
            }),
            _ => Err(Error::typ(self, "number")),
        }
    }
}

impl PartialEq for Metered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Metered {}

impl PartialOrd for Metered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Metered {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.value, &other.value)
    }
}

/// The order of jq: null, false, true, numbers, text, arrays, objects. Bytes stand among text.
pub(super) fn compare(left: &Value, right: &Value) -> Ordering {
    fuel::spend(1);
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::Array(left), Value::Array(right)) => {
            let pairs = left.iter().zip(right.iter()).map(|(left, right)| compare(left, right));
            pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => compare_objects(left, right),
        _ => match (bytes(left), bytes(right)) {
            (Some(left), Some(right)) => {
                fuel::spend(left.len().min(right.len()) / 64);
                left.cmp(right)
            }
            _ => rank(left).cmp(&rank(right)),
        },
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::Text(_) | Value::Bytes(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// NaN is below every number, itself included.
fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => left.cmp(right),
        (Number::Literal(left), Number::Literal(right)) if left == right => Ordering::Equal,
        _ => {
            let (left, right) = (left.as_f64(), right.as_f64());
            let nan = if left.is_nan() { Ordering::Less } else { Ordering::Greater };
            left.partial_cmp(&right).unwrap_or(nan)
        }
    }
}

/// First the sorted keys as arrays, then the values key by key.
fn compare_objects(left: &Object, right: &Object) -> Ordering {
    if left.is_empty() || right.is_empty() {
        return left.len().cmp(&right.len());
    }
    fuel::spend(4 * (left.len() + right.len()));
    fn sorted(object: &Object) -> Vec<&str> {
        let mut keys: Vec<_> = object.keys().collect();
        keys.sort_unstable();
        keys
    }
    let (left_keys, right_keys) = (sorted(left), sorted(right));
    left_keys.cmp(&right_keys).then_with(|| {
        let values = left_keys.iter().map(|key| compare(&left[*key], &right[*key]));
        values.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    })
}
