//! What tests of the whole program need: gatherd in a folder of its own, and servers that do as they are told.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod ending;
pub(crate) mod gatherd;
pub(crate) mod nginx;
pub(crate) mod secrets;
pub(crate) mod server;
pub(crate) mod small_disk;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

/// Far more than anything here takes: what tells slow from hung.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Looks again and again until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true_within(LIMIT, condition), "waited {LIMIT:?} in vain: {what}");
}

/// Whether `condition` holds before the limit is over.
pub(crate) fn comes_true_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the check for each case, beside the others, and tells of all that fail.
pub(crate) fn check_each<C: Sync>(cases: &[C], check: impl Fn(&C) + Sync) {
    let failed = thread::scope(|scope| {
        let checks: Vec<_> = cases.iter().map(|case| scope.spawn(|| check(case))).collect();
        checks.into_iter().filter_map(|check| check.join().err()).count()
    });
    assert_eq!(failed, 0, "of {} cases", cases.len());
}

/// Says that a test does not run here, and why. With `GATHERD_ALL` that is a failure.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("GATHERD_ALL").is_none(), "GATHERD_ALL is set, so nothing may be skipped: {why}");
    let test = thread::current().name().unwrap_or_default().to_owned();
    // Past the test runner, which keeps what passing tests print to itself.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {test}: {why}");
}
