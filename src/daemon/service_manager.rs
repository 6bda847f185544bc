//! What the service manager is told: readiness, a live status line, and that the executor still turns.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::model::secret;
use crate::runtime::{self, Clock, Task};

/// How often the status line is told anew.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// How much more time a start or a stop asks for at once.
const MORE_TIME: Duration = Duration::from_secs(30);

/// The start takes its time, and this is why.
pub(super) fn starting(status: &str) {
    let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(more)]);
}

pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// A stop takes as long as `[service] drain` lets it; more time is asked for again and again while it goes on, so that
/// one that hangs is still ended (EXTEND_TIMEOUT_USEC of sd_notify(3)).
pub(super) fn ask_for_time(clock: Clock) -> Task<()> {
    let micros = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
    runtime::spawn(async move {
        loop {
            notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
            clock.sleep(MORE_TIME / 3).await;
        }
    })
}

/// The config is read again; [`ready`] tells that it is done.
pub(super) fn reloading() {
    // Which reload is meant, for systemd's Type=notify-reload (sd_notify(3)).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => log::debug!(cause:% = error; "the service manager could not be told"),
    }
}

/// What the last reload came to, until the next live status line.
pub(super) fn status(status: &str) {
    notify(&[NotifyState::Status(&secret::mask(status))]);
}

/// Runs a future as [`runtime::block_on`] does, and tells the live status now and then, if there is a service manager.
///
/// Told by the thread that waits anyway: a task's timer wakes those of the executor and of the sockets eleven times.
/// While `live` is made, the future waits; a panic there costs only the line.
pub(super) fn block_on_telling<T>(future: impl Future<Output = T>, mut live: impl FnMut() -> String) -> T {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return runtime::block_on(future);
    }
    let mut tell = || match catch_unwind(AssertUnwindSafe(&mut live)) {
        Ok(line) => status(&line),
        Err(_) => log::error!("cannot tell the service manager how things are: a panic"),
    };
    tell();
    runtime::block_on_ticking(future, STATUS_EVERY, tell)
}

/// Feeds the watchdog from inside the executor: when tasks no longer turn, the pings end with them.
pub(super) fn feed_watchdog(clock: Clock) -> Option<Task<()>> {
    let limit = sd_notify::watchdog_enabled()?;
    Some(runtime::spawn(async move {
        loop {
            notify(&[NotifyState::Watchdog]);
            // Half the limit, as sd_watchdog_enabled(3) recommends.
            clock.sleep(limit / 2).await;
        }
    }))
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!(cause:% = error; "the service manager could not be told");
    }
}
