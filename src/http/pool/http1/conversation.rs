//! What is said over one HTTP/1.1 connection: a request, its reply, the next request.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use futures_lite::AsyncRead;
use http::{HeaderMap, Method};

use super::broken::Broken;
use super::reply;
use super::request::Request;
use super::rest::Rest;
use crate::http::io::{Stream, with_landing};

/// How long the head of a reply may be, and what comes before it: interim replies and empty lines, in bytes.
const MAX_HEAD: usize = 256 << 10;

/// A body up to this size is sent in one piece with its head, in bytes.
const SMALL_BODY: usize = 8 << 10;

thread_local! {
    /// Where the head of a request is written before it goes out.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Conversation {
    stream: Stream,
    /// What of the request has not gone out yet, and why it never will.
    unsent: Option<Unsent>,
    failed: Option<io::Error>,
    /// Whether the reply is to a HEAD request.
    asked_for_head: bool,
    /// How many bytes have come that no reply begins with.
    skipped: usize,
    /// The beginning of a head whose end is still to come.
    partial: Partial,
    /// What is still to come of the reply's body.
    rest: Rest,
    /// Why there is no more of the body, if that came together with the head, which is handed on first.
    broken: Option<Broken>,
    /// Whether another request can follow.
    persists: bool,
}

type Unsent = Chain<Bytes, Bytes>;

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// It is looked at again when it is this long, if its end has not come before: what is no head is to be known soon,
    /// but not by looking at each byte again and again.
    next_look: usize,
}

/// A reply whose head has come.
pub(in crate::http::pool) struct Begun {
    pub status: u16,
    pub headers: HeaderMap,
    /// What came of its body together with the head.
    pub first: Bytes,
}

impl Conversation {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            unsent: None,
            failed: None,
            asked_for_head: false,
            skipped: 0,
            partial: Partial::default(),
            rest: Rest::Length(0),
            broken: None,
            persists: true,
        }
    }

    /// Sends what can be sent of a request at once. The rest goes out while its reply is waited for.
    pub(super) fn begin(&mut self, request: &Request<'_>, context: &mut Context<'_>) -> Result<(), Broken> {
        self.asked_for_head = *request.method == Method::HEAD;
        self.skipped = 0;
        HEAD.with_borrow_mut(|head| {
            head.clear();
            request.write_head(head);
            let body = if request.body.len() <= SMALL_BODY {
                head.extend_from_slice(request.body);
                Bytes::new()
            } else {
                request.body.clone()
            };
            let mut unsent = head.as_slice().chain(body);
            let length = unsent.remaining();
            match self.stream.poll_write_all(context, &mut unsent) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if unsent.remaining() == length && !self.stream.is_encrypted() => {
                    return Err(Broken::Unsent(error));
                }
                Poll::Ready(Err(error)) => self.fail(error),
                Poll::Pending => {
                    let (head, body) = unsent.into_inner();
                    self.unsent = Some(Bytes::copy_from_slice(head).chain(body));
                }
            }
            Ok(())
        })
    }

    pub(super) fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Begun, Broken>> {
        self.send_rest(context);
        loop {
            let read = with_landing(|landing| {
                let count = ready!(Pin::new(&mut self.stream).poll_read(context, landing)).map_err(Broken::Failed)?;
                if count == 0 {
                    return Poll::Ready(Err(Broken::Ended));
                }
                Poll::Ready(self.take_head(&landing[..count]))
            });
            let error = match ready!(read) {
                Ok(None) => continue,
                Ok(Some(begun)) => return Poll::Ready(Ok(begun)),
                Err(Broken::Ended) => None,
                Err(Broken::Failed(error)) => Some(error),
                Err(broken) => return Poll::Ready(Err(broken)),
            };
            // A server may answer before it has all of a request, and then end the connection: only if there is no reply
            // either, the request has failed.
            let error = self.failed.take().or(error);
            return Poll::Ready(Err(match error {
                error if self.is_unanswered() => Broken::Unanswered(error),
                Some(error) => Broken::Failed(error),
                None => Broken::Ended,
            }));
        }
    }

    /// What comes next of the body; nothing at its end.
    pub(super) fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        self.send_rest(context);
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Err(broken));
        }
        while !self.rest.is_over() {
            let read = with_landing(|landing| {
                let count = ready!(Pin::new(&mut self.stream).poll_read(context, landing)).map_err(Broken::Failed)?;
                Poll::Ready(self.take_body(&landing[..count]))
            });
            let content = ready!(read)?;
            // What surrounds chunks may come alone, but not for long.
            if !content.is_empty() {
                return Poll::Ready(Ok(content));
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    /// Whether the body has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.rest.is_over()
    }

    /// Whether nothing of a reply has come.
    fn is_unanswered(&self) -> bool {
        self.skipped == 0 && self.partial.bytes.is_empty()
    }

    /// Whether the next request can go out: the last one has been answered to its end, and nothing has come since.
    pub(super) fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        let is_done = self.persists && self.rest.is_over() && self.unsent.is_none();
        is_done && with_landing(|landing| Pin::new(&mut self.stream).poll_read(context, landing)).is_pending()
    }

    /// Has the next read ask the kernel, whatever it has said before.
    pub(super) fn look(&mut self) {
        self.stream.look();
    }

    /// Sends what has not gone out yet, as far as it can be sent now.
    fn send_rest(&mut self, context: &mut Context<'_>) {
        let Some(unsent) = &mut self.unsent else { return };
        match self.stream.poll_write_all(context, unsent) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.unsent = None,
            Poll::Ready(Err(error)) => self.fail(error),
        }
    }

    /// Not all of the request can be sent. It matters only if there is no reply.
    fn fail(&mut self, error: io::Error) {
        self.unsent = None;
        self.failed = Some(error);
        self.persists = false;
    }

    /// Takes in what was read of a head and what is behind it.
    fn take_head(&mut self, read: &[u8]) -> Result<Option<Begun>, Broken> {
        let Some(joined) = self.partial.join(read) else { return Ok(None) };
        let mut bytes = joined.as_deref().unwrap_or(read);
        let (head, behind) = loop {
            let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
            self.skip(start)?;
            bytes = &bytes[start..];
            match reply::read(bytes, self.asked_for_head)? {
                // Interim replies (RFC 9110, section 15.2) announce the one that counts.
                Some((head, length)) if head.status < 200 => {
                    self.skip(length)?;
                    bytes = &bytes[length..];
                }
                Some((head, length)) if length <= MAX_HEAD => break (head, &bytes[length..]),
                None if bytes.len() <= MAX_HEAD => {
                    self.partial.keep(bytes);
                    return Ok(None);
                }
                Some(_) | None => return Err(Broken::TooLarge),
            }
        };
        (self.rest, self.persists) = (head.rest, self.persists && head.persists);
        let first = match behind.is_empty() {
            true => Bytes::new(),
            false => self.take_body(behind).unwrap_or_else(|broken| {
                self.broken = Some(broken);
                Bytes::new()
            }),
        };
        Ok(Some(Begun { status: head.status, headers: head.headers, first }))
    }

    /// Passes over so many bytes before a head.
    fn skip(&mut self, count: usize) -> Result<(), Broken> {
        self.skipped += count;
        if self.skipped > MAX_HEAD { Err(Broken::TooLarge) } else { Ok(()) }
    }

    /// Takes in what was read of a body, or its end if that is nothing, and answers the content in it.
    fn take_body(&mut self, mut read: &[u8]) -> Result<Bytes, Broken> {
        if read.is_empty() {
            self.persists = false;
            return match self.rest {
                Rest::UntilEnd => {
                    self.rest = Rest::Length(0);
                    Ok(Bytes::new())
                }
                Rest::Length(_) | Rest::Chunks(_) => Err(Broken::Ended),
            };
        }
        let content = self.rest.take(&mut read)?;
        // Whoever says more than was asked for is not asked again.
        self.persists &= read.is_empty();
        Ok(content)
    }
}

impl Partial {
    /// All that has come of a head with what was read now, if it is to be looked at. `Some(None)` is what was read alone.
    fn join(&mut self, read: &[u8]) -> Option<Option<Vec<u8>>> {
        if self.bytes.is_empty() {
            return Some(None);
        }
        // An empty line may have begun before.
        let from = self.bytes.len().saturating_sub(2);
        self.bytes.extend_from_slice(read);
        let new = &self.bytes[from..];
        let has_end = memchr::memmem::find(new, b"\n\r\n").is_some() || memchr::memmem::find(new, b"\n\n").is_some();
        (has_end || self.bytes.len() >= self.next_look).then(|| Some(mem::take(&mut self.bytes)))
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes = bytes.to_vec();
        self.next_look = (2 * bytes.len()).min(MAX_HEAD + 1);
    }
}
