//! An HTTP/1.1 connection that has no task of its own: whoever waits for its reply drives it.
//!
//! A task for each connection costs a wake-up each way for every request, and a fifth of the CPU of a small one.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_lite::future::poll_fn;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};

use crate::http::io::Stream;
use crate::runtime::Look;

pub(super) type Request = http::Request<Full<Bytes>>;

/// A connection that carries one request at a time.
pub(in crate::http) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<Stream, Full<Bytes>>,
    has_ended: bool,
    /// Whether it leads to a proxy that is sent whole URLs.
    pub(super) is_to_proxy: bool,
    look: Option<Look>,
    wakeup: Arc<Wakeup>,
    /// Wakes by `wakeup`. The socket knows this one waker all the time, so it need not be told of each task that the
    /// connection serves.
    waker: Waker,
}

/// What has happened to a connection, and who is told of it.
#[derive(Default)]
struct Wakeup(Mutex<Happened>);

#[derive(Default)]
struct Happened {
    /// Something has, since the connection was driven last.
    anything: bool,
    task: Option<Waker>,
}

impl Http1 {
    pub(super) async fn open(stream: Stream) -> hyper::Result<Box<Self>> {
        let (is_to_proxy, look) = (stream.is_to_proxy(), stream.look());
        let (sender, connection) = http1::handshake(stream).await?;
        let wakeup = Arc::<Wakeup>::default();
        let waker = Waker::from(wakeup.clone());
        Ok(Box::new(Self { sender, connection, has_ended: false, is_to_proxy, look, wakeup, waker }))
    }

    /// Sends a request, and waits for the head of its reply.
    pub(super) fn send(
        &mut self,
        request: Request,
    ) -> impl Future<Output = Result<http::Response<Incoming>, TrySendError<Request>>> {
        // Outside of the block, which would hold the request as well.
        let reply = self.sender.try_send_request(request);
        async move {
            let mut reply = pin!(reply);
            poll_fn(|context| self.poll_until(context, |context| reply.as_mut().poll(context))).await
        }
    }

    /// Drives the connection until `wanted` is there, which comes of nothing else.
    pub(in crate::http) fn poll_until<T>(
        &mut self,
        context: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            self.drive();
            if self.has_ended {
                return wanted(context);
            }
            // It need not wake anybody: who waits for it is the one who drives the connection.
            if let Poll::Ready(result) = wanted(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(result);
            }
            if self.wakeup.tells(context.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// Whether it can take a request now: the last reply has been read to its end, and the server has not ended it.
    pub(super) fn is_ready(&mut self) -> bool {
        if self.wakeup.lock().anything {
            self.drive();
        }
        !self.has_ended && self.sender.is_ready()
    }

    /// Whether it can take a request still, after it has waited.
    pub(super) fn has_stayed_ready(&mut self) -> bool {
        if self.wakeup.lock().anything {
            self.look.iter().for_each(Look::ask);
        }
        self.is_ready()
    }

    /// Nobody waits for it any more.
    pub(super) fn rest(&self) {
        self.wakeup.lock().task = None;
    }

    fn drive(&mut self) {
        if !self.has_ended {
            self.wakeup.lock().anything = false;
            // What it failed of is told to whom it fails: the request, or the body of its reply.
            self.has_ended = Pin::new(&mut self.connection).poll(&mut Context::from_waker(&self.waker)).is_ready();
        }
    }
}

impl Wakeup {
    /// Notes who is to be woken, unless something has happened already.
    fn tells(&self, task: &Waker) -> bool {
        let mut happened = self.lock();
        match &mut happened.task {
            Some(noted) => noted.clone_from(task),
            none => *none = Some(task.clone()),
        }
        !happened.anything
    }

    /// Whole even if a holder panicked: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, Happened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut happened = self.lock();
        happened.anything = true;
        let task = happened.task.take();
        drop(happened);
        task.into_iter().for_each(Waker::wake);
    }
}
