//! The transport below surf: each request goes over a connection of the pool that its route names.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use surf::http::{Body, Method, Request, Response, StatusCode};
use surf::{Error, HttpClient};
use url::Url;

use super::auth::Token;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::pool::Outgoing;
use super::wire::{Script, Sent, Wire};
use crate::runtime::Clock;

/// A request as it travels through surf, which knows its method and URL: surf's own headers can hold less than HTTP's,
/// and take longer.
#[derive(Clone)]
pub(super) struct Exchange {
    pub endpoint: Endpoint,
    pub method: Method,
    pub headers: Arc<HeaderMap>,
    pub body: Bytes,
    pub keeps_body: bool,
    /// A redirect has led to another origin: from there on no credentials are added.
    pub strayed: bool,
    /// What the client's own origin is to be shown; without it nothing is signed.
    pub token: Option<Arc<Token>>,
}

impl Exchange {
    /// surf's request for this exchange, which carries the exchange along.
    pub(super) fn request_to(self, url: Url) -> surf::Request {
        let mut request = surf::Request::new(self.method, url);
        request.set_ext(self);
        request
    }

    pub(super) fn of(request: &surf::Request) -> &Self {
        request.ext().expect("every request comes from an endpoint, which sets it")
    }

    pub(super) fn of_mut(request: &mut surf::Request) -> &mut Self {
        let request: &mut Request = request.as_mut();
        request.ext_mut().get_mut().expect("every request comes from an endpoint, which sets it")
    }
}

/// The head of a reply as the server sent it. surf's own types cannot hold every status and header that servers
/// send, so it travels as an extension of surf's response.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub status: u16,
    pub headers: HeaderMap,
}

impl Head {
    pub(super) fn of(response: &surf::Response) -> &Self {
        response.ext().expect("every response comes from the transport, which sets it")
    }
}

/// Sends each request on a connection of the pool that its route names.
pub(super) struct Transport {
    pub clock: Clock,
    pub wire: Wire,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transport").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send(&self, mut request: Request) -> Result<Response, Error> {
        let exchange: Exchange =
            request.ext_mut().remove().expect("every request comes from an endpoint, which sets it");
        let route = &exchange.endpoint.route;
        let limit = route.limits.first_byte;
        let late = || Failure::timeout("no reply came", limit).into_surf();
        if let Wire::Scripted(script) = &self.wire {
            let reply = Box::pin(scripted(&**script, &request, &exchange));
            return self.clock.timeout(limit, reply).await.ok_or_else(late)?.map_err(Failure::into_surf);
        }
        let outgoing = Outgoing {
            method: method_of(&request),
            url: request.url(),
            headers: &exchange.headers,
            body: &exchange.body,
        };
        let (pool, now) = (route.pool(request.url()), self.clock.instant());
        let sent = self.clock.timeout_at(now + limit, pool.send(&outgoing, now, route.limits.max_body)).await;
        let (head, body) = sent.ok_or_else(late)?.map_err(Failure::into_surf)?.into_parts();
        let mut response = Response::new(nearest_known(head.status));
        if !body.is_over() {
            response.set_body(Body::from_reader(body, None));
        }
        response.ext_mut().insert(Head { status: head.status.as_u16(), headers: head.headers });
        Ok(response)
    }
}

/// The reply of a script in place of a server's.
async fn scripted(script: &dyn Script, request: &Request, exchange: &Exchange) -> Result<Response, Failure> {
    let (url, headers, body) = (request.url().clone(), (*exchange.headers).clone(), exchange.body.clone());
    let reply = script.reply(Sent { method: request.method().to_string(), url, headers, body }).await?;
    let status = http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(nearest_known(status));
    if !reply.body.is_empty() {
        response.set_body(Body::from_bytes(reply.body.to_vec()));
    }
    response.ext_mut().insert(Head { status: reply.status, headers: reply.headers });
    Ok(response)
}

fn method_of(request: &Request) -> http::Method {
    match request.method() {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        other => other.as_ref().parse().expect("surf's methods are all tokens of RFC 9110"),
    }
}

/// The status itself, or another of its class: surf knows only those that are registered.
fn nearest_known(status: http::StatusCode) -> StatusCode {
    StatusCode::try_from(status.as_u16()).unwrap_or(match status.as_u16() {
        ..300 => StatusCode::Ok,
        300..400 => StatusCode::MultipleChoice,
        400..500 => StatusCode::BadRequest,
        500.. => StatusCode::InternalServerError,
    })
}
