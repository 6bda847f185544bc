//! How durations are spread, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds: from a hit on loopback to a time limit.
pub(super) const BOUNDS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Durations, counted by the bucket into which they fall. Counting one is two relaxed additions.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many durations were in each bucket and not in the one before; the last one has no bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All durations together.
    pub total: Duration,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    pub fn read(&self) -> Distribution {
        let buckets = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        Distribution { buckets, total: Duration::from_micros(self.microseconds.load(Ordering::Relaxed)) }
    }
}

impl Distribution {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration, in seconds, that this share of all does not exceed, read evenly off its bucket as Prometheus'
    /// `histogram_quantile` does. Nothing if there were none; the last bound for what is beyond it.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count() as f64;
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below > 0 && below as f64 >= rank
        })?;
        let Some(upper) = BOUNDS.get(bucket) else { return BOUNDS.last().copied() };
        let lower = bucket.checked_sub(1).map_or(0.0, |before| BOUNDS[before]);
        let inside = self.buckets[bucket] as f64;
        Some(lower + (upper - lower) * ((rank - (below as f64 - inside)) / inside).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 300_000, 300_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let read = histogram.read();
        assert_eq!((read.buckets[0], read.buckets[1], read.buckets[16], read.buckets[17]), (2, 1, 1, 1));
        assert_eq!((read.count(), read.total), (5, Duration::from_millis(600_004)));
    }

    #[test]
    fn a_quantile_is_read_off_its_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        (0..10).for_each(|_| histogram.observe(Duration::from_millis(7)));
        assert_eq!(histogram.read().quantile(0.5), Some(0.0075));
        (0..90).for_each(|_| histogram.observe(Duration::from_secs(400)));
        assert_eq!(histogram.read().quantile(0.95), Some(300.0));
    }
}
