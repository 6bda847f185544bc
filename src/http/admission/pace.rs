//! Requests at an even pace, with a burst after a pause.

use std::time::{Duration, Instant};

use crate::model::Rate;

/// The burst that a rate lets pass after a pause unless the config names one: what it allows in this time, at least one.
const BURST: Duration = Duration::from_secs(1);

/// The generic cell rate algorithm (ITU-T I.371), which is a token bucket that keeps one time in place of tokens.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// How far ahead of an even pace requests may be.
    tolerance: Duration,
    /// When the requests sent so far would have gone at an even pace (the theoretical arrival time).
    paced_until: Option<Instant>,
}

impl Pace {
    /// `burst` is how many requests may go at once after a pause.
    pub(super) fn of(rate: Rate, burst: Option<u32>) -> Self {
        let interval = rate.interval();
        let tolerance = match burst {
            Some(burst) => interval * burst.saturating_sub(1),
            None => (interval * rate.count).min(BURST).saturating_sub(interval),
        };
        Self { interval, tolerance, paced_until: None }
    }

    /// One request at a time, so far apart.
    pub(super) fn every(interval: Duration) -> Self {
        Self { interval, tolerance: Duration::ZERO, paced_until: None }
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// When the next request may go, if that is not now.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        let next = self.paced_until?.checked_sub(self.tolerance)?;
        (next > now).then_some(next)
    }

    /// A request goes now.
    pub(super) fn take(&mut self, now: Instant) {
        self.paced_until = Some(self.paced_until.map_or(now, |until| until.max(now)) + self.interval);
    }

    /// Whether it still holds anything back.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.paced_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests pass in so many seconds if each goes as soon as it may.
    #[track_caller]
    fn check(rate: &str, burst: Option<u32>, seconds: u64, expected: usize) {
        let mut pace = Pace::of(rate.parse().unwrap(), burst);
        let start = Instant::now();
        let mut now = start;
        let mut passed = 0;
        while now < start + Duration::from_secs(seconds) {
            match pace.wait(now) {
                Some(next) => now = next,
                None => {
                    pace.take(now);
                    passed += 1;
                }
            }
        }
        assert_eq!(passed, expected, "{rate} with a burst of {burst:?}");
    }

    #[test]
    fn a_rate_lets_a_burst_pass_and_then_keeps_the_pace() {
        check("10/s", None, 3, 10 + 29);
        check("10/s", Some(1), 3, 30);
        check("10/s", Some(25), 3, 25 + 29);
        check("2/m", None, 60, 2);
        check("2/m", Some(2), 60, 3);
        check("600/m", None, 3, 10 + 29);
    }
}
