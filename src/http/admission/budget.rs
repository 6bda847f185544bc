//! What a server says is left of its rate limit.
//!
//! Read are the `RateLimit` header fields in each of the forms that drafts of the IETF have given them
//! (draft-ietf-httpapi-ratelimit-headers: three fields up to -06, one dictionary in -07, one list since -08), and the
//! `X-RateLimit-*` of many APIs, whose reset is a number of seconds, or a time in seconds or milliseconds since 1970.

use std::time::{Duration, Instant};

use http::HeaderMap;
use jiff::Timestamp;

use super::BUSY;
use crate::http::status::{LONGEST_PAUSE, read_date};

/// What is left until the reset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::http) struct Budget {
    pub remaining: u64,
    pub limit: Option<u64>,
    pub resets_in: Duration,
}

/// The fields of one family of headers.
#[derive(Clone, Copy, Default)]
struct Fields<'a> {
    limit: Option<&'a str>,
    remaining: Option<&'a str>,
    reset: Option<&'a str>,
    /// A number of seconds in any case.
    reset_after: Option<&'a str>,
}

impl Budget {
    /// What the headers of a reply say, if anything. A limit of zero is how some servers say that there is none.
    pub(in crate::http) fn of(headers: &HeaderMap, now: impl FnOnce() -> Timestamp) -> Option<Self> {
        let (mut ietf, mut own, mut list) = (Fields::default(), Fields::default(), None);
        for (name, value) in headers {
            // Most replies say nothing of it.
            if !matches!(name.as_str().as_bytes(), [b'r', b'a', ..] | [b'x', b'-', b'r', ..]) {
                continue;
            }
            let (fields, field) = match name.as_str() {
                "ratelimit" => {
                    list = value.to_str().ok();
                    continue;
                }
                name => {
                    if let Some(field) = name.strip_prefix("ratelimit-") {
                        (&mut ietf, field)
                    } else if let Some(field) =
                        name.strip_prefix("x-ratelimit-").or_else(|| name.strip_prefix("x-rate-limit-"))
                    {
                        (&mut own, field)
                    } else {
                        continue;
                    }
                }
            };
            let value = value.to_str().ok();
            match field {
                "limit" => fields.limit = value,
                "remaining" => fields.remaining = value,
                "reset" => fields.reset = value,
                "reset-after" => fields.reset_after = value,
                _ => {}
            }
        }
        if list.is_none() && ietf.remaining.is_none() && own.remaining.is_none() {
            return None;
        }
        let now = now();
        let read = list.and_then(Self::of_list).or_else(|| ietf.read(now)).or_else(|| own.read(now))?;
        let resets_in = read.resets_in.min(LONGEST_PAUSE);
        (read.limit != Some(0) && !resets_in.is_zero()).then_some(Self { resets_in, ..read })
    }

    /// `"minute";r=5;t=30, "day";r=900;t=4000`, or `limit=100, remaining=50, reset=5`. Of several the tightest.
    fn of_list(text: &str) -> Option<Self> {
        let members: Vec<&str> = split_outside_quotes(text, ',').collect();
        let named = |name: &str| members.iter().find_map(|member| parameter(member, name));
        if let (Some(remaining), Some(reset)) = (named("remaining"), named("reset")) {
            return Some(Self { remaining, limit: named("limit"), resets_in: Duration::from_secs(reset) });
        }
        let budgets = members.iter().filter_map(|member| {
            let find = |name| split_outside_quotes(member, ';').find_map(|part| parameter(part, name));
            Some(Self { remaining: find("r")?, limit: find("q"), resets_in: Duration::from_secs(find("t")?) })
        });
        budgets.min_by_key(|budget| (budget.remaining, std::cmp::Reverse(budget.resets_in)))
    }
}

/// Whether the headers of a reply say that nothing is left before some reset.
pub(in crate::http) fn is_used_up(headers: &HeaderMap) -> bool {
    // Seen from so early a time, every time of a reset is still to come.
    Budget::of(headers, || Timestamp::UNIX_EPOCH).is_some_and(|budget| budget.remaining == 0)
}

impl Fields<'_> {
    fn read(&self, now: Timestamp) -> Option<Budget> {
        let remaining = first_number(self.remaining?)?;
        let resets_in = match (self.reset_after, self.reset) {
            (Some(after), _) => Duration::try_from_secs_f64(after.trim().parse().ok()?).ok()?,
            (None, reset) => time_until(reset?.trim(), now)?,
        };
        Some(Budget { remaining, limit: self.limit.and_then(first_number), resets_in })
    }
}

/// `100` of `100, 100;w=60`.
fn first_number(text: &str) -> Option<u64> {
    let text = text.trim();
    text[..text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len())].parse().ok()
}

/// The value of `name=5`.
fn parameter(text: &str, name: &str) -> Option<u64> {
    let (key, value) = text.split_once('=')?;
    if key.trim().eq_ignore_ascii_case(name) { value.trim().parse().ok() } else { None }
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut in_quotes = false;
    text.split(move |letter| {
        in_quotes ^= letter == '"';
        letter == separator && !in_quotes
    })
}

/// From a number of seconds, a time in seconds or milliseconds since 1970, or a date. One in the past is now.
fn time_until(text: &str, now: Timestamp) -> Option<Duration> {
    // Nobody resets a limit after more than three years: such numbers are times.
    const EARLIEST_TIME: f64 = 1e8;
    const EARLIEST_MILLIS: f64 = 1e11;
    let seconds = match text.parse::<f64>() {
        Ok(number) if number >= EARLIEST_MILLIS => number / 1e3 - now.as_millisecond() as f64 / 1e3,
        Ok(number) if number >= EARLIEST_TIME => number - now.as_millisecond() as f64 / 1e3,
        Ok(number) => number,
        Err(_) => {
            let date = text.parse::<Timestamp>().ok().or_else(|| read_date(text))?;
            return Some(date.duration_since(now).try_into().unwrap_or(Duration::ZERO));
        }
    };
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

/// A budget as it is spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spending {
    left: u64,
    limit: Option<u64>,
    resets_at: Instant,
    last: Instant,
}

/// Below this share of the limit, or this number if the limit is not known, what is left is spread over the time until
/// the reset.
const LOW_SHARE: u64 = 10;
const LOW: u64 = 5;

/// When a request may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Allowance {
    Now,
    /// What is left is spread.
    Spread(Instant),
    /// Nothing is left.
    Used(Instant),
}

impl Spending {
    /// `others` requests are on their way that the server may not have counted yet.
    pub(super) fn of(budget: Budget, others: usize, now: Instant) -> Self {
        let left = budget.remaining.saturating_sub(others as u64);
        Self { left, limit: budget.limit, resets_at: now + budget.resets_in, last: now }
    }

    /// Whether a request may go while so many others are on their way. After the reset no more go than the limit says,
    /// or one alone, until a reply tells anew what is left.
    pub(super) fn allowance(&self, taken: usize, now: Instant) -> Allowance {
        if self.resets_at <= now {
            let is_within = (taken as u64) < self.limit.unwrap_or(1);
            return if is_within { Allowance::Now } else { Allowance::Spread(now + BUSY) };
        }
        if self.left == 0 {
            return Allowance::Used(self.resets_at);
        }
        let is_low = self.limit.map_or(self.left <= LOW, |limit| self.left.saturating_mul(LOW_SHARE) <= limit);
        // One share of the time is kept for after the last.
        let shares = u32::try_from(self.left + 1).unwrap_or(u32::MAX);
        let next = self.last + self.resets_at.duration_since(self.last) / shares;
        if is_low && next > now { Allowance::Spread(next) } else { Allowance::Now }
    }

    pub(super) fn take(&mut self, now: Instant) {
        self.left = self.left.saturating_sub(1);
        self.last = now;
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.resets_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: Option<(u64, Option<u64>, u64)>) {
        let map: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let read = Budget::of(&map, || Timestamp::from_second(NOW).unwrap());
        let read = read.map(|budget| (budget.remaining, budget.limit, budget.resets_in.as_secs()));
        assert_eq!(read, expected, "{headers:?}");
    }

    #[test]
    fn what_is_left_is_read_in_every_form() {
        let three = |limit, remaining, reset| {
            [("ratelimit-limit", limit), ("ratelimit-remaining", remaining), ("ratelimit-reset", reset)]
        };
        check(&three("100", "7", "30"), Some((7, Some(100), 30)));
        check(&three("100, 100;w=60", "0", "30"), Some((0, Some(100), 30)));
        check(&[("ratelimit", "limit=100, remaining=50, reset=5")], Some((50, Some(100), 5)));
        check(&[("ratelimit", "\"default\";r=50;t=30")], Some((50, None, 30)));
        check(&[("ratelimit", "\"a, b;r=0\";r=5;t=30, \"day\";r=0;t=600")], Some((0, None, 600)));
        let own = |remaining, reset| [("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)];
        check(&own("0", "1800000060"), Some((0, None, 60)));
        check(&own("0", "1800000060000"), Some((0, None, 60)));
        check(&own("3", "60"), Some((3, None, 60)));
        check(&own("3", "60.5"), Some((3, None, 60)));
        check(&own("3", "2027-01-15T08:01:00Z"), Some((3, None, 60)));
        check(&own("3", "Fri, 15 Jan 2027 08:01:00 GMT"), Some((3, None, 60)));
        check(&own("0", "1800099999"), Some((0, None, 3600)));
        check(&[("x-rate-limit-remaining", "2"), ("x-rate-limit-reset", "1800000007")], Some((2, None, 7)));
        check(&[("x-ratelimit-remaining", "2"), ("x-ratelimit-reset-after", "1.5")], Some((2, None, 1)));
        // The standard's fields go before others.
        let both = [three("100", "7", "30").as_slice(), &own("0", "50")].concat();
        check(&both, Some((7, Some(100), 30)));
    }

    #[test]
    fn what_says_nothing_is_no_budget() {
        check(&[], None);
        check(&[("x-ratelimit-remaining", "0")], None);
        check(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000000")], None);
        check(&[("x-ratelimit-remaining", "many"), ("x-ratelimit-reset", "5")], None);
        check(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "-1e999")], None);
        check(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "NaN")], None);
        check(&[("x-ratelimit-limit", "0"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000060")], None);
        check(&[("ratelimit", "\"default")], None);
        check(&[("ratelimit", "\"x\";r=1")], None);
    }

    #[test]
    fn a_budget_is_spread_when_it_is_low_and_waited_for_when_it_is_used_up() {
        let start = Instant::now();
        let budget = Budget { remaining: 11, limit: Some(100), resets_in: Duration::from_secs(60) };
        let mut spending = Spending::of(budget, 0, start);
        assert_eq!(spending.allowance(0, start), Allowance::Now);
        spending.take(start);
        let mut now = start;
        let mut sent = 0;
        loop {
            match spending.allowance(0, now) {
                Allowance::Now => {
                    spending.take(now);
                    sent += 1;
                }
                Allowance::Spread(next) => now = next,
                Allowance::Used(reset) => {
                    assert_eq!(reset, start + budget.resets_in);
                    break;
                }
            }
        }
        assert_eq!(sent, 10);
        assert!(now > start + Duration::from_secs(50) && now < start + budget.resets_in, "{:?}", now - start);
        assert_eq!(spending.allowance(99, start + budget.resets_in), Allowance::Now);
        let busy = spending.allowance(100, start + budget.resets_in);
        assert!(matches!(busy, Allowance::Spread(_)), "no more than the limit before a reply says what is left");
        assert_eq!(Spending::of(budget, 20, start).allowance(0, start), Allowance::Used(start + budget.resets_in));
    }
}
