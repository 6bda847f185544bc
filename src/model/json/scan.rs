//! JSON text (RFC 8259) seen token by token: whether it is right, and where its parts end. Nothing is copied.

use super::MAX_DEPTH;

/// What one look at the whole text finds out.
pub(super) struct Scan {
    /// Where the one value begins and ends, without the whitespace around it.
    pub(super) start: usize,
    pub(super) end: usize,
    /// How many values there are, each inner one counted.
    pub(super) nodes: usize,
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
    let mut scanner =
        Scanner { text: text.as_bytes(), at: 0, nodes: 0, is_canonical: true, repeats: false, keys: Vec::new() };
    scanner.gap();
    // What stands around the value is not part of it.
    scanner.is_canonical = true;
    let start = scanner.at;
    scanner.value(MAX_DEPTH)?;
    let form = match (scanner.repeats, scanner.is_canonical) {
        (true, _) => Form::Repeating,
        (false, true) => Form::Canonical,
        (false, false) => Form::Loose,
    };
    let end = scanner.at;
    scanner.gap().is_none().then_some(Scan { start, end, nodes: scanner.nodes, form })
}

/// Keys up to this many are compared each with each; more are sorted.
const COMPARED: usize = 24;

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    nodes: usize,
    is_canonical: bool,
    repeats: bool,
    /// A fingerprint of each key so far of each object that has begun, the innermost last.
    keys: Vec<u64>,
}

impl Scanner<'_> {
    /// Passes over whitespace; the byte behind it, unless the text ends there.
    #[inline]
    fn gap(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => {
                    self.is_canonical = false;
                    self.at += 1;
                }
                byte => return Some(byte),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.nodes += 1;
        match *self.text.get(self.at)? {
            b'"' => {
                let string = string(self.text, self.at)?;
                self.at = string.end;
                self.is_canonical &= string.is_canonical;
            }
            b'{' => self.object(depth.checked_sub(1)?)?,
            b'[' => self.array(depth.checked_sub(1)?)?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => {
                let number = number(self.text, self.at)?;
                self.at = number.end;
                self.is_canonical &= number.is_canonical;
            }
        }
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        if self.gap()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.gap()?;
            self.value(depth)?;
            let next = self.gap()?;
            self.at += 1;
            match next {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        if self.gap()? == b'}' {
            self.at += 1;
            return Some(());
        }
        let first = self.keys.len();
        loop {
            if self.gap()? != b'"' {
                return None;
            }
            self.key(first)?;
            if self.gap()? != b':' {
                return None;
            }
            self.at += 1;
            self.gap()?;
            self.value(depth)?;
            let next = self.gap()?;
            self.at += 1;
            match next {
                b',' => {}
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
        Some(())
    }

    /// `first` is the place of the object's first key among the fingerprints.
    fn key(&mut self, first: usize) -> Option<()> {
        let key = string(self.text, self.at)?;
        // Two spellings of one key have different fingerprints.
        self.repeats |= key.has_escape;
        self.is_canonical &= key.is_canonical;
        let print = fingerprint(self.text, self.at + 1, key.end - 1);
        let earlier = &self.keys[first..];
        if earlier.len() < COMPARED {
            self.repeats |= earlier.contains(&print);
        }
        self.keys.push(print);
        self.at = key.end;
        Some(())
    }
}

/// Where a string or a number ends, and whether it is written as [`super::write`] would.
pub(super) struct Token {
    pub(super) end: usize,
    pub(super) is_canonical: bool,
    pub(super) has_escape: bool,
}

/// The string whose opening quote stands at `start`.
#[inline]
pub(super) fn string(text: &[u8], start: usize) -> Option<Token> {
    let at = plain_end(text, start + 1);
    match *text.get(at)? {
        b'"' => Some(Token { end: at + 1, is_canonical: true, has_escape: false }),
        _ => string_with_escapes(text, at),
    }
}

/// The rest of a string from its first escape on.
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
        is_canonical = is_shortest(&text[whole..point], &text[point + 1..at]);
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let digits = at + 1 + sign;
        at = digits_end(text, digits);
        if at == digits {
            return None;
        }
        is_canonical = false;
    }
    Some(Token { end: at, is_canonical, has_escape: false })
}

/// Whether a float with these digits before and behind its point is surely written like this again. A decimal of up
/// to 15 digits is the shortest one of its float; those close to zero are written with an exponent.
#[inline]
fn is_shortest(whole: &[u8], fraction: &[u8]) -> bool {
    whole.len() + fraction.len() <= 15
        && (fraction == b"0" || fraction.last() != Some(&b'0'))
        && (whole != b"0" || fraction.len() == 1 || !fraction.starts_with(b"000"))
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

/// Equal for equal bytes, and different for most others.
#[inline]
fn fingerprint(text: &[u8], start: usize, end: usize) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let length = end - start;
    let mut print = (length as u64).wrapping_mul(FACTOR);
    let mut at = start;
    loop {
        let left = end - at;
        let word = match text[at..].first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => text[at..end].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        if left <= 8 {
            let mask = if left == 8 { u64::MAX } else { (1 << (8 * left)) - 1 };
            return print ^ (word & mask);
        }
        print = (print ^ word).wrapping_mul(FACTOR).rotate_left(29);
        at += 8;
    }
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
