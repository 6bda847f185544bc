//! A JSON object.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Text, Value};

/// A JSON object that keeps the order in which its keys were written. A clone shares its contents, until either is
/// changed.
///
/// Equality is structural; the order of keys does not count.
#[derive(Clone, Default)]
pub struct Object(Arc<Members>);

type Members = IndexMap<Text, Value, foldhash::fast::RandomState>;

impl Object {
    pub fn with_capacity(count: usize) -> Self {
        Self(Arc::new(Members::with_capacity_and_hasher(count, Default::default())))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The entry at a place in the order of keys.
    pub fn get_index(&self, index: usize) -> Option<(&str, &Value)> {
        self.0.get_index(index).map(|(key, value)| (&**key, value))
    }

    /// The key at a place in the order of keys, as a text of its own.
    pub fn key_text(&self, index: usize) -> Option<Text> {
        self.0.get_index(index).map(|(key, _)| key.clone())
    }

    pub fn first(&self) -> Option<(&str, &Value)> {
        self.get_index(0)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator + Clone {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// The entries with their keys as texts of their own, for another object.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Text, &Value)> {
        self.0.iter().map(|(key, value)| (key.clone(), value))
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.0.keys().map(|key| &**key)
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + Clone {
        self.0.values()
    }

    /// Puts `value` in the place of the one under `key`, or else at the end; answers the one that it replaces.
    pub fn insert(&mut self, key: Text, value: Value) -> Option<Value> {
        Arc::make_mut(&mut self.0).insert(key, value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        // An object that is shared is not copied for nothing.
        if !self.contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.0).get_mut(key)
    }

    /// Takes an entry out; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        if !self.contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.0).shift_remove(key)
    }

    /// Whether a change would have to copy the entries first.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether both share their contents.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0 == other.0
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

/// Panics if there is no such key.
impl Index<&str> for Object {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        self.get(key).expect("the object has this key")
    }
}

impl FromIterator<(Text, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(entries: I) -> Self {
        Self(Arc::new(entries.into_iter().collect()))
    }
}

impl Extend<(Text, Value)> for Object {
    fn extend<I: IntoIterator<Item = (Text, Value)>>(&mut self, entries: I) {
        Arc::make_mut(&mut self.0).extend(entries);
    }
}

impl IntoIterator for Object {
    type Item = (Text, Value);
    type IntoIter = indexmap::map::IntoIter<Text, Value>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}
