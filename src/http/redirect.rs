//! Following redirects (RFC 9110, section 15.4).
//!
//! surf's own middleware sends each request twice and keeps credentials, so this one stands in its place.

use std::sync::Arc;

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

/// Where a reply came from after redirects: an extension of surf's response.
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
        let mut exchange = Exchange::of(&request).clone();
        let limit = exchange.endpoint.route.limits.redirects;
        let mut followed = 0;
        loop {
            let url = request.url().clone();
            let answered = next.run(request, client.clone()).await;
            let mut response = if followed == 0 { answered? } else { answered.map_err(|error| at_hop(error, &url))? };
            let head = Head::of(&response);
            // A redirect that is not wanted is the reply, and so for the error policy.
            let is_unwanted = limit == 0 || (exchange.keeps_body && drops_body(head.status, exchange.method));
            let target = if is_unwanted { None } else { redirect_target(&url, head).map_err(Failure::into_surf)? };
            let Some(target) = target else {
                if followed > 0 {
                    response.insert_ext(FinalUrl(url));
                }
                return Ok(response);
            };
            if followed == limit {
                let cause = format!("redirected more than {limit} times, last to `{}`", shown(&target));
                return Err(Failure::reject(FaultKind::Redirect, cause).into_surf());
            }
            followed += 1;
            if exchange.endpoint.robots {
                let asked = exchange.endpoint.ask_robots(&target);
                asked.map_err(|failure| at_hop(failure.into_surf(), &target))?;
            }
            exchange = redirected(exchange, head.status, &url, &target);
            request = exchange.clone().request_to(target);
            drain(&mut response).await;
        }
    }
}

/// Reads a body that nobody wants, if it is small, so that its connection can be used again.
pub(super) async fn drain(response: &mut Response) {
    if content_length(&Head::of(response).headers).is_some_and(|length| length <= SMALL_BODY) {
        let mut body = Vec::new();
        // A body that breaks off only costs its connection.
        let _ = response.take_body().take(SMALL_BODY as u64).read_to_end(&mut body).await;
    }
}

/// What failed, with the URL of the redirect that led there.
fn at_hop(error: surf::Error, url: &Url) -> surf::Error {
    let failure = Failure::from_surf(error);
    let cause = format!("redirected to `{}`: {}", shown(url), failure.cause);
    Failure { cause, ..failure }.into_surf()
}

/// The exchange that follows a redirect with this status.
fn redirected(mut exchange: Exchange, status: u16, from: &Url, to: &Url) -> Exchange {
    if drops_body(status, exchange.method) {
        exchange.method = Method::Get;
        exchange.body = Bytes::new();
        exchange.headers = Arc::new(kept_headers(&exchange.headers, |name| !name.starts_with("content-")));
    }
    if from.origin() != to.origin() {
        exchange.strayed = true;
        exchange.headers = Arc::new(kept_when_straying(&exchange.headers));
    }
    exchange
}

/// The headers that may go to another origin than the one that a request was written for.
pub(super) fn kept_when_straying(headers: &HeaderMap) -> HeaderMap {
    kept_headers(headers, |name| HARMLESS_HEADERS.contains(&name))
}

fn kept_headers(headers: &HeaderMap, is_kept: impl Fn(&str) -> bool) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| is_kept(name.as_str()));
    let mut headers = HeaderMap::new();
    kept.for_each(|(name, value)| {
        headers.append(name, value.clone());
    });
    headers
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
