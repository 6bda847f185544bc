//! A pace learned from a host that says "too many requests" (429) without a number.

use std::time::{Duration, Instant};

use super::pace::Pace;

/// What is left of the pace after a 429 that came although it was kept.
const CUT: f64 = 0.8;

/// The pace grows by this share of what it was at the last 429, each second.
const GROWTH: f64 = 0.02;

/// Once it has grown so many times over the last 429's, it no longer holds anything back.
const FORGOTTEN: f64 = 4.0;

/// What was measured says too little to go below this many a second at once; more 429s may.
const SLOWEST_MEASURED: f64 = 1.0;
const SLOWEST: f64 = 1.0 / 60.0;

/// How long good answers are counted together.
const MEASURED_OVER: Duration = Duration::from_secs(10);

/// The pause after a 429 that names no time: doubled with each that follows without a good answer between.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Additive increase and multiplicative decrease of a rate.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// Good answers, and since when they are counted.
    good: u32,
    since: Option<Instant>,
    learned: Option<Learned>,
    /// Rounds of 429s since the last good answer.
    refusals: u32,
}

#[derive(Debug)]
struct Learned {
    /// Requests a second.
    rate: f64,
    /// The rate that the last 429 left.
    cut_to: f64,
    cut_at: Instant,
    pace: Pace,
}

impl Throttle {
    pub(super) fn pace(&mut self) -> Option<&mut Pace> {
        self.learned.as_mut().map(|learned| &mut learned.pace)
    }

    /// When the next request may go, if that is not now.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.learned.as_ref()?.pace.wait(now)
    }

    /// The host took a request.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.refusals = 0;
        let since = *self.since.get_or_insert(now);
        self.good += 1;
        let Some(learned) = &mut self.learned else {
            if now.duration_since(since) > MEASURED_OVER {
                (self.good, self.since) = (1, Some(now));
            }
            return;
        };
        // So many answers come in a second that this adds up to the growth of one second.
        learned.rate += GROWTH * learned.cut_to / learned.rate;
        learned.pace.set_interval(Duration::from_secs_f64(1.0 / learned.rate));
        if learned.rate > FORGOTTEN * learned.cut_to {
            *self = Self::default();
        }
    }

    /// The host said that a request sent at `sent` was one too many. Answers how long to pause at least; nothing if it
    /// was sent before the pace was last changed, and so says nothing new.
    pub(super) fn refused(&mut self, sent: Instant, now: Instant) -> Option<Duration> {
        if self.learned.as_ref().is_some_and(|learned| sent <= learned.cut_at) {
            return None;
        }
        let elapsed = self.since.map_or(Duration::ZERO, |since| now.duration_since(since)).max(Duration::from_secs(1));
        let measured = (f64::from(self.good) / elapsed.as_secs_f64()).max(SLOWEST_MEASURED);
        let rate = self.learned.as_ref().map_or(measured, |learned| (learned.rate * CUT).min(measured.max(SLOWEST)));
        let rate = rate.max(SLOWEST);
        let mut pace = Pace::every(Duration::from_secs_f64(1.0 / rate));
        pace.take(now);
        self.learned = Some(Learned { rate, cut_to: rate, cut_at: now, pace });
        (self.good, self.since) = (0, Some(now));
        self.refusals += 1;
        Some(FIRST_PAUSE.saturating_mul(1 << (self.refusals - 1).min(16)).min(LONGEST_PAUSE))
    }

    /// Whether nothing was learned.
    pub(super) fn is_fresh(&self) -> bool {
        self.learned.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as it may for a minute to a host that takes `limit` in each second. Answers how many were good
    /// and how many were too many.
    fn run(limit: usize, seconds: u64) -> (usize, usize) {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let (mut now, mut paused_until) = (start, start);
        let (mut good, mut refused) = (0, 0);
        let mut this_second = (0, 0);
        while now < start + Duration::from_secs(seconds) {
            if let Some(next) = throttle.wait(now).into_iter().chain((paused_until > now).then_some(paused_until)).max()
            {
                now = next;
                continue;
            }
            if let Some(pace) = throttle.pace() {
                pace.take(now);
            }
            let second = (now - start).as_secs();
            if this_second.0 != second {
                this_second = (second, 0);
            }
            let sent = now;
            now += Duration::from_millis(2);
            if this_second.1 < limit {
                this_second.1 += 1;
                good += 1;
                throttle.accepted(now);
            } else {
                refused += 1;
                if let Some(pause) = throttle.refused(sent, now) {
                    paused_until = now + pause;
                }
            }
        }
        (good, refused)
    }

    #[test]
    fn it_settles_at_the_limit_of_the_host() {
        for limit in [2, 5, 20, 100] {
            let (good, refused) = run(limit, 120);
            assert!(good * 10 >= limit * 120 * 6, "{limit}/s: {good} were good in two minutes");
            assert!(refused * 20 <= good, "{limit}/s: {refused} were too many, {good} good");
        }
    }

    #[test]
    fn refusals_of_one_round_count_once() {
        let mut throttle = Throttle::default();
        let sent = Instant::now();
        let now = sent + Duration::from_millis(10);
        assert_eq!(throttle.refused(sent, now), Some(FIRST_PAUSE));
        assert_eq!(throttle.refused(sent, now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!(throttle.refused(later, later), Some(2 * FIRST_PAUSE));
    }
}
