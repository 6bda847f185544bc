//! Following redirects (RFC 9110, section 15.4).
//!
//! surf's own middleware sends each request twice and keeps credentials, so this one stands in its place.

use async_trait::async_trait;
use bytes::Bytes;
use futures_lite::AsyncReadExt;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, LOCATION};
use surf::http::Method;
use surf::middleware::{Middleware, Next};
use surf::{Client, Request, Response};
use url::Url;

use super::failure::{Failure, shown};
use super::transport::{Exchange, Head};
use crate::model::FaultKind;

/// Where a reply came from in the end: an extension of surf's response.
pub(super) struct FinalUrl(pub Url);

/// Follows redirects, at most as many as the route allows. A redirect without `Location` is a reply like any other.
pub(super) struct FollowRedirects;

/// What may go to another origin than the one that the request was written for. All else may be a credential.
const HARMLESS_HEADERS: [&str; 11] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-encoding",
    "content-language",
    "content-type",
    "if-modified-since",
    "if-none-match",
    "range",
    "user-agent",
    "idempotency-key",
];

/// The body of a redirect is read up to this size, so that its connection can be used again.
const SMALL_BODY: usize = 16 << 10;

#[async_trait]
impl Middleware for FollowRedirects {
    async fn handle(&self, mut request: Request, client: Client, next: Next<'_>) -> surf::Result<Response> {
        let exchange = request.ext::<Exchange>().cloned().expect("every request comes from an endpoint, which sets it");
        let limit = exchange.route.limits.redirects;
        let mut followed = 0;
        loop {
            let url = request.url().clone();
            let kept = Kept::of(&request);
            let mut response = next.run(request, client.clone()).await?;
            let head = response.ext::<Head>().expect("every response comes from the transport, which sets it");
            // A redirect that is not wanted is the reply, and so for the error policy.
            let is_unwanted = limit == 0 || (exchange.keeps_body && drops_body(head.status, kept.method));
            let target = if is_unwanted { None } else { redirect_target(&url, head).map_err(Failure::into_surf)? };
            let Some(target) = target else {
                response.insert_ext(FinalUrl(url));
                return Ok(response);
            };
            if followed == limit {
                let cause = format!("redirected more than {limit} times, last to `{}`", shown(&target));
                return Err(Failure::reject(FaultKind::Redirect, cause).into_surf());
            }
            followed += 1;
            request = kept.redirected(head.status, &url, target);
            if content_length(&head.headers).is_some_and(|length| length <= SMALL_BODY) {
                let mut body = Vec::new();
                // A body that breaks off only costs its connection.
                let _ = response.take_body().take(SMALL_BODY as u64).read_to_end(&mut body).await;
            }
        }
    }
}

/// What of a request outlives its sending.
struct Kept {
    method: Method,
    headers: Vec<(String, String)>,
    exchange: Exchange,
}

impl Kept {
    fn of(request: &Request) -> Self {
        let lines = |(name, values): (&surf::http::headers::HeaderName, &surf::http::headers::HeaderValues)| {
            let name = name.as_str().to_owned();
            values.iter().map(move |value| (name.clone(), value.as_str().to_owned())).collect::<Vec<_>>()
        };
        let exchange = request.ext::<Exchange>().cloned().expect("the caller has just found it");
        Self { method: request.method(), headers: request.iter().flat_map(lines).collect(), exchange }
    }

    /// The request that follows a redirect with this status.
    fn redirected(mut self, status: u16, from: &Url, to: Url) -> Request {
        if drops_body(status, self.method) {
            self.method = Method::Get;
            self.exchange.body = Bytes::new();
            self.headers.retain(|(name, _)| !name.starts_with("content-"));
        }
        if from.origin() != to.origin() {
            self.exchange.strayed = true;
            self.headers.retain(|(name, _)| HARMLESS_HEADERS.contains(&name.as_str()));
        }
        let mut request = Request::new(self.method, to);
        for (name, value) in self.headers {
            request.append_header(name.as_str(), value.as_str());
        }
        request.set_ext(self.exchange);
        request
    }
}

/// Whether a redirect with this status turns the request into a GET. Browsers do so after a POST with 301 and 302
/// too, and servers count on it.
fn drops_body(status: u16, method: Method) -> bool {
    match status {
        301 | 302 => method == Method::Post,
        303 => !matches!(method, Method::Get | Method::Head),
        _ => false,
    }
}

/// Where a reply redirects to, if it does.
fn redirect_target(from: &Url, head: &Head) -> Result<Option<Url>, Failure> {
    if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = head.headers.get(LOCATION) else { return Ok(None) };
    let location = String::from_utf8_lossy(location.as_bytes());
    let nowhere = |why: &str| Failure::reject(FaultKind::Redirect, format!("redirected to {why}"));
    let mut target = from.join(&location).map_err(|error| nowhere(&format!("something that is no URL: {error}")))?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(nowhere(&format!("`{}:`, which is not HTTP", target.scheme())));
    }
    // Credentials that a remote writes into a URL are not ours to send.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    Ok(Some(target))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
