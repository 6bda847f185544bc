//! Connections, encrypted or not, as one stream; and gatherd's runtime as hyper wants to see it: a stream, an executor and a
//! timer.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::TlsStream;
use hyper::rt::ReadBufCursor;

use crate::runtime::{self, Clock, TcpStream, UnixStream};

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
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// Does something with the room where bytes of this thread's connections land before they are copied to where they
/// belong: a connection that waits holds none, and bytes come into memory that is there and initialized.
pub(super) fn with_landing<T>(landed: impl FnOnce(&mut [u8]) -> T) -> T {
    LANDING.with_borrow_mut(|landing| landed(landing))
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Local(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Local(stream) => Pin::new(stream).poll_write(context, bytes),
        }
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

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_flush(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(context),
            Stream::Local(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => Pin::new(stream).poll_close(context),
            Stream::Encrypted(stream) => Pin::new(stream).poll_close(context),
            Stream::Local(stream) => Pin::new(stream).poll_close(context),
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        with_landing(|landing| {
            let room = buffer.remaining().min(landing.len());
            let read = ready!(AsyncRead::poll_read(self, context, &mut landing[..room]))?;
            buffer.put_slice(&landing[..read]);
            Poll::Ready(Ok(()))
        })
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(self, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, context, parts)
    }
}

impl Stream {
    /// Whether both sides have agreed on HTTP/2 (RFC 7301).
    pub(super) fn speaks_http2(&self) -> bool {
        matches!(self, Stream::Encrypted(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Has the next read ask the kernel for bytes, whatever it has said before.
    pub(super) fn look(&mut self) {
        match self {
            Stream::Plain(stream) | Stream::ToProxy(stream) => stream.look(),
            Stream::Encrypted(stream) => stream.get_mut().0.look(),
            // This one always asks.
            Stream::Local(_) => {}
        }
    }

    /// Writes all of this, and takes off `bytes` what is written.
    pub(super) fn poll_write_all(&mut self, context: &mut Context<'_>, bytes: &mut impl Buf) -> Poll<io::Result<()>> {
        while bytes.has_remaining() {
            let mut parts = [IoSlice::new(&[]), IoSlice::new(&[])];
            let count = bytes.chunks_vectored(&mut parts);
            let written = ready!(Pin::new(&mut *self).poll_write_vectored(context, &parts[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.advance(written);
        }
        Pin::new(self).poll_flush(context)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Stream::Encrypted(_))
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
