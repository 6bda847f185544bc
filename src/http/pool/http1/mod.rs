//! An HTTP/1.1 connection that has no task of its own: whoever waits for its reply drives it.
//!
//! A task for each connection costs a wake-up each way for every request, and a fifth of the CPU of a small one. While it
//! waits for a reply a connection holds no buffer: ten thousand replies may be on their way.

mod broken;
mod chunks;
mod conversation;
mod reply;
mod request;
mod rest;
#[cfg(test)]
mod tests;
mod wakeup;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

pub(super) use self::broken::Broken;
pub(super) use self::conversation::Begun;
use self::conversation::Conversation;
pub(super) use self::request::Request;
use self::wakeup::Wakeup;
use crate::http::io::Stream;

/// A connection that carries one request at a time.
pub(super) struct Http1 {
    conversation: Conversation,
    /// Whether it leads to a proxy that is sent whole URLs.
    pub is_to_proxy: bool,
    wakeup: Arc<Wakeup>,
    /// Wakes by `wakeup`. The socket knows this one waker all the time, so it need not be told of each task that the
    /// connection serves.
    waker: Waker,
}

impl Http1 {
    pub(super) fn open(stream: Stream) -> Box<Self> {
        let is_to_proxy = stream.is_to_proxy();
        let wakeup = Arc::<Wakeup>::default();
        let waker = Waker::from(wakeup.clone());
        Box::new(Self { conversation: Conversation::new(stream), is_to_proxy, wakeup, waker })
    }

    /// Sends what can be sent of a request at once. The rest goes out while its reply is waited for.
    pub(super) fn begin(&mut self, request: &Request<'_>) -> Result<(), Broken> {
        self.conversation.begin(request, &mut Context::from_waker(&self.waker))
    }

    pub(super) fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Begun, Broken>> {
        self.poll_until(context, Conversation::poll_head)
    }

    /// What comes next of the reply's body; nothing at its end.
    pub(super) fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        self.poll_until(context, Conversation::poll_body)
    }

    /// Whether the reply's body has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.conversation.is_over()
    }

    /// Nobody waits for it any more. Answers whether it can take another request.
    pub(super) fn rest(&mut self) -> bool {
        self.wakeup.forget();
        self.is_quiet()
    }

    /// Whether it can take another request still, after it has waited. Unless that `is_to_be_sure`, what the reactor has
    /// said is enough.
    pub(super) fn has_stayed_ready(&mut self, is_to_be_sure: bool) -> bool {
        if !is_to_be_sure && !self.wakeup.has_happened() {
            return true;
        }
        self.conversation.look();
        self.is_quiet()
    }

    /// Whether nothing has come since the last reply, which has come to its end. Has the socket tell when something does.
    fn is_quiet(&mut self) -> bool {
        self.wakeup.begin();
        self.conversation.is_quiet(&mut Context::from_waker(&self.waker))
    }

    /// Lets the conversation go on until `wanted` is there.
    fn poll_until<T>(
        &mut self,
        context: &mut Context<'_>,
        wanted: impl Fn(&mut Conversation, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            self.wakeup.begin();
            let result = wanted(&mut self.conversation, &mut Context::from_waker(&self.waker));
            if result.is_ready() || self.wakeup.tells(context.waker()) {
                return result;
            }
        }
    }
}
