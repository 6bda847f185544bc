//! What a reply says of itself that the server can be asked about later (RFC 9110, sections 8.8 and 13).

use std::time::Duration;

use http::HeaderMap;
use http::header::{
    DATE, ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    RANGE, VARY,
};

use super::status::read_date;
use crate::model::Text;

/// What a server can be asked about later: `If-None-Match` and `If-Modified-Since`, as it sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    pub etag: Option<Text>,
    pub last_modified: Option<Text>,
}

/// Longer entity tags are not kept.
const LONGEST_ETAG: usize = 1024;

/// A time of last change counts only if the reply was made so much later: what changes twice within a second would look
/// unchanged (RFC 9110, section 8.8.2.2).
const SETTLED: Duration = Duration::from_secs(1);

impl Validators {
    /// Those of a reply that may be sent back to tell a later one from it.
    pub fn of(headers: &HeaderMap) -> Self {
        let varies_by = |name: &str| varies_by(headers, name);
        if varies_by("*") {
            return Self::default();
        }
        // An entity tag tells variants apart, a time does not.
        let is_one_of_many = varies_by("cookie") || varies_by("authorization");
        Self {
            etag: etag(headers),
            last_modified: last_modified(headers).filter(|changed| !is_one_of_many && is_settled(changed, headers)),
        }
    }

    /// Whether a reply that says it is still the one with these validators does not contradict itself.
    pub fn are_those_of(&self, headers: &HeaderMap) -> bool {
        match (&self.etag, etag(headers)) {
            (Some(known), Some(said)) => is_same_etag(known, &said),
            _ => match (&self.last_modified, last_modified(headers)) {
                (Some(known), Some(said)) => *known == said,
                _ => true,
            },
        }
    }
}

/// Whether two entity tags stand for the same, by weak comparison (RFC 9110, section 8.8.3.2).
pub fn is_same_etag(left: &str, right: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    opaque(left) == opaque(right)
}

/// Whether a request asks for parts, or only under some condition.
pub fn is_conditional(headers: &HeaderMap) -> bool {
    let names: [HeaderName; 6] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];
    names.iter().any(|name| headers.contains_key(name))
}

fn varies_by(headers: &HeaderMap, name: &str) -> bool {
    let lines = headers.get_all(VARY).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(name))
}

fn etag(headers: &HeaderMap) -> Option<Text> {
    let tag = headers.get(ETAG)?.to_str().ok()?.trim();
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    let is_quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
    (is_quoted && tag.len() <= LONGEST_ETAG).then(|| tag.into())
}

fn last_modified(headers: &HeaderMap) -> Option<Text> {
    let time = headers.get(LAST_MODIFIED)?.to_str().ok()?.trim();
    read_date(time).map(|_| time.into())
}

fn is_settled(changed: &str, headers: &HeaderMap) -> bool {
    let made = headers.get(DATE).and_then(|made| read_date(made.to_str().ok()?));
    let (Some(changed), Some(made)) = (read_date(changed), made) else { return false };
    made.duration_since(changed) >= SETTLED.try_into().expect("a second is a duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        lines.iter().map(parse).collect()
    }

    const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SAME_SECOND: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[track_caller]
    fn check(lines: &[(&str, &str)], etag: Option<&str>, last_modified: Option<&str>) {
        let expected = Validators { etag: etag.map(Text::from), last_modified: last_modified.map(Text::from) };
        assert_eq!(Validators::of(&headers(lines)), expected, "{lines:?}");
    }

    #[test]
    fn only_what_can_tell_a_later_reply_apart_is_sent_back() {
        check(&[], None, None);
        check(&[("etag", "\"a\"")], Some("\"a\""), None);
        check(&[("etag", "W/\"a\"")], Some("W/\"a\""), None);
        check(&[("etag", "a")], None, None);
        check(&[("etag", "\"")], None, None);
        check(&[("last-modified", CHANGED), ("date", LATER)], None, Some(CHANGED));
        check(&[("last-modified", CHANGED), ("date", SAME_SECOND)], None, None);
        check(&[("last-modified", CHANGED)], None, None);
        check(&[("last-modified", "yesterday"), ("date", LATER)], None, None);
    }

    #[test]
    fn what_a_reply_varies_by_limits_how_it_is_told_apart() {
        let both = [("etag", "\"a\""), ("last-modified", CHANGED), ("date", LATER)];
        let varying = |by| [both.as_slice(), &[("vary", by)]].concat();
        check(&varying("Accept-Encoding"), Some("\"a\""), Some(CHANGED));
        check(&varying("accept, Cookie"), Some("\"a\""), None);
        check(&varying("Authorization"), Some("\"a\""), None);
        check(&varying("*"), None, None);
    }

    #[test]
    fn a_server_that_contradicts_itself_is_found_out() {
        let both = Validators { etag: Some("\"a\"".into()), last_modified: Some(CHANGED.into()) };
        let time = Validators { etag: None, ..both.clone() };
        for (known, lines, expected) in [
            (&both, vec![], true),
            (&both, vec![("etag", "\"a\"")], true),
            (&both, vec![("etag", "W/\"a\"")], true),
            (&both, vec![("etag", "\"a\""), ("last-modified", LATER)], true),
            (&both, vec![("etag", "\"b\"")], false),
            (&both, vec![("last-modified", LATER)], false),
            (&time, vec![("last-modified", CHANGED), ("etag", "\"b\"")], true),
            (&time, vec![("last-modified", LATER)], false),
        ] {
            assert_eq!(known.are_those_of(&headers(&lines)), expected, "{known:?} {lines:?}");
        }
    }
}
