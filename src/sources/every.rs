//! `every`: ticks at a steady pace.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::schedule::{Rules, Ticker, Times};
use crate::component::{Kind, Opened, Promise, Source, SourceContext, SourceSettings};
use crate::settings::Section;

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "every",
    summary: "Ticks at a steady pace. The first tick ever comes within 5 s of the start, each later one a period \
              after the one before, also over restarts. A tick's value is its window: {\"start\": …, \"end\": …}.",
    sample: r#"
[pipeline.heartbeat]
from  = { every = "1m" }
steps = [{ map = "{since: .start, until: .end}" }]
"#,
    read: |section| Some(Box::new(Every::read(section)?)),
};

struct Every {
    period: Duration,
    align: bool,
    rules: Rules,
}

impl Every {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("period");
        let period = section.required("period", "how long it is from one tick to the next");
        let align = section.or(
            "align",
            false,
            "ticks fall on whole multiples of the period since 1970 in UTC, such as full minutes, instead of counting \
             from the first tick",
        );
        let rules = Rules::read(section);
        let period: Duration = period?;
        if period < Duration::from_millis(1) {
            section.mistake("period", "a schedule cannot tick that often", "write at least \"1ms\"");
            return None;
        }
        if rules.jitter >= period {
            section.mistake(
                "jitter",
                "the jitter is not shorter than the period, so a tick could come after the next one",
                "write a shorter jitter or a longer period",
            );
            return None;
        }
        Some(Self { period, align, rules })
    }

    fn times(&self, start: Timestamp) -> Pace {
        Pace { anchor: if self.align { Timestamp::UNIX_EPOCH } else { start }, period: self.period }
    }
}

impl SourceSettings for Every {
    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn can_be_triggered(&self) -> bool {
        true
    }

    fn ticks_after(&self, now: Timestamp, count: usize) -> Vec<Timestamp> {
        let times = self.times(now);
        std::iter::successors(times.after(now), |tick| times.after(*tick)).take(count).collect()
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        Ok(Box::new(Ticker::new(context, self.rules, |start| Arc::new(self.times(start)))))
    }
}

/// Every time that lies a whole number of periods from the anchor, before it or after it.
struct Pace {
    anchor: Timestamp,
    period: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn every(period: u64, align: bool) -> Every {
        Every { period: Duration::from_secs(period), align, rules: Rules::DEFAULT }
    }

    fn check(every: &Every, now: &str, ticks: &[&str]) {
        let found = every.ticks_after(now.parse().unwrap(), ticks.len());
        assert_eq!(found.iter().map(Timestamp::to_string).collect::<Vec<_>>(), ticks);
    }

    #[test]
    fn aligned_ticks_fall_on_multiples_of_the_period_and_others_count_from_the_start() {
        check(&every(60, true), "2026-01-01T10:00:30Z", &["2026-01-01T10:01:00Z", "2026-01-01T10:02:00Z"]);
        check(&every(60, true), "2026-01-01T10:01:00Z", &["2026-01-01T10:02:00Z"]);
        check(&every(60, false), "2026-01-01T10:00:30Z", &["2026-01-01T10:01:30Z", "2026-01-01T10:02:30Z"]);
        check(&every(86_400, true), "1969-12-30T12:00:00Z", &["1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"]);
    }

    #[test]
    fn a_tick_is_found_before_and_after_any_time() {
        let pace = every(60, false).times("2026-01-01T10:00:30Z".parse().unwrap());
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(pace.until(time("2026-01-01T10:00:30Z")), Some(time("2026-01-01T10:00:30Z")));
        assert_eq!(pace.before(time("2026-01-01T10:00:30Z")), Some(time("2026-01-01T09:59:30Z")));
        assert_eq!(pace.until(time("2026-01-01T09:59:00Z")), Some(time("2026-01-01T09:58:30Z")));
        assert_eq!(pace.after(Timestamp::MAX), None);
    }
}
