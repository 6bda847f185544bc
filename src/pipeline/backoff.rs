//! When a failed item is tried again, and when it is given up.

use std::time::{Duration, Instant};

use crate::component::Retry;

/// The tries of one item, or of one batch, at one component.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    pub(super) count: u32,
    pub(super) first: Option<Instant>,
}

impl Tries {
    /// Counts one more try, made now.
    pub(super) fn tried(&mut self, now: Instant) {
        self.count += 1;
        self.first.get_or_insert(now);
    }

    /// The item has to wait so long before anything can be tried: that is no time in which it failed.
    pub(super) fn waited(&mut self, wait: Duration) {
        self.first = self.first.map(|first| first + wait);
    }

    /// When the next try may be, or nothing if the tries are used up.
    pub(super) fn next(&self, retry: &Retry, now: Instant, not_before: Option<Instant>) -> Option<Instant> {
        let first = self.first.unwrap_or(now);
        let used_up = self.count >= retry.tries || now.duration_since(first) >= retry.within;
        if used_up {
            return None;
        }
        match not_before {
            // A remote that names its time is waited for, even beyond `within`.
            Some(time) if time > now => (time - now <= retry.retry_after_cap).then_some(time),
            _ => Some(now + self.pause(retry)),
        }
    }

    /// When the next try is, where tries are never used up.
    pub(super) fn next_forever(&self, retry: &Retry, now: Instant, not_before: Option<Instant>) -> Instant {
        let asked = not_before.map_or(now, |time| time.min(now + retry.retry_after_cap));
        asked.max(now + self.pause(retry))
    }

    /// Full jitter: even between zero and the doubled base.
    fn pause(&self, retry: &Retry) -> Duration {
        let doublings = self.count.saturating_sub(1).min(32);
        let ceiling = retry.base.saturating_mul(1 << doublings.min(31)).min(retry.cap);
        ceiling.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        tries: u32,
        seconds_since_first: u64,
        not_before: Option<u64>,
        expected: Option<std::ops::RangeInclusive<u64>>,
    ) {
        let first = Instant::now();
        let now = first + Duration::from_secs(seconds_since_first);
        let tries = Tries { count: tries, first: Some(first) };
        let next = tries.next(&Retry::FETCH, now, not_before.map(|seconds| now + Duration::from_secs(seconds)));
        match (next, expected) {
            (None, None) => {}
            (Some(next), Some(range)) => {
                let millis = (next - now).as_millis() as u64;
                assert!(range.start() * 1000 <= millis && millis <= range.end() * 1000, "{millis} ms");
            }
            (next, expected) => panic!("{next:?} is not within {expected:?}"),
        }
    }

    #[test]
    fn pauses_grow_up_to_the_cap_and_end_with_the_tries() {
        check(1, 0, None, Some(0..=1));
        check(4, 20, None, Some(0..=8));
        check(5, 20, None, None);
        check(2, 300, None, None);
    }

    #[test]
    fn a_remote_that_names_its_time_is_waited_for_up_to_the_cap() {
        check(1, 0, Some(1800), Some(1800..=1800));
        check(1, 0, Some(3601), None);
        check(5, 0, Some(10), None);
    }

    #[test]
    fn a_wait_in_which_nothing_could_be_tried_is_not_counted() {
        let first = Instant::now();
        let mut tries = Tries { count: 2, first: Some(first) };
        let later = first + Duration::from_secs(3600);
        assert_eq!(tries.next(&Retry::FETCH, later, None), None);
        tries.waited(Duration::from_secs(3590));
        assert!(tries.next(&Retry::FETCH, later, None).is_some());
    }

    #[test]
    fn a_sink_waits_at_most_its_cap() {
        let now = Instant::now();
        let tries = Tries { count: 40, first: Some(now) };
        assert!(tries.next_forever(&Retry::SINK, now, None) - now <= Retry::SINK.cap);
    }
}
