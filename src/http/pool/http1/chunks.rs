//! The chunked transfer coding (RFC 9112, section 7.1).

use super::broken::Broken;

/// How much a body may hold that is neither content nor what chunks need (extensions, zeros before a length, trailers),
/// in bytes: so much, and so many times its content. Else a server could keep a reader busy with nothing.
const MAX_EXTRA: u64 = 64 << 10;
const MAX_EXTRA_SHARE: u64 = 16;

/// Where in a chunked body one is. It holds nothing of the body: that may come in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    /// The length of the chunk that is being read, or what is still to come of it, in bytes.
    length: u64,
    /// How many bytes of content have come, and how many of what nobody needs.
    content: u64,
    extra: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the first digit of a chunk's length.
    #[default]
    Length,
    Digits,
    /// Behind a chunk's length, where there may be blanks, and extensions behind a semicolon; nobody uses them.
    Blanks,
    Extensions,
    EndOfLength,
    Content,
    AfterContent,
    EndOfContent,
    /// At the beginning of a line behind the last chunk: an empty one ends the body, others are fields that nobody uses.
    Trailer,
    InTrailer,
    EndOfTrailer,
    EndOfAll,
    Over,
}

impl Chunks {
    pub(super) fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// Takes off the beginning of `input` what surrounds content, and the content behind it. Nothing if `input` is used
    /// up before, or the body is over.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Broken> {
        loop {
            if self.place == Place::Content {
                let here = input.len().min(usize::try_from(self.length).unwrap_or(usize::MAX));
                let (content, rest) = input.split_at(here);
                *input = rest;
                self.length -= here as u64;
                self.content += here as u64;
                if self.length == 0 {
                    self.place = Place::AfterContent;
                }
                return Ok((here > 0).then_some(content));
            }
            if self.is_over() {
                return Ok(None);
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            self.place = self.after(*byte)?;
            *input = rest;
            let is_zero = self.place == Place::Digits && self.length == 0;
            let is_unused = matches!(self.place, Place::Blanks | Place::Extensions | Place::Trailer | Place::InTrailer);
            self.extra += u64::from(is_zero || is_unused);
            if self.extra > MAX_EXTRA + MAX_EXTRA_SHARE * self.content {
                return Err(Broken::TooLarge);
            }
        }
    }

    /// The place behind this byte of what surrounds content.
    fn after(&mut self, byte: u8) -> Result<Place, Broken> {
        let place = match (self.place, byte) {
            (Place::Length | Place::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let length = self.length.checked_mul(16).ok_or(Broken::NotHttp("a chunk's length is too large".into()));
                self.length = length? + digit;
                Place::Digits
            }
            (Place::Digits | Place::Blanks, b' ' | b'\t') => Place::Blanks,
            (Place::Digits | Place::Blanks, b';') => Place::Extensions,
            (Place::Digits | Place::Blanks | Place::Extensions, b'\r') => Place::EndOfLength,
            (Place::Extensions, _) if byte != b'\n' => Place::Extensions,
            (Place::EndOfLength, b'\n') if self.length == 0 => Place::Trailer,
            (Place::EndOfLength, b'\n') => Place::Content,
            (Place::AfterContent, b'\r') => Place::EndOfContent,
            (Place::EndOfContent, b'\n') => Place::Length,
            (Place::Trailer, b'\r') => Place::EndOfAll,
            (Place::InTrailer, b'\r') => Place::EndOfTrailer,
            (Place::Trailer | Place::InTrailer, _) if byte != b'\n' => Place::InTrailer,
            (Place::EndOfTrailer, b'\n') => Place::Trailer,
            (Place::EndOfAll, b'\n') => Place::Over,
            (Place::Length | Place::Digits, _) => {
                return Err(Broken::NotHttp("a chunk does not begin with its length".into()));
            }
            (Place::AfterContent | Place::EndOfContent, _) => {
                return Err(Broken::NotHttp("a chunk is longer than its length".into()));
            }
            _ => return Err(Broken::NotHttp("a line between the chunks does not end as it should".into())),
        };
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a body whose parts come one by one, and what is left of the last one behind its end.
    fn read<'a>(parts: &[&'a [u8]]) -> Result<(Vec<u8>, Option<&'a [u8]>), String> {
        let (mut chunks, mut content) = (Chunks::default(), Vec::new());
        let mut input: &[u8] = &[];
        for part in parts {
            input = part;
            while let Some(here) = chunks.next(&mut input).map_err(|broken| broken.in_body().cause)? {
                content.extend_from_slice(here);
            }
        }
        Ok((content, chunks.is_over().then_some(input)))
    }

    #[test]
    fn a_chunked_body_is_read_however_it_is_cut() {
        let cases: [(&str, &str); 6] = [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5;a=b;c=\"d e\"\r\nhello\r\n1  \r\n!\r\n0 ;x\r\n\r\n", "hello!"),
            ("A\r\n0123456789\r\n0a\r\n\r\n\r\n0\r\n\r\n0\r\n0\r\n\r\n", "0123456789\r\n\r\n0\r\n\r\n0"),
            ("000\r\nDigest: x\r\nOther:\r\n\r\n", ""),
            ("1\r\na\r\n1\r\nb\r\n00000000000000000000\r\n\r\n", "ab"),
        ];
        for (body, content) in cases {
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let body = body.as_bytes();
                    let parts = [&body[..first], &body[first..second], &body[second..]];
                    let (read, left) = read(&parts).unwrap();
                    assert_eq!((read.as_slice(), left), (content.as_bytes(), Some(&b""[..])), "{parts:?}");
                }
            }
            let bytes: Vec<_> = body.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes).unwrap().0, content.as_bytes());
        }
    }

    #[test]
    fn what_follows_the_body_is_left() {
        assert_eq!(read(&[b"1\r\na\r\n0\r\n\r\nHTTP/1.1"]), Ok((b"a".into(), Some(&b"HTTP/1.1"[..]))));
    }

    #[test]
    fn a_body_that_is_not_chunked_says_why() {
        let long = "x".repeat(usize::try_from(MAX_EXTRA).unwrap());
        let (extension, trailer) = (format!("1;{long}\r\n"), format!("0\r\na: {long}\r\n"));
        let zeros = "0".repeat(long.len() + 1);
        let hidden = format!("1;{}\r\na\r\n", &long[..100]).repeat(1000);
        let cases = [
            ("some\r\n", "a chunk does not begin with its length"),
            ("\r\n", "a chunk does not begin with its length"),
            ("-1\r\n", "a chunk does not begin with its length"),
            ("1\n", "a chunk does not begin with its length"),
            ("1 \n", "does not end as it should"),
            ("1\r\nab\r\n", "a chunk is longer than its length"),
            ("1\r\na\n", "a chunk is longer than its length"),
            ("0\r\n\n", "does not end as it should"),
            ("0\r\na: b\n", "does not end as it should"),
            ("10000000000000000\r\n", "a chunk's length is too large"),
            ("1 1\r\n", "does not end as it should"),
            (&extension, "what surrounds its chunks is too large"),
            (&trailer, "what surrounds its chunks is too large"),
            (&zeros, "what surrounds its chunks is too large"),
            (&hidden, "what surrounds its chunks is too large"),
        ];
        for (body, why) in cases {
            let error = read(&[body.as_bytes()]).unwrap_err();
            assert!(error.contains(why), "{body:?}: {error}");
        }
    }
}
