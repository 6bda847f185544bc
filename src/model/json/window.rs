//! Sixteen bytes of JSON text, seen at once.

use wide::u8x16;

/// How many bytes are looked at.
pub(super) const WINDOW: usize = 16;

/// The next bytes of a text.
pub(super) struct Window<'t>(&'t [u8; WINDOW]);

impl<'t> Window<'t> {
    /// Nothing near the end of the text.
    #[inline(always)]
    pub(super) fn at(text: &'t [u8]) -> Option<Self> {
        text.first_chunk().map(Self)
    }

    #[inline(always)]
    fn bytes(&self) -> u8x16 {
        u8x16::new(*self.0)
    }

    /// The first byte that is a quote, a backslash or a control character.
    #[inline(always)]
    pub(super) fn first_special(&self) -> Option<usize> {
        let bytes = self.bytes();
        let quotes = bytes.simd_eq(u8x16::splat(b'"'));
        let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
        let controls = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
        first((quotes | backslashes | controls).to_bitmask())
    }

    /// The first byte that ends a number or a word.
    #[inline(always)]
    pub(super) fn first_delimiter(&self) -> Option<usize> {
        let bytes = self.bytes();
        let commas = bytes.simd_eq(u8x16::splat(b','));
        let spaces = bytes.min(u8x16::splat(b' ')).simd_eq(bytes);
        first((commas | spaces | closing(bytes)).to_bitmask())
    }

    /// The brackets that stand outside of strings, if no backslash stands anywhere. `in_string` tells whether the first
    /// byte stands in one.
    #[inline(always)]
    pub(super) fn brackets(&self, in_string: bool) -> Option<Brackets> {
        let bytes = self.bytes();
        if bytes.simd_eq(u8x16::splat(b'\\')).to_bitmask() != 0 {
            return None;
        }
        // Each byte behind an odd number of quotes.
        let mut strings = bytes.simd_eq(u8x16::splat(b'"')).to_bitmask();
        strings ^= strings << 1;
        strings ^= strings << 2;
        strings ^= strings << 4;
        strings ^= strings << 8;
        if in_string {
            strings = !strings;
        }
        Some(Brackets {
            open: opening(bytes).to_bitmask() & !strings,
            close: closing(bytes).to_bitmask() & !strings,
            ends_in_string: strings >> (WINDOW - 1) & 1 != 0,
        })
    }

    /// See [`fingerprint`]; of the first `length` bytes, which are fewer than [`WINDOW`].
    #[inline(always)]
    pub(super) fn fingerprint(&self, length: usize) -> u64 {
        let [first, second] = self.words();
        let letters = |word: u64, count: usize| word & !(u64::MAX << (8 * count));
        match length.checked_sub(8) {
            None => mixed(0, letters(first, length)),
            Some(length) => mixed(mixed(0, first), letters(second, length)),
        }
    }

    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        let (words, _) = self.0.as_chunks();
        [words[0], words[1]].map(u64::from_le_bytes)
    }

    /// Where the number ends whose first digit stands at `start`, behind its sign; unless it is long, has an exponent,
    /// or something about it may be wrong or not as it is always written.
    #[inline(always)]
    pub(super) fn plain_number(&self, start: usize) -> Option<usize> {
        let digits = self.bytes() - u8x16::splat(b'0');
        let digits = digits.min(u8x16::splat(9)).simd_eq(digits).to_bitmask();
        let others = !digits & (0xffff << start & 0xffff);
        let mut end = first(others)?;
        let starts_with_zero = self.0[start] == b'0';
        if (start > 0 && end == start) || (starts_with_zero && (start > 0 || end > 1)) {
            return None;
        }
        if self.0[end] == b'.' {
            let point = end;
            end = first(others & (others - 1))?;
            let is_shortest = || end > point + 2 && self.0[end - 1] != b'0' && !starts_with_zero;
            if end != point + 2 && !is_shortest() {
                return None;
            }
        }
        (self.0[end] | 0x20 != b'e').then_some(end)
    }
}

/// A bit for each bracket or brace of a window, the first byte's the lowest.
pub(super) struct Brackets {
    pub(super) open: u32,
    pub(super) close: u32,
    /// Whether the byte behind the window stands in a string.
    pub(super) ends_in_string: bool,
}

/// Where brackets and braces open. One bit tells the ones from the others.
#[inline(always)]
fn opening(bytes: u8x16) -> u8x16 {
    (bytes | u8x16::splat(0x20)).simd_eq(u8x16::splat(b'{'))
}

#[inline(always)]
fn closing(bytes: u8x16) -> u8x16 {
    (bytes | u8x16::splat(0x20)).simd_eq(u8x16::splat(b'}'))
}

/// The place of the lowest bit that is set.
#[inline(always)]
fn first(bits: u32) -> Option<usize> {
    (bits != 0).then(|| bits.trailing_zeros() as usize % WINDOW)
}

/// A fingerprint is equal for equal texts, and different for most others. It is made of their words, eight bytes each,
/// and of the letters that are left, of which there may be none. Its highest bits are spread best.
pub(super) fn fingerprint(text: &[u8]) -> u64 {
    let (words, letters) = text.as_chunks();
    let print = words.iter().fold(0, |print, word| mixed(print, u64::from_le_bytes(*word)));
    mixed(print, letters.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

#[inline(always)]
fn mixed(print: u64, word: u64) -> u64 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    (print.rotate_left(29) ^ word).wrapping_mul(SPREAD)
}
