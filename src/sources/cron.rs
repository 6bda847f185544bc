//! `cron`: ticks at the times that a cron expression names.

use std::sync::Arc;

use croner::Cron as Expression;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::schedule::{Rules, Ticker, Times};
use crate::component::{Kind, Opened, Promise, Source, SourceContext, SourceSettings};
use crate::settings::Section;

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "cron",
    summary: "Ticks at the times of a cron expression, of five fields or of six with the seconds first. The first \
              tick ever comes within 5 s of the start. A tick's value is its window: {\"start\": …, \"end\": …}.",
    sample: r#"
[pipeline.working_hours]
from  = { cron = { expression = "*/15 8-17 * * MON-FRI", zone = "Europe/Zurich" } }
steps = [{ map = "{since: .start, until: .end}" }]
"#,
    read: |section| Some(Box::new(Cron::read(section)?)),
};

struct Cron {
    times: Arc<Calendar>,
    rules: Rules,
}

impl Cron {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("expression");
        let expression: Option<String> = section.required(
            "expression",
            "minute, hour, day of month, month, day of week; with six fields the first is the second",
        );
        let zone: String = section.or("zone", "UTC".to_owned(), "the time zone of the expression, by its IANA name");
        let rules = Rules::read(section);
        let parsed = expression.map(|expression| parse(&expression));
        if let Some(Err(reason)) = &parsed {
            section.mistake(
                "expression",
                reason.clone(),
                "write one such as \"*/5 * * * *\" or \"30 0 6 * * MON-FRI\"",
            );
        }
        let found = TimeZone::get(&zone);
        if found.is_err() {
            section.mistake(
                "zone",
                format!("there is no time zone `{zone}`"),
                "write one of the IANA database, such as \"Europe/Zurich\"; a system without it needs the package tzdata",
            );
        }
        Some(Self { times: Arc::new(Calendar { expression: parsed?.ok()?, zone: found.ok()? }), rules })
    }
}

/// Reads an expression that names at least one time, or says what is wrong with it.
fn parse(text: &str) -> Result<Expression, String> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let expression = parser.parse(text).map_err(|error| {
        let error = error.to_string();
        format!("`{text}` is no cron expression: {}", error.trim_end_matches('.'))
    })?;
    let start = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    match expression.find_next_occurrence(&start, true) {
        Ok(_) => Ok(expression),
        Err(_) => Err(format!("`{text}` names no time that ever comes")),
    }
}

impl SourceSettings for Cron {
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
        std::iter::successors(self.times.after(now), |tick| self.times.after(*tick)).take(count).collect()
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        Ok(Box::new(Ticker::new(context, self.rules, |_| self.times.clone())))
    }
}

/// The times of an expression in a zone. Where clocks go forward, a time that does not exist is moved to the end of
/// the gap; where they go back, a fixed time comes once, and a wildcard goes on ticking through both hours.
struct Calendar {
    expression: Expression,
    zone: TimeZone,
}

impl Times for Calendar {
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let found = self.expression.find_next_occurrence(&time.to_zoned(self.zone.clone()), false);
        found.ok().map(|tick| tick.timestamp())
    }

    fn until(&self, time: Timestamp) -> Option<Timestamp> {
        let found = self.expression.find_previous_occurrence(&time.to_zoned(self.zone.clone()), true);
        found.ok().map(|tick| tick.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(expression: &str, zone: &str) -> Cron {
        let expression = parse(expression).unwrap();
        let times = Arc::new(Calendar { expression, zone: TimeZone::get(zone).unwrap() });
        Cron { times, rules: Rules::DEFAULT }
    }

    /// Checks the ticks after `now`, and that looking back from each finds the one before.
    fn check(expression: &str, zone: &str, now: &str, ticks: &[&str]) {
        let cron = cron(expression, zone);
        let found = cron.ticks_after(now.parse().unwrap(), ticks.len());
        assert_eq!(found.iter().map(Timestamp::to_string).collect::<Vec<_>>(), ticks, "{expression} {zone}");
        for pair in found.windows(2) {
            assert_eq!(cron.times.before(pair[1]), Some(pair[0]), "{expression} {zone} before {}", pair[1]);
            assert_eq!(cron.times.until(pair[1]), Some(pair[1]), "{expression} {zone} until {}", pair[1]);
        }
    }

    #[test]
    fn expressions_have_five_fields_or_six() {
        check("*/5 * * * *", "UTC", "2026-01-01T10:03:00Z", &["2026-01-01T10:05:00Z", "2026-01-01T10:10:00Z"]);
        check("*/20 * * * * *", "UTC", "2026-01-01T10:00:05Z", &["2026-01-01T10:00:20Z", "2026-01-01T10:00:40Z"]);
        check("0 6 * * MON", "UTC", "2026-01-01T10:00:00Z", &["2026-01-05T06:00:00Z", "2026-01-12T06:00:00Z"]);
        for wrong in ["", "* * * *", "61 * * * *", "* * * * * * 2030", "soon"] {
            assert!(parse(wrong).unwrap_err().contains("is no cron expression"), "{wrong}");
        }
        assert!(parse("0 0 30 2 *").unwrap_err().contains("names no time"));
    }

    #[test]
    fn a_zone_moves_the_ticks_with_its_clock() {
        check(
            "0 3 * * *",
            "Europe/Zurich",
            "2026-03-27T12:00:00Z",
            &["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"],
        );
    }

    #[test]
    fn no_tick_is_lost_or_repeated_where_the_clock_changes() {
        // 02:30 does not exist on 29 March 2026: it comes when the gap ends, at 03:00.
        check("30 2 * * *", "Europe/Zurich", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        // 02:30 comes twice on 25 October 2026: the job runs once.
        check("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        check(
            "*/30 * * * *",
            "Europe/Zurich",
            "2026-10-24T23:45:00Z",
            &[
                "2026-10-25T00:00:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-25T02:00:00Z",
            ],
        );
        check(
            "*/30 * * * *",
            "Europe/Zurich",
            "2026-03-29T00:15:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
        );
    }
}
