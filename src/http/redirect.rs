//! Following redirects (RFC 9110, section 15.4).
//!
//! surf's own middleware sends each request twice and keeps credentials. This stands above the whole chain, so that each
//! hop is signed for itself, and a reply that is no redirect passes through nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::LOCATION;
use surf::http::Method;
use url::Url;

use super::endpoint::Endpoint;
use super::failure::{Failure, shown};
use super::pool::Arriving;
use super::transport::Exchange;
use crate::model::FaultKind;

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

impl Endpoint {
    /// Follows the redirect that this reply to `exchange` is, and those behind it, at most as many as the route allows.
    /// Answers the last reply and where it came from. A redirect that is not wanted is the reply, and so for the error
    /// policy; so is one without `Location`.
    pub(super) async fn follow(
        &self,
        mut exchange: Exchange,
        asked: &Url,
        keeps_body: bool,
        mut reply: Arriving,
    ) -> Result<(Arriving, Option<Url>), Failure> {
        let limit = self.route.limits.redirects;
        let mut followed = 0;
        let mut last: Option<Url> = None;
        loop {
            let url = last.as_ref().unwrap_or(asked);
            let is_unwanted = limit == 0 || (keeps_body && drops_body(reply.status, exchange.method));
            let target = if is_unwanted { None } else { redirect_target(url, &reply)? };
            let Some(target) = target else { return Ok((reply, last)) };
            if followed == limit {
                let cause = format!("redirected more than {limit} times, last to `{}`", shown(&target));
                return Err(Failure::reject(FaultKind::Redirect, cause));
            }
            followed += 1;
            if self.robots {
                self.ask_robots(&target).map_err(|failure| at_hop(&failure, &target))?;
            }
            exchange = redirected(exchange, reply.status, url, &target);
            reply.drain(&exchange.deadline).await;
            reply = self.hop(exchange.clone(), target.clone()).await.map_err(|failure| at_hop(&failure, &target))?;
            last = Some(target);
        }
    }
}

/// Whether a reply may be a redirect, by its status.
pub(super) fn may_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// What failed, with the URL of the redirect that led there.
fn at_hop(failure: &Failure, url: &Url) -> Failure {
    let cause = format!("redirected to `{}`: {}", shown(url), failure.cause);
    Failure { cause, ..*failure }
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
fn redirect_target(from: &Url, reply: &Arriving) -> Result<Option<Url>, Failure> {
    if !may_redirect(reply.status) {
        return Ok(None);
    }
    let Some(location) = reply.headers.get(LOCATION) else { return Ok(None) };
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
