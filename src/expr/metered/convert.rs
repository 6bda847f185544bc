//! Our values out of Rust's, and back.

use std::ops::Range;

use super::{Metered, NODE, member_of};
use crate::expr::fuel;
use crate::model::{Number, Text, Value};

/// The largest integer up to which every integer is a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl jaq_std::ValT for Metered {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        let bound = self.bound;
        let Value::Array(values) = self.value else { return Err(self) };
        // The natives that ask for this collect, clone or sort what they get.
        fuel::make(2 * NODE * values.len());
        Ok(values.into_vec().into_iter().map(|value| member_of(bound, value)).collect())
    }

    /// jaq asks this only of what is to be rounded, and leaves an integer as it is: `4.0 | floor` is 4, as in jq.
    fn is_int(&self) -> bool {
        matches!(&self.value, Value::Number(Number::Int(_) | Number::Literal(_)))
    }

    fn as_isize(&self) -> Option<isize> {
        match &self.value {
            Value::Number(Number::Int(int)) => isize::try_from(*int).ok(),
            // Beyond 2^53, a float does not tell which integer was meant.
            Value::Number(Number::Float(float)) if float.fract() == 0.0 && float.abs() <= EXACT => {
                Some(*float as isize)
            }
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match &self.value {
            Value::Number(number) => Some(number.as_f64()),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        let bytes = match &self.value {
            Value::Text(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            _ => return None,
        };
        fuel::spend(bytes.len() / 16);
        Some(bytes)
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::from_bytes(part)
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::from_bytes(bytes.as_ref())
    }
}

impl Metered {
    /// Text if the bytes are text, else the bytes.
    fn from_bytes(bytes: &[u8]) -> Self {
        fuel::make(bytes.len());
        Self::scalar(match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => Value::bytes(bytes.to_vec()),
        })
    }
}

impl From<bool> for Metered {
    fn from(truth: bool) -> Self {
        Self::scalar(Value::Bool(truth))
    }
}

impl From<isize> for Metered {
    fn from(int: isize) -> Self {
        Self::from(int as i64)
    }
}

impl From<i64> for Metered {
    fn from(int: i64) -> Self {
        Self::number(Number::Int(int))
    }
}

impl From<usize> for Metered {
    fn from(int: usize) -> Self {
        i64::try_from(int).map_or_else(|_| Self::from(int as f64), Self::from)
    }
}

/// A whole number becomes an integer, as jq prints it.
impl From<f64> for Metered {
    fn from(float: f64) -> Self {
        if !float.is_finite() {
            fuel::not_finite_made();
        }
        // The cast saturates, and makes zero of NaN.
        let int = float as i64;
        let is_whole = int as f64 == float && float.abs() <= EXACT && !(int == 0 && float.is_sign_negative());
        Self::number(if is_whole { Number::Int(int) } else { Number::Float(float) })
    }
}

impl From<String> for Metered {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// A slice as a part of a path.
impl From<Range<Option<Self>>> for Metered {
    fn from(range: Range<Option<Self>>) -> Self {
        fuel::slice_made();
        let bound = |bound: Option<Self>| bound.map_or(Value::Null, |bound| bound.value);
        let entries = [(Text::from("start"), bound(range.start)), (Text::from("end"), bound(range.end))];
        Self::container(entries.into_iter().collect(), 0)
    }
}

impl FromIterator<Self> for Metered {
    fn from_iter<I: IntoIterator<Item = Self>>(values: I) -> Self {
        let mut inside = 0;
        let values = values.into_iter().map(|value| {
            fuel::make(NODE);
            inside = inside.max(value.depth_bound());
            value.value
        });
        let values = values.collect();
        Self::container(Value::array(values), inside)
    }
}
