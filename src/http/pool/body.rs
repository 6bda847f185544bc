//! The body of a reply, as it comes from its connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_lite::{AsyncBufRead, AsyncRead};
use hyper::body::{Body as _, Incoming};

use super::Lent;
use crate::http::failure::{Failure, root_cause};
use crate::model::{FaultKind, Size};

/// So much of a body is taken before other tasks get a turn, also where a decoder asks for more and more of it.
const TURN: usize = 256 << 10;

/// The body of a reply, as it comes from its connection.
pub(in crate::http) struct ReplyBody {
    from: From,
    chunk: Bytes,
    limit: Size,
    taken: u64,
    /// How much came since other tasks had a turn.
    turn: usize,
}

/// Where the rest of a body comes from.
enum From {
    /// All of it has come.
    Nowhere,
    Http1(Lent),
    Http2(Incoming),
}

impl ReplyBody {
    /// `first` is what came of it together with the head.
    pub(super) fn over_http1(first: Bytes, lent: Lent, limit: Size) -> Self {
        let mut body = Self { from: From::Http1(lent), ..Self::of(first, limit) };
        body.end_if_over();
        body
    }

    pub(super) fn over_http2(incoming: Incoming, limit: Size) -> Self {
        let mut body = Self { from: From::Http2(incoming), ..Self::of(Bytes::new(), limit) };
        body.end_if_over();
        body
    }

    /// A body that is here.
    pub(in crate::http) fn of(bytes: Bytes, limit: Size) -> Self {
        let taken = bytes.len() as u64;
        Self { from: From::Nowhere, chunk: bytes, limit, taken, turn: 0 }
    }

    /// Whether nothing more comes.
    fn is_over(&self) -> bool {
        self.chunk.is_empty() && matches!(self.from, From::Nowhere)
    }

    /// All of it, if that is here.
    pub(in crate::http) fn take_whole(&mut self) -> Option<Bytes> {
        let is_here = matches!(self.from, From::Nowhere) && self.taken <= self.limit.0;
        is_here.then(|| std::mem::take(&mut self.chunk))
    }

    /// Gives the connection back once the last byte has come: it is free for the next request.
    fn end_if_over(&mut self) {
        let is_over = match &self.from {
            From::Nowhere => false,
            From::Http1(lent) => lent.connection.is_over(),
            From::Http2(incoming) => incoming.is_end_stream(),
        };
        if is_over {
            self.end();
        }
    }

    fn end(&mut self) {
        if let From::Http1(lent) = std::mem::replace(&mut self.from, From::Nowhere) {
            lent.give_back();
        }
    }

    /// What comes next; nothing at the end.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Failure>> {
        match &mut self.from {
            From::Nowhere => Poll::Ready(Ok(Bytes::new())),
            From::Http1(lent) => lent.connection.poll_body(context).map_err(|broken| broken.in_body()),
            From::Http2(incoming) => loop {
                let Some(frame) = ready!(Pin::new(&mut *incoming).poll_frame(context)) else {
                    return Poll::Ready(Ok(Bytes::new()));
                };
                // What is no data is trailers, and nobody asks for them.
                let data = frame.map_err(|error| cut_short(&error))?.into_data().unwrap_or_default();
                if !data.is_empty() {
                    return Poll::Ready(Ok(data));
                }
            },
        }
    }
}

impl AsyncBufRead for ReplyBody {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let body = self.get_mut();
        while body.chunk.is_empty() && !body.is_over() {
            if body.turn >= TURN {
                body.turn = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match ready!(body.poll_chunk(context)) {
                Ok(chunk) if chunk.is_empty() => body.end(),
                Ok(chunk) => {
                    body.turn += chunk.len();
                    body.taken += chunk.len() as u64;
                    body.chunk = chunk;
                    body.end_if_over();
                }
                Err(failure) => {
                    body.from = From::Nowhere;
                    return Poll::Ready(Err(failure.into()));
                }
            }
        }
        // Compressed bytes count too: an endless stream of them may expand to nothing.
        if body.taken > body.limit.0 {
            return Poll::Ready(Err(too_large(body.limit).into()));
        }
        Poll::Ready(Ok(&body.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        bytes::Buf::advance(&mut self.chunk, amount);
    }
}

/// [`AsyncBufRead`] stands on this; everything reads through that.
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
pub(in crate::http) fn too_large(limit: Size) -> Failure {
    Failure::reject(FaultKind::Body, format!("the body is larger than {limit}; `max_body` raises that limit"))
}
