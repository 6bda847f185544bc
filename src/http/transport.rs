//! The transport below surf: requests over hyper's pooled connections.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use futures_lite::{AsyncBufRead, AsyncRead};
use http::header::{CONTENT_LENGTH, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy;
use surf::http::{Body, Method, Request, Response, StatusCode};
use surf::{Error, HttpClient};
use url::Url;

use super::auth::Token;
use super::connector::Connector;
use super::endpoint::Endpoint;
use super::failure::{Failure, root_cause};
use super::route::Route;
use super::wire::{Script, Sent, Wire};
use crate::model::{FaultKind, Size};
use crate::runtime::Clock;

/// Connections that wait for their next request, by host.
pub(super) type Pool = legacy::Client<Connector, Full<Bytes>>;

/// A request as it travels through surf: what surf knows of it is made of this, and made anew after a redirect.
#[derive(Clone)]
pub(super) struct Exchange {
    pub route: Arc<Route>,
    pub method: Method,
    /// Without those that middleware adds. ASCII alone, which is all that surf's types take.
    pub headers: Arc<HeaderMap>,
    pub body: Bytes,
    pub keeps_body: bool,
    /// Asks the robots.txt of sites that a redirect leads to.
    pub robots: Option<Endpoint>,
    /// A redirect has led to another origin: from there on no credentials are added.
    pub strayed: bool,
    /// What the client's own origin is to be shown; without it nothing is signed.
    pub token: Option<Arc<Token>>,
}

impl Exchange {
    /// surf's request for this exchange, which carries the exchange along.
    pub(super) fn request_to(self, url: Url) -> surf::Request {
        let mut request = surf::Request::new(self.method, url);
        for (name, value) in &*self.headers {
            if let Ok(value) = value.to_str() {
                request.append_header(name.as_str(), value);
            }
        }
        request.set_ext(self);
        request
    }
}

/// The head of a reply as the server sent it. surf's own types cannot hold every status and header that servers
/// send, so it travels as an extension of surf's response.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub status: u16,
    pub headers: HeaderMap,
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
    async fn send(&self, request: Request) -> Result<Response, Error> {
        self.send_on_route(request).await.map_err(Failure::into_surf)
    }
}

impl Transport {
    async fn send_on_route(&self, request: Request) -> Result<Response, Failure> {
        let exchange = request.ext().get::<Exchange>().expect("every request comes from an endpoint, which sets it");
        let route = exchange.route.clone();
        if let Wire::Scripted(script) = &self.wire {
            let reply = scripted(&**script, &request, exchange.body.clone());
            let limit = route.limits.first_byte;
            return self.clock.timeout(limit, reply).await.ok_or_else(|| Failure::timeout("no reply came", limit))?;
        }
        let pool = route.pool(request.url());
        let sent = async {
            let mut refusals = 0;
            loop {
                let mut outgoing = outgoing(&request, exchange.body.clone())?;
                if let Some(authorization) = route.proxies.authorization(outgoing.uri()) {
                    outgoing.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
                }
                match pool.request(outgoing).await {
                    Err(error) if refusals < MAX_REFUSALS && is_unseen(&error) => refusals += 1,
                    sent => return sent.map_err(|error| no_reply(&error)),
                }
            }
        };
        let limit = route.limits.first_byte;
        let reply = self.clock.timeout(limit, sent).await.ok_or_else(|| Failure::timeout("no reply came", limit))??;
        Ok(incoming(reply, route.limits.max_body))
    }
}

/// The reply of a script in place of a server's.
async fn scripted(script: &dyn Script, request: &Request, body: Bytes) -> Result<Response, Failure> {
    let url = request.url().clone();
    let (parts, _) = outgoing(request, body.clone())?.into_parts();
    let sent = Sent { method: parts.method.to_string(), url, headers: parts.headers, body };
    let reply = script.reply(sent).await?;
    let status = http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(nearest_known(status));
    if !reply.body.is_empty() {
        response.set_body(Body::from_bytes(reply.body.to_vec()));
    }
    response.ext_mut().insert(Head { status: reply.status, headers: reply.headers });
    Ok(response)
}

/// How often a request is sent again that the server has not looked at.
const MAX_REFUSALS: usize = 3;

/// Whether an HTTP/2 server says that it has not looked at the request, which happens whenever it ends a connection:
/// it is then as if nothing had been sent (RFC 9113, section 8.7).
fn is_unseen(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let has_ended = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (has_ended || is_refused);
        }
        cause = error.source();
    }
    false
}

/// surf's request as hyper's.
fn outgoing(request: &Request, body: Bytes) -> Result<http::Request<Full<Bytes>>, Failure> {
    let wrong = |cause: String| Failure::reject(FaultKind::Request, cause);
    let carries_nothing = body.is_empty();
    let mut outgoing = http::Request::new(Full::new(body));
    *outgoing.method_mut() = request.method().as_ref().parse().expect("surf's methods are all tokens of RFC 9110");
    *outgoing.uri_mut() = target(request.url())
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(format!("the URL cannot be sent: {error}")))?;
    for (name, values) in request {
        let name = HeaderName::from_bytes(name.as_str().as_bytes())
            .map_err(|_| wrong(format!("`{name}` is not the name of a header")))?;
        for value in values {
            let value = HeaderValue::from_str(value.as_str())
                .map_err(|_| wrong(format!("the value of the header `{name}` cannot be sent")))?;
            outgoing.headers_mut().append(&name, value);
        }
    }
    // Where content is to be expected, its absence is said (RFC 9110, section 8.6).
    if carries_nothing && matches!(request.method(), Method::Post | Method::Put | Method::Patch) {
        outgoing.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(outgoing)
}

/// The part of a URL that goes to the server, with scheme and host, but without credentials and fragment.
fn target(url: &Url) -> String {
    let mut target = url[..url::Position::BeforeUsername].to_owned();
    target.push_str(&url[url::Position::BeforeHost..url::Position::AfterQuery]);
    target
}

/// hyper's reply as surf's.
fn incoming(reply: http::Response<Incoming>, max_body: Size) -> Response {
    let (parts, body) = reply.into_parts();
    let mut response = Response::new(nearest_known(parts.status));
    if !body.is_end_stream() {
        response.set_body(Body::from_reader(ReplyBody::new(body, max_body), None));
    }
    response.ext_mut().insert(Head { status: parts.status.as_u16(), headers: parts.headers });
    response
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

fn no_reply(error: &legacy::Error) -> Failure {
    if let Some(failure) = Failure::inside(error) {
        return failure.clone();
    }
    let hyper = std::error::Error::source(error).and_then(|source| source.downcast_ref::<hyper::Error>());
    let cause = match hyper {
        Some(hyper) if hyper.is_incomplete_message() => "the connection ended before a reply came".to_owned(),
        Some(hyper) if hyper.is_parse_too_large() => "the head of the reply is too large".to_owned(),
        Some(hyper) if hyper.is_parse() => format!("the reply is not HTTP: {}", root_cause(hyper)),
        _ => format!("the connection broke: {}", root_cause(error)),
    };
    Failure::retry(FaultKind::Disconnect, cause)
}

/// The body of a reply, as it comes from the connection.
struct ReplyBody {
    /// Nothing once the last byte has come: the connection is then free for the next request.
    incoming: Option<Incoming>,
    chunk: Bytes,
    limit: Size,
    taken: u64,
    /// How much came since other tasks had a turn.
    turn: usize,
}

/// So much of a body is taken before other tasks get a turn, also where a decoder asks for more and more of it.
const TURN: usize = 256 << 10;

impl ReplyBody {
    fn new(incoming: Incoming, limit: Size) -> Self {
        Self { incoming: Some(incoming), chunk: Bytes::new(), limit, taken: 0, turn: 0 }
    }
}

impl AsyncBufRead for ReplyBody {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let body = self.get_mut();
        while body.chunk.is_empty() {
            let Some(incoming) = &mut body.incoming else { break };
            if body.turn >= TURN {
                body.turn = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let frame = ready!(Pin::new(&mut *incoming).poll_frame(context));
            if frame.is_none() || incoming.is_end_stream() {
                body.incoming = None;
            }
            match frame {
                Some(Ok(frame)) => body.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(cut_short(&error).into())),
                None => break,
            }
            body.turn += body.chunk.len();
            body.taken += body.chunk.len() as u64;
            // Compressed bytes count too: an endless stream of them may expand to nothing.
            if body.taken > body.limit.0 {
                return Poll::Ready(Err(too_large(body.limit).into()));
            }
        }
        Poll::Ready(Ok(&body.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        bytes::Buf::advance(&mut self.chunk, amount);
    }
}

/// surf asks for this; everything of ours reads through [`AsyncBufRead`].
impl AsyncRead for ReplyBody {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(context))?;
        let taken = chunk.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&chunk[..taken]);
        self.consume(taken);
        Poll::Ready(Ok(taken))
    }
}

/// A body that does not end as its head said.
fn cut_short(error: &hyper::Error) -> Failure {
    Failure::retry(FaultKind::Body, format!("the body was cut short: {}", root_cause(error)))
}

/// A body beyond `max_body`.
pub(super) fn too_large(limit: Size) -> Failure {
    Failure::reject(FaultKind::Body, format!("the body is larger than {limit}; `max_body` raises that limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_the_server_has_no_credentials_and_no_fragment() {
        let url = Url::parse("https://user:pass@[::1]:8443/a?b=c#d").unwrap();
        assert_eq!(target(&url), "https://[::1]:8443/a?b=c");
        assert_eq!(target(&Url::parse("http://a").unwrap()), "http://a/");
    }

    #[test]
    fn every_url_can_be_sent() {
        for character in (0..=0x10_ffff).step_by(7).chain(0..0x200).filter_map(char::from_u32) {
            for text in [format!("http://a/x{character}y"), format!("http://a/?x{character}y")] {
                let url = Url::parse(&text).unwrap();
                assert!(target(&url).parse::<http::Uri>().is_ok(), "{text:?}");
            }
        }
    }
}
