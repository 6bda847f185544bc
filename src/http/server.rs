//! A small HTTP/1.1 server on gatherd's runtime (RFC 9112).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use bytes::Bytes;
use futures_lite::future::Boxed;
use futures_lite::stream::{self, StreamExt};
use http::header::{CONTENT_TYPE, EXPECT};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::connections::{Connections, Place};
use super::io::{self, Timer};
use super::listener::Listener;
use crate::runtime::{self, Clock};

/// Answers a request whose head has come.
pub type Handler = Arc<dyn Fn(Asked) -> Boxed<Response<Bytes>> + Send + Sync>;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a body that is not wanted is taken all the same, and for how long: a client that still sends when its
/// connection ends may never see the reply.
const UNWANTED: usize = 4 << 20;
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(2);

/// A request, of which the head has been read.
pub struct Asked {
    pub head: http::request::Parts,
    pub body: RequestBody,
    /// Who is at the other end of the connection; nothing for a socket of this machine.
    pub peer: Option<SocketAddr>,
}

impl Asked {
    /// A reply in place of reading the body.
    pub async fn refuse(self, status: StatusCode, why: &str) -> Response<Bytes> {
        // A client that asks before it sends is glad to send nothing.
        if !self.head.headers.contains_key(EXPECT) {
            let RequestBody { body, clock } = self.body;
            let _ = clock.timeout(UNWANTED_TIMEOUT, Limited::new(body, UNWANTED).collect()).await;
        }
        reply(status, why)
    }
}

/// A body that has not been read.
pub struct RequestBody {
    body: Incoming,
    clock: Clock,
}

/// Why a body did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    TooLarge,
    TooSlow,
    CutShort,
}

impl RequestBody {
    /// Its length in bytes, if the head tells.
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// All of it, if it has at most `max` bytes.
    pub async fn read(self, max: usize) -> Result<Bytes, BodyFault> {
        match self.clock.timeout(BODY_TIMEOUT, Limited::new(self.body, max).collect()).await {
            None => Err(BodyFault::TooSlow),
            Some(Ok(body)) => Ok(body.to_bytes()),
            Some(Err(error)) if error.is::<LengthLimitError>() => Err(BodyFault::TooLarge),
            Some(Err(_)) => Err(BodyFault::CutShort),
        }
    }
}

/// What follows the bytes of a reply as it comes, if it is among the reply's extensions; the body ends when this is
/// closed.
#[derive(Clone, Debug)]
pub struct Streamed(pub Receiver<Bytes>);

/// A reply whose body is a line for a person.
pub fn reply(status: StatusCode, line: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{line}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Serves connections as they come, at most `most` at once, until `stop` is closed; requests that have come by then are
/// answered, by tasks that hold on to `alive`.
pub(super) async fn serve<A: Clone + Send + 'static>(
    listener: Listener,
    clock: Clock,
    stop: Receiver<Infallible>,
    alive: A,
    most: usize,
    handler: Handler,
) {
    let connections = Connections::new(most);
    loop {
        let accepted = async {
            let accepted = listener.accept().await?;
            Ok((accepted, connections.place().await))
        };
        match runtime::race(async { Some(accepted.await) }, stopped(&stop)).await {
            None => break,
            Some(Ok(((stream, peer), place))) => {
                let connection = Connection { stream, peer, clock: clock.clone(), stop: stop.clone(), place };
                let (handler, alive) = (handler.clone(), alive.clone());
                runtime::spawn(async move {
                    connection.serve(handler).await;
                    drop(alive);
                });
            }
            Some(Err(error)) => {
                let error: std::io::Error = error;
                log::warn!(cause:% = error; "a connection could not be accepted");
                // Out of descriptors, most likely: some have to close first.
                clock.sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Before those who wait for the end are told.
    drop(listener);
    drop(alive);
}

async fn stopped<T>(stop: &Receiver<Infallible>) -> Option<T> {
    // Nothing is ever sent: it ends when the other end is dropped.
    let _ = stop.recv().await;
    None
}

type Frames = stream::Boxed<Result<Frame<Bytes>, Infallible>>;

/// A reply's body as hyper sends it.
fn with_body(mut response: Response<Bytes>) -> Response<Either<Full<Bytes>, StreamBody<Frames>>> {
    let streamed = response.extensions_mut().remove::<Streamed>();
    response.map(|bytes| match streamed {
        None => Either::Left(Full::new(bytes)),
        Some(Streamed(more)) => Either::Right(StreamBody::new(more.map(|bytes| Ok(Frame::data(bytes))).boxed())),
    })
}

struct Connection {
    stream: io::Stream,
    peer: Option<SocketAddr>,
    clock: Clock,
    stop: Receiver<Infallible>,
    place: Place,
}

impl Connection {
    async fn serve(self, handler: Handler) {
        let Self { stream, peer, clock, stop, place } = self;
        let service = service_fn(|request: http::Request<Incoming>| {
            let (head, body) = request.into_parts();
            let answering = place.answering();
            let answered = handler(Asked { head, body: RequestBody { body, clock: clock.clone() }, peer });
            async {
                let response = answered.await;
                drop(answering);
                Ok::<_, Infallible>(with_body(response))
            }
        });
        let mut served = std::pin::pin!(
            http1::Builder::new()
                .timer(Timer(clock.clone()))
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(stream, service)
        );
        let lost = async {
            place.lost().await;
            Some(Ok(()))
        };
        let ended = runtime::race(async { Some(served.as_mut().await) }, lost);
        let outcome = match runtime::race(ended, stopped(&stop)).await {
            Some(outcome) => outcome,
            None => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = outcome {
            log::debug!(cause:% = error; "a client's connection ended early");
        }
    }
}
