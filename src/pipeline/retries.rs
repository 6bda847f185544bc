//! How often a destination may be tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Text;
use crate::runtime::Clock;

/// Retries to a destination are at most this share of its other traffic …
const SHARE: f64 = 0.2;
/// … but this many a minute are always allowed.
const FLOOR_PER_MINUTE: f64 = 10.0;
/// The shortest wait for a retry, so that what rounding leaves missing of one never means now.
const SOONEST: Duration = Duration::from_millis(1);
/// How many unused retries a busy destination can save up.
const SAVED: f64 = 100.0;
/// With more destinations than this, those that nobody uses any more are forgotten.
const REMEMBERED: usize = 4096;

/// The budgets of all destinations, which the stages and sinks of an engine share.
pub(super) struct RetryBudgets {
    clock: Clock,
    budgets: Mutex<HashMap<Text, Arc<RetryBudget>>>,
}

impl RetryBudgets {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, budgets: Mutex::default() }
    }

    /// The budget of a host, or of a sink that names none.
    pub(super) fn of(&self, destination: &Text) -> Arc<RetryBudget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= REMEMBERED && !budgets.contains_key(destination) {
            budgets.retain(|_, budget| Arc::strong_count(budget) > 1);
        }
        let new = || Arc::new(RetryBudget::new(self.clock.instant()));
        budgets.entry(destination.clone()).or_insert_with(new).clone()
    }
}

/// A token bucket that good calls fill, and time up to a floor.
pub(super) struct RetryBudget(Mutex<Tokens>);

struct Tokens {
    left: f64,
    at: Instant,
}

impl RetryBudget {
    fn new(now: Instant) -> Self {
        Self(Mutex::new(Tokens { left: FLOOR_PER_MINUTE, at: now }))
    }

    /// A call has ended well.
    pub(super) fn earn(&self) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.left = (tokens.left + SHARE).min(SAVED);
    }

    /// Spends one retry at this time, or at the first time after it at which there is one, which is the answer.
    pub(super) fn book(&self, when: Instant) -> Instant {
        match self.spend(when) {
            Ok(()) => when,
            // Rounding alone could leave nothing to spend then.
            Err(later) => self.spend(later).err().unwrap_or(later),
        }
    }

    /// Spends one retry, or answers when there will be one to spend.
    pub(super) fn spend(&self, now: Instant) -> Result<(), Instant> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.left < FLOOR_PER_MINUTE {
            let earned = now.saturating_duration_since(tokens.at).as_secs_f64() * FLOOR_PER_MINUTE / 60.0;
            tokens.left = (tokens.left + earned).min(FLOOR_PER_MINUTE);
        }
        tokens.at = now;
        if tokens.left >= 1.0 {
            tokens.left -= 1.0;
            return Ok(());
        }
        let missing = Duration::from_secs_f64((1.0 - tokens.left) * 60.0 / FLOOR_PER_MINUTE);
        Err(now + missing.max(SOONEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many retries are let through in this many minutes, after so many good calls.
    fn check(good: usize, minutes: u64, expected: std::ops::RangeInclusive<usize>) {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        (0..good).for_each(|_| budget.earn());
        let mut now = start;
        let mut spent = 0;
        loop {
            match budget.spend(now) {
                Ok(()) => spent += 1,
                Err(next) => now = next,
            }
            if now >= start + Duration::from_secs(60 * minutes) {
                break;
            }
        }
        assert!(expected.contains(&spent), "{spent} retries after {good} good calls in {minutes} minutes");
    }

    #[test]
    fn retries_are_a_fifth_of_the_traffic_and_ten_a_minute_in_any_case() {
        check(0, 1, 19..=20);
        check(0, 10, 108..=110);
        check(100, 1, 39..=40);
        check(100_000, 1, 109..=110);
    }

    #[test]
    fn a_destination_has_one_budget_whoever_goes_there() {
        let clock = Clock::turned_by_hand(jiff::Timestamp::UNIX_EPOCH);
        let budgets = RetryBudgets::new(clock.clone());
        let (one, other) = (budgets.of(&"a".into()), budgets.of(&"a".into()));
        for _ in 0..10 {
            one.spend(clock.instant()).unwrap();
        }
        assert!(other.spend(clock.instant()).is_err());
        assert!(budgets.of(&"b".into()).spend(clock.instant()).is_ok());
    }
}
