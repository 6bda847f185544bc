//! A text that a request must carry, so that its sender may do what it asks for.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use ring::hmac::{self, Key};

use crate::settings::{Secret, Section};

/// A text that both sides know.
#[derive(Clone)]
pub struct Token {
    header: HeaderName,
    /// Compared by its tag under a key that nobody knows, so that the time this takes tells nothing.
    key: Key,
    tag: hmac::Tag,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It carries no credentials.
    Missing,
    /// They are not right.
    Wrong,
}

impl Token {
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("secret");
        let secret: Option<Secret> = section.required("secret", "the text; write it as \"${secret:NAME}\"");
        let header = read_header_name(
            section,
            AUTHORIZATION.as_str(),
            "the header that holds it; in `Authorization` it stands after `Bearer`",
        );
        let secret = secret?;
        if secret.0.is_empty() {
            section.mistake("secret", "a token without a character keeps nobody out", "write a long random text");
        }
        let key = Key::new(hmac::HMAC_SHA256, &std::array::from_fn::<u8, 32, _>(|_| fastrand::u8(..)));
        Some(Self { header: header?, tag: hmac::sign(&key, secret.0.as_bytes()), key })
    }

    /// Whether a request with these headers carries it.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let value = headers.get(&self.header).ok_or(Refusal::Missing)?.as_bytes();
        let token = if self.header == AUTHORIZATION {
            let (scheme, token) = value.split_at_checked(BEARER.len()).ok_or(Refusal::Missing)?;
            if !scheme.eq_ignore_ascii_case(BEARER) {
                return Err(Refusal::Missing);
            }
            token.trim_ascii()
        } else {
            value
        };
        hmac::verify(&self.key, token, self.tag.as_ref()).map_err(|_| Refusal::Wrong)
    }

    /// The header that holds it.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }
}

/// RFC 6750.
const BEARER: &[u8] = b"Bearer ";

/// The name of a header.
pub fn read_header_name(section: &mut Section<'_>, default: &str, about: &'static str) -> Option<HeaderName> {
    let name = section.or("header", default.to_owned(), about);
    let header = name.parse().ok();
    if header.is_none() {
        section.mistake("header", format!("`{name}` is not the name of a header"), "use letters, digits and hyphens");
    }
    header
}
