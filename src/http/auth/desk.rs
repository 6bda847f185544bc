//! What an issuer of tokens may use: the client's connections, its cookies, and what the store remembers for it.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use surf::http::Method;
use url::{Url, form_urlencoded};

use super::scheme::Denial;
use crate::http::Meter;
use crate::http::client::Client;
use crate::http::endpoint::Endpoint;
use crate::http::request::{Request, Response, host_of};
use crate::http::status::{answered, is_transient, retry_after};
use crate::model::{Fault, FaultKind, Value, Verdict, json, secret};
use crate::runtime::Clock;
use crate::store::Change;

pub(in crate::http) struct Desk<'a> {
    pub(super) client: &'a Arc<Client>,
}

impl Desk<'_> {
    pub(super) fn clock(&self) -> &Clock {
        &self.client.clock
    }

    /// A URL of the config, which may be relative to the client's base.
    pub(super) fn url(&self, text: &str) -> Result<Url, Denial> {
        self.client.url(text).map_err(Denial::permanent)
    }

    /// Sends a request that is not signed. A redirect is the reply.
    pub(super) async fn ask(&self, request: Request) -> Result<Box<Response>, Denial> {
        let endpoint = Endpoint::for_signing_in(self.client.clone(), &request.url);
        let host = host_of(&request.url);
        endpoint
            .exchange(Box::new(request), host, None, self.clock().instant(), &Meter::uncounted())
            .await
            .map_err(|fault| denial(&fault))
    }

    /// Sends a form, and answers the JSON of the reply.
    pub(super) async fn ask_with_form(&self, mut request: Request, form: &[(&str, &str)]) -> Result<Value, Denial> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        request.body = body.into();
        let form_type = http::HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers.insert(CONTENT_TYPE, form_type);
        let url = request.url.clone();
        let response = self.ask(request).await?;
        let body = response.body.as_ref().map_err(denial)?;
        let said = json::parse(body);
        if !(200..300).contains(&response.status) {
            return Err(self.refusal(Method::Post, &url, &response, &said.unwrap_or_default()));
        }
        said.map_err(|error| Denial::for_now(format!("what `{url}` answered is not JSON: {error}")))
    }

    /// The denial that a reply with a bad status is.
    pub(super) fn refusal(&self, method: Method, url: &Url, response: &Response, said: &Value) -> Denial {
        Denial {
            cause: answered(method, url, response.status, "", said),
            is_permanent: !is_transient(response.status, &response.headers),
            not_before: retry_after(&response.headers, self.clock()),
        }
    }

    /// Masks a token of the client from now on.
    pub(super) fn keep_secret(&self, token: &str) {
        secret::keep_passing(&self.client.name, token);
    }

    pub(super) fn forget_cookies(&self) {
        if let Some(cookies) = &self.client.cookies {
            cookies.clear();
        }
    }

    pub(super) fn has_cookies(&self) -> bool {
        self.client.cookies.as_ref().is_some_and(|cookies| !cookies.is_empty())
    }

    /// What was remembered for the client under this name.
    pub(super) fn remembered(&self, name: &str) -> Result<Option<Value>, Denial> {
        let Some(store) = self.client.store.get() else { return Ok(None) };
        store.client_state(&self.client.name, name).map_err(|fault| denial(&fault))
    }

    /// Answers once it is on disk.
    pub(super) async fn remember(&self, name: &str, value: Value) -> Result<(), Denial> {
        let Some(store) = self.client.store.get() else { return Ok(()) };
        let change = Change::ClientState { client: self.client.name.clone(), name: name.into(), value: Some(value) };
        store.commit(vec![change]).await.map_err(|fault| denial(&fault))
    }
}

/// What went wrong on the way: only a fault of the request itself will be there the next time too.
fn denial(fault: &Fault) -> Denial {
    let is_permanent = matches!(fault.kind, FaultKind::Request | FaultKind::Forbidden);
    let not_before = match fault.verdict {
        Verdict::Retry { not_before } | Verdict::RetryItem { not_before } => not_before,
        Verdict::NotBefore(when) => Some(when),
        Verdict::Reject | Verdict::Stop => None,
    };
    Denial { cause: fault.message.clone(), is_permanent, not_before }
}
