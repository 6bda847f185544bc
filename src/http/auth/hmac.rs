//! `hmac`: signs what a template makes of each request with a shared secret (HMAC, RFC 2104).

use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use http::HeaderName;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;
use ring::digest::{SHA256, digest};
use ring::hmac;
use url::Position;

use super::Kind;
use super::nonce;
use super::outgoing::Outgoing;
use super::scheme::{Scheme, Token};
use crate::expr::{Encoding, FilterError, Fuel, Scope, Template};
use crate::http::failure::Failure;
use crate::http::settings::read_headers;
use crate::model::{FaultKind, Labels, Object, Text, Value};
use crate::settings::{Secret, Section};

pub(super) const KIND: Kind =
    Kind { name: "hmac", about: "signs what a template makes of each request with a shared secret", read };

struct Hmac {
    key: hmac::Key,
    message: Template,
    is_base64: bool,
    headers: Vec<(HeaderName, Template)>,
}

const MESSAGE: &str = "what is signed: a template over the request, with `.method`, `.url`, `.host`, `.path`, `.query`, \
                       `.body`, `.body_sha256`, `.time`, `.date`, `.unix`, `.unix_ms` and `.nonce`, such as \
                       \"{.method}\\n{.path}\\n{.unix}\\n{.body_sha256}\"";

fn read(section: &mut Section<'_>) -> Option<Arc<dyn Scheme>> {
    let secret: Option<Secret> = section.required("secret", "the shared secret; write it as \"${secret:NAME}\"");
    let form = section.choice(
        "secret_encoding",
        &[("text", SecretForm::Text), ("base64", SecretForm::Base64), ("hex", SecretForm::Hex)],
        "how the secret is written",
    );
    let algorithms = [
        ("sha256", hmac::HMAC_SHA256),
        ("sha512", hmac::HMAC_SHA512),
        ("sha384", hmac::HMAC_SHA384),
        ("sha1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
    ];
    let algorithm = section.choice("algorithm", &algorithms, "the hash that it is made with");
    let message = section.template("message", Encoding::Plain, MESSAGE);
    let is_base64 = section.choice("encoding", &[("hex", false), ("base64", true)], "how `.signature` is written");
    let headers = read_headers(section);
    if headers.is_empty() {
        let way_out = "add `headers = { X-Signature = \"{.signature}\" }`; what the message holds can stand there too";
        section.mistake("headers", "the signature is not sent", way_out);
    }
    let secret = secret?.0;
    let key = match form {
        SecretForm::Text => Ok(secret.into_bytes()),
        SecretForm::Base64 => BASE64.decode(secret.trim().as_bytes()).map_err(|_| "base64"),
        SecretForm::Hex => HEXLOWER_PERMISSIVE.decode(secret.trim().as_bytes()).map_err(|_| "hexadecimal"),
    };
    let key = key.unwrap_or_else(|form| {
        section.mistake("secret", format!("the secret is not written in {form}"), "correct it or `secret_encoding`");
        Vec::new()
    });
    Some(Arc::new(Hmac { key: hmac::Key::new(algorithm, &key), message: message?, is_base64, headers }))
}

#[derive(Clone, Copy)]
enum SecretForm {
    Text,
    Base64,
    Hex,
}

impl Scheme for Hmac {
    fn sign(&self, request: &mut Outgoing<'_>, _: &Token) -> Result<(), Failure> {
        let labels = Labels::default();
        let scope = Scope { labels: &labels, window: None, now: request.now(), fuel: Fuel::Inline };
        let render = |what: &str, template: &Template, described: &Value| {
            template.render(described, &scope).map_err(|error| {
                let cause = match error {
                    FilterError::Failed(cause) | FilterError::TooMuch(cause) => cause,
                    FilterError::OutOfFuel => "it ran longer than a request may take".to_owned(),
                };
                Failure::reject(FaultKind::Auth, format!("it cannot be signed: `{what}` failed: {cause}"))
            })
        };
        let mut described = describe(request);
        let message = render("message", &self.message, &Value::object(described.clone()))?;
        let signature = hmac::sign(&self.key, message.as_bytes());
        let encoding = if self.is_base64 { &BASE64 } else { &HEXLOWER };
        described.insert("signature".into(), encoding.encode(signature.as_ref()).into());
        let described = Value::object(described);
        for (name, template) in &self.headers {
            request.set_header(name.as_str(), &render(name.as_str(), template, &described)?)?;
        }
        Ok(())
    }
}

/// A request as a template sees it.
fn describe(request: &Outgoing<'_>) -> Object {
    let (url, now) = (request.url(), request.now());
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    let mut described: Object = [
        ("method", Value::from(request.method())),
        ("url", Value::from(url.as_str())),
        ("host", Value::from(request.host())),
        ("path", Value::from(&url[Position::BeforePath..Position::AfterPath])),
        ("query", Value::from(url.query().unwrap_or_default())),
        ("body_sha256", Value::from(HEXLOWER.encode(digest(&SHA256, request.body()).as_ref()))),
        ("time", Value::from(now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string())),
        ("date", date.map_or(Value::Null, Value::from)),
        ("unix", Value::from(now.as_second())),
        ("unix_ms", Value::from(now.as_millisecond())),
        ("nonce", Value::from(nonce())),
    ]
    .into_iter()
    .map(|(name, value)| (Text::from(name), value))
    .collect();
    // A body that is no text can be signed by its digest.
    if let Ok(body) = std::str::from_utf8(request.body()) {
        described.insert("body".into(), body.into());
    }
    described
}
