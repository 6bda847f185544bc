//! A request, and the reply to it.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use surf::http::Method;
use url::Url;

use super::auth::{self, Ticket};
use super::trust::Pair;
use crate::model::{Fault, Reply, Text};

/// Tells a server that a request is one that it has had before.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What an [`super::Endpoint`] sends.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether a redirect is followed only if it keeps the method and the body.
    pub(super) keeps_body: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// Where it came from in the end, after redirects, without credentials.
    pub url: Url,
    pub host: Text,
    pub status: u16,
    pub headers: HeaderMap,
    /// When its head had come.
    pub fetched_at: Timestamp,
    /// From the start of the request to the end of the reply's head.
    pub(super) head_after: Duration,
    /// From the start of the request to the end of the reply.
    pub elapsed: Duration,
    /// Expanded; or why it could not be read.
    pub body: Result<Bytes, Fault>,
    /// What the request was signed with.
    pub ticket: Option<Ticket>,
}

impl Request {
    /// A request without headers and body. Credentials in the URL become the Basic scheme's header.
    pub fn new(method: Method, mut url: Url) -> Self {
        let mut headers = HeaderMap::new();
        if !url.username().is_empty() || url.password().is_some() {
            let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            let authorization = auth::basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default()));
            headers.insert(AUTHORIZATION, authorization.parse().expect("base64 can stand in a header"));
            // Both fail only for a URL without a host, which has no credentials.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        Self { method, url, headers, body: Bytes::new(), keeps_body: false }
    }

    /// This request, for which a redirect that would drop its body (301, 302, 303) is the reply.
    pub fn keeping_body(self) -> Self {
        Self { keeps_body: true, ..self }
    }

    /// Sets a header, in place of one of the same name. The error says why the value cannot be sent.
    pub fn set_header(&mut self, name: HeaderName, value: &str) -> Result<(), String> {
        let value = HeaderValue::from_str(value).map_err(|_| {
            format!("the value for the header `{name}` holds a line break or another character that cannot be sent")
        })?;
        self.headers.insert(name, value);
        Ok(())
    }
}

impl Response {
    /// The labels that it gives; `fault` is set if its body could not be read.
    pub fn to_reply(&self) -> Reply {
        Reply {
            url: self.url.as_str().into(),
            host: self.host.clone(),
            status: Some(self.status),
            headers: self.headers.clone(),
            fetched_at: self.fetched_at,
            elapsed: self.elapsed,
            fault: self.body.as_ref().err().map(|fault| fault.kind.name()),
        }
    }

    /// The body, or why it could not be read; nothing stays in its place.
    pub fn take_body(&mut self) -> Result<Bytes, Fault> {
        std::mem::replace(&mut self.body, Ok(Bytes::new()))
    }
}

/// The host of a URL.
pub fn host_of(url: &Url) -> Text {
    Pair::of(url).map(|pair| pair.host).unwrap_or_default()
}
