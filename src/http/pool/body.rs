//! The body of a reply, as it comes from its connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_lite::{AsyncBufRead, AsyncRead};
use hyper::body::{Body as _, Frame, Incoming};

use super::Lent;
use crate::http::failure::{Failure, root_cause};
use crate::model::{FaultKind, Size};

/// So much of a body is taken before other tasks get a turn, also where a decoder asks for more and more of it.
const TURN: usize = 256 << 10;

/// The body of a reply, as it comes from its connection.
pub(in crate::http) struct ReplyBody {
    /// Nothing if it is all in `chunk`.
    incoming: Option<Incoming>,
    /// What it comes over, unless that has a task of its own.
    lent: Option<Lent>,
    is_over: bool,
    chunk: Bytes,
    limit: Size,
    taken: u64,
    /// How much came since other tasks had a turn.
    turn: usize,
}

impl ReplyBody {
    pub(super) fn new(incoming: Incoming, lent: Option<Lent>, limit: Size) -> Self {
        let is_over = incoming.is_end_stream();
        let incoming = Some(incoming);
        let mut body = Self { incoming, lent, is_over, chunk: Bytes::new(), limit, taken: 0, turn: 0 };
        if is_over {
            body.end();
        }
        body
    }

    /// A body that is here.
    pub(in crate::http) fn of(bytes: Bytes) -> Self {
        Self { incoming: None, lent: None, is_over: true, chunk: bytes, limit: Size(u64::MAX), taken: 0, turn: 0 }
    }

    /// Whether nothing more comes.
    pub(in crate::http) fn is_over(&self) -> bool {
        self.is_over && self.chunk.is_empty()
    }

    /// The last byte has come: the connection is free for the next request.
    fn end(&mut self) {
        self.is_over = true;
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let Some(lent) = &mut self.lent else { return Pin::new(incoming).poll_frame(context) };
        // What is there need not be waited for.
        if let frame @ Poll::Ready(_) = Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(Waker::noop())) {
            return frame;
        }
        lent.connection.poll_until(context, |context| Pin::new(&mut *incoming).poll_frame(context))
    }
}

impl AsyncBufRead for ReplyBody {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let body = self.get_mut();
        while body.chunk.is_empty() && !body.is_over {
            if body.turn >= TURN {
                body.turn = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match ready!(body.poll_frame(context)) {
                Some(Ok(frame)) => body.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    body.is_over = true;
                    body.lent = None;
                    return Poll::Ready(Err(cut_short(&error).into()));
                }
                None => body.end(),
            }
            if !body.is_over && body.incoming.as_ref().is_some_and(Incoming::is_end_stream) {
                body.end();
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
