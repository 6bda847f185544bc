//! The transport below surf: each request goes over a connection of the pool that its route names.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_lite::AsyncReadExt;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use surf::http::{Method, Request, Response, StatusCode};
use surf::{Error, HttpClient};

use super::auth::Token;
use super::envelopes::Envelopes;
use super::failure::Failure;
use super::pool::{Arriving, Outgoing, ReplyBody};
use super::route::Route;
use super::wire::{Script, Sent, Wire};
use crate::runtime::Clock;

/// The body of a reply that nobody wants is read up to this size, so that its connection can be used again.
const SMALL_BODY: u64 = 16 << 10;

/// A request as it travels through surf, which knows its method and URL: surf's own headers can hold less than HTTP's,
/// and take longer.
#[derive(Clone)]
pub(super) struct Exchange {
    pub route: Arc<Route>,
    pub method: Method,
    pub headers: Arc<HeaderMap>,
    pub body: Bytes,
    /// A redirect has led to another origin: from there on no credentials are added.
    pub strayed: bool,
    /// What the client's own origin is to be shown; without it nothing is signed.
    pub token: Option<Arc<Token>>,
    pub deadline: Deadline,
}

/// When the reply to an exchange must be whole, redirects and all.
#[derive(Clone)]
pub(super) struct Deadline {
    /// Times the exchange.
    pub clock: Clock,
    pub at: Instant,
    /// How long that was from the start, for whom it is told that it has passed.
    pub limit: Duration,
}

impl Deadline {
    pub(super) fn passed(&self) -> Failure {
        Failure::not_whole(self.limit)
    }
}

impl Arriving {
    /// Reads a body that nobody wants, if it is small, so that its connection can be used again.
    pub(super) async fn drain(self, deadline: &Deadline) {
        if content_length(&self.headers).is_some_and(|length| length <= SMALL_BODY) {
            let (mut start, mut body) = (self.body.take(SMALL_BODY), Vec::new());
            // A body that breaks off, or takes too long, only costs its connection.
            let _ = deadline.clock.timeout_at(deadline.at, start.read_to_end(&mut body)).await;
        }
    }
}

/// How long a body is, as its headers announce it.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Sends each request on a connection of the pool that its route names.
pub(super) struct Transport {
    pub wire: Wire,
    pub envelopes: Arc<Envelopes>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transport").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send(&self, mut request: Request) -> Result<Response, Error> {
        let exchange = Exchange::out_of(&mut request);
        let Exchange { route, deadline, .. } = &exchange;
        // One alarm for two limits: whichever ends first.
        let (now, limit) = (deadline.clock.instant(), route.limits.first_byte);
        let is_last = deadline.at < now + limit;
        let late = || if is_last { deadline.passed() } else { Failure::timeout("no reply came", limit) };
        if deadline.at <= now {
            return Err(late().into_surf());
        }
        let until = if is_last { deadline.at } else { now + limit };
        if let Wire::Scripted(script) = &self.wire {
            let reply = Box::pin(scripted(&**script, &request, &exchange));
            let replied = deadline.clock.timeout_at(until, reply).await;
            let reply = replied.unwrap_or_else(|| Err(late())).map_err(Failure::into_surf)?;
            return Ok(self.envelopes.response(nearest_known(reply.status), reply));
        }
        let sent = {
            let (method, url) = (method_of(&request), request.url());
            let outgoing = Outgoing { method, url, headers: &exchange.headers, body: &exchange.body };
            // Pinned where it is: a future of this size is not moved for nothing.
            let sending = pin!(route.pool(url).send(&outgoing, route.limits.max_body));
            deadline.clock.timeout_at(until, sending).await
        };
        let reply = sent.unwrap_or_else(|| Err(late())).map_err(Failure::into_surf)?;
        self.envelopes.sent(request);
        Ok(self.envelopes.response(nearest_known(reply.status), reply))
    }
}

/// The reply of a script in place of a server's.
async fn scripted(script: &dyn Script, request: &Request, exchange: &Exchange) -> Result<Arriving, Failure> {
    let (url, headers, body) = (request.url().clone(), (*exchange.headers).clone(), exchange.body.clone());
    let reply = script.reply(Sent { method: request.method().to_string(), url, headers, body }).await?;
    let body = ReplyBody::of(reply.body, exchange.route.limits.max_body);
    Ok(Arriving { status: reply.status, headers: reply.headers, body })
}

fn method_of(request: &Request) -> http::Method {
    match request.method() {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        other => other.as_ref().parse().expect("surf's methods are all tokens of RFC 9110"),
    }
}

/// The status itself, or another of its class: surf knows only those that are registered.
fn nearest_known(status: u16) -> StatusCode {
    StatusCode::try_from(status).unwrap_or(match status {
        ..300 => StatusCode::Ok,
        300..400 => StatusCode::MultipleChoice,
        400..500 => StatusCode::BadRequest,
        500.. => StatusCode::InternalServerError,
    })
}
