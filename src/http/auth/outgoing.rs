//! A request that is being signed.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use url::Url;

use crate::http::failure::Failure;
use crate::http::transport::Exchange;
use crate::model::FaultKind;
use crate::runtime::Clock;

/// A request that is being signed, right before it is sent.
pub(in crate::http) struct Outgoing<'a> {
    request: &'a mut surf::Request,
    clock: &'a Clock,
    now: OnceCell<Timestamp>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(request: &'a mut surf::Request, clock: &'a Clock) -> Self {
        Self { request, clock, now: OnceCell::new() }
    }

    pub(super) fn method(&self) -> String {
        self.request.method().to_string()
    }

    pub(super) fn url(&self) -> &Url {
        self.request.url()
    }

    pub(super) fn body(&self) -> &Bytes {
        &Exchange::of(self.request).body
    }

    /// The same whenever it is asked for.
    pub(super) fn now(&self) -> Timestamp {
        *self.now.get_or_init(|| self.clock.timestamp())
    }

    /// What the Host header will say.
    pub(super) fn host(&self) -> String {
        let url = self.url();
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        Exchange::of(self.request).headers.get_all(name).iter().next_back()?.to_str().ok()
    }

    pub(super) fn set_header(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) else {
            let cause = format!("what signs it holds a character that cannot stand in the header `{name}`");
            return Err(Failure::reject(FaultKind::Auth, cause));
        };
        Arc::make_mut(&mut Exchange::of_mut(self.request).headers).insert(name, value);
        Ok(())
    }

    /// Sets the Authorization header, unless the request's author has.
    pub(super) fn authorize(&mut self, value: &str) -> Result<(), Failure> {
        if self.header("authorization").is_some() {
            return Ok(());
        }
        self.set_header("authorization", value)
    }

    pub(super) fn set_path(&mut self, path: &str) {
        let request: &mut surf::http::Request = self.request.as_mut();
        request.url_mut().set_path(path);
    }

    pub(super) fn set_query(&mut self, query: &str) {
        let request: &mut surf::http::Request = self.request.as_mut();
        request.url_mut().set_query((!query.is_empty()).then_some(query));
    }

    pub(super) fn append_query(&mut self, name: &str, value: &str) {
        let request: &mut surf::http::Request = self.request.as_mut();
        request.url_mut().query_pairs_mut().append_pair(name, value);
    }
}
