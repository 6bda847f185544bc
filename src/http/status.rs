//! What a reply's status means for the next try.

use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use surf::http::Method;
use url::Url;

use super::admission::is_used_up;
use super::failure::{attempt, shown};
use crate::model::{Value, secret};
use crate::runtime::Clock;

/// The longest time that a server is believed when it asks for a pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Whether the same request may well get another answer later: 408, 425, all server errors, and what refuses a client
/// that asks too often. What is beyond the known classes counts as a server error (RFC 9110, section 15).
pub fn is_transient(status: u16, headers: &HeaderMap) -> bool {
    matches!(status, 408 | 425 | 500..) || is_rate_limited(status, headers)
}

/// Whether a server says that it is asked too often: by 429 (RFC 6585, section 4), or, as GitHub and others do, by a 403
/// that names a time to come again or says that nothing is left of the client's budget.
pub(super) fn is_rate_limited(status: u16, headers: &HeaderMap) -> bool {
    status == 429 || status == 403 && (headers.contains_key(RETRY_AFTER) || is_used_up(headers))
}

pub fn is_success(status: u16) -> bool {
    matches!(status, 200..300)
}

/// The message of a fault that is a server's answer; `why` says why it is one, where the status does not.
pub fn answered(method: Method, url: &Url, status: u16, why: &str, said: &Value) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let status = reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"));
    let message = format!("cannot {} `{}`: the server answered {status}{why}", attempt(method), shown(url));
    match beginning(said) {
        said if said.is_empty() => message,
        said => format!("{message}: {said}"),
    }
}

/// The beginning of what a server said, on one line: it often names the mistake.
fn beginning(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = match value {
        Value::Null | Value::Bytes(_) => return String::new(),
        Value::Text(text) => text.chars().take(4 * LONGEST).collect(),
        other => other.to_string(),
    };
    // Before it is cut: nobody would know half a secret.
    let text = secret::mask(&text);
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|letter| !letter.is_control());
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

/// Until when a server asks not to be called again, at most an hour from now (RFC 9110, section 10.2.3).
pub fn retry_after(headers: &HeaderMap, clock: &Clock) -> Option<Instant> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = pause(asked, clock.timestamp())?;
    (!pause.is_zero()).then(|| clock.instant() + pause.min(LONGEST_PAUSE))
}

/// The pause that the header's value asks for: a number of seconds, or a date. One in the past asks for none.
fn pause(asked: &str, now: Timestamp) -> Option<Duration> {
    if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // So many digits that they do not fit are an hour at least.
        return Some(asked.parse().map_or(LONGEST_PAUSE, Duration::from_secs));
    }
    let date = read_date(asked)?;
    Some(date.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub(super) fn read_date(text: &str) -> Option<Timestamp> {
    static DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    DATES.parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_in_seconds_and_as_a_date() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (asked, expected) in [
            ("120", seconds(120)),
            ("0", seconds(0)),
            ("99999999999999999999999", seconds(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", seconds(0)),
            ("Mon, 06 Nov 1994 08:49:37 GMT", seconds(37)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(pause(asked, now), expected, "{asked}");
        }
    }

    #[test]
    fn no_server_makes_us_wait_for_more_than_an_hour() {
        let clock = Clock::turned_by_hand(Timestamp::UNIX_EPOCH);
        let asking = |value: &str| HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        let far = "Fri, 01 Jan 2100 00:00:00 GMT";
        for (value, expected) in [("86400", Some(3600)), (far, Some(3600)), ("7", Some(7)), ("0", None)] {
            let expected = expected.map(|seconds| clock.instant() + Duration::from_secs(seconds));
            assert_eq!(retry_after(&asking(value), &clock), expected, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), &clock), None);
    }
}
