//! Whether anything goes on: for whoever turns a clock by hand, and must not do so while there is still work at the
//! time it shows.
//!
//! While watched, every task counts from when it is woken until it has been polled, and every call to another thread
//! from when it is made until its answer was taken. What is left at zero waits for the clock, or for the world outside.
//! This is exact on an executor of one thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use event_listener::Event;

/// Counts what goes on in this process.
#[derive(Debug, Default)]
pub(super) struct Activity {
    count: AtomicUsize,
    ended: Event,
}

static WATCHED: OnceLock<Arc<Activity>> = OnceLock::new();

/// The count, if it is kept.
pub(super) fn watched() -> Option<&'static Arc<Activity>> {
    WATCHED.get()
}

/// Keeps the count from now on. To be called before the first task is spawned.
pub(super) fn watch() -> &'static Arc<Activity> {
    WATCHED.get_or_init(Arc::default)
}

impl Activity {
    fn begin(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.ended.notify(usize::MAX);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Waits until nothing goes on.
    pub(super) async fn idle(&self) {
        loop {
            let ended = self.ended.listen();
            if self.is_idle() {
                return;
            }
            ended.await;
        }
    }
}

/// Something goes on as long as this lives.
pub struct Busy(Option<&'static Arc<Activity>>);

/// Something that another thread does has begun.
pub(super) fn busy() -> Busy {
    let activity = watched();
    if let Some(activity) = activity {
        activity.begin();
    }
    Busy(activity)
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(activity) = self.0 {
            activity.end();
        }
    }
}

/// A task that counts whenever it has something to do.
pub(super) struct Watched<F> {
    future: Pin<Box<F>>,
    state: Arc<State>,
}

struct State {
    activity: &'static Arc<Activity>,
    phase: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// It waits; it has been woken, and counts; it is gone.
const WAITING: u8 = 0;
const WOKEN: u8 = 1;
const GONE: u8 = 2;

impl<F: Future> Watched<F> {
    pub(super) fn new(future: F, activity: &'static Arc<Activity>) -> Self {
        activity.begin();
        let state = State { activity, phase: AtomicU8::new(WOKEN), waker: Mutex::default() };
        Self { future: Box::pin(future), state: Arc::new(state) }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let state = self.state.clone();
        *state.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        // Counts while it is polled, whoever woke it.
        state.activity.begin();
        if state.phase.swap(WAITING, Ordering::SeqCst) == WOKEN {
            state.activity.end();
        }
        let waker = Waker::from(state.clone());
        let polled = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        let busy = Busy(Some(state.activity));
        if polled.is_ready() {
            // Whoever joins this task is woken after this, so it counts until the executor's thread has its next turn.
            drop(async_std::task::spawn(async { drop(busy) }));
        }
        polled
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        if self.state.phase.swap(GONE, Ordering::SeqCst) == WOKEN {
            self.state.activity.end();
        }
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It counts before it is known to be woken, so that the count never falls to zero in between.
        self.activity.begin();
        if self.phase.compare_exchange(WAITING, WOKEN, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.activity.end();
        }
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
