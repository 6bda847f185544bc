//! JSON text (RFC 8259) seen token by token: whether it is right, and where its parts end. Nothing is copied.
//!
//! What compact text most likely has next is looked for first, and sixteen bytes at a time (`window`). Whatever else
//! may stand there has a function of its own, out of the way.

use super::MAX_DEPTH;
use super::window::{WINDOW, Window, fingerprint};
use crate::model::Value;

/// What one look at the whole text finds out.
pub(super) struct Scan {
    /// Where the one value begins and ends, without the whitespace around it.
    pub(super) start: usize,
    pub(super) end: usize,
    /// About how many bytes the value takes beside its text when all of it is open.
    pub(super) opened: usize,
    pub(super) form: Form,
}

/// How JSON text compares with what [`super::write`] makes of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// They are the same.
    Canonical,
    /// The same but for whitespace between tokens and the spelling of texts and numbers.
    Loose,
    /// A key may stand twice in an object, of which the last one counts.
    Repeating,
}

/// The value in `text`, which is UTF-8; nothing if it is not exactly one.
pub(super) fn scan(text: &str) -> Option<Scan> {
    let text = text.as_bytes();
    let mut seen = Seen { opened: VALUE, is_canonical: true, repeats: false, keys: Vec::with_capacity(2 * COMPARED) };
    let value = behind_whitespace(text);
    let rest = seen.value(value, MAX_DEPTH)?;
    let form = match (seen.repeats, seen.is_canonical) {
        (true, _) => Form::Repeating,
        (false, true) => Form::Canonical,
        (false, false) => Form::Loose,
    };
    let (start, end) = (text.len() - value.len(), text.len() - rest.len());
    behind_whitespace(rest).is_empty().then_some(Scan { start, end, opened: seen.opened, form })
}

/// About how many bytes are taken by a value in an array, by what an object keeps beside it, and by a list of either.
pub(super) const VALUE: usize = size_of::<Value>();
pub(super) const KEY: usize = 2 * size_of::<Value>();
pub(super) const CONTAINER: usize = 5 * size_of::<Value>();

/// Keys up to this many are compared each with each; more are sorted.
const COMPARED: usize = 24;

/// What is known of the text so far. Every method takes the text from where it looks, and answers what is left of it
/// behind what it looked at, or nothing if that is wrong.
struct Seen {
    opened: usize,
    is_canonical: bool,
    repeats: bool,
    /// A fingerprint of each key so far of each object that has begun, the innermost last.
    keys: Vec<u64>,
}

impl Seen {
    #[inline(always)]
    fn value<'t>(&mut self, text: &'t [u8], depth: usize) -> Option<&'t [u8]> {
        match *text.first()? {
            b'0'..=b'9' => plain_number(text, 0).or_else(|| self.token(any_number(text))),
            b'"' => plain_string(text).or_else(|| self.token(any_string(text))),
            b'-' => plain_number(text, 1).or_else(|| self.token(any_number(text))),
            b'{' => self.object(&text[1..], depth.checked_sub(1)?),
            b'[' => self.array(&text[1..], depth.checked_sub(1)?),
            b't' => after(text, b"true"),
            b'f' => after(text, b"false"),
            b'n' => after(text, b"null"),
            0..=b' ' => self.spaced_value(text, depth),
            _ => None,
        }
    }

    /// A value behind whitespace.
    #[inline(never)]
    fn spaced_value<'t>(&mut self, text: &'t [u8], depth: usize) -> Option<&'t [u8]> {
        let value = self.behind_whitespace(text);
        if value.len() < text.len() { self.value(value, depth) } else { None }
    }

    #[inline(never)]
    fn array<'t>(&mut self, text: &'t [u8], depth: usize) -> Option<&'t [u8]> {
        self.opened += CONTAINER;
        let mut text = self.unless_whitespace(text)?;
        if let Some(rest) = after(text, b"]") {
            return Some(rest);
        }
        loop {
            self.opened += VALUE;
            text = self.value(text, depth)?;
            text = match self.unless_whitespace(text)?.split_first()? {
                (b',', rest) => rest,
                (b']', rest) => return Some(rest),
                _ => return None,
            };
        }
    }

    #[inline(never)]
    fn object<'t>(&mut self, text: &'t [u8], depth: usize) -> Option<&'t [u8]> {
        self.opened += CONTAINER;
        let text = self.unless_whitespace(text)?;
        if let Some(rest) = after(text, b"}") {
            return Some(rest);
        }
        let mut text = after(text, b"\"")?;
        let first = self.keys.len();
        // A bit for each key so far, by its fingerprint.
        let mut bits = 0_u64;
        loop {
            let (value, print) = self.key(text)?;
            let bit = print >> 58;
            if bits >> bit & 1 != 0 {
                self.compare(print, first);
            }
            bits |= 1 << bit;
            self.keys.push(print);
            text = self.value(value, depth)?;
            text = match after(text, b",\"") {
                Some(rest) => rest,
                None => match self.unless_whitespace(text)?.split_first()? {
                    (b',', rest) => after(self.behind_whitespace(rest), b"\"")?,
                    (b'}', rest) => {
                        text = rest;
                        break;
                    }
                    _ => return None,
                },
            };
        }
        let count = self.keys.len() - first;
        self.opened += count * (KEY + VALUE);
        if count > COMPARED {
            self.compare_all(first);
        }
        self.keys.truncate(first);
        Some(text)
    }

    /// A key, behind its quote, and its colon. Also answers a fingerprint, whose highest bits are spread best.
    #[inline(always)]
    fn key<'t>(&mut self, text: &'t [u8]) -> Option<(&'t [u8], u64)> {
        if let Some(window) = Window::at(text)
            && let Some(end) = window.first_special()
            && let Some(rest) = after(&text[end..], b"\":")
        {
            return Some((rest, window.fingerprint(end)));
        }
        self.odd_key(text)
    }

    /// A key that is long, has escapes, stands near the end of the text or has whitespace behind it.
    #[inline(never)]
    fn odd_key<'t>(&mut self, text: &'t [u8]) -> Option<(&'t [u8], u64)> {
        let key = rest_of_string(text)?;
        // Two spellings of one key have different fingerprints.
        self.repeats |= key.has_escape;
        self.is_canonical &= key.is_canonical;
        let print = fingerprint(&text[..text.len() - key.rest.len() - 1]);
        let rest = after(self.unless_whitespace(key.rest)?, b":")?;
        Some((rest, print))
    }

    /// Compares a key with those before it in its object, the first of which is `first`.
    #[inline(never)]
    fn compare(&mut self, print: u64, first: usize) {
        let earlier = &self.keys[first..];
        if earlier.len() < COMPARED {
            self.repeats |= earlier.contains(&print);
        }
    }

    /// Compares all keys from `first` on.
    #[inline(never)]
    fn compare_all(&mut self, first: usize) {
        let keys = &mut self.keys[first..];
        keys.sort_unstable();
        self.repeats |= keys.array_windows().any(|[one, other]| one == other);
    }

    #[inline(never)]
    fn token<'t>(&mut self, token: Option<Token<'t>>) -> Option<&'t [u8]> {
        let token = token?;
        self.is_canonical &= token.is_canonical;
        Some(token.rest)
    }

    /// From the next token on, if there is one.
    #[inline(always)]
    fn unless_whitespace<'t>(&mut self, text: &'t [u8]) -> Option<&'t [u8]> {
        match text.first()? {
            0..=b' ' => Some(self.behind_whitespace(text)),
            _ => Some(text),
        }
    }

    /// From the next token on.
    #[inline(never)]
    fn behind_whitespace<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let token = behind_whitespace(text);
        self.is_canonical &= token.len() == text.len();
        token
    }
}

/// What stands behind a string or a number, and whether it is written as [`super::write`] would.
pub(super) struct Token<'t> {
    pub(super) rest: &'t [u8],
    pub(super) is_canonical: bool,
    pub(super) has_escape: bool,
}

/// What stands behind the string that begins with the first byte, which is a quote, if it is short and has no escape.
#[inline(always)]
fn plain_string(text: &[u8]) -> Option<&[u8]> {
    let text = &text[1..];
    let end = Window::at(text)?.first_special()?;
    after(&text[end..], b"\"")
}

/// The string that begins with the first byte, which is a quote.
pub(super) fn any_string(text: &[u8]) -> Option<Token<'_>> {
    rest_of_string(&text[1..])
}

/// A string behind its opening quote.
#[inline(never)]
fn rest_of_string(text: &[u8]) -> Option<Token<'_>> {
    let mut rest = behind_plain(text);
    let (mut is_canonical, mut has_escape) = (true, false);
    loop {
        match rest.split_first()? {
            (b'"', rest) => return Some(Token { rest, is_canonical, has_escape }),
            (b'\\', escaped) => {
                has_escape = true;
                let (length, is_shortest) = escape(escaped)?;
                is_canonical &= is_shortest;
                rest = behind_plain(&escaped[length..]);
            }
            // A control character.
            _ => return None,
        }
    }
}

/// The escape behind its backslash: how long it is, and whether it is the one that is written.
fn escape(text: &[u8]) -> Option<(usize, bool)> {
    match *text.first()? {
        b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => Some((1, true)),
        b'/' => Some((1, false)),
        b'u' => {
            let unit = code_unit(&text[1..])?;
            match unit {
                0xd800..0xdc00 => {
                    let low = code_unit(after(&text[5..], b"\\u")?)?;
                    (0xdc00..0xe000).contains(&low).then_some((11, false))
                }
                0xdc00..0xe000 => None,
                _ => {
                    let has_letter = matches!(unit, 0x8 | 0x9 | 0xa | 0xc | 0xd);
                    let is_lower = !text[1..5].iter().any(u8::is_ascii_uppercase);
                    Some((5, unit < 0x20 && !has_letter && is_lower))
                }
            }
        }
        _ => None,
    }
}

/// Four hexadecimal digits.
fn code_unit(text: &[u8]) -> Option<u32> {
    text.first_chunk::<4>()?.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// What stands behind the number that begins with the first byte, if it is a short one and written as always; `start`
/// tells how many bytes stand before its first digit.
#[inline(always)]
fn plain_number(text: &[u8], start: usize) -> Option<&[u8]> {
    Window::at(text)?.plain_number(start).map(|end| &text[end..])
}

/// The number that begins with the first byte, which is a minus or a digit.
#[inline(never)]
pub(super) fn any_number(text: &[u8]) -> Option<Token<'_>> {
    let is_negative = text.first() == Some(&b'-');
    let whole = usize::from(is_negative);
    let mut at = digits_end(text, whole);
    let starts_with_zero = text.get(whole) == Some(&b'0');
    if at == whole || (starts_with_zero && at > whole + 1) {
        return None;
    }
    let mut is_canonical = !(is_negative && starts_with_zero);
    if text.get(at) == Some(&b'.') {
        let point = at;
        at = digits_end(text, point + 1);
        if at == point + 1 {
            return None;
        }
        is_canonical = is_shortest(&text[whole..point], &text[point + 1..at]) || is_written_so(&text[..at]);
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let digits = at + 1 + sign;
        at = digits_end(text, digits);
        if at == digits {
            return None;
        }
        is_canonical = is_written_so(&text[..at]);
    }
    Some(Token { rest: &text[at..], is_canonical, has_escape: false })
}

/// Whether a float with these digits before and behind its point is surely written like this again. A decimal of up
/// to 15 digits is the shortest one of its float; those close to zero are written with an exponent.
fn is_shortest(whole: &[u8], fraction: &[u8]) -> bool {
    whole.len() + fraction.len() <= 15
        && (fraction.len() == 1
            || (fraction.last() != Some(&b'0') && (whole.first() != Some(&b'0') || !fraction.starts_with(b"00"))))
}

/// Whether a float is written like this again, seen by writing it.
#[cold]
fn is_written_so(float: &[u8]) -> bool {
    // No float is written with more than 25 bytes.
    let mut written = [0; 32];
    let mut left = &mut written[..];
    let parsed = str::from_utf8(float).ok().and_then(|float| float.parse::<f64>().ok());
    let Some(parsed) = parsed else { return false };
    // What no float can hold is kept letter by letter.
    if parsed.is_infinite() {
        return true;
    }
    let is_written = serde_json::to_writer(&mut left, &parsed).is_ok();
    let length = 32 - left.len();
    is_written && written[..length] == *float
}

fn digits_end(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// From the first byte on that is a quote, a backslash or a control character.
#[inline(always)]
fn behind_plain(mut text: &[u8]) -> &[u8] {
    while let Some(window) = Window::at(text) {
        match window.first_special() {
            Some(end) => return &text[end..],
            None => text = &text[WINDOW..],
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    &text[text.iter().position(is_special).unwrap_or(text.len())..]
}

/// What stands behind `start`, if the text begins with that. Unlike `strip_prefix`, it is compared in place.
#[inline(always)]
fn after<'t, const LENGTH: usize>(text: &'t [u8], start: &[u8; LENGTH]) -> Option<&'t [u8]> {
    match text.split_first_chunk() {
        Some((first, rest)) if first == start => Some(rest),
        _ => None,
    }
}

/// Whether a text is written as it is, without escapes.
pub(super) fn is_plain(text: &str) -> bool {
    behind_plain(text.as_bytes()).is_empty()
}

fn behind_whitespace(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = text {
        text = rest;
        while let Some(rest) = after(text, b"        ") {
            text = rest;
        }
    }
    text
}

/// The end of the value that begins at `start` in text that is known to be right.
pub(super) fn value_end(text: &[u8], start: usize) -> usize {
    match text[start] {
        b'"' => string_end(text, start + 1),
        b'{' | b'[' => container_end(text, start),
        _ => {
            let mut rest = &text[start..];
            while let Some(window) = Window::at(rest) {
                match window.first_delimiter() {
                    Some(end) => return text.len() - rest.len() + end,
                    None => rest = &rest[WINDOW..],
                }
            }
            let is_delimiter = |byte: &u8| matches!(byte, b',' | b']' | b'}' | 0..=b' ');
            let end = rest.iter().position(is_delimiter).unwrap_or(rest.len());
            text.len() - rest.len() + end
        }
    }
}

/// The end of the string in which `inside` is, at no escaped byte.
fn string_end(text: &[u8], inside: usize) -> usize {
    let mut rest = behind_plain(&text[inside..]);
    while rest[0] != b'"' {
        // A backslash, and what it stands before.
        rest = behind_plain(&rest[2..]);
    }
    text.len() - rest.len() + 1
}

fn container_end(text: &[u8], start: usize) -> usize {
    let (mut at, mut depth, mut in_string) = (start, 0_usize, false);
    loop {
        if let Some(window) = Window::at(&text[at..])
            && let Some(brackets) = window.brackets(in_string)
        {
            let mut left = brackets.open | brackets.close;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                if brackets.open & bit != 0 {
                    depth += 1;
                    continue;
                }
                depth -= 1;
                if depth == 0 {
                    return at + bit.trailing_zeros() as usize + 1;
                }
            }
            in_string = brackets.ends_in_string;
            at += WINDOW;
            continue;
        }
        if in_string {
            at = string_end(text, at);
            in_string = false;
            continue;
        }
        match text[at] {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The next byte from `at` on that is no whitespace, in text that has one.
#[inline]
pub(super) fn token(text: &[u8], mut at: usize) -> usize {
    while matches!(text[at], b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
    }
    at
}
