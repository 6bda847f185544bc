//! Ticks at a pace that follows how often there is something new.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Pace, Times};
use crate::model::{Findings, Value};

/// How near and how far apart ticks may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources) struct Bounds {
    pub min: Duration,
    pub max: Duration,
}

/// After a tick that brought something new the time to the next one is halved, after any other it grows by half: so it
/// settles where about every third tick brings something. A reply that is fresh for longer, as its server says, is not
/// asked for before.
pub(in crate::sources) struct Adaptive {
    bounds: Bounds,
    /// The time between ticks by what they brought.
    interval: Duration,
    pace: Pace,
}

impl Adaptive {
    /// Goes on as `position` says, or begins with the shortest interval.
    pub(in crate::sources) fn starting(bounds: Bounds, start: Timestamp, position: Option<&Value>) -> Self {
        let noted = position.and_then(Self::noted_interval);
        let interval = noted.unwrap_or(bounds.min).clamp(bounds.min, bounds.max);
        Self { bounds, interval, pace: Pace { anchor: start, period: interval } }
    }

    fn noted_interval(position: &Value) -> Option<Duration> {
        let Value::Object(noted) = position else { return None };
        let milliseconds = noted.get(INTERVAL)?.as_i64()?;
        Some(Duration::from_millis(u64::try_from(milliseconds).ok()?))
    }
}

/// What the interval in milliseconds is called in a position.
pub(super) const INTERVAL: &str = "interval";

impl Times for Adaptive {
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        self.pace.after(time)
    }

    fn until(&self, time: Timestamp) -> Option<Timestamp> {
        self.pace.until(time)
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn following(&self, tick: Timestamp, found: &Findings) -> Option<Arc<dyn Times>> {
        let Bounds { min, max } = self.bounds;
        let interval = if found.has_new() { self.interval / 2 } else { self.interval.saturating_mul(3) / 2 };
        let interval = interval.clamp(min, max);
        let fresh = found.fresh_until().and_then(|until| until.duration_since(tick).try_into().ok());
        let period = interval.max(fresh.unwrap_or(Duration::ZERO)).min(max);
        Some(Arc::new(Self { bounds: self.bounds, interval, pace: Pace { anchor: tick, period } }))
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::FutureExt;
    use futures_lite::future::poll_once;
    use jiff::SignedDuration;

    use super::super::{Rules, Ticker};
    use super::*;
    use crate::component::{Position, Source, SourceContext, contract};
    use crate::runtime::{Clock, block_on};

    const BOUNDS: Bounds = Bounds { min: Duration::from_secs(60), max: Duration::from_secs(600) };

    /// What a tick brings: whether something new, and for how many seconds its reply is fresh.
    type Brings = (bool, Option<i64>);

    /// The seconds from each tick to the next, and the position after the last one, if a tick takes a second and the
    /// schedule goes on from a position.
    fn run(position: Option<&Value>, brings: &[Brings]) -> (Vec<i64>, Option<Value>) {
        let start: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let context = contract::source_context("quakes", "every", Clock::turned_by_hand(start));
        let context = SourceContext { position: position.cloned(), ..context };
        let (clock, progress) = (context.clock.clone(), context.progress.clone());
        let mut ticker =
            Ticker::new(context, Rules::DEFAULT, |start| Arc::new(Adaptive::starting(BOUNDS, start, position)));
        let mut ticks = Vec::new();
        while ticks.len() <= brings.len() {
            let mut next = ticker.next().boxed();
            let Some(produced) = block_on(poll_once(&mut next)) else {
                clock.advance(clock.next_sleeper().unwrap());
                continue;
            };
            drop(next);
            let produced = produced.unwrap().unwrap();
            let found = brings.get(ticks.len());
            ticks.push(clock.timestamp());
            let Some((is_new, fresh)) = found else { continue };
            progress.produced(1);
            clock.advance(Duration::from_secs(1));
            let findings = produced.findings.unwrap();
            if *is_new {
                findings.found_new();
            }
            findings.found_reply(fresh.map(|seconds| clock.timestamp() + SignedDuration::from_secs(seconds)));
            progress.ended(1, produced.position.map(Position::into_value));
        }
        let apart = ticks.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
        (apart, progress.settled())
    }
    #[track_caller]
    fn check(rule: &str, brings: &[Brings], expected: &[i64]) {
        assert_eq!(run(None, brings).0, expected, "{rule}");
    }

    const NEW: Brings = (true, None);
    const NOTHING: Brings = (false, None);

    #[test]
    fn ticks_come_closer_while_there_is_something_new_and_move_apart_while_there_is_not() {
        check("nothing", &[NOTHING; 8], &[90, 135, 202, 303, 455, 600, 600, 600]);
        check("always something", &[NEW; 3], &[60, 60, 60]);
        check("something again", &[NOTHING, NOTHING, NOTHING, NEW, NEW, NEW], &[90, 135, 202, 101, 60, 60]);
        check("every third", &[NOTHING, NOTHING, NEW, NOTHING, NOTHING, NEW], &[90, 135, 67, 101, 151, 75]);
    }

    #[test]
    fn a_reply_is_not_asked_for_again_while_it_is_fresh_but_within_the_bounds() {
        check("fresh for longer", &[(true, Some(199)), NEW], &[200, 60]);
        check("fresh for less", &[(false, Some(30))], &[90]);
        check("fresh for very long", &[(true, Some(86_400))], &[600]);
        check("it does not change the pace", &[(false, Some(299)), NOTHING], &[300, 135]);
    }

    #[test]
    fn the_pace_is_kept_over_restarts() {
        let (_, position) = run(None, &[NOTHING; 4]);
        // The position is written with the tick: what the last one brought is not in it.
        let (apart, _) = run(position.as_ref(), &[NOTHING, NOTHING]);
        assert_eq!(apart, [303, 455]);
        let fixed = Some(Value::from("2026-01-01T09:59:30Z"));
        assert_eq!(run(fixed.as_ref(), &[NOTHING]).0, [90], "a position of a steady pace");
    }
}
