//! `every`: ticks at a steady pace.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::schedule::{Adaptive, Bounds, Pace, Rules, Ticker, Times};
use crate::component::{Kind, Opened, Promise, Source, SourceContext, SourceSettings};
use crate::settings::{Rule, Section};

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "every",
    summary: "Ticks at a steady pace. The first tick ever comes within 5 s of the start, each later one a period \
              after the one before, also over restarts. A tick's value is its window: {\"start\": …, \"end\": …}. \
              With `min` and `max` the pace follows how often there is something new.",
    sample: r#"
[pipeline.heartbeat]
from  = { every = "1m" }
steps = [{ map = "{since: .start, until: .end}" }]
"#,
    read: |section| Some(Box::new(Every::read(section)?)),
};

struct Every {
    spacing: Spacing,
    rules: Rules,
}

/// How far apart ticks are.
#[derive(Clone, Copy)]
enum Spacing {
    Steady { period: Duration, align: bool },
    Adaptive(Bounds),
}

impl Every {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("period");
        let period: Option<Duration> = section.optional("period", "how long it is from one tick to the next");
        let min: Option<Duration> = section.optional(
            "min",
            "with `max`, in place of `period`: how long it is at least. The time to the next tick is halved after one \
             of which something was delivered, and grows by half after any other. Replies that are fresh for longer, \
             as Cache-Control or Expires say, are not asked for before. With `durable` every tick counts as one that \
             brought something",
        );
        let max: Option<Duration> = section.optional("max", "how long it is at most from one tick to the next");
        const ALIGN: &str = "ticks fall on whole multiples of the period since 1970 in UTC, such as full minutes, \
                             instead of counting from the first tick";
        let is_adaptive = section.has("min") || section.has("max");
        let align = !is_adaptive && section.or("align", false, ALIGN);
        let rules = Rules::read(section);
        let spacing = if is_adaptive {
            Spacing::Adaptive(Self::read_bounds(section, min.zip(max))?)
        } else {
            if !section.has("period") {
                let way_out = "add `period = \"1m\"`, or `min` and `max` for a pace that follows what ticks bring";
                section.broken(Rule::MissingKey, "period", "`every` needs `period`", way_out);
            }
            Spacing::Steady { period: period?, align }
        };
        let (key, shortest) = match spacing {
            Spacing::Steady { period, .. } => ("period", period),
            Spacing::Adaptive(Bounds { min, .. }) => ("min", min),
        };
        if shortest < Duration::from_millis(1) {
            section.mistake(key, "a schedule cannot tick that often", "write at least \"1ms\"");
            return None;
        }
        if rules.jitter >= shortest {
            section.mistake(
                "jitter",
                "the jitter is not shorter than the period, so a tick could come after the next one",
                "write a shorter jitter or a longer period",
            );
            return None;
        }
        Some(Self { spacing, rules })
    }

    fn read_bounds(section: &mut Section<'_>, bounds: Option<(Duration, Duration)>) -> Option<Bounds> {
        let has = |key| section.has(key);
        if has("period") {
            let message = "`period` says how far apart ticks always are, and `min` and `max` that it depends";
            section.mistake("period", message, "keep one of the two");
            return None;
        }
        if let Some(key) = ["min", "max"].into_iter().find(|key| !has(key)) {
            let other = if key == "min" { "max" } else { "min" };
            let message = format!("there is `{other}`, but no `{key}`");
            section.mistake(other, message, format!("add `{key}`, or write `period` for a steady pace"));
            return None;
        }
        let (min, max) = bounds?;
        if max < min {
            section.mistake("max", "`max` is shorter than `min`", "write a longer `max` or a shorter `min`");
            return None;
        }
        Some(Bounds { min, max })
    }
}

impl SourceSettings for Every {
    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn can_be_triggered(&self) -> bool {
        true
    }

    fn recurs(&self) -> bool {
        true
    }

    fn ticks_after(&self, now: Timestamp, count: usize) -> Vec<Timestamp> {
        // Nobody knows what ticks will bring.
        let Spacing::Steady { period, align } = self.spacing else { return Vec::new() };
        let times = steady(now, period, align);
        std::iter::successors(times.after(now), |tick| times.after(*tick)).take(count).collect()
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        let position = context.position.clone();
        Ok(Box::new(Ticker::new(context, self.rules, |start| match self.spacing {
            Spacing::Steady { period, align } => Arc::new(steady(start, period, align)),
            Spacing::Adaptive(bounds) => Arc::new(Adaptive::starting(bounds, start, position.as_ref())),
        })))
    }
}

fn steady(start: Timestamp, period: Duration, align: bool) -> Pace {
    Pace { anchor: if align { Timestamp::UNIX_EPOCH } else { start }, period }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(period: u64, align: bool) -> Every {
        let spacing = Spacing::Steady { period: Duration::from_secs(period), align };
        Every { spacing, rules: Rules::DEFAULT }
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
        let pace = steady("2026-01-01T10:00:30Z".parse().unwrap(), Duration::from_secs(60), false);
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(pace.until(time("2026-01-01T10:00:30Z")), Some(time("2026-01-01T10:00:30Z")));
        assert_eq!(pace.before(time("2026-01-01T10:00:30Z")), Some(time("2026-01-01T09:59:30Z")));
        assert_eq!(pace.until(time("2026-01-01T09:59:00Z")), Some(time("2026-01-01T09:58:30Z")));
        assert_eq!(pace.after(Timestamp::MAX), None);
    }
}
