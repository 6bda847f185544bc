//! A host that fails again and again is left alone, longer each time, and asked by one request whether it is back.

use std::time::{Duration, Instant};

/// So many failures in a row, with no answer between them, open the breaker. Above the tries of one item, so that a
/// single bad URL does not hold up its host.
pub(super) const FAILURES_TO_OPEN: u32 = 10;

/// How long it is open at first; twice as long after each probe that fails, up to the longest.
const FIRST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(300);

/// Up to this share of the time is taken off at random, so that many hosts are not asked at the same moment.
const JITTER: f64 = 0.2;

/// While a probe is under way, other requests come again after this time.
const PROBE_CHECK: Duration = Duration::from_millis(200);

/// A circuit breaker (Nygard, Release It!, 2007).
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures since the last answer.
    failures: u32,
    state: State,
    /// How often it has opened since the last answer.
    openings: u32,
    /// Since when there was no answer.
    since: Option<Instant>,
    /// Why the last request failed.
    cause: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    /// Half open: one request is under way to see, perhaps before its time, which is this.
    Probing {
        until: Instant,
    },
}

/// What a result has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Turn {
    None,
    Opened,
    Closed,
}

impl Breaker {
    /// Whether a request may pass, and if so, whether it is the probe. The error is when to come again. `own_pace` says
    /// that the caller spaces its tries by itself: it may probe at any time, if nobody else does.
    pub(super) fn admit(&self, own_pace: bool, now: Instant) -> Result<bool, Instant> {
        match self.state {
            State::Closed => Ok(false),
            State::Open { until } if until > now && !own_pace => Err(until),
            State::Open { .. } => Ok(true),
            State::Probing { .. } => Err(now + PROBE_CHECK),
        }
    }

    /// The request that [`admit`](Self::admit) called the probe goes out.
    pub(super) fn probe(&mut self) {
        if let State::Open { until } = self.state {
            self.state = State::Probing { until };
        }
    }

    /// The probe ended in a way that says nothing: the next request is one.
    pub(super) fn probe_was_lost(&mut self, now: Instant) {
        if matches!(self.state, State::Probing { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// The host has answered.
    pub(super) fn succeeded(&mut self) -> Turn {
        let was_open = self.state != State::Closed;
        if self.failures > 0 || was_open {
            *self = Self::default();
        }
        if was_open { Turn::Closed } else { Turn::None }
    }

    /// The host has not answered, or with a fault of its own.
    pub(super) fn failed(&mut self, was_probe: bool, cause: &str, now: Instant) -> Turn {
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
        cause.clone_into(&mut self.cause);
        match self.state {
            State::Closed if self.failures >= FAILURES_TO_OPEN => {}
            // Those who probe at a pace of their own make nobody else wait longer.
            State::Probing { until } if was_probe && until > now => {
                self.state = State::Open { until };
                return Turn::None;
            }
            State::Probing { .. } if was_probe => {}
            // Too few, or it was sent before the breaker opened.
            State::Closed | State::Probing { .. } | State::Open { .. } => return Turn::None,
        }
        let open = FIRST_OPEN.saturating_mul(1 << self.openings.min(16)).min(LONGEST_OPEN);
        self.openings += 1;
        self.state = State::Open { until: now + open.mul_f64(1.0 - JITTER * fastrand::f64()) };
        if self.openings == 1 { Turn::Opened } else { Turn::None }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Until when it is open; nothing while it is closed. A probe that is under way is now.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until),
            State::Probing { .. } => Some(now),
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Since when the host has not answered.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Why the last request failed.
    pub(super) fn cause(&self) -> &str {
        &self.cause
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_fresh(&self) -> bool {
        self.failures == 0 && self.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for n in 1..=FAILURES_TO_OPEN {
            assert_eq!(breaker.admit(false, now), Ok(false), "failure {n}");
            let turn = breaker.failed(false, "connection refused", now);
            assert_eq!(turn == Turn::Opened, n == FAILURES_TO_OPEN, "failure {n}");
        }
        breaker
    }

    #[test]
    fn one_answer_among_failures_keeps_it_closed() {
        let mut breaker = Breaker::default();
        for n in 1..=10 * FAILURES_TO_OPEN {
            assert_eq!(breaker.failed(false, "", Instant::now()), Turn::None);
            if n % (FAILURES_TO_OPEN - 1) == 0 {
                breaker.succeeded();
            }
        }
        assert!(breaker.is_closed());
    }

    #[test]
    fn one_request_asks_whether_the_host_is_back_later_each_time() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut longest = Duration::ZERO;
        for round in 0..12 {
            let until = breaker.admit(false, now).unwrap_err();
            let open = until - now;
            assert!(open > longest || open >= LONGEST_OPEN.mul_f64(1.0 - JITTER), "round {round}: {open:?}");
            assert!(open <= LONGEST_OPEN);
            longest = open;
            now = until;
            assert_eq!(breaker.admit(false, now), Ok(true));
            breaker.probe();
            assert!(breaker.admit(false, now).is_err() && breaker.admit(true, now).is_err(), "one probe at a time");
            // What was sent before says nothing about the probe.
            assert_eq!(breaker.failed(false, "late", now), Turn::None);
            assert!(breaker.admit(false, now).unwrap_err() - now <= PROBE_CHECK);
            assert_eq!(breaker.failed(true, "connection refused", now), Turn::None);
        }
        assert_eq!(breaker.admit(true, now), Ok(true), "who spaces its tries by itself may ask at any time");
        breaker.probe();
        assert_eq!(breaker.succeeded(), Turn::Closed);
        assert_eq!(breaker.admit(false, now), Ok(false));
    }

    #[test]
    fn who_probes_at_a_pace_of_its_own_makes_nobody_else_wait_longer() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let until = breaker.admit(false, now).unwrap_err();
        for _ in 0..20 {
            assert_eq!(breaker.admit(true, now), Ok(true));
            breaker.probe();
            assert_eq!(breaker.failed(true, "connection refused", now), Turn::None);
            assert_eq!(breaker.admit(false, now), Err(until));
        }
    }

    #[test]
    fn a_probe_that_told_nothing_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.probe();
        breaker.probe_was_lost(now);
        assert_eq!(breaker.admit(false, now), Ok(true));
    }
}
