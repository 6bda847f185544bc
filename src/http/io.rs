//! gatherd's runtime as hyper wants to see it: a stream, an executor and a timer.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::TlsStream;
use hyper::rt::ReadBufCursor;

use crate::runtime::{self, Clock, Look, TcpStream, UnixStream};

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(TcpStream),
    /// To a proxy that is asked without a tunnel: it is sent whole URLs.
    ToProxy(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
    /// Over a socket of this machine.
    Local(UnixStream),
}

/// What one read can take; the kernel's default socket buffers hold not much more.
const READ_SIZE: usize = 64 << 10;

thread_local! {
    /// Where bytes land between the socket and hyper's buffer, which may be uninitialized and so cannot be read
    /// into without unsafe code. One a thread costs less than zeroing hyper's at every read.
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        LANDING.with_borrow_mut(|landing| {
            let room = buffer.remaining().min(landing.len());
            let landing = &mut landing[..room];
            let read = ready!(match &mut *self {
                Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_read(context, landing),
                Stream::Encrypted(stream) => Pin::new(stream).poll_read(context, landing),
                Stream::Local(stream) => Pin::new(stream).poll_read(context, landing),
            })?;
            buffer.put_slice(&landing[..read]);
            Poll::Ready(Ok(()))
        })
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Local(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_flush(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(context),
            Stream::Local(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_close(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_close(context),
            Stream::Local(stream) => Pin::new(stream).poll_close(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Local(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }
}

impl Stream {
    /// Whether both sides have agreed on HTTP/2 (RFC 7301).
    pub(super) fn speaks_http2(&self) -> bool {
        matches!(self, Stream::Encrypted(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// How to make it look for what has come; nothing for a socket of this machine, which always does.
    pub(super) fn look(&self) -> Option<Look> {
        match self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Some(stream.look()),
            Stream::Encrypted(stream) => Some(stream.get_ref().0.look()),
            Stream::Local(_) => None,
        }
    }

    pub(super) fn is_to_proxy(&self) -> bool {
        matches!(self, Stream::ToProxy(_))
    }
}

/// Runs hyper's connection tasks.
#[derive(Clone, Copy)]
pub(super) struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        // Not joined: a connection ends when its peer or the pool closes it, and a request on it then fails.
        drop(runtime::spawn(future));
    }
}

/// Times hyper's idle connections.
#[derive(Clone)]
pub(super) struct Timer(pub Clock);

struct Sleep(Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.0.instant() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let clock = self.0.clone();
        Box::pin(Sleep(Mutex::new(Box::pin(async move { clock.sleep_until(deadline).await }))))
    }

    fn now(&self) -> Instant {
        self.0.instant()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(context)
    }
}

impl hyper::rt::Sleep for Sleep {}
