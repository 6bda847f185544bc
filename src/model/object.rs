//! A JSON object.

use std::borrow::Cow;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Index;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::json::{self, Place, Raw, Selected, Selection};
use super::later::Later;
use super::{Text, Value};

/// A JSON object that keeps the order in which its keys were written. A clone shares its contents, until either is
/// changed.
///
/// One that comes from JSON text stays text until somebody looks inside; what is inside of its values stays text
/// even then. Equality is structural; the order of keys does not count.
#[derive(Clone, Default)]
pub struct Object(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    /// The text that members were opened from, or will be.
    raw: Option<Raw>,
    /// Whether the text no longer says what the members are.
    is_changed: bool,
    members: Later<Members>,
}

#[derive(Clone, Default)]
struct Members {
    list: Vec<Member>,
    /// Where each key stands, if there are more than [`FEW`].
    places: Option<Places>,
}

#[derive(Clone)]
struct Member {
    key: Key,
    /// Where the value stands in the text, if it came from there.
    place: Option<Place>,
    /// Made from the text when it is asked for.
    value: Later<Value>,
}

#[derive(Clone)]
enum Key {
    /// Without escapes, in the text.
    Plain(Place),
    Text(Text),
}

#[derive(Clone, Default)]
struct Places {
    table: HashTable<u32>,
    state: RandomState,
}

/// So many keys are searched one after the other.
const FEW: usize = 16;

/// The length of a short text, in bytes.
const SHORT: usize = 1024;

impl Object {
    pub fn with_capacity(count: usize) -> Self {
        Self::of(Members { list: Vec::with_capacity(count), places: None })
    }

    /// An object of these entries, of which there are at most so many, no two with the same key.
    pub fn of_distinct(count: usize, entries: impl IntoIterator<Item = (Text, Value)>) -> Self {
        let mut members = Members { list: Vec::with_capacity(count), places: None };
        for (key, value) in entries {
            members.push(None, Member { key: Key::Text(key), place: None, value: value.into() });
        }
        Self::of(members)
    }

    /// An object of these entries, of which there are at most so many.
    pub fn of_up_to(count: usize, entries: impl IntoIterator<Item = (Text, Value)>) -> Self {
        let mut members = Members { list: Vec::with_capacity(count), places: None };
        for (key, value) in entries {
            members.insert(None, key, value);
        }
        Self::of(members)
    }

    fn of(members: Members) -> Self {
        Self(Arc::new(Inner { raw: None, is_changed: false, members: members.into() }))
    }

    pub fn len(&self) -> usize {
        self.0.members().list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        let (members, raw) = (self.0.members(), self.0.raw.as_ref());
        members.position(raw, key).map(|index| members.list[index].value(raw))
    }

    /// The value under a key, or null, of an object that nobody has looked into: its text is read no further than to the
    /// key, and stays as it is. Nothing if it is open already, or a key may come twice in it.
    pub fn glance(&self, key: &str) -> Option<Value> {
        let Inner { raw, members, .. } = &*self.0;
        let raw = raw.as_ref().filter(|raw| members.get().is_none() && !raw.may_repeat())?;
        let found = raw.members().find(|(name, _)| raw.plain_key(*name) == key);
        Some(found.map_or(Value::Null, |(_, place)| raw.value(place)))
    }

    /// What a selection makes of an object that is still text. Nothing if it is not, or if that cannot be told so.
    pub fn select(&self, selection: &Selection) -> Option<Selected<Self>> {
        let Selected { object, is_nested } = self.0.text()?.select(selection)?;
        Some(Selected { object: Self::from(object), is_nested })
    }

    /// [`Object::glance`] of a short text, through which it leads as fast as opening it.
    pub fn short_glance(&self, key: &str) -> Option<Value> {
        if self.0.text()?.text().len() <= SHORT { self.glance(key) } else { None }
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.0.members().position(self.0.raw.as_ref(), key).is_some()
    }

    /// The entry at a place in the order of keys.
    pub fn get_index(&self, index: usize) -> Option<(&str, &Value)> {
        let raw = self.0.raw.as_ref();
        self.0.members().list.get(index).map(|member| (member.key(raw), member.value(raw)))
    }

    /// The key at a place in the order of keys, as a text of its own.
    pub fn key_text(&self, index: usize) -> Option<Text> {
        self.0.members().list.get(index).map(|member| member.key_text(self.0.raw.as_ref()))
    }

    pub fn first(&self) -> Option<(&str, &Value)> {
        self.get_index(0)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator + Clone {
        let raw = self.0.raw.as_ref();
        self.0.members().list.iter().map(move |member| (member.key(raw), member.value(raw)))
    }

    /// The entries, for one look: those of a text that nobody has looked into are made for whoever asks, and not kept.
    pub fn fields(&self) -> Vec<(&str, Cow<'_, Value>)> {
        let Inner { raw, members, .. } = &*self.0;
        match raw.as_ref().filter(|raw| members.get().is_none() && !raw.may_repeat()) {
            None => self.iter().map(|(key, value)| (key, Cow::Borrowed(value))).collect(),
            Some(raw) => {
                let mut fields = Vec::with_capacity(FEW);
                for (key, place) in raw.members() {
                    fields.push((raw.plain_key(key), Cow::Owned(raw.value(place))));
                }
                fields
            }
        }
    }

    /// The entries with their keys as texts of their own, for another object.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Text, &Value)> {
        let raw = self.0.raw.as_ref();
        self.0.members().list.iter().map(move |member| (member.key_text(raw), member.value(raw)))
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        let raw = self.0.raw.as_ref();
        self.0.members().list.iter().map(move |member| member.key(raw))
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + Clone {
        let raw = self.0.raw.as_ref();
        self.0.members().list.iter().map(move |member| member.value(raw))
    }

    /// Puts `value` in the place of the one under `key`, or else at the end; answers the one that it replaces.
    pub fn insert(&mut self, key: Text, value: Value) -> Option<Value> {
        let (raw, members) = self.changed(1);
        members.insert(raw, key, value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        // An object that is shared is not copied for nothing.
        if !self.contains_key(key) {
            return None;
        }
        let (raw, members) = self.changed(0);
        members.position(raw, key).map(|index| members.list[index].value_mut(raw))
    }

    /// Takes an entry out; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.0.members().position(self.0.raw.as_ref(), key)?;
        let (raw, members) = self.changed(0);
        Some(members.remove(index).into_value(raw))
    }

    /// Puts all entries of `other` in, as [`Object::insert`] does.
    pub fn insert_all(&mut self, other: Self) {
        let (raw, members) = self.changed(other.len());
        match Arc::try_unwrap(other.0) {
            Ok(Inner { raw: from, members: others, .. }) => {
                for member in others.into_inner().unwrap_or_default().list {
                    members.insert(raw, member.key_text(from.as_ref()), member.into_value(from.as_ref()));
                }
            }
            Err(shared) => {
                let from = shared.raw.as_ref();
                for member in &shared.members().list {
                    members.insert(raw, member.key_text(from), member.value(from).clone());
                }
            }
        }
    }

    /// The members to be changed; copied first if they are shared, and then with room for `more`.
    fn changed(&mut self, more: usize) -> (Option<&Raw>, &mut Members) {
        self.0.members();
        if self.is_shared() {
            self.0 = Arc::new(self.0.copied(more));
        }
        let Inner { raw, is_changed, members } = Arc::make_mut(&mut self.0);
        *is_changed = true;
        (raw.as_ref(), members.get_mut().expect("the members were opened above"))
    }

    /// Whether a change would have to copy the entries first.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether both share their contents.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// See [`Value::json_text`].
    pub(super) fn json_text(&self) -> Option<&str> {
        self.0.text().map(Raw::text)
    }

    /// See [`Value::compact_json`].
    pub(super) fn compact_json(&self) -> Option<&str> {
        self.0.text().and_then(Raw::compact)
    }

    /// Appends the object as compact JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.0.text().is_some_and(|raw| raw.write(out)) {
            return;
        }
        let raw = self.0.raw.as_ref();
        out.push(b'{');
        for (index, member) in self.0.members().list.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            member.write(raw, out);
        }
        out.push(b'}');
    }

    /// See [`Value::size_in_memory`].
    pub(super) fn size_in_memory(&self) -> usize {
        let text = self.0.raw.as_ref().map_or(0, Raw::size_in_memory);
        let entry = |member: &Member| {
            let key = if let Key::Text(key) = &member.key { key.len() } else { 0 };
            let own = if member.place.is_none() { member.value.get() } else { None };
            size_of::<Member>() + key + own.map_or(0, Value::size_in_memory)
        };
        let entries = || self.0.members().list.iter().map(entry).sum::<usize>();
        size_of::<Inner>() + text + if self.0.text().is_some() { 0 } else { entries() }
    }
}

impl Inner {
    /// The text, if that is what the object is.
    fn text(&self) -> Option<&Raw> {
        self.raw.as_ref().filter(|_| !self.is_changed)
    }

    fn copied(&self, more: usize) -> Self {
        let Members { list, places } = self.members();
        let mut copied = Vec::with_capacity(list.len() + more);
        copied.extend_from_slice(list);
        let members = Members { list: copied, places: places.clone() };
        Self { raw: self.raw.clone(), is_changed: self.is_changed, members: members.into() }
    }

    #[inline]
    fn members(&self) -> &Members {
        self.members.get_or_init(|| self.raw.as_ref().map(Members::open).unwrap_or_default())
    }
}

impl Members {
    fn open(raw: &Raw) -> Self {
        let mut members = Self { list: Vec::with_capacity(FEW), places: None };
        for (key, place) in raw.members() {
            let key = if raw.has_escape(key) { Key::Text(raw.key(key).into()) } else { Key::Plain(key) };
            let member = Member { key, place: Some(place), value: Later::default() };
            let earlier = if raw.may_repeat() { members.position(Some(raw), member.key(Some(raw))) } else { None };
            match earlier {
                Some(index) => members.list[index] = member,
                None => members.push(Some(raw), member),
            }
        }
        members
    }

    fn position(&self, raw: Option<&Raw>, key: &str) -> Option<usize> {
        match &self.places {
            None => self.list.iter().position(|member| member.is_under(raw, key)),
            Some(places) => places.find(raw, &self.list, key),
        }
    }

    fn insert(&mut self, raw: Option<&Raw>, key: Text, value: Value) -> Option<Value> {
        match self.position(raw, &key) {
            Some(index) => Some(std::mem::replace(self.list[index].value_mut(raw), value)),
            None => {
                self.push(raw, Member { key: Key::Text(key), place: None, value: value.into() });
                None
            }
        }
    }

    /// Appends a member whose key is not there yet.
    fn push(&mut self, raw: Option<&Raw>, member: Member) {
        self.list.push(member);
        match self.places.take() {
            Some(mut places) => {
                places.add(raw, &self.list, self.list.len() - 1);
                self.places = Some(places);
            }
            None if self.list.len() > FEW => {
                let mut places = Places::default();
                (0..self.list.len()).for_each(|index| places.add(raw, &self.list, index));
                self.places = Some(places);
            }
            None => {}
        }
    }

    fn remove(&mut self, index: usize) -> Member {
        if let Some(Places { table, .. }) = &mut self.places {
            table.retain(|place| *place as usize != index);
            table.iter_mut().filter(|place| **place as usize > index).for_each(|place| *place -= 1);
        }
        self.list.remove(index)
    }
}

impl Places {
    #[inline(never)]
    fn find(&self, raw: Option<&Raw>, list: &[Member], key: &str) -> Option<usize> {
        let is_it = |place: &u32| list[*place as usize].is_under(raw, key);
        self.table.find(self.state.hash_one(key), is_it).map(|place| *place as usize)
    }

    fn add(&mut self, raw: Option<&Raw>, list: &[Member], index: usize) {
        let hash = |place: &u32| self.state.hash_one(list[*place as usize].key(raw));
        let place = u32::try_from(index).expect("an object has fewer than 2^32 keys");
        self.table.insert_unique(hash(&place), place, hash);
    }
}

/// Each takes the text that the member was opened from, if it was.
impl Member {
    fn key<'a>(&'a self, raw: Option<&'a Raw>) -> &'a str {
        match &self.key {
            Key::Plain(place) => raw.expect(OPENED).plain_key(*place),
            Key::Text(text) => text,
        }
    }

    #[inline]
    fn is_under(&self, raw: Option<&Raw>, key: &str) -> bool {
        match &self.key {
            Key::Plain(place) => raw.expect(OPENED).is_plain_key(*place, key),
            Key::Text(text) => **text == *key,
        }
    }

    fn key_text(&self, raw: Option<&Raw>) -> Text {
        match &self.key {
            Key::Plain(_) => self.key(raw).into(),
            Key::Text(text) => text.clone(),
        }
    }

    fn value(&self, raw: Option<&Raw>) -> &Value {
        self.value.get_or_init(|| raw.expect(OPENED).value(self.place.expect(OPENED)))
    }

    fn value_mut(&mut self, raw: Option<&Raw>) -> &mut Value {
        self.value(raw);
        // From now on it is not what the text says.
        self.place = None;
        self.value.get_mut().expect("the value was made above")
    }

    fn into_value(self, raw: Option<&Raw>) -> Value {
        self.value(raw);
        self.value.into_inner().expect("the value was made above")
    }

    fn write(&self, raw: Option<&Raw>, out: &mut Vec<u8>) {
        match &self.key {
            Key::Plain(place) => raw.expect(OPENED).write_key(*place, out),
            Key::Text(key) => json::write_text(key, out),
        }
        out.push(b':');
        let is_text = self.place.zip(raw).is_some_and(|(place, raw)| raw.write_part(place, out));
        if !is_text {
            json::write(self.value(raw), out);
        }
    }
}

const OPENED: &str = "a member without a key or a value of its own was opened from text";

/// Of text that begins with a brace.
impl From<Raw> for Object {
    fn from(raw: Raw) -> Self {
        Self(Arc::new(Inner { raw: Some(raw), is_changed: false, members: Later::default() }))
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        let is_same_text = || self.0.text().zip(other.0.text()).is_some_and(|(one, two)| one.is_same(two));
        let is_equal = || {
            self.len() == other.len()
                && self.iter().all(|(key, value)| other.get(key).is_some_and(|other| value == other))
        };
        self.is_same(other) || is_same_text() || is_equal()
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
        let entries = entries.into_iter();
        Self::of_up_to(entries.size_hint().0, entries)
    }
}

impl Extend<(Text, Value)> for Object {
    fn extend<I: IntoIterator<Item = (Text, Value)>>(&mut self, entries: I) {
        let entries = entries.into_iter();
        let (raw, members) = self.changed(entries.size_hint().0);
        for (key, value) in entries {
            members.insert(raw, key, value);
        }
    }
}

impl IntoIterator for Object {
    type Item = (Text, Value);
    type IntoIter = std::vec::IntoIter<(Text, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.members();
        let Inner { raw, members, .. } = Arc::unwrap_or_clone(self.0);
        let members = members.into_inner().unwrap_or_default().list;
        let owned = |member: Member| (member.key_text(raw.as_ref()), member.into_value(raw.as_ref()));
        members.into_iter().map(owned).collect::<Vec<_>>().into_iter()
    }
}
