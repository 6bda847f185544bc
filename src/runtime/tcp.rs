//! TCP connections that ask the kernel for bytes only when there may be some.
//!
//! async-std's read first, and wait when nothing is there: before each reply, and once more behind it, a client would find
//! nothing. These wait on the same reactor.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_io::Async;
use futures_lite::{AsyncRead, AsyncWrite};

/// Takes connections on an address of this machine.
pub struct TcpListener(Async<std::net::TcpListener>);

impl TcpListener {
    pub async fn bind(addresses: impl async_std::net::ToSocketAddrs) -> io::Result<Self> {
        let mut failure = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses.to_socket_addrs().await? {
            match Self::bind_to(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// [`TcpListener::bind`] for an address that needs no looking up.
    pub fn bind_to(address: SocketAddr) -> io::Result<Self> {
        Async::<std::net::TcpListener>::bind(address).map(Self)
    }

    /// A socket that listens already.
    pub fn from_bound(listener: std::net::TcpListener) -> io::Result<Self> {
        Async::new(listener).map(Self)
    }

    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, peer) = self.0.accept().await?;
        Ok((TcpStream::of(socket), peer))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// A connection. Its reading half waits until there is something to read.
pub struct TcpStream {
    socket: Async<std::net::TcpStream>,
    /// The last read took all that was there: before the next, the kernel has to say that there is more.
    is_drained: bool,
}

impl TcpStream {
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::of(Async::<std::net::TcpStream>::connect(address).await?))
    }

    fn of(socket: Async<std::net::TcpStream>) -> Self {
        Self { socket, is_drained: false }
    }

    /// Has the next read ask the kernel, whatever it has said before.
    ///
    /// The reactor may take an event for one that was known already, and wake once more for it, a little later: too late
    /// for whoever asks now whether the other side has ended an idle connection.
    pub fn look(&mut self) {
        self.is_drained = false;
    }

    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.get_ref().set_nodelay(nodelay)
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.is_drained {
                ready!(self.socket.poll_readable(context))?;
                self.is_drained = false;
            }
            match self.socket.get_ref().read(buffer) {
                Ok(count) => {
                    self.is_drained = count > 0 && count < buffer.len();
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The kernel takes one part faster by itself.
        match parts {
            [part] => Pin::new(&mut self.socket).poll_write(context, part),
            parts => Pin::new(&mut self.socket).poll_write_vectored(context, parts),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}
