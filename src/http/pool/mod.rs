//! Connections, and those that wait for their next request.
//!
//! Over HTTP/1.1 a request has its connection for itself, and drives it (`http1`, which is ours). Over HTTP/2 requests
//! share one (hyper's), which has a task of its own.

mod body;
mod http1;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::future::poll_fn;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body_util::Full;
use hyper::client::conn::http2;
use url::{Position, Url};

pub(super) use self::body::{ReplyBody, too_large};
use self::http1::{Begun, Broken, Http1, Request};
use super::connector::Connector;
use super::failure::{Failure, root_cause};
use super::io::{Executor, Timer};
use super::request::IDEMPOTENCY_KEY;
use crate::model::{FaultKind, Size};
use crate::runtime::{self, Clock};

/// How long a connection waits for its next request.
const IDLE: Duration = Duration::from_secs(30);

/// When nothing comes over an HTTP/2 connection for this long while requests are on their way, it is asked for a sign
/// of life; and how long that may take. Else one dead connection would take all requests to its host with it.
const PING_AFTER: Duration = Duration::from_secs(15);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// How often a request is sent again that the server has not looked at.
const MAX_REFUSALS: usize = 10;

/// Connections of one kind, by the origin that they lead to. A clone shares them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    origins: Mutex<HashMap<Box<str>, Arc<Origin>, foldhash::fast::RandomState>>,
    /// Whether a task looks after connections that wait for too long.
    is_swept: AtomicBool,
}

/// Where connections lead.
struct Origin {
    /// What the Host header says.
    host: HeaderValue,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// The last one has waited for the shortest time.
    idle: Vec<Idle>,
    shared: Option<Http2>,
}

struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

/// A connection that carries many requests at once.
struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    used: Instant,
}

enum Connection {
    Http1(Box<Http1>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What is sent.
pub(super) struct Outgoing<'a> {
    pub method: Method,
    pub url: &'a Url,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
}

/// A reply as the server sent it, its body still on the way. surf's own types cannot hold every status and header that
/// servers send, and guess what they do not know of a body, so it travels as an extension of surf's response.
pub(super) struct Arriving {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: ReplyBody,
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Self {
        Self(Arc::new(Shared { connector, origins: Mutex::default(), is_swept: AtomicBool::new(false) }))
    }

    /// Sends a request and waits for the head of the reply, whose body may be as long as `limit`.
    ///
    /// A connection that waited may have been ended by its server in the same moment. The request is then sent again, over
    /// another one: as often as nothing of it had gone out, and once where nothing has come back and to do the same
    /// twice is harmless (RFC 9112, section 9.3.1).
    pub(super) async fn send(&self, outgoing: &Outgoing<'_>, limit: Size) -> Result<Arriving, Failure> {
        let origin = self.origin(outgoing.url)?;
        let is_repeatable = is_repeatable(outgoing);
        let mut is_repeated = false;
        let mut refusals = 0;
        loop {
            let waiting = if is_repeated { None } else { origin.take(self.clock().instant(), is_repeatable) };
            let has_waited = waiting.is_some();
            let connection = match waiting {
                Some(connection) => connection,
                // In a box, since most requests need no new connection and would carry the room for it in vain.
                None => Box::pin(self.connect(&origin, outgoing.url)).await?,
            };
            match connection {
                Connection::Http1(mut connection) => {
                    let begun = match self.begin(outgoing, &origin, &mut connection)? {
                        Ok(()) => poll_fn(|context| connection.poll_head(context)).await,
                        Err(broken) => Err(broken),
                    };
                    match begun {
                        Ok(begun) => return Ok(self.reply(begun, connection, origin, limit)),
                        Err(Broken::Unsent(_)) if has_waited => {}
                        Err(Broken::Unanswered(_)) if has_waited && is_repeatable => is_repeated = true,
                        Err(broken) => return Err(broken.before_reply()),
                    }
                }
                Connection::Http2(mut sender) => {
                    // In a box, so that requests over HTTP/1.1 do not carry the room for it.
                    let sent = Box::pin(sender.try_send_request(http2_request(outgoing)?)).await;
                    let error = match sent {
                        Ok(reply) => {
                            let (head, incoming) = reply.into_parts();
                            let body = ReplyBody::over_http2(incoming, limit);
                            return Ok(Arriving { status: head.status.as_u16(), headers: head.headers, body });
                        }
                        Err(error) => error,
                    };
                    // A request that comes back has not gone out. New connections are shared too, so one may be about to end.
                    let is_untouched = error.message().is_some() || is_unseen(error.error());
                    if !is_untouched || refusals == MAX_REFUSALS {
                        return Err(no_reply(&error.into_error()));
                    }
                    refusals += 1;
                }
            }
        }
    }

    /// Begins to send a request. The failure is the request's own, the inner one the connection's.
    fn begin(
        &self,
        outgoing: &Outgoing<'_>,
        origin: &Origin,
        connection: &mut Http1,
    ) -> Result<Result<(), Broken>, Failure> {
        let Outgoing { method, url, headers, body } = outgoing;
        let mut request =
            Request { method, target: path_and_query(url), host: &origin.host, headers, authorization: None, body };
        if !connection.is_to_proxy {
            return Ok(connection.begin(&request));
        }
        let whole = target(url)?;
        request.authorization = self.0.connector.proxies.authorization(&whole);
        let whole = whole.to_string();
        Ok(connection.begin(&Request { target: &whole, ..request }))
    }

    fn reply(&self, begun: Begun, connection: Box<Http1>, origin: Arc<Origin>, limit: Size) -> Arriving {
        let Begun { status, headers, first } = begun;
        let lent = Lent { connection, origin, pool: self.clone() };
        Arriving { status, headers, body: ReplyBody::over_http1(first, lent, limit) }
    }

    fn origin(&self, url: &Url) -> Result<Arc<Origin>, Failure> {
        let name = &url[..Position::BeforePath];
        let mut origins = self.0.lock();
        if let Some(origin) = origins.get(name) {
            return Ok(origin.clone());
        }
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
            .map_err(|_| Failure::reject(FaultKind::Request, "the URL's host cannot stand in a header"))?;
        let origin = Arc::new(Origin { host, waiting: Mutex::default() });
        origins.insert(name.into(), origin.clone());
        Ok(origin)
    }

    async fn connect(&self, origin: &Origin, url: &Url) -> Result<Connection, Failure> {
        let stream = self.0.connector.connect_in_time(&target(url)?).await?;
        if !stream.speaks_http2() {
            return Ok(Connection::Http1(Http1::open(stream)));
        }
        let mut builder = http2::Builder::new(Executor);
        builder.timer(Timer(self.clock().clone()));
        builder.keep_alive_interval(PING_AFTER).keep_alive_timeout(PING_ANSWER);
        let (sender, connection) = builder.handshake(stream).await.map_err(|error| no_reply(&error))?;
        // Not joined: it ends when its peer does, or nobody has its sender any more.
        drop(runtime::spawn(connection));
        let sender = origin.share(sender, self.clock().instant());
        self.keep_swept();
        Ok(Connection::Http2(sender))
    }

    /// Starts the task that ends connections which wait for too long, if there is none.
    fn keep_swept(&self) {
        if !self.0.is_swept.load(Ordering::Acquire) && !self.0.is_swept.swap(true, Ordering::AcqRel) {
            drop(runtime::spawn(sweep(Arc::downgrade(&self.0), self.clock().clone())));
        }
    }

    fn clock(&self) -> &Clock {
        &self.0.connector.clock
    }
}

/// Ends connections that wait for too long, until none waits.
async fn sweep(pool: Weak<Shared>, clock: Clock) {
    let mut next = Some(clock.instant() + IDLE);
    while let Some(time) = next {
        clock.sleep_until(time).await;
        let Some(shared) = pool.upgrade() else { return };
        next = shared.end_idle(clock.instant());
        if next.is_none() {
            shared.is_swept.store(false, Ordering::Release);
            // One may have come in between, which found that there was a task.
            next = shared.end_idle(clock.instant()).filter(|_| !shared.is_swept.swap(true, Ordering::AcqRel));
        }
    }
}

impl Shared {
    /// Ends what has waited for too long; answers when the next one will have.
    fn end_idle(&self, now: Instant) -> Option<Instant> {
        let mut ended = Vec::new();
        let mut next = None;
        self.lock().retain(|_, origin| {
            let last = origin.end_idle(now, &mut ended);
            next = next.into_iter().chain(last).min();
            last.is_some() || Arc::strong_count(origin) > 1
        });
        next
    }

    /// Whole even if a holder panicked: each change is one operation on the map.
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Origin>, foldhash::fast::RandomState>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// A connection that can take a request now. A request that is not repeatable has the kernel asked, since what the
    /// reactor has not seen yet would make it fail.
    fn take(&self, now: Instant, is_repeatable: bool) -> Option<Connection> {
        let mut waiting = self.lock();
        while let Some(mut idle) = waiting.idle.pop() {
            if idle.since + IDLE > now && idle.connection.has_stayed_ready(!is_repeatable) {
                return Some(Connection::Http1(idle.connection));
            }
        }
        let shared = waiting.shared.as_mut().filter(|shared| shared.sender.is_ready());
        if let Some(shared) = shared {
            shared.used = now;
            return Some(Connection::Http2(shared.sender.clone()));
        }
        waiting.shared = None;
        None
    }

    /// Shares a new connection, unless another one has come about meanwhile: then that one is used.
    fn share(&self, sender: http2::SendRequest<Full<Bytes>>, now: Instant) -> http2::SendRequest<Full<Bytes>> {
        let mut waiting = self.lock();
        let there = waiting.shared.take().filter(|shared| shared.sender.is_ready());
        let sender = there.map_or(sender, |shared| shared.sender);
        waiting.shared = Some(Http2 { sender: sender.clone(), used: now });
        sender
    }

    /// Takes out into `ended` what has waited for too long or was ended by the server; answers when the next one will
    /// have.
    fn end_idle(&self, now: Instant, ended: &mut Vec<Waiting>) -> Option<Instant> {
        let mut waiting = self.lock();
        let idle = std::mem::take(&mut waiting.idle).into_iter();
        let (kept, over) = idle.partition(|idle| idle.since + IDLE > now);
        waiting.idle = kept;
        let is_shared = waiting.shared.as_ref().is_some_and(|shared| shared.used + IDLE > now);
        let shared = if is_shared { None } else { waiting.shared.take() };
        ended.push(Waiting { idle: over, shared });
        let since = waiting.idle.iter().map(|idle| idle.since).chain(waiting.shared.iter().map(|shared| shared.used));
        since.min().map(|since| since + IDLE)
    }

    /// Whole even if a holder panicked: each change is one operation.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An HTTP/1.1 connection whose reply is being read. Dropped before the reply's end, it is closed.
struct Lent {
    connection: Box<Http1>,
    origin: Arc<Origin>,
    pool: Pool,
}

impl Lent {
    /// The reply was read to its end.
    fn give_back(mut self) {
        if !self.connection.rest() {
            return;
        }
        let since = self.pool.clock().instant();
        self.origin.lock().idle.push(Idle { connection: self.connection, since });
        self.pool.keep_swept();
    }
}

/// A request as hyper sends it over HTTP/2.
fn http2_request(outgoing: &Outgoing<'_>) -> Result<http::Request<Full<Bytes>>, Failure> {
    let Outgoing { method, url, headers, body } = outgoing;
    let mut request = http::Request::new(Full::new((*body).clone()));
    *request.method_mut() = (*method).clone();
    *request.headers_mut() = (*headers).clone();
    *request.uri_mut() = target(url)?;
    // Where content is to be expected, its absence is said (RFC 9110, section 8.6).
    if body.is_empty() && expects_content(method) {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(request)
}

/// Whether a server that gets a request twice does what it does once (RFC 9110, section 9.2.2), or knows it by its key.
fn is_repeatable(outgoing: &Outgoing<'_>) -> bool {
    outgoing.method.is_idempotent() || outgoing.headers.contains_key(IDEMPOTENCY_KEY)
}

/// Whether a request of this method usually has a body.
fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// The part of a URL that goes to a server which it names by itself. It holds no character that cannot stand in a
/// request: the `url` crate has percent-encoded them.
fn path_and_query(url: &Url) -> &str {
    &url[Position::BeforePath..Position::AfterQuery]
}

/// The part of a URL that goes to a server, with scheme and host, but without credentials and fragment.
fn target(url: &Url) -> Result<Uri, Failure> {
    let mut target = url[..Position::BeforeUsername].to_owned();
    target.push_str(&url[Position::BeforeHost..Position::AfterQuery]);
    target.parse().map_err(|error| cannot_be_sent(&error))
}

fn cannot_be_sent(error: &http::uri::InvalidUri) -> Failure {
    Failure::reject(FaultKind::Request, format!("the URL cannot be sent: {error}"))
}

/// Whether an HTTP/2 server says that it has not looked at the request, which happens whenever it ends a connection:
/// it is then as if nothing had been sent (RFC 9113, section 8.7).
fn is_unseen(error: &hyper::Error) -> bool {
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

/// Why no reply came over HTTP/2.
fn no_reply(error: &hyper::Error) -> Failure {
    let cause = if error.is_incomplete_message() {
        "the connection ended before a reply came".to_owned()
    } else {
        format!("the connection broke: {}", root_cause(error))
    };
    Failure::retry(FaultKind::Disconnect, cause)
}
