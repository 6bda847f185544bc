//! How many requests to a host may be on their way at once, found out from how it answers.

use std::time::{Duration, Instant};

/// Where it begins: a destination is asked carefully until it has shown what it can take.
const FIRST: f64 = 2.0;

/// A reply that takes so many times the best one's time, and this much longer, says that requests queue up there.
const SLOW: f64 = 2.0;
const SLACK: Duration = Duration::from_millis(20);

/// What is left of the window after a reply that was slow, and after one that failed.
const CUT_IF_SLOW: f64 = 0.9;
const CUT_IF_FAILED: f64 = 0.5;

/// How long the best time holds. Then it is measured anew by one request alone, so that requests that queue up do not
/// count as the best that the host can do, and a host that has become slower for good is learned (as TCP BBR does it).
const BEST_HOLDS: Duration = Duration::from_secs(30);

/// Additive increase, multiplicative decrease (Chiu and Jain, 1989), by latency as TCP Vegas has it.
#[derive(Debug)]
pub(super) struct Window {
    allowed: f64,
    /// The time of the best reply, and since when it is measured.
    best: Option<(Duration, Instant)>,
    /// When it was last made smaller: what was sent before says nothing about the window as it is now.
    cut_at: Option<Instant>,
    /// What it is again once the best time is measured.
    measuring_for: Option<f64>,
}

impl Default for Window {
    fn default() -> Self {
        Self { allowed: FIRST, best: None, cut_at: None, measuring_for: None }
    }
}

impl Window {
    pub(super) fn allowed(&self) -> usize {
        self.allowed as usize
    }

    /// A reply came after `latency`, to a request sent at `sent`, of which `taken` were on their way together.
    pub(super) fn answered(&mut self, latency: Duration, taken: usize, most: usize, sent: Instant, now: Instant) {
        if self.best.is_some_and(|(_, since)| now.duration_since(since) > BEST_HOLDS) {
            self.best = None;
            self.measuring_for = Some(self.allowed);
            (self.allowed, self.cut_at) = (1.0, Some(now));
        }
        if self.best.is_none() && (taken > self.allowed() || self.cut_at.is_some_and(|cut_at| sent < cut_at)) {
            return;
        }
        self.allowed = self.measuring_for.take().unwrap_or(self.allowed);
        let (best, since) = self.best.map_or((latency, now), |(best, since)| (best.min(latency), since));
        self.best = Some((best, since));
        if latency > best.mul_f64(SLOW) + SLACK {
            self.cut(CUT_IF_SLOW, sent, now);
        } else if taken >= self.allowed() {
            // By one a round. A window that nobody fills says nothing about a larger one.
            self.allowed = (self.allowed + 1.0 / self.allowed).min(most as f64);
        }
    }

    /// The host did not answer, or had too much to do.
    pub(super) fn failed(&mut self, sent: Instant, now: Instant) {
        self.cut(CUT_IF_FAILED, sent, now);
    }

    fn cut(&mut self, factor: f64, sent: Instant, now: Instant) {
        if self.cut_at.is_none_or(|cut_at| cut_at < sent) {
            self.allowed = (self.allowed * factor).max(1.0);
            self.cut_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 16;

    /// A host that works on `capacity` requests at once, each for 50 ms, and lets the others wait.
    fn settled(capacity: usize, rounds: usize) -> Vec<usize> {
        let mut window = Window::default();
        let mut now = Instant::now();
        (0..rounds)
            .map(|_| {
                let taken = window.allowed();
                let latency = Duration::from_millis(50).mul_f64((taken as f64 / capacity as f64).max(1.0));
                let sent = now;
                now += latency;
                for _ in 0..taken {
                    window.answered(latency, taken, MOST, sent, now);
                }
                taken
            })
            .collect()
    }

    #[test]
    fn it_grows_while_replies_stay_quick_and_not_beyond_the_most() {
        assert_eq!(settled(100, 60).last(), Some(&MOST));
    }

    #[test]
    fn it_stays_about_what_a_host_can_take() {
        let late = &settled(4, 3000)[50..];
        let mean = late.iter().sum::<usize>() as f64 / late.len() as f64;
        assert!(late.iter().all(|taken| *taken < MOST) && (4.0..=12.0).contains(&mean), "{mean}");
    }

    #[test]
    fn failures_of_one_round_halve_it_once_and_never_below_one() {
        let mut window = Window { allowed: 16.0, ..Window::default() };
        let start = Instant::now();
        for round in 0..10u32 {
            let sent = start + Duration::from_secs(1 + u64::from(round));
            for _ in 0..16 {
                window.failed(sent, sent + Duration::from_millis(100));
            }
            assert_eq!(window.allowed(), (16 >> (round + 1)).max(1) as usize);
        }
    }
}
