//! Makes an object of parts of another, from text to text: neither of the two is opened.

use std::cell::Cell;
use std::sync::Arc;

use super::raw::{MAX_LENGTH, Place, Raw, Source};
use super::scan::{self, CONTAINER, Form, KEY, VALUE};
use super::{write, write_text};
use crate::model::{Text, Value};

thread_local! {
    /// Where text is put together.
    static TEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How much room for text a thread keeps.
const KEPT: usize = 64 << 10;

/// An object to be made: its keys, and where in another object the value of each stands.
#[derive(Debug)]
pub struct Selection {
    /// For each part that is taken: what is written before it.
    before: Vec<Vec<u8>>,
    end: Vec<u8>,
    keys: usize,
    branches: Vec<Branch>,
}

/// What a field of the object to be made is.
#[derive(Debug)]
pub enum Field {
    /// What stands under these keys, one inside of the other; null if nothing does.
    Part(Vec<Text>),
    Constant(Value),
}

/// What is looked for under a key.
#[derive(Debug)]
struct Branch {
    key: Text,
    /// The parts that are its value.
    parts: Vec<usize>,
    /// What is looked for in its value.
    below: Vec<Branch>,
}

/// What a selection made of an object.
pub struct Selected<T> {
    pub object: T,
    /// Whether arrays or objects are among its values.
    pub is_nested: bool,
}

impl Selection {
    /// Nothing if that is not to be had from text alone, such as if a key comes twice.
    pub fn new(fields: &[(Text, Field)]) -> Option<Self> {
        let keys = fields.len();
        let (mut before, mut piece, mut branches) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (key, field)) in fields.iter().enumerate() {
            let is_there = fields[..number].iter().any(|(earlier, _)| earlier == key);
            // Keys with escapes are compared only in objects that are open.
            if is_there || !scan::is_plain(key) {
                return None;
            }
            piece.push(if number == 0 { b'{' } else { b',' });
            write_text(key, &mut piece);
            piece.push(b':');
            match field {
                Field::Constant(Value::Array(_) | Value::Object(_) | Value::Bytes(_)) => return None,
                Field::Constant(value) => write(value, &mut piece),
                Field::Part(path) => {
                    grow(&mut branches, path, before.len())?;
                    before.push(std::mem::take(&mut piece));
                }
            }
        }
        piece.push(b'}');
        (!before.is_empty()).then_some(Self { before, end: piece, keys, branches })
    }
}

/// Adds what leads to a part.
fn grow(branches: &mut Vec<Branch>, path: &[Text], part: usize) -> Option<()> {
    let (key, rest) = path.split_first()?;
    let place = branches.iter().position(|branch| branch.key == *key).unwrap_or_else(|| {
        branches.push(Branch { key: key.clone(), parts: Vec::new(), below: Vec::new() });
        branches.len() - 1
    });
    let branch = &mut branches[place];
    if rest.is_empty() {
        branch.parts.push(part);
        return Some(());
    }
    grow(&mut branch.below, rest, part)
}

impl Raw {
    /// What a selection makes of this object. Nothing if a key leads into something that has none, if this one's keys may
    /// come twice, or if that would become larger than what it is made of.
    pub(in crate::model) fn select(&self, selection: &Selection) -> Option<Selected<Raw>> {
        if self.may_repeat() {
            return None;
        }
        let mut places = vec![None; selection.before.len()];
        self.find(self.place, &selection.branches, &mut places)?;
        let parts: usize = places.iter().flatten().map(|place| place.len()).sum();
        if parts > self.place.len() {
            return None;
        }
        let mut text = TEXT.take();
        text.clear();
        let (mut is_nested, mut opened) = (false, VALUE + CONTAINER + selection.keys * (KEY + VALUE));
        for (before, place) in selection.before.iter().zip(places) {
            text.extend_from_slice(before);
            match place {
                Some(place) => {
                    if self.is_container(place) {
                        is_nested = true;
                        opened += self.opened_of(place) as usize;
                    }
                    self.write_part(place, &mut text);
                }
                None => text.extend_from_slice(b"null"),
            }
        }
        text.extend_from_slice(&selection.end);
        let written = str::from_utf8(&text).expect("keys and parts of JSON text, each of them whole");
        let object = (written.len() <= MAX_LENGTH).then(|| Raw {
            source: Source::Piece(Arc::from(written)),
            place: Place::new(0, written.len()),
            opened: u32::try_from(opened).unwrap_or(u32::MAX),
            form: Form::Canonical,
        });
        if text.capacity() <= KEPT {
            TEXT.set(text);
        }
        Some(Selected { object: object?, is_nested })
    }

    /// Finds the parts below an object, and looks no further than to the last of them. Nothing if a key leads into
    /// something that has none.
    fn find(&self, object: Place, branches: &[Branch], places: &mut [Option<Place>]) -> Option<()> {
        let mut left = branches.len();
        for (key, value) in self.members_of(object) {
            let Some(branch) = branches.iter().find(|branch| self.is_plain_key(key, &branch.key)) else { continue };
            for part in &branch.parts {
                places[*part] = Some(value);
            }
            if !branch.below.is_empty() {
                match self.first_byte(value) {
                    b'{' => self.find(value, &branch.below, places)?,
                    b'n' => {}
                    _ => return None,
                }
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        Some(())
    }
}
