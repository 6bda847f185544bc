//! How long a reply stays fresh (RFC 9111, section 4.2).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderName};
use jiff::Timestamp;

use super::status::read_date;

/// Until when a reply is fresh that came at `came`, if its server says so.
pub fn fresh_until(headers: &HeaderMap, came: Timestamp) -> Option<Timestamp> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives: Vec<&str> = directives.flat_map(|line| line.split(',')).map(str::trim).collect();
    if directives.iter().any(|it| it.eq_ignore_ascii_case("no-store") || it.eq_ignore_ascii_case("no-cache")) {
        return None;
    }
    let max_age = directives.iter().find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| seconds.trim().trim_matches('"').parse::<u64>().ok())?
    });
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let lifetime = match max_age {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let made = text(DATE).and_then(read_date).unwrap_or(came);
            read_date(text(EXPIRES)?)?.duration_since(made).try_into().ok()?
        }
    };
    let age = text(AGE).and_then(|age| age.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    came.checked_add(lifetime.saturating_sub(age)).ok().filter(|until| *until > came)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_fresh_for_as_long_as_its_server_says() {
        let came: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        let made = ("date", "Sun, 06 Nov 1994 08:49:30 GMT");
        type Lines<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Lines<'_>, Option<i64>); 11] = [
            (&[], None),
            (&[("cache-control", "max-age=60")], Some(60)),
            (&[("cache-control", "public, Max-Age=\"60\"")], Some(60)),
            (&[("cache-control", "max-age=60"), ("age", "50")], Some(10)),
            (&[("cache-control", "max-age=60"), ("age", "70")], None),
            (&[("cache-control", "max-age=0")], None),
            (&[("cache-control", "no-cache, max-age=60")], None),
            (&[("cache-control", "no-store"), ("expires", "Sun, 06 Nov 1994 09:49:37 GMT")], None),
            (&[made, ("expires", "Sun, 06 Nov 1994 08:50:30 GMT")], Some(60)),
            (&[made, ("expires", "0")], None),
            (&[made, ("cache-control", "max-age=60"), ("expires", "Sun, 06 Nov 1994 09:50:30 GMT")], Some(60)),
        ];
        for (lines, expected) in cases {
            let parse = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            let headers: HeaderMap = lines.iter().map(parse).collect();
            let seconds = fresh_until(&headers, came).map(|until| until.duration_since(came).as_secs());
            assert_eq!(seconds, expected, "{lines:?}");
        }
    }
}
