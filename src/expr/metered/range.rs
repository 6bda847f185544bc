//! Which part of a value an index or a range means.

use std::ops::Range;

use jaq_core::Error;

use super::{Failure, Metered};
use crate::expr::fuel;
use crate::model::{Number, Value};

/// The place that an index means: one below zero counts from the end. Nothing if it lies before the beginning.
pub(in crate::expr) fn position(index: &Number, length: usize) -> Option<usize> {
    let index = integer(index)?;
    if index >= 0 {
        usize::try_from(index).ok()
    } else {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

/// A number as an index; fractions are cut off as in jq.
pub(super) fn integer(number: &Number) -> Option<i64> {
    match number {
        Number::Int(int) => Some(*int),
        // The cast saturates, and nothing is that long.
        other => Some(other.as_f64()).filter(|float| !float.is_nan()).map(|float| float.floor() as i64),
    }
}

/// What a range means for something of this length.
pub(in crate::expr) fn bounds(range: Range<Option<&Metered>>, length: usize) -> Result<Range<usize>, Failure> {
    let bound = |bound: Option<&Metered>, absent: usize, up: bool| match bound.map(|bound| (bound, &bound.value)) {
        None | Some((_, Value::Null)) => Ok(absent),
        Some((_, Value::Number(number))) => {
            let number = match number {
                Number::Float(float) if up => Number::Float(float.ceil()),
                other => other.clone(),
            };
            Ok(position(&number, length).unwrap_or(0).min(length))
        }
        Some((bound, _)) => Err(Error::typ(bound.clone(), "integer")),
    };
    let start = bound(range.start, 0, false)?;
    Ok(start..bound(range.end, length, true)?.max(start))
}

/// The bytes of the characters that a range means.
pub(super) fn characters(text: &str, range: Range<Option<&Metered>>) -> Result<Range<usize>, Failure> {
    fuel::spend(1 + text.len() / 16);
    if text.is_ascii() {
        return bounds(range, text.len());
    }
    let range = bounds(range, text.chars().count())?;
    let mut starts = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    let start = starts.nth(range.start).unwrap_or(text.len());
    let end = if range.is_empty() { start } else { starts.nth(range.len() - 1).unwrap_or(text.len()) };
    Ok(start..end)
}
