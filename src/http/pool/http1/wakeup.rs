//! What has happened to a connection, and who is told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use atomic_waker::AtomicWaker;

#[derive(Default)]
pub(super) struct Wakeup {
    /// Something has, since the connection was looked at last.
    has_happened: AtomicBool,
    task: AtomicWaker,
}

impl Wakeup {
    /// The connection is about to be looked at.
    pub(super) fn begin(&self) {
        self.has_happened.store(false, Ordering::Release);
    }

    pub(super) fn has_happened(&self) -> bool {
        self.has_happened.load(Ordering::Acquire)
    }

    /// Notes who is to be woken, unless something has happened already.
    pub(super) fn tells(&self, task: &Waker) -> bool {
        self.task.register(task);
        !self.has_happened()
    }

    /// Nobody is to be woken.
    pub(super) fn forget(&self) {
        drop(self.task.take());
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_happened.store(true, Ordering::Release);
        self.task.wake();
    }
}
