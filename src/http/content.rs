//! A body's value, by its content type.

use std::borrow::Cow;

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::model::{Value, json};

/// What a body is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAs {
    /// What its content type says; text if there is none and it is UTF-8.
    Auto,
    Json,
    Text,
    Bytes,
}

const JSON: &str = "application/json";

/// The media type of a body and its charset, as the Content-Type header names them.
struct ContentType<'a> {
    /// In lower case; empty if there is none.
    essence: Cow<'a, str>,
    charset: Option<Cow<'a, str>>,
}

/// The value of a body. Text is decoded by its charset, with U+FFFD for what that does not know; JSON must be
/// right to the last byte. The error says why it is not.
///
/// Takes time in proportion to the body: a large one does not belong on an executor's thread. A body that nobody else
/// holds is not copied.
pub fn value_of(body: Bytes, headers: &HeaderMap, read_as: ReadAs) -> Result<Value, String> {
    let content_type = ContentType::of(headers);
    match if read_as == ReadAs::Auto { content_type.kind(&body) } else { read_as } {
        ReadAs::Json => {
            let parsed = match content_type.decoded(&body) {
                Some(text) => json::parse(text.as_bytes()),
                None => json::parse_bytes(body),
            };
            parsed.map_err(|error| format!("the body is {error}"))
        }
        ReadAs::Text => Ok(Value::text(content_type.text(&body).as_ref())),
        ReadAs::Auto | ReadAs::Bytes => Ok(Value::bytes(body)),
    }
}

/// Whether the Content-Type header says JSON.
pub fn is_json(headers: &HeaderMap) -> bool {
    ContentType::of(headers).is_json()
}

impl<'a> ContentType<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let line = headers.get(CONTENT_TYPE);
        // What most requests are answered with need not be taken apart.
        if line.is_some_and(|line| line == JSON) {
            return Self { essence: JSON.into(), charset: None };
        }
        match line.map(|line| String::from_utf8_lossy(line.as_bytes())) {
            None => Self { essence: Cow::Borrowed(""), charset: None },
            Some(Cow::Borrowed(line)) => Self::read(line),
            Some(Cow::Owned(line)) => {
                let ContentType { essence, charset } = ContentType::read(&line);
                let charset = charset.map(|charset| charset.into_owned().into());
                Self { essence: essence.into_owned().into(), charset }
            }
        }
    }

    fn read(line: &'a str) -> Self {
        let (essence, parameters) = line.split_once(';').unwrap_or((line, ""));
        let essence = essence.trim();
        let is_lower = !essence.bytes().any(|byte| byte.is_ascii_uppercase());
        let essence = if is_lower { essence.into() } else { essence.to_ascii_lowercase().into() };
        let charset = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches(['"', '\'']);
            name.trim().eq_ignore_ascii_case("charset").then_some(value.into())
        });
        Self { essence, charset }
    }

    fn is_json(&self) -> bool {
        matches!(&*self.essence, JSON | "text/json") || self.essence.ends_with("+json")
    }

    fn is_text(&self) -> bool {
        const TEXTS: [&str; 9] = [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/xml",
            "application/javascript",
            "application/yaml",
            "application/toml",
            "application/csv",
            "application/x-www-form-urlencoded",
        ];
        self.essence.starts_with("text/")
            || self.essence.ends_with("+xml")
            || self.essence.ends_with("+yaml")
            || TEXTS.contains(&&*self.essence)
    }

    fn kind(&self, body: &[u8]) -> ReadAs {
        if self.is_json() {
            ReadAs::Json
        } else if self.is_text() || (self.essence.is_empty() && str::from_utf8(body).is_ok()) {
            ReadAs::Text
        } else {
            ReadAs::Bytes
        }
    }

    /// A byte order mark decides, then the charset that is named. Without either it is UTF-8 if it can be, else
    /// Windows-1252, as in browsers (WHATWG Encoding).
    fn text<'b>(&self, body: &'b [u8]) -> Cow<'b, str> {
        let named = self.charset.as_ref().map(|label| Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8));
        let guessed = || if str::from_utf8(body).is_ok() { UTF_8 } else { WINDOWS_1252 };
        named.unwrap_or_else(guessed).decode(body).0
    }

    /// JSON is UTF-8 (RFC 8259); only a charset or a byte order mark that says otherwise is believed. Nothing if it is
    /// UTF-8.
    fn decoded<'b>(&self, body: &'b [u8]) -> Option<Cow<'b, str>> {
        let marked = Encoding::for_bom(body).map(|(encoding, _)| encoding);
        let named = self.charset.as_ref().and_then(|label| Encoding::for_label(label.as_bytes()));
        let encoding = marked.or(named).filter(|encoding| *encoding != UTF_8)?;
        Some(encoding.decode(body).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &[u8], read_as: ReadAs) -> Result<Value, String> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        value_of(Bytes::copy_from_slice(body), &headers, read_as)
    }

    #[test]
    fn a_value_follows_the_content_type_and_its_charset() {
        let object = Value::from_iter([("a".into(), Value::from("é"))]);
        let bytes = |bytes: &[u8]| Value::bytes(Bytes::copy_from_slice(bytes));
        let utf16: Vec<u8> =
            [0xff, 0xfe].into_iter().chain("{\"a\":\"é\"}".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let cases: [(&str, &[u8], Value); 15] = [
            ("application/json", "{\"a\":\"é\"}".as_bytes(), object.clone()),
            ("Application/Geo+JSON; charset=UTF-8", "{\"a\":\"é\"}".as_bytes(), object.clone()),
            ("application/json; charset=iso-8859-1", b"{\"a\":\"\xe9\"}", object.clone()),
            ("application/json", &utf16, object),
            ("text/plain; charset=\"iso-8859-1\"", b"\xe9", Value::from("é")),
            ("text/html; charset=shift_jis", b"\x83e", Value::from("テ")),
            ("text/plain; charset=utf-8", b"a\xffb", Value::from("a\u{fffd}b")),
            ("text/plain; charset=no-such", "é".as_bytes(), Value::from("é")),
            ("text/plain", "é".as_bytes(), Value::from("é")),
            ("text/plain", b"\xe9", Value::from("é")),
            ("application/x-ndjson", b"1\n2\n", Value::from("1\n2\n")),
            ("image/svg+xml", b"<svg/>", Value::from("<svg/>")),
            ("", b"text", Value::from("text")),
            ("", b"\xff\x00", bytes(b"\xff\x00")),
            ("image/png", b"\x89PNG", bytes(b"\x89PNG")),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(read(content_type, body, ReadAs::Auto), Ok(expected), "{content_type}");
        }
        assert_eq!(read("text/plain", b"[1]", ReadAs::Json), Ok(Value::array(vec![Value::from(1)])));
        assert_eq!(read("application/json", b"[1]", ReadAs::Text), Ok(Value::from("[1]")));
        assert_eq!(read("text/plain", b"[1]", ReadAs::Bytes), Ok(bytes(b"[1]")));
    }

    #[test]
    fn json_that_is_not_whole_or_not_its_charset_is_an_error() {
        for body in [b"{\"a\":" as &[u8], b"", b"\"\xff\"", b"<html>", &[b'['; 10_000]] {
            assert!(read("application/json", body, ReadAs::Auto).is_err());
        }
    }
}
