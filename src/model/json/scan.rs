//! JSON text (RFC 8259) seen token by token: whether it is right, and where its parts end. Nothing is copied.

use super::MAX_DEPTH;
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
    let mut seen = Seen { opened: 0, is_canonical: true, repeats: false, keys: Vec::with_capacity(2 * COMPARED) };
    let start = token_or_end(text, 0);
    let end = seen.value(text, start, MAX_DEPTH)?;
    let form = match (seen.repeats, seen.is_canonical) {
        (true, _) => Form::Repeating,
        (false, true) => Form::Canonical,
        (false, false) => Form::Loose,
    };
    (token_or_end(text, end) == text.len()).then_some(Scan { start, end, opened: seen.opened, form })
}

/// About how many bytes are taken by a value in an array, by what an object keeps beside it, and by a list of either.
const VALUE: usize = size_of::<Value>();
const KEY: usize = 2 * size_of::<Value>();
const CONTAINER: usize = 5 * size_of::<Value>();

/// Keys up to this many are compared each with each; more are sorted.
const COMPARED: usize = 24;

/// What is known of the text so far. Every method answers where what it looked at ends, or nothing if it is wrong.
struct Seen {
    opened: usize,
    is_canonical: bool,
    repeats: bool,
    /// A fingerprint of each key so far of each object that has begun, the innermost last.
    keys: Vec<u64>,
}

impl Seen {
    /// Where the next token begins: at `at` unless there is whitespace.
    #[inline(always)]
    fn token(&mut self, text: &[u8], at: usize) -> Option<(usize, u8)> {
        match *text.get(at)? {
            0..=b' ' => self.whitespace(text, at),
            byte => Some((at, byte)),
        }
    }

    #[cold]
    fn whitespace(&mut self, text: &[u8], at: usize) -> Option<(usize, u8)> {
        self.is_canonical = false;
        let at = token_or_end(text, at);
        Some((at, *text.get(at)?))
    }

    #[inline(always)]
    fn value(&mut self, text: &[u8], at: usize, depth: usize) -> Option<usize> {
        self.opened += VALUE;
        match *text.get(at)? {
            b'"' => {
                let string = string(text, at)?;
                self.is_canonical &= string.is_canonical;
                Some(string.end)
            }
            b'{' => self.object(text, at + 1, depth.checked_sub(1)?),
            b'[' => self.array(text, at + 1, depth.checked_sub(1)?),
            b't' => word(text, at, b"true"),
            b'f' => word(text, at, b"false"),
            b'n' => word(text, at, b"null"),
            _ => {
                let number = number(text, at)?;
                self.is_canonical &= number.is_canonical;
                Some(number.end)
            }
        }
    }

    #[inline(never)]
    fn array(&mut self, text: &[u8], at: usize, depth: usize) -> Option<usize> {
        self.opened += CONTAINER;
        let (mut at, first) = self.token(text, at)?;
        if first == b']' {
            return Some(at + 1);
        }
        loop {
            at = self.value(text, at, depth)?;
            let (end, next) = self.token(text, at)?;
            match next {
                b',' => at = self.token(text, end + 1)?.0,
                b']' => return Some(end + 1),
                _ => return None,
            }
        }
    }

    #[inline(never)]
    fn object(&mut self, text: &[u8], at: usize, depth: usize) -> Option<usize> {
        self.opened += CONTAINER;
        let (mut at, mut next) = self.token(text, at)?;
        if next == b'}' {
            return Some(at + 1);
        }
        let first = self.keys.len();
        loop {
            if next != b'"' {
                return None;
            }
            at = self.key(text, at + 1, first)?;
            (at, next) = self.token(text, at)?;
            if next != b':' {
                return None;
            }
            at = self.token(text, at + 1)?.0;
            at = self.value(text, at, depth)?;
            (at, next) = self.token(text, at)?;
            match next {
                b',' => (at, next) = self.token(text, at + 1)?,
                b'}' => break,
                _ => return None,
            }
        }
        let keys = &mut self.keys[first..];
        if keys.len() > COMPARED {
            keys.sort_unstable();
            self.repeats |= keys.array_windows().any(|[one, other]| one == other);
        }
        self.keys.truncate(first);
        Some(at + 1)
    }

    /// The key that begins at `start`, behind its quote; `first` is the place of the object's first key among the
    /// fingerprints.
    #[inline(always)]
    fn key(&mut self, text: &[u8], start: usize, first: usize) -> Option<usize> {
        let mut at = start;
        let mut print = 0;
        let (end, print) = loop {
            let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) else {
                break self.odd_key(text, start)?;
            };
            let word = u64::from_le_bytes(*word);
            let special = special_bytes(word);
            if special == 0 {
                print = mixed(print, word);
                at += 8;
                continue;
            }
            let length = special.trailing_zeros() as usize / 8;
            if text[at + length] != b'"' {
                break self.odd_key(text, start)?;
            }
            // What stands below the lowest bit that is set, which is the highest of its byte.
            let letters = word & ((special & special.wrapping_neg()) >> 7).wrapping_sub(1);
            break (at + length + 1, finished(print, letters, at + length - start));
        };
        let earlier = &self.keys[first..];
        if earlier.len() < COMPARED {
            self.repeats |= earlier.contains(&print);
        }
        self.keys.push(print);
        self.opened += KEY;
        Some(end)
    }

    /// A key with escapes, or one near the end of the text: where it ends, and its fingerprint.
    #[cold]
    fn odd_key(&mut self, text: &[u8], start: usize) -> Option<(usize, u64)> {
        let key = string(text, start - 1)?;
        // Two spellings of one key have different fingerprints.
        self.repeats |= key.has_escape;
        self.is_canonical &= key.is_canonical;
        let (words, letters) = text[start..key.end - 1].as_chunks();
        let print = words.iter().fold(0, |print, word| mixed(print, u64::from_le_bytes(*word)));
        let last = letters.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Some((key.end, finished(print, last, key.end - 1 - start)))
    }
}

/// A fingerprint is equal for equal keys, and different for most others. It is made of the key's words, eight bytes
/// each, and the letters that are left.
#[inline(always)]
fn mixed(print: u64, word: u64) -> u64 {
    (print ^ word).wrapping_mul(SPREAD).rotate_left(29)
}

#[inline(always)]
fn finished(print: u64, letters: u64, length: usize) -> u64 {
    print ^ letters ^ (length as u64).wrapping_mul(SPREAD)
}

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text[at..].starts_with(word).then_some(at + word.len())
}

/// Where a string or a number ends, and whether it is written as [`super::write`] would.
pub(super) struct Token {
    pub(super) end: usize,
    pub(super) is_canonical: bool,
    pub(super) has_escape: bool,
}

/// The string whose opening quote stands at `start`.
#[inline(always)]
pub(super) fn string(text: &[u8], start: usize) -> Option<Token> {
    let at = plain_end(text, start + 1);
    match *text.get(at)? {
        b'"' => Some(Token { end: at + 1, is_canonical: true, has_escape: false }),
        _ => string_with_escapes(text, at),
    }
}

/// The rest of a string from its first escape on.
#[cold]
fn string_with_escapes(text: &[u8], mut at: usize) -> Option<Token> {
    let mut is_canonical = true;
    loop {
        match *text.get(at)? {
            b'"' => return Some(Token { end: at + 1, is_canonical, has_escape: true }),
            b'\\' => {
                let (end, is_shortest) = escape(text, at + 1)?;
                is_canonical &= is_shortest;
                at = plain_end(text, end);
            }
            // A control character.
            _ => return None,
        }
    }
}

/// The escape whose letter stands at `at`: where it ends, and whether it is the one that is written.
fn escape(text: &[u8], at: usize) -> Option<(usize, bool)> {
    match *text.get(at)? {
        b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => Some((at + 1, true)),
        b'/' => Some((at + 1, false)),
        b'u' => {
            let unit = code_unit(text, at + 1)?;
            match unit {
                0xd800..0xdc00 => {
                    let low = text.get(at + 5..)?.starts_with(b"\\u").then(|| code_unit(text, at + 7))??;
                    (0xdc00..0xe000).contains(&low).then_some((at + 11, false))
                }
                0xdc00..0xe000 => None,
                _ => {
                    let has_letter = matches!(unit, 0x8 | 0x9 | 0xa | 0xc | 0xd);
                    let is_lower = !text[at + 1..at + 5].iter().any(u8::is_ascii_uppercase);
                    Some((at + 5, unit < 0x20 && !has_letter && is_lower))
                }
            }
        }
        _ => None,
    }
}

/// Four hexadecimal digits.
fn code_unit(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..at + 4)?.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// The number that begins at `start`.
#[inline]
pub(super) fn number(text: &[u8], start: usize) -> Option<Token> {
    let is_negative = text.get(start) == Some(&b'-');
    let whole = start + usize::from(is_negative);
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
        is_canonical = is_shortest(&text[whole..point], &text[point + 1..at]) || is_written_so(&text[start..at]);
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let digits = at + 1 + sign;
        at = digits_end(text, digits);
        if at == digits {
            return None;
        }
        is_canonical = is_written_so(&text[start..at]);
    }
    Some(Token { end: at, is_canonical, has_escape: false })
}

/// Whether a float with these digits before and behind its point is surely written like this again. A decimal of up
/// to 15 digits is the shortest one of its float; those close to zero are written with an exponent.
#[inline]
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
    let is_written = parsed.is_some_and(|float| serde_json::to_writer(&mut left, &float).is_ok());
    let length = 32 - left.len();
    is_written && written[..length] == *float
}

#[inline]
fn digits_end(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// The first byte from `at` on that is a quote, a backslash or a control character; the text's end if there is none.
#[inline]
fn plain_end(text: &[u8], mut at: usize) -> usize {
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

/// The highest bit of the lowest byte in `word` that is a quote, a backslash or a control character is set, and none
/// below it (Sean Eron Anderson, Bit Twiddling Hacks: determine if a word has a byte less than n).
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ u64::from_le_bytes([b'"'; 8]));
    let backslashes = zeros(word ^ u64::from_le_bytes([b'\\'; 8]));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & u64::from_le_bytes([0x80; 8])
}

/// The end of the value that begins at `start` in text that is known to be right.
pub(super) fn value_end(text: &[u8], start: usize) -> usize {
    match text[start] {
        b'"' => string_end(text, start),
        b'{' | b'[' => container_end(text, start),
        _ => {
            let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
            start + text[start..].iter().position(|byte| !is_inside(byte)).unwrap_or(text.len() - start)
        }
    }
}

fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = plain_end(text, start + 1);
    while text[at] != b'"' {
        // A backslash, and what it stands before.
        at = plain_end(text, at + 2);
    }
    at + 1
}

fn container_end(text: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        match text[at] {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
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

fn token_or_end(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}
