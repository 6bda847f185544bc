//! The head of a reply (RFC 9112, sections 4 and 5), and where by it the body ends (section 6).

use std::borrow::Cow;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::{ParserConfig, Response, Status};

use super::broken::Broken;
use super::chunks::Chunks;
use super::rest::Rest;

/// More headers than this are refused, interim replies not counted.
const MAX_HEADERS: usize = 256;

/// The head of a reply.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    /// Their values share one allocation, which holds nothing else: they are labels of the item, which may wait for its
    /// sink for long.
    pub headers: HeaderMap,
    pub rest: Rest,
    /// Whether the connection can carry another request behind this reply.
    pub persists: bool,
}

/// What headers say about the message itself.
#[derive(Default)]
struct Framing<'a> {
    length: Option<u64>,
    /// What is wrong with the length, which matters only where nothing else says where the body ends.
    wrong_length: Option<&'static str>,
    /// Whether there is a Transfer-Encoding, and the coding that it names, if that is one that does something.
    is_transferred: bool,
    coding: Option<&'a [u8]>,
    has_several_codings: bool,
    closes: bool,
    keeps_alive: bool,
}

/// Reads the head that `bytes` begin with, unless its end is still to come: the head, and its length in bytes.
///
/// `asked_for_head` is whether the request's method was HEAD. What ends a body is decided in the order of RFC 9112,
/// section 6.3.
pub(super) fn read(bytes: &[u8], asked_for_head: bool) -> Result<Option<(Head, usize)>, Broken> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let mut parser = ParserConfig::default();
    parser.allow_obsolete_multiline_headers_in_responses(true);
    // A line that is no header does not make the others worth less; browsers and curl pass over it too.
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.ignore_invalid_headers_in_responses(true);
    let length = match parser.parse_response_with_uninit_headers(&mut response, bytes, &mut slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Broken::TooLarge),
        Err(error) => return Err(Broken::NotHttp(error.to_string().into())),
    };
    let status = response.code.unwrap_or_default();
    if status == 101 || status < 100 {
        return Err(Broken::NotHttp(format!("it has the status {status}").into()));
    }
    let framing = Framing::of(response.headers);
    let is_1_0 = response.version == Some(0);
    let rest = match (status, framing.coding) {
        _ if asked_for_head => Rest::Length(0),
        (..200 | 204 | 304, _) => Rest::Length(0),
        (_, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && !framing.has_several_codings => {
            Rest::Chunks(Chunks::default())
        }
        (_, Some(coding)) => {
            let coding = String::from_utf8_lossy(coding);
            return Err(Broken::NotHttp(format!("it comes as `{coding}`, which was not asked for").into()));
        }
        (_, None) if framing.is_transferred => Rest::UntilEnd,
        (_, None) => match (framing.wrong_length, framing.length) {
            (Some(wrong), _) => return Err(Broken::NotHttp(wrong.into())),
            (None, Some(length)) => Rest::Length(length),
            (None, None) => Rest::UntilEnd,
        },
    };
    // Of a message that says in two ways where it ends, or in one that its version does not know, one cannot be sure.
    let is_sure = !framing.is_transferred || (framing.length.is_none() && !is_1_0);
    let is_sure = is_sure && framing.wrong_length.is_none();
    let persists = is_sure && !framing.closes && (!is_1_0 || framing.keeps_alive);
    let headers = headers(response.headers)?;
    Ok(Some((Head { status, headers, rest, persists }, length)))
}

impl<'a> Framing<'a> {
    fn of(headers: &[httparse::Header<'a>]) -> Self {
        let mut framing = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                10 if is("connection") => {
                    for option in members(header.value) {
                        framing.closes |= option.eq_ignore_ascii_case(b"close");
                        framing.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if is("content-length") => members(header.value).for_each(|length| framing.take_length(length)),
                17 if is("transfer-encoding") => {
                    framing.is_transferred = true;
                    let idle = |coding: &&[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
                    for coding in members(header.value).filter(|coding| !idle(coding)) {
                        framing.has_several_codings |= framing.coding.is_some();
                        // The one to be named, if it is one too many.
                        if framing.coding.is_none_or(|other| other.eq_ignore_ascii_case(b"chunked")) {
                            framing.coding = Some(coding);
                        }
                    }
                }
                _ => {}
            }
        }
        framing
    }

    /// One that is said twice is good as long as both say the same (RFC 9110, section 8.6).
    fn take_length(&mut self, length: &[u8]) {
        match number(length) {
            None => self.wrong_length = Some("its Content-Length is no number"),
            Some(length) if self.length.is_some_and(|other| other != length) => {
                self.wrong_length = Some("it has two lengths");
            }
            Some(length) => self.length = Some(length),
        }
    }
}

/// The members of a list in a header (RFC 9110, section 5.6.1).
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits alone, unlike what the standard library takes.
fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

fn headers(parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Broken> {
    let mut values = BytesMut::with_capacity(parsed.iter().map(|header| header.value.len()).sum());
    for header in parsed {
        values.extend_from_slice(&on_one_line(header.value));
    }
    let mut values = values.freeze();
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let value = values.split_to(header.value.len());
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared::<Bytes>(value)) else {
            return Err(Broken::NotHttp("a header cannot be read".into()));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// A value whose lines are folded, as was allowed once, with spaces in place of line breaks (RFC 9112, section 5.2).
fn on_one_line(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return value.into();
    }
    value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str, asked_for_head: bool) -> String {
        match read(head.as_bytes(), asked_for_head) {
            Ok(None) => "more".to_owned(),
            Ok(Some((head, _))) => {
                let rest = match head.rest {
                    Rest::Length(length) => length.to_string(),
                    Rest::Chunks(_) => "chunks".to_owned(),
                    Rest::UntilEnd => "until the end".to_owned(),
                };
                format!("{rest}, {}", if head.persists { "persists" } else { "closes" })
            }
            Err(broken) => broken.before_reply().cause,
        }
    }

    #[test]
    fn a_head_says_where_the_body_ends_and_whether_the_connection_stays() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "5, persists"),
            ("HTTP/1.1 200\r\ncontent-length:5\r\n\r\n", "5, persists"),
            ("HTTP/1.1 200 OK\ncontent-length: 5\n\n", "5, persists"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5, 5\r\n\r\n", "5, persists"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: x, Close\r\n\r\n", "5, closes"),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", "5, closes"),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: Keep-Alive\r\n\r\n", "5, persists"),
            ("HTTP/1.1 200 OK\r\n\r\n", "until the end, persists"),
            ("HTTP/1.1 204 No Content\r\n\r\n", "0, persists"),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "0, persists"),
            ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", "0, persists"),
            ("HTTP/1.1 999 Whatever\r\ncontent-length: 0\r\n\r\n", "0, persists"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "chunks, persists"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n", "chunks, closes"),
            ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n", "chunks, closes"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n",
                "chunks, persists",
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n", "until the end, persists"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\n", "until the end, closes"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: -1\r\n\r\n", "chunks, closes"),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5, 6\r\n\r\n", "0, closes"),
            ("HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\n", "5, persists"),
            ("HTTP/1.1 200 OK\r\na b: c\r\n: d\r\ne\r\nf: \u{1}\r\ncontent-length: 5\r\n\r\n", "5, persists"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", "more"),
            ("", "more"),
        ];
        for (head, expected) in cases {
            assert_eq!(shown(head, false), expected, "{head:?}");
        }
        assert_eq!(shown("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true), "0, persists");
        assert_eq!(shown("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true), "0, persists");
    }

    #[test]
    fn what_is_no_head_says_why() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        let cases = [
            ("220 mail.example ESMTP\r\n\r\n", "the reply is not HTTP: "),
            ("HTTP/2 200\r\n\r\n", "the reply is not HTTP: "),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "it has the status 101"),
            ("HTTP/1.1 000 None\r\n\r\n", "it has the status 0"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "it has two lengths"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\n", "it has two lengths"),
            ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n", "its Content-Length is no number"),
            ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", "its Content-Length is no number"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "its Content-Length is no number"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "comes as `gzip`"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n", "comes as `gzip`"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n", "comes as `gzip`"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n", "comes as `chunked`"),
            ("HTTP/1.1 200 OK\r\na: \0\r\n\r\n", "the reply is not HTTP: "),
            (&many, "the head of the reply is too large"),
        ];
        for (head, expected) in cases {
            let shown = shown(head, false);
            assert!(shown.contains(expected), "{head:?}: {shown}");
        }
    }

    #[test]
    fn the_headers_of_a_reply_are_what_it_says_and_hold_nothing_else() {
        let text = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nX-Nothing:\r\nX-Folded: a\r\n b\r\nEtag: b\r\nx-latin: \u{e9}\r\n\r\nbody";
        let (head, length) = read(text.as_bytes(), false).unwrap().unwrap();
        assert_eq!(&text[length..], "body");
        let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 5] = [
            ("etag", b"\"a\""),
            ("etag", b"b"),
            ("x-nothing", b""),
            ("x-folded", b"a   b"),
            ("x-latin", "\u{e9}".as_bytes()),
        ];
        assert_eq!(headers, expected);
    }
}
