//! How a sender shows that it may send.

use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use ring::hmac::{self, Algorithm, Key};

use crate::http::{Refusal, Token, read_header_name};
use crate::settings::{Secret, Section};

/// What a request must carry.
#[derive(Clone)]
pub(super) struct Credentials {
    token: Option<Token>,
    signature: Option<Signature>,
}

/// A code over the body, as it was sent, by a key that both sides know (HMAC, RFC 2104).
#[derive(Clone)]
struct Signature {
    header: HeaderName,
    key: Key,
    /// What stands before the code.
    prefix: String,
    encoding: Encoding,
}

#[derive(Clone, Copy)]
enum Encoding {
    Hex,
    Base64,
}

impl Credentials {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let token = section.table("token", "a text that a request must carry", Token::read);
        let signature = section.table("hmac", "a code over its raw body that a request must carry", Signature::read);
        Self { token, signature }
    }

    /// Whether anyone may send.
    pub(super) fn is_none(&self) -> bool {
        self.token.is_none() && self.signature.is_none()
    }

    /// What can be told before the body has come.
    pub(super) fn check_head(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(Signature { header, .. }) = &self.signature
            && !headers.contains_key(header)
        {
            return Err(Refusal::Missing);
        }
        self.token.as_ref().map_or(Ok(()), |token| token.check(headers))
    }

    pub(super) fn check_body(&self, headers: &HeaderMap, body: &Bytes) -> Result<(), Refusal> {
        self.signature.as_ref().map_or(Ok(()), |signature| signature.check(headers, body))
    }

    /// The headers without those that hold credentials.
    pub(super) fn without(&self, headers: &HeaderMap) -> HeaderMap {
        let mut headers = headers.clone();
        headers.remove(AUTHORIZATION);
        if let Some(token) = &self.token {
            headers.remove(token.header());
        }
        headers
    }
}

impl Signature {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let secret: Option<Secret> = section.required("secret", "the key; write it as \"${secret:NAME}\"");
        let header = read_header_name(section, "X-Hub-Signature-256", "the header that holds the code");
        let algorithms: [(&str, &'static Algorithm); 4] = [
            ("sha256", &hmac::HMAC_SHA256),
            ("sha1", &hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            ("sha384", &hmac::HMAC_SHA384),
            ("sha512", &hmac::HMAC_SHA512),
        ];
        let algorithm = section.choice("algorithm", &algorithms, "the hash that the code is made with");
        let prefix = section.or("prefix", "sha256=".to_owned(), "what stands before the code in the header");
        let encodings = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
        let encoding = section.choice("encoding", &encodings, "how the code is written");
        let secret = secret?;
        if secret.0.is_empty() {
            section.mistake(
                "secret",
                "a key without a character keeps nobody out",
                "write the one that the sender has",
            );
        }
        Some(Self { header: header?, key: Key::new(*algorithm, secret.0.as_bytes()), prefix, encoding })
    }

    fn check(&self, headers: &HeaderMap, body: &Bytes) -> Result<(), Refusal> {
        let value = headers.get(&self.header).ok_or(Refusal::Missing)?.as_bytes().trim_ascii();
        let code = value.strip_prefix(self.prefix.as_bytes()).ok_or(Refusal::Wrong)?;
        let code = match self.encoding {
            Encoding::Hex => HEXLOWER_PERMISSIVE.decode(code),
            Encoding::Base64 => BASE64.decode(code).or_else(|_| BASE64_NOPAD.decode(code)),
        };
        let code = code.map_err(|_| Refusal::Wrong)?;
        hmac::verify(&self.key, body, &code).map_err(|_| Refusal::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::read_text;

    fn credentials(text: &str) -> Credentials {
        read_text(&format!("webhook = {{ {text} }}"), |section| Some(Credentials::read(section))).unwrap()
    }

    /// What becomes of a request with this header and the body `hello`.
    fn ask(credentials: &Credentials, header: Option<(&'static str, &str)>) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.extend(header.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())));
        credentials.check_head(&headers)?;
        credentials.check_body(&headers, &Bytes::from_static(b"hello"))
    }

    #[test]
    fn a_token_is_asked_for_where_it_was_agreed_on() {
        let bearer = credentials("token = 's3cret'");
        let own = credentials("token = { secret = 's3cret', header = 'X-Token' }");
        for (credentials, header, expected) in [
            (&bearer, None, Err(Refusal::Missing)),
            (&bearer, Some(("authorization", "Bearer s3cret")), Ok(())),
            (&bearer, Some(("authorization", "bearer  s3cret")), Ok(())),
            (&bearer, Some(("authorization", "Bearer s3cre")), Err(Refusal::Wrong)),
            (&bearer, Some(("authorization", "Basic s3cret")), Err(Refusal::Missing)),
            (&bearer, Some(("authorization", "s3cret")), Err(Refusal::Missing)),
            (&own, Some(("x-token", "s3cret")), Ok(())),
            (&own, Some(("x-token", "")), Err(Refusal::Wrong)),
            (&own, Some(("authorization", "Bearer s3cret")), Err(Refusal::Missing)),
        ] {
            assert_eq!(ask(credentials, header), expected, "{header:?}");
        }
    }

    /// The codes are those of `printf hello | openssl dgst -sha256 -hmac key`, and of `-sha1 -binary | base64`.
    #[test]
    fn a_code_is_that_of_the_body() {
        const CODE: &str = "sha256=9307b3b915efb5171ff14d8cb55fbcc798c6c0ef1456d66ded1a6aa723a58b7b";
        let hex = credentials("hmac = { secret = 'key' }");
        let base64 = credentials(
            "hmac = { secret = 'key', header = 'X-Code', algorithm = 'sha1', prefix = '', encoding = 'base64' }",
        );
        let header = "x-hub-signature-256";
        for (credentials, header, expected) in [
            (&hex, None, Err(Refusal::Missing)),
            (&hex, Some((header, CODE)), Ok(())),
            (&hex, Some((header, CODE.to_uppercase().replace("SHA", "sha").as_str())), Ok(())),
            (&hex, Some((header, &CODE[7..])), Err(Refusal::Wrong)),
            (&hex, Some((header, &CODE[..60])), Err(Refusal::Wrong)),
            (&hex, Some((header, "sha256=")), Err(Refusal::Wrong)),
            (&hex, Some((header, &CODE.replace('9', "8"))), Err(Refusal::Wrong)),
            (&base64, Some(("x-code", "s0zqxFFv8joUPmHXnQ+npPvl8mY=")), Ok(())),
            (&base64, Some(("x-code", "s0zqxFFv8joUPmHXnQ+npPvl8mY")), Ok(())),
            (&base64, Some(("x-code", "t0zqxFFv8joUPmHXnQ+npPvl8mY=")), Err(Refusal::Wrong)),
        ] {
            assert_eq!(ask(credentials, header), expected, "{header:?}");
        }
    }
}
