//! A request, and its head as it goes over the wire (RFC 9112, section 3).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};

use crate::http::pool::expects_content;

/// What is sent.
pub(in crate::http::pool) struct Request<'a> {
    pub method: &'a Method,
    /// A path with its query, or for a proxy a whole URL.
    pub target: &'a str,
    /// What the Host header says, unless `headers` has one.
    pub host: &'a HeaderValue,
    pub headers: &'a HeaderMap,
    /// For the proxy, if it asks for it.
    pub authorization: Option<HeaderValue>,
    pub body: &'a Bytes,
}

impl Request<'_> {
    pub(super) fn write_head(&self, head: &mut Vec<u8>) {
        for part in [self.method.as_str(), " ", self.target, " HTTP/1.1"] {
            head.extend_from_slice(part.as_bytes());
        }
        if !self.headers.contains_key(HOST) {
            write_header(head, HOST.as_str(), self.host.as_bytes());
        }
        for (name, value) in self.headers {
            // How long the body is stands below, and so does what the proxy is told, whatever they say.
            let stands_below = *name == CONTENT_LENGTH
                || *name == TRANSFER_ENCODING
                || (*name == PROXY_AUTHORIZATION && self.authorization.is_some());
            if !stands_below {
                write_header(head, name.as_str(), value.as_bytes());
            }
        }
        if let Some(authorization) = &self.authorization {
            write_header(head, PROXY_AUTHORIZATION.as_str(), authorization.as_bytes());
        }
        // Where content is to be expected, its absence is said (RFC 9110, section 8.6).
        if !self.body.is_empty() || expects_content(self.method) {
            write_header(head, CONTENT_LENGTH.as_str(), self.body.len().to_string().as_bytes());
        }
        head.extend_from_slice(b"\r\n\r\n");
    }
}

fn write_header(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [b"\r\n", name.as_bytes(), b": ", value] {
        head.extend_from_slice(part);
    }
}
