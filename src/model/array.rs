//! A JSON array.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Value;
use super::json::{self, Raw};
use super::later::Later;

/// A JSON array, which is read as the slice of its values. A clone shares its contents, until either is changed.
///
/// One that comes from JSON text stays text until somebody looks inside; what is inside of its values stays text
/// even then.
#[derive(Clone, Default)]
pub struct Array(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    /// What the array was opened from, or will be; nothing once it is changed.
    raw: Option<Raw>,
    values: Later<Vec<Value>>,
}

impl Inner {
    fn values(&self) -> &Vec<Value> {
        self.values.get_or_init(|| match &self.raw {
            Some(raw) => raw.elements().map(|place| raw.value(place)).collect(),
            None => Vec::new(),
        })
    }

    /// The values, for good without the text.
    fn into_values(self) -> Vec<Value> {
        self.values();
        self.values.into_inner().unwrap_or_default()
    }
}

impl Array {
    pub fn as_slice(&self) -> &[Value] {
        self.0.values()
    }

    /// The values to be changed; copied first if they are shared.
    pub fn make_mut(&mut self) -> &mut Vec<Value> {
        self.0.values();
        let inner = Arc::make_mut(&mut self.0);
        inner.raw = None;
        inner.values.get_mut().expect("the values were opened above")
    }

    pub fn into_vec(self) -> Vec<Value> {
        Arc::unwrap_or_clone(self.0).into_values()
    }

    /// Whether a change would have to copy the values first.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether both share their contents.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// See [`Value::json_text`].
    pub(super) fn json_text(&self) -> Option<&str> {
        self.0.raw.as_ref().map(Raw::text)
    }

    /// See [`Value::compact_json`].
    pub(super) fn compact_json(&self) -> Option<&str> {
        self.0.raw.as_ref().and_then(Raw::compact)
    }

    /// Appends the array as compact JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.0.raw.as_ref().is_some_and(|raw| raw.write(out)) {
            return;
        }
        out.push(b'[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json::write(value, out);
        }
        out.push(b']');
    }

    /// See [`Value::size_in_memory`].
    pub(super) fn size_in_memory(&self) -> usize {
        match &self.0.raw {
            Some(raw) => size_of::<Inner>() + raw.size_in_memory(),
            None => size_of::<Inner>() + self.iter().map(Value::size_in_memory).sum::<usize>(),
        }
    }
}

impl From<Vec<Value>> for Array {
    fn from(values: Vec<Value>) -> Self {
        Self(Arc::new(Inner { raw: None, values: values.into() }))
    }
}

/// Of text that begins with a bracket.
impl From<Raw> for Array {
    fn from(raw: Raw) -> Self {
        Self(Arc::new(Inner { raw: Some(raw), values: Later::default() }))
    }
}

impl Deref for Array {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        self.as_slice()
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        let is_same_text = || self.0.raw.as_ref().zip(other.0.raw.as_ref()).is_some_and(|(one, two)| one.is_same(two));
        self.is_same(other) || is_same_text() || self.as_slice() == other.as_slice()
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<Value> for Array {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        values.into_iter().collect::<Vec<_>>().into()
    }
}
