//! A look at items as they pass a component: samples of them, at most so many in a time. While nobody looks it costs
//! an item one relaxed load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use jiff::Timestamp;

use crate::model::{Item, Labels, Value};
use crate::runtime::Clock;

/// How many samples wait for who looks; the next ones are lost.
const WAITING: usize = 16;

/// A larger value is not held for who looks, since it would not count in the memory budget.
const LARGEST: usize = 256 << 10;

/// An item that passed.
#[derive(Debug)]
pub struct Sample {
    pub at: Timestamp,
    /// The item's trace id.
    pub trace: String,
    /// Nothing if it takes more than 256 KiB in memory.
    pub value: Option<Value>,
    pub labels: Labels,
    /// How many items have passed since the sample before it, this one included.
    pub passed: u64,
    /// How many samples were lost since the one before it, for want of room.
    pub lost: u64,
}

/// The place behind a component where taps look.
#[derive(Debug, Default)]
pub(super) struct TapPoint {
    is_tapped: AtomicBool,
    taps: Mutex<Vec<Tap>>,
}

#[derive(Debug)]
struct Tap {
    samples: Sender<Sample>,
    interval: Duration,
    next: Instant,
    passed: u64,
    lost: u64,
}

impl TapPoint {
    /// Has whoever looks here see an item that passes.
    #[inline]
    pub(super) fn pass(&self, item: &Item, clock: &Clock) {
        if self.is_tapped.load(Ordering::Relaxed) {
            self.show(item, clock);
        }
    }

    /// Whether somebody looks here.
    pub(super) fn is_tapped(&self) -> bool {
        self.is_tapped.load(Ordering::Relaxed)
    }

    /// Samples of what passes from now on, one in an interval at most, until the receiver is dropped or the point is
    /// closed.
    pub(super) fn tap(&self, interval: Duration, clock: &Clock) -> Receiver<Sample> {
        let (samples, received) = async_channel::bounded(WAITING);
        let mut taps = self.taps();
        taps.push(Tap { samples, interval, next: clock.instant(), passed: 0, lost: 0 });
        self.is_tapped.store(true, Ordering::Relaxed);
        received
    }

    /// Nothing will pass here any more.
    pub(super) fn close(&self) {
        self.taps().clear();
        self.is_tapped.store(false, Ordering::Relaxed);
    }

    #[cold]
    fn show(&self, item: &Item, clock: &Clock) {
        let now = clock.instant();
        let mut taps = self.taps();
        taps.retain_mut(|tap| tap.show(item, now, clock));
        self.is_tapped.store(!taps.is_empty(), Ordering::Relaxed);
    }

    fn taps(&self) -> MutexGuard<'_, Vec<Tap>> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap {
    /// Never waits. Answers whether somebody still looks.
    fn show(&mut self, item: &Item, now: Instant, clock: &Clock) -> bool {
        self.passed += 1;
        if now < self.next {
            return !self.samples.is_closed();
        }
        self.next = now + self.interval;
        let sample = Sample {
            at: clock.timestamp(),
            trace: item.trace().to_string(),
            value: (item.value.size_in_memory() <= LARGEST).then(|| item.value.clone()),
            labels: item.labels.clone(),
            passed: self.passed,
            lost: self.lost,
        };
        match self.samples.try_send(sample) {
            Ok(()) => (self.passed, self.lost) = (0, 0),
            Err(_) => self.lost += 1,
        }
        !self.samples.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{ItemId, Origin, Text};

    fn clock() -> Clock {
        Clock::turned_by_hand(Timestamp::UNIX_EPOCH)
    }

    fn item(number: i64) -> Item {
        let id = ItemId::root(&[number.to_string().as_bytes()]);
        Item::new(Arc::new(Origin::new(Text::from("p"), None, 0)), id, Value::from(number), Labels::default())
    }

    #[test]
    fn a_tap_shows_one_item_in_its_interval_and_says_how_many_passed() {
        let (clock, point) = (clock(), TapPoint::default());
        let samples = point.tap(Duration::from_secs(1), &clock);
        for number in 0..10 {
            point.pass(&item(number), &clock);
            clock.advance(Duration::from_millis(300));
        }
        let seen = std::iter::from_fn(|| samples.try_recv().ok());
        let seen: Vec<_> = seen.map(|sample| (sample.value.unwrap(), sample.passed, sample.lost)).collect();
        let expected = [(0, 1), (4, 4), (8, 4)].map(|(value, passed)| (Value::from(value), passed, 0));
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_slow_reader_loses_samples_and_is_told_how_many() {
        let (clock, point) = (clock(), TapPoint::default());
        let samples = point.tap(Duration::ZERO, &clock);
        (0..WAITING as i64 + 5).for_each(|number| point.pass(&item(number), &clock));
        (0..WAITING).for_each(|_| assert_eq!(samples.try_recv().unwrap().lost, 0));
        point.pass(&item(99), &clock);
        let next = samples.try_recv().unwrap();
        assert_eq!((next.value, next.passed, next.lost), (Some(Value::from(99)), 6, 5));
    }

    #[test]
    fn who_has_gone_costs_nothing_any_more_and_an_end_is_told() {
        let (clock, point) = (clock(), TapPoint::default());
        drop(point.tap(Duration::ZERO, &clock));
        point.pass(&item(1), &clock);
        assert!(!point.is_tapped.load(Ordering::Relaxed));
        let samples = point.tap(Duration::ZERO, &clock);
        point.close();
        assert!(samples.is_closed() && !point.is_tapped.load(Ordering::Relaxed));
    }

    #[test]
    fn a_value_that_is_too_large_is_left_out() {
        let (clock, point) = (clock(), TapPoint::default());
        let samples = point.tap(Duration::ZERO, &clock);
        let large = Value::text("x".repeat(LARGEST + 1));
        point.pass(&Item { value: large, ..item(1) }, &clock);
        assert_eq!(samples.try_recv().unwrap().value, None);
    }
}
