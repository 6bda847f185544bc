//! Sleeping, for tasks that nearly always do something else before they would wake: time limits.
//!
//! Each of async-std's timers wakes the thread that waits for sockets, also one that is not the first to be due. Here
//! one task holds such a timer for all who sleep, and is told only of those who wake earlier than it does.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use event_listener::Event;
use futures_lite::FutureExt;

static ALARMS: LazyLock<Arc<Alarms>> = LazyLock::new(|| {
    let alarms = Arc::<Alarms>::default();
    drop(async_std::task::spawn(ring(alarms.clone())));
    alarms
});

#[derive(Default)]
struct Alarms {
    state: Mutex<State>,
    /// Someone wakes before the task that rings would.
    earlier: Event,
    /// Those who sleep until this time have been woken, in nanoseconds since the start: who sleeps need not look at the clock
    /// each time that something else wakes it.
    rung: AtomicU64,
}

/// In nanoseconds.
fn since_start(time: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(time.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct State {
    /// Those who sleep, by the time at which they wake, numbered so that equal times do not collide.
    sleepers: BTreeMap<(Instant, u64), Waker>,
    next_number: u64,
    /// When the task that rings looks again; nothing while it waits for the first sleeper.
    looks_at: Option<Instant>,
}

impl Alarms {
    fn has_rung(&self, at: Instant) -> bool {
        since_start(at) <= self.rung.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole even if a holder panicked: each change is one operation on the map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes those whose time has come, for ever.
async fn ring(alarms: Arc<Alarms>) {
    loop {
        let earlier = alarms.earlier.listen();
        let (due, next) = {
            let mut state = alarms.state();
            let now = Instant::now();
            alarms.rung.store(since_start(now), Ordering::Release);
            let later = state.sleepers.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut state.sleepers, later);
            state.looks_at = state.sleepers.keys().next().map(|(at, _)| *at);
            (due, state.looks_at)
        };
        due.into_values().for_each(Waker::wake);
        match next {
            None => earlier.await,
            Some(at) => earlier.or(async_std::task::sleep(at.saturating_duration_since(Instant::now()))).await,
        }
    }
}

/// Done at a time of the machine's monotonic clock.
pub(super) struct Sleep {
    at: Instant,
    /// The number it sleeps under, and whom to wake.
    asleep: Option<(u64, Waker)>,
}

impl Sleep {
    pub(super) fn until(at: Instant) -> Self {
        Self { at, asleep: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let is_over = if self.asleep.is_some() { ALARMS.has_rung(at) } else { Instant::now() >= at };
        if is_over {
            return Poll::Ready(());
        }
        if self.asleep.as_ref().is_some_and(|(_, waker)| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        let waker = context.waker().clone();
        let mut state = ALARMS.state();
        let number = match &self.asleep {
            Some((number, _)) => *number,
            None => {
                state.next_number += 1;
                state.next_number
            }
        };
        state.sleepers.insert((at, number), waker.clone());
        let is_earlier = state.looks_at.is_none_or(|looks_at| at < looks_at);
        if is_earlier {
            state.looks_at = Some(at);
        }
        drop(state);
        self.asleep = Some((number, waker));
        if is_earlier {
            ALARMS.earlier.notify(1);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((number, _)) = self.asleep {
            ALARMS.state().sleepers.remove(&(self.at, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::{block_on, spawn};

    #[test]
    fn sleepers_wake_in_the_order_of_their_times_and_not_before() {
        let start = Instant::now();
        let (sender, woken) = async_channel::unbounded();
        for milliseconds in [60, 20, 40] {
            let sender = sender.clone();
            drop(spawn(async move {
                Sleep::until(start + Duration::from_millis(milliseconds)).await;
                assert!(start.elapsed() >= Duration::from_millis(milliseconds));
                let _ = sender.send(milliseconds).await;
            }));
        }
        drop(sender);
        let order = block_on(async { [woken.recv().await, woken.recv().await, woken.recv().await] });
        assert_eq!(order, [Ok(20), Ok(40), Ok(60)]);
    }

    #[test]
    fn a_sleeper_that_is_dropped_leaves_nothing_behind() {
        let at = Instant::now() + Duration::from_secs(3600);
        let mut sleep = Sleep::until(at);
        block_on(async { assert!(futures_lite::future::poll_once(&mut sleep).await.is_none()) });
        let is_there = || ALARMS.state().sleepers.keys().any(|(time, _)| *time == at);
        assert!(is_there());
        drop(sleep);
        assert!(!is_there());
    }
}
