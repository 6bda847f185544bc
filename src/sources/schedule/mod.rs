//! What all schedules share: the rules that a config sets, and the source that keeps them.

mod adaptive;
mod pace;
mod ticker;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::Findings;
use crate::settings::Section;

pub(super) use adaptive::{Adaptive, Bounds};
pub(super) use pace::Pace;
pub(super) use ticker::Ticker;

/// The longest time from the very first start of a schedule to its first tick.
pub(super) const FIRST_TICK_WITHIN: Duration = Duration::from_secs(5);

/// The times at which a schedule ticks.
pub(super) trait Times: Send + Sync {
    /// The first tick after `time`, if one is left.
    fn after(&self, time: Timestamp) -> Option<Timestamp>;

    /// The last tick at or before `time`, if there was one.
    fn until(&self, time: Timestamp) -> Option<Timestamp>;

    /// The last tick before `time`, if there was one.
    fn before(&self, time: Timestamp) -> Option<Timestamp> {
        self.until(time.checked_sub(Duration::from_nanos(1)).ok()?)
    }

    /// How far apart ticks are at present, if that follows what they bring.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// The times after a tick of which this was found; nothing if they stay as they are.
    fn following(&self, _tick: Timestamp, _found: &Findings) -> Option<Arc<dyn Times>> {
        None
    }
}

/// What a schedule does when things do not go by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Each tick comes up to this much later than its time; its window does not change.
    pub jitter: Duration,
    pub missed: Missed,
    pub overlap: Overlap,
}

/// What becomes of ticks that came due while gatherd did not run, or while the machine slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// One tick, at the time of the latest, whose window covers them all.
    Latest,
    /// None: no window covers the time up to the latest of them. That is so too for a tick that was in flight when
    /// gatherd stopped.
    Skip,
    /// Each of them, in order, one after another has settled.
    All,
}

/// What becomes of ticks that come due while the one before is still in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// They do not happen; the window of the next tick covers them.
    Skip,
    /// They wait: one tick comes once the one before has ended, at the time of the latest (with [`Missed::All`],
    /// each of them).
    Queue,
}

impl Rules {
    pub(super) const DEFAULT: Self = Self { jitter: Duration::ZERO, missed: Missed::Latest, overlap: Overlap::Skip };

    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            jitter: section.or(
                "jitter",
                Self::DEFAULT.jitter,
                "how much later than its time a tick may come; the delay is drawn for each tick",
            ),
            missed: section.choice(
                "missed",
                &[("latest", Missed::Latest), ("skip", Missed::Skip), ("all", Missed::All)],
                "ticks that came due while gatherd did not run: one tick with one wide window (`latest`), none, \
                 leaving a hole (`skip`), or one tick per window in order (`all`)",
            ),
            overlap: section.choice(
                "overlap",
                &[("skip", Overlap::Skip), ("queue", Overlap::Queue)],
                "a tick that comes due while the one before is in flight: it is left out and widens the next window \
                 (`skip`), or it waits (`queue`)",
            ),
        }
    }
}
