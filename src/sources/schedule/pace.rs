//! Ticks at a steady pace.

use std::time::Duration;

use jiff::Timestamp;

use super::Times;

/// Every time that lies a whole number of periods from the anchor, before it or after it.
#[derive(Clone, Copy)]
pub(in crate::sources) struct Pace {
    pub anchor: Timestamp,
    pub period: Duration,
}

impl Pace {
    /// The tick that lies `periods` from the one at or before `time`.
    fn tick(&self, time: Timestamp, periods: i128) -> Option<Timestamp> {
        let period = i128::try_from(self.period.as_nanos()).ok()?;
        let passed = (time.as_nanosecond() - self.anchor.as_nanosecond()).div_euclid(period);
        let nanoseconds = (passed + periods).checked_mul(period)?.checked_add(self.anchor.as_nanosecond())?;
        Timestamp::from_nanosecond(nanoseconds).ok()
    }
}

impl Times for Pace {
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        self.tick(time, 1)
    }

    fn until(&self, time: Timestamp) -> Option<Timestamp> {
        self.tick(time, 0)
    }
}
