//! The only file that names the async runtime: tasks, time, blocking work, sockets and signals.
//!
//! async-std is discontinued upstream; everything else in gatherd speaks to this module, so that another
//! executor can take its place by changing one file.

mod activity;
mod alarms;
mod channel;
mod group_thread;
mod tcp;

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use jiff::{SignedDuration, Timestamp};
use pin_project_lite::pin_project;

pub use activity::Busy;
pub use async_std::net::ToSocketAddrs;
pub use async_std::os::unix::net::{UnixListener, UnixStream};
pub use channel::{Receiver, Sender, WeakReceiver, WeakSender, channel};
pub use group_thread::{GroupThread, GroupWork};
pub use tcp::{TcpListener, TcpStream};

/// Sets the number of executor threads. Only the first call before the first task has an effect.
pub fn set_threads(threads: usize) {
    let config = async_global_executor::GlobalExecutorConfig::default()
        .with_min_threads(threads)
        .with_max_threads(threads)
        .with_thread_name_fn(|| "gatherd".to_owned());
    async_global_executor::init_with_config(config);
}

/// Has the kernel give memory in small pages, of which a daemon that idles holds few. Where it says no, it gives large
/// ones.
pub fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        log::debug!(error:%; "memory may come in huge pages");
    }
}

/// Runs a future on the calling thread until it is done, while tasks turn on the executor's threads.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    // async-std's own would let the calling thread wait for sockets too, and wake the executor's thread for each event.
    futures_lite::future::block_on(future)
}

/// [`block_on`], but nothing if the future is not done at `deadline`. It waits on the calling thread, and wakes no other
/// one as a task's timer does.
fn block_on_until<T>(future: impl Future<Output = T>, deadline: Instant) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(result);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}

/// [`block_on`], and meanwhile calls `tick` on the calling thread each time that `every` has passed.
pub fn block_on_ticking<T>(future: impl Future<Output = T>, every: Duration, mut tick: impl FnMut()) -> T {
    let mut future = pin!(future);
    loop {
        match block_on_until(future.as_mut(), Instant::now() + every) {
            Some(result) => return result,
            None => tick(),
        }
    }
}

/// A running task. Dropping it lets the task go on; see [`Task::join`] and [`Task::cancel`].
pub struct Task<T>(async_std::task::JoinHandle<Result<T, Panic>>);

/// The message of a panic that ended a task or a call.
#[derive(Clone, Debug)]
pub struct Panic(pub String);

impl From<Box<dyn Any + Send>> for Panic {
    fn from(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Panic(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned()))
    }
}

/// Starts a task on the executor. Its panic is caught, and is what [`Task::join`] answers.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    let caught = catch_panic(future);
    Task(match activity::watched() {
        None => async_std::task::spawn(caught),
        Some(activity) => async_std::task::spawn(activity::Watched::new(caught, activity)),
    })
}

/// From now on it is known whether tasks have anything to do; see [`idle`]. To be called before the first task.
pub fn watch_activity() {
    activity::watch();
}

/// Until the answer is dropped, something goes on that no task shows, such as a call to a server; see [`idle`].
pub fn busy() -> Busy {
    activity::busy()
}

/// Whether [`idle`] would answer at once.
pub fn is_idle() -> bool {
    activity::watch().is_idle()
}

/// Waits until no task has anything to do, and no other thread does anything for one: only time, or the world outside,
/// can bring them on then. Only where [`watch_activity`] was called; to be awaited in no task of the executor.
pub async fn idle() {
    activity::watch().idle().await;
}

impl<T> Task<T> {
    pub async fn join(self) -> Result<T, Panic> {
        self.0.await
    }

    /// Stops the task at its next await, and waits until it is gone.
    pub async fn cancel(self) {
        self.0.cancel().await;
    }
}

// The futures below are types of their own, since an `async fn` holds a future that it is given twice: as its argument and
// as what it awaits. Some of them are kilobytes large, and are moved for each item.

/// Turns a panic inside `future` into an error.
pub fn catch_panic<T>(future: impl Future<Output = T>) -> impl Future<Output = Result<T, Panic>> {
    Caught { future }
}

pin_project! {
    struct Caught<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload.into())),
        }
    }
}

/// Runs work that blocks (files, a long computation) on a thread made for it. A hop costs about 40 us: never
/// one an item.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panic> {
    let _busy = activity::busy();
    let caught = async_std::task::spawn_blocking(|| std::panic::catch_unwind(AssertUnwindSafe(work)));
    caught.await.map_err(Panic::from)
}

/// Lets other tasks have a turn.
pub async fn yield_now() {
    async_std::task::yield_now().await;
}

/// `first` or `second`, whichever is done first; the other is dropped.
pub fn race<T>(first: impl Future<Output = T>, second: impl Future<Output = T>) -> impl Future<Output = T> {
    first.or(second)
}

/// Both results, once both are there.
pub fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> impl Future<Output = (A, B)> {
    futures_lite::future::zip(first, second)
}

/// Where time comes from: the machine, or in tests a hand that turns it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    turned: Option<Arc<Mutex<TurnedByHand>>>,
}

#[derive(Debug)]
struct TurnedByHand {
    start: Instant,
    start_timestamp: Timestamp,
    elapsed: Duration,
    /// Sleepers by the time at which they wake, numbered so that equal times do not collide.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    next_number: u64,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until [`Clock::advance`] turns it.
    pub fn turned_by_hand(start: Timestamp) -> Self {
        let turned = TurnedByHand {
            start: Instant::now(),
            start_timestamp: start,
            elapsed: Duration::ZERO,
            sleepers: BTreeMap::new(),
            next_number: 0,
        };
        Self { turned: Some(Arc::new(Mutex::new(turned))) }
    }

    /// Monotonic: for delays and limits.
    pub fn instant(&self) -> Instant {
        match &self.turned {
            None => Instant::now(),
            Some(turned) => {
                let turned = lock(turned);
                turned.start + turned.elapsed
            }
        }
    }

    /// The time of day.
    pub fn timestamp(&self) -> Timestamp {
        match &self.turned {
            None => Timestamp::now(),
            Some(turned) => {
                let turned = lock(turned);
                turned.start_timestamp.saturating_add(turned.elapsed).expect("a duration is no calendar span")
            }
        }
    }

    pub fn sleep(&self, duration: Duration) -> Sleep {
        // Far enough to mean for ever, near enough not to overflow an `Instant`.
        const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
        self.sleep_until(self.instant() + duration.min(FOR_EVER))
    }

    pub fn sleep_until(&self, when: Instant) -> Sleep {
        Sleep(match &self.turned {
            None => Sleeping::System(alarms::Sleep::until(when)),
            Some(turned) => {
                let at = when.saturating_duration_since(lock(turned).start);
                Sleeping::HandTurned(HandTurnedSleep { turned: turned.clone(), at, number: None })
            }
        })
    }

    /// The future's result, or nothing once `limit` has passed.
    pub fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        Timeout { future, sleep: self.sleep(limit) }
    }

    /// The future's result, or nothing once it is later than `deadline`.
    pub fn timeout_at<T>(&self, deadline: Instant, future: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        Timeout { future, sleep: self.sleep_until(deadline) }
    }

    /// Turns a clock made by [`Clock::turned_by_hand`], and wakes whom it has passed.
    pub fn advance(&self, duration: Duration) {
        let turned = self.turned.as_ref().expect("only tests turn a clock, and they made it to be turned");
        let mut turned = lock(turned);
        turned.elapsed += duration;
        let now = turned.elapsed;
        let later = turned.sleepers.split_off(&(now, u64::MAX));
        let woken = std::mem::replace(&mut turned.sleepers, later);
        drop(turned);
        woken.into_values().for_each(Waker::wake);
    }

    /// Moves the time of day of a clock made by [`Clock::turned_by_hand`] while no time passes, as setting a machine's
    /// clock or waking it from suspension does.
    pub fn jump(&self, by: SignedDuration) {
        let turned = self.turned.as_ref().expect("only tests turn a clock, and they made it to be turned");
        let mut turned = lock(turned);
        turned.start_timestamp = turned.start_timestamp.saturating_add(by).expect("a duration is no calendar span");
    }

    /// How long until the next sleeper of a hand-turned clock wakes, if anyone sleeps.
    pub fn next_sleeper(&self) -> Option<Duration> {
        let turned = lock(self.turned.as_ref()?);
        turned.sleepers.keys().next().map(|(at, _)| at.saturating_sub(turned.elapsed))
    }
}

/// Done at a time of its clock.
#[must_use = "nothing is waited for before it is awaited"]
pub struct Sleep(Sleeping);

enum Sleeping {
    System(alarms::Sleep),
    HandTurned(HandTurnedSleep),
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Sleeping::System(sleep) => Pin::new(sleep).poll(context),
            Sleeping::HandTurned(sleep) => Pin::new(sleep).poll(context),
        }
    }
}

pin_project! {
    struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Pin::new(this.sleep).poll(context).map(|()| None),
        }
    }
}

struct HandTurnedSleep {
    turned: Arc<Mutex<TurnedByHand>>,
    at: Duration,
    number: Option<u64>,
}

impl Future for HandTurnedSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = self.turned.clone();
        let mut turned = lock(&shared);
        if turned.elapsed >= self.at {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            turned.next_number += 1;
            turned.next_number
        });
        turned.sleepers.insert((self.at, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for HandTurnedSleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(&self.turned).sleepers.remove(&(self.at, number));
        }
    }
}

/// Locks a mutex whose data stays whole even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the process was asked to do from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that reach the process from now on.
pub struct Signals(async_signal::Signals);

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        use async_signal::Signal as Unix;
        async_signal::Signals::new([Unix::Term, Unix::Int, Unix::Hup]).map(Self)
    }

    pub async fn next(&mut self) -> std::io::Result<Signal> {
        use futures_lite::StreamExt;
        match self.0.next().await {
            Some(Ok(async_signal::Signal::Hup)) => Ok(Signal::Reload),
            Some(Ok(_)) => Ok(Signal::Stop),
            Some(Err(error)) => Err(error),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_task_is_an_answer() {
        let answer = block_on(spawn(async { panic!("broken {}", 7) }).join());
        assert_eq!(answer.map(|()| "done").unwrap_err().0, "broken 7");
        let answer = block_on(blocking(|| -> u8 { panic!("worse") }));
        assert_eq!(answer.unwrap_err().0, "worse");
    }

    #[test]
    fn a_thread_ticks_while_it_waits_for_a_future() {
        let (sender, third) = async_channel::bounded(1);
        let mut ticks = 0;
        let tick = || {
            ticks += 1;
            if ticks == 3 {
                let _ = sender.try_send(ticks);
            }
        };
        let received = block_on_ticking(
            async { spawn(async move { third.recv().await }).join().await },
            Duration::from_millis(1),
            tick,
        );
        assert_eq!(received.unwrap(), Ok(3));
    }

    #[test]
    fn a_hand_turned_clock_wakes_sleepers_when_it_passes_them() {
        let clock = Clock::turned_by_hand(Timestamp::UNIX_EPOCH);
        let sleeper = spawn({
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(60)).await;
                clock.timestamp()
            }
        });
        while clock.next_sleeper().is_none() {
            std::thread::yield_now();
        }
        clock.advance(Duration::from_secs(59));
        assert_eq!(clock.next_sleeper(), Some(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(block_on(sleeper.join()).unwrap().to_string(), "1970-01-01T00:01:00Z");
    }
}
