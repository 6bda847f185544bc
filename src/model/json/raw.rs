//! Arrays and objects that are still JSON text, opened one level at a time.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use hifijson::SliceLexer;
use hifijson::str::LexAlloc;

use super::scan::{Form, Scan, any_number, any_string, token, value_end};
use crate::model::{Array, Number, Object, Value};

/// The longest text whose places are counted here.
pub(super) const MAX_LENGTH: usize = u32::MAX as usize;

/// So much more room than it needs is left to a text.
const SLACK: usize = 64;

/// One array or object in JSON text that is known to be right. A clone shares the text.
#[derive(Clone, Debug)]
pub(in crate::model) struct Raw {
    pub(super) source: Source,
    pub(super) place: Place,
    /// About how many bytes it takes beside its text when all of it is open.
    pub(super) opened: u32,
    pub(super) form: Form,
}

/// Where something begins and ends in its source.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Place {
    start: u32,
    end: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    Whole(Arc<String>),
    Piece(Arc<str>),
}

impl Source {
    fn text(&self) -> &str {
        match self {
            Source::Whole(text) => text,
            Source::Piece(text) => text,
        }
    }
}

impl Place {
    /// Of text that is no longer than [`MAX_LENGTH`].
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A whole text that was scanned, as a value.
pub(super) fn whole(text: String, scan: &Scan) -> Value {
    if !is_container(&text[scan.start..]) {
        return scalar(&text[scan.start..scan.end]);
    }
    let mut text = text;
    // What a value holds in memory is about what it says.
    if text.capacity() > text.len() + text.len() / 4 + SLACK {
        text.shrink_to_fit();
    }
    container(Source::Whole(Arc::new(text)), Place::new(scan.start, scan.end), scan)
}

/// The value in a text that was scanned; only the value is copied.
pub(super) fn copied(text: &str, scan: &Scan) -> Value {
    let value = &text[scan.start..scan.end];
    if !is_container(value) {
        return scalar(value);
    }
    container(Source::Piece(value.into()), Place::new(0, value.len()), scan)
}

fn container(source: Source, place: Place, scan: &Scan) -> Value {
    let opened = u32::try_from(scan.opened).unwrap_or(u32::MAX);
    Raw { source, place, opened, form: scan.form }.into_value()
}

fn is_container(text: &str) -> bool {
    text.starts_with(['{', '['])
}

impl Raw {
    fn into_value(self) -> Value {
        if self.text().starts_with('{') { Value::Object(Object::from(self)) } else { Value::Array(Array::from(self)) }
    }

    pub(in crate::model) fn text(&self) -> &str {
        self.slice(self.place)
    }

    fn slice(&self, place: Place) -> &str {
        &self.source.text()[place.range()]
    }

    /// It as compact JSON, if that is how it stands there.
    pub(in crate::model) fn compact(&self) -> Option<&str> {
        (self.form == Form::Canonical).then(|| self.text())
    }

    /// Appends it as compact JSON, if that can be told from the text alone.
    pub(in crate::model) fn write(&self, out: &mut Vec<u8>) -> bool {
        self.write_part(self.place, out)
    }

    /// The same for a value inside.
    pub(in crate::model) fn write_part(&self, place: Place, out: &mut Vec<u8>) -> bool {
        let text = self.slice(place);
        match self.form {
            Form::Canonical => out.extend_from_slice(text.as_bytes()),
            Form::Loose => write_loose(text.as_bytes(), out),
            Form::Repeating if is_container(text) => return false,
            Form::Repeating => write_loose(text.as_bytes(), out),
        }
        true
    }

    /// Appends a key that has no escapes, with its quotes.
    pub(in crate::model) fn write_key(&self, key: Place, out: &mut Vec<u8>) {
        out.extend_from_slice(self.slice(key).as_bytes());
    }

    /// The places of the elements of an array.
    pub(in crate::model) fn elements(&self) -> impl Iterator<Item = Place> {
        let text = &self.source.text().as_bytes()[..self.place.end as usize];
        let mut at = token(text, self.place.start as usize + 1);
        std::iter::from_fn(move || {
            if text[at] == b']' {
                return None;
            }
            let place = Place::new(at, value_end(text, at));
            at = self.next(text, place);
            Some(place)
        })
    }

    /// The places of the keys, quotes included, and of the values of an object. A key may come twice.
    pub(in crate::model) fn members(&self) -> impl Iterator<Item = (Place, Place)> {
        self.members_of(self.place)
    }

    /// The same for an object inside.
    pub(super) fn members_of(&self, object: Place) -> impl Iterator<Item = (Place, Place)> {
        let text = &self.source.text().as_bytes()[..object.end as usize];
        let mut at = token(text, object.start as usize + 1);
        std::iter::from_fn(move || {
            if text[at] == b'}' {
                return None;
            }
            let key = Place::new(at, value_end(text, at));
            let colon = token(text, key.end as usize);
            let start = token(text, colon + 1);
            let value = Place::new(start, value_end(text, start));
            at = self.next(text, value);
            Some((key, value))
        })
    }

    /// Where the next element begins behind this one, or else the closing bracket.
    fn next(&self, text: &[u8], before: Place) -> usize {
        let comma = token(text, before.end as usize);
        if text[comma] == b',' { token(text, comma + 1) } else { comma }
    }

    /// The value at a place inside.
    pub(in crate::model) fn value(&self, place: Place) -> Value {
        let text = self.slice(place);
        if !is_container(text) {
            return scalar(text);
        }
        let opened = self.opened_of(place);
        // A small part does not keep a large text alive, so what is held is at most twice what is counted; and on the
        // way down into a value no more is copied in all than its text is long.
        let (source, place) = if 2 * place.len() >= self.source.text().len() {
            (self.source.clone(), place)
        } else {
            (Source::Piece(text.into()), Place::new(0, text.len()))
        };
        Self { source, place, opened, form: self.form }.into_value()
    }

    /// About how many bytes a value inside takes beside its text, by its share of it.
    pub(super) fn opened_of(&self, place: Place) -> u32 {
        (u64::from(self.opened) * place.len() as u64 / self.place.len() as u64) as u32
    }

    pub(super) fn first_byte(&self, place: Place) -> u8 {
        self.source.text().as_bytes()[place.start as usize]
    }

    pub(super) fn is_container(&self, place: Place) -> bool {
        matches!(self.first_byte(place), b'{' | b'[')
    }

    /// The text of a key.
    pub(in crate::model) fn key(&self, place: Place) -> Cow<'_, str> {
        unquoted(self.slice(place))
    }

    pub(in crate::model) fn has_escape(&self, key: Place) -> bool {
        // Texts with escapes in keys count as repeating when they are scanned.
        self.may_repeat() && self.slice(key).contains('\\')
    }

    /// Whether a key may come twice.
    pub(in crate::model) fn may_repeat(&self) -> bool {
        self.form == Form::Repeating
    }

    /// The text of a key that has no escapes.
    #[inline]
    pub(in crate::model) fn plain_key(&self, place: Place) -> &str {
        &self.source.text()[place.start as usize + 1..place.end as usize - 1]
    }

    /// Whether this is the text of a key that has no escapes.
    #[inline]
    pub(in crate::model) fn is_plain_key(&self, place: Place, key: &str) -> bool {
        // Most others differ in their length.
        place.len() == key.len() + 2
            && self.source.text().as_bytes()[place.start as usize + 1..place.end as usize - 1] == *key.as_bytes()
    }

    /// Whether both are surely the same.
    pub(in crate::model) fn is_same(&self, other: &Self) -> bool {
        self.text() == other.text()
    }

    /// About how many bytes it holds in memory once it is open.
    pub(in crate::model) fn size_in_memory(&self) -> usize {
        self.source.text().len() + self.opened as usize
    }
}

/// Anything but an array or an object, from text that is known to be right.
fn scalar(text: &str) -> Value {
    match text.as_bytes()[0] {
        b'"' => Value::Text(match unquoted(text) {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }),
        b'n' => Value::Null,
        b't' => Value::Bool(true),
        b'f' => Value::Bool(false),
        _ => Value::Number(parse_number(text)),
    }
}

/// What a string with its quotes stands for.
fn unquoted(text: &str) -> Cow<'_, str> {
    let inner = &text[1..text.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    SliceLexer::new(&text.as_bytes()[1..]).str_string().expect("the text was scanned, and this is a string in it")
}

fn parse_number(text: &str) -> Number {
    if !text.contains(['.', 'e', 'E']) {
        return text.parse().map_or_else(|_| Number::Literal(text.into()), Number::Int);
    }
    match text.parse::<f64>() {
        // 1e999 is JSON, but no finite float: keep it as it was written.
        Ok(float) if float.is_finite() => Number::Float(float),
        _ => Number::Literal(text.into()),
    }
}

/// Appends a value without the whitespace between its tokens, and with texts and numbers as they are always written.
fn write_loose(text: &[u8], out: &mut Vec<u8>) {
    const RIGHT: &str = "the text was scanned";
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let token = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'"' => any_string(&text[at..]).expect(RIGHT),
            b'-' | b'0'..=b'9' => any_number(&text[at..]).expect(RIGHT),
            other => {
                out.push(*other);
                at += 1;
                continue;
            }
        };
        let end = text.len() - token.rest.len();
        let written = &text[at..end];
        if token.is_canonical {
            out.extend_from_slice(written);
        } else {
            super::write(&scalar(str::from_utf8(written).expect("a part of text between two of its tokens")), out);
        }
        at = end;
    }
}
