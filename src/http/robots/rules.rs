//! What a robots.txt says (RFC 9309).

use std::time::Duration;

use memchr::memmem;

/// What is read of a file; the standard asks for 500 KiB at least.
const READ: usize = 512 << 10;

/// The longest `Crawl-delay` that is kept.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// The rules for one crawler.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    delay: Option<Duration>,
}

#[derive(Debug, PartialEq)]
struct Rule {
    allows: bool,
    pattern: Pattern,
}

/// A path whose `*` stand for any characters, and whose `$` at the end for the end.
#[derive(Debug, PartialEq)]
struct Pattern {
    /// What stands before, between and behind the `*`.
    parts: Vec<String>,
    is_anchored: bool,
    length: usize,
}

/// What the groups that one line of agents begins say.
#[derive(Default)]
struct Group {
    is_own: bool,
    is_general: bool,
    rules: Vec<Rule>,
    delay: Option<Duration>,
}

impl Rules {
    /// Reads the rules for the crawler whose product token this is: those of all groups that name it, or else those
    /// for everybody.
    pub(super) fn read(file: &[u8], token: &str) -> Self {
        let text = String::from_utf8_lossy(&file[..file.len().min(READ)]);
        let text = text.trim_start_matches('\u{feff}');
        let mut groups: Vec<Group> = Vec::new();
        let mut agents_continue = false;
        for line in text.lines().flat_map(|line| line.split('\r')) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            let key = key.trim().to_ascii_lowercase();
            if key == "user-agent" {
                if !agents_continue {
                    groups.push(Group::default());
                }
                agents_continue = true;
                if let Some(group) = groups.last_mut() {
                    group.is_general |= value == "*";
                    group.is_own |= product_token(value).eq_ignore_ascii_case(token);
                }
                continue;
            }
            // Rules before the first group are nobody's.
            let Some(group) = groups.last_mut() else { continue };
            match key.as_str() {
                "allow" | "disallow" => group.rules.extend(Rule::read(key == "allow", value)),
                "crawl-delay" => group.delay = read_delay(value).or(group.delay),
                // Other records belong to no group and end none.
                _ => continue,
            }
            agents_continue = false;
        }
        let is_named = groups.iter().any(|group| group.is_own);
        let meant = groups.into_iter().filter(|group| if is_named { group.is_own } else { group.is_general });
        meant.fold(Self::default(), |mut all, group| {
            all.rules.extend(group.rules);
            all.delay = all.delay.max(group.delay);
            all
        })
    }

    /// Whether this path, with its query, may be fetched: the longest rule that matches says so, and of two of the same
    /// length the one that allows.
    pub(super) fn allow(&self, path: &str) -> bool {
        let path = normalized(path);
        if path == "/robots.txt" {
            return true;
        }
        let matching = self.rules.iter().filter(|rule| rule.pattern.matches(&path));
        matching.max_by_key(|rule| (rule.pattern.length, rule.allows)).is_none_or(|rule| rule.allows)
    }

    /// The time between two requests that the site asks for.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.delay
    }
}

impl Rule {
    /// Nothing for an empty value, which matches nothing.
    fn read(allows: bool, value: &str) -> Option<Self> {
        (!value.is_empty()).then(|| Self { allows, pattern: Pattern::of(value) })
    }
}

impl Pattern {
    fn of(text: &str) -> Self {
        let text = normalized(text);
        let (body, is_anchored) = text.strip_suffix('$').map_or((text.as_str(), false), |body| (body, true));
        Self { parts: body.split('*').map(str::to_owned).collect(), is_anchored, length: text.len() }
    }

    /// The first part stands at the beginning and each other as early as it can: if that leads to no match, nothing
    /// does.
    fn matches(&self, path: &str) -> bool {
        let Some((first, others)) = self.parts.split_first() else { return false };
        let Some(mut rest) = path.strip_prefix(first.as_str()) else { return false };
        let Some((last, between)) = others.split_last() else { return !self.is_anchored || rest.is_empty() };
        for part in between {
            let Some(found) = memmem::find(rest.as_bytes(), part.as_bytes()) else { return false };
            rest = &rest[found + part.len()..];
        }
        if self.is_anchored {
            rest.ends_with(last.as_str())
        } else {
            memmem::find(rest.as_bytes(), last.as_bytes()).is_some()
        }
    }
}

/// The product token at the beginning of a User-Agent.
pub(super) fn product_token(agent: &str) -> &str {
    let end = agent.find(|letter: char| !(letter.is_ascii_alphabetic() || matches!(letter, '-' | '_')));
    &agent[..end.unwrap_or(agent.len())]
}

fn read_delay(value: &str) -> Option<Duration> {
    let delay = Duration::try_from_secs_f64(value.parse().ok()?).ok()?;
    (!delay.is_zero()).then(|| delay.min(LONGEST_DELAY))
}

/// A path in the one form in which paths are compared (RFC 9309, section 2.2.2): what need not be percent-encoded is
/// not, and what must be is, in upper case.
fn normalized(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut normalized = String::with_capacity(path.len());
    let mut place = 0;
    while let Some(&byte) = bytes.get(place) {
        let encoded = (byte == b'%').then(|| bytes.get(place + 1..place + 3)).flatten().and_then(hexadecimal);
        place += if encoded.is_some() { 3 } else { 1 };
        match encoded {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => normalized.push(char::from(byte)),
            Some(byte) => normalized.push_str(percent_encoding::percent_encode_byte(byte)),
            None if byte.is_ascii() => normalized.push(char::from(byte)),
            None => normalized.push_str(percent_encoding::percent_encode_byte(byte)),
        }
    }
    normalized
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(16 * digit(high)? + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, token: &str, allowed: &[&str], disallowed: &[&str]) {
        let rules = Rules::read(file.as_bytes(), token);
        for path in allowed {
            assert!(rules.allow(path), "{token} may fetch {path} by {rules:?}");
        }
        for path in disallowed {
            assert!(!rules.allow(path), "{token} may not fetch {path} by {rules:?}");
        }
    }

    #[test]
    fn the_simple_example_of_the_standard_is_read() {
        // RFC 9309, section 5.1.
        let file = "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\n\
                    User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\n\
                    User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html\n\n\
                    User-Agent: quxbot\n";
        check(file, "other", &["/", "/publications/a", "/a.gif?x"], &["/a.gif", "/example/x"]);
        check(file, "foobot", &["/example/page.html", "/example/allowed.gif"], &["/", "/example/a"]);
        for token in ["barbot", "bazbot", "BazBot"] {
            check(file, token, &["/", "/example/", "/a.gif"], &["/example/page.html", "/example/page.html?x"]);
        }
        check(file, "quxbot", &["/", "/example/", "/a.gif"], &[]);
    }

    #[test]
    fn the_longest_match_decides_and_of_two_the_one_that_allows() {
        // RFC 9309, section 5.2.
        let file = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n";
        check(file, "foobot", &["/example/page/", "/example/page/a"], &["/example/page/disallowed.gif"]);
        check("User-agent: *\nDisallow: /a\nAllow: /a\n", "x", &["/a", "/ab"], &[]);
        check("User-agent: *\nDisallow: /fish*\nAllow: /fish\n", "x", &[], &["/fish", "/fish.html"]);
        check("User-agent: *\nDisallow: /\nAllow: /$\n", "x", &["/"], &["/a"]);
    }

    #[test]
    fn stars_and_dollars_stand_for_what_the_standard_says() {
        // RFC 9309, section 2.2.3.
        check("User-agent: *\nDisallow: /this/*/exactly\n", "x", &["/this/exactly"], &["/this/path/exactly"]);
        check(
            "User-agent: *\nDisallow: /path/file-with-a-%2A.html\n",
            "x",
            &["/path/file-with-a-b.html"],
            &["/path/file-with-a-%2A.html"],
        );
        check("User-agent: *\nDisallow: /path/foo-%24\n", "x", &["/path/foo-"], &["/path/foo-%24"]);
        check("User-agent: *\nDisallow: /a*b*c$\n", "x", &["/abcd", "/ac"], &["/abc", "/axxbxxcc", "/abcbc"]);
        check("User-agent: *\nDisallow: *?\n", "x", &["/a"], &["/a?b"]);
        check("User-agent: *\nDisallow: $\n", "x", &["/", "/a"], &[]);
    }

    #[test]
    fn paths_are_compared_in_one_form() {
        // The table of RFC 9309, section 2.2.2: path, and the same one percent-encoded.
        for (path, encoded) in [
            ("/foo/bar?baz=quz", "/foo/bar?baz=quz"),
            ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https://foo.bar"),
            ("/foo/bar/ツ", "/foo/bar/%E3%83%84"),
            ("/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84"),
            ("/foo/bar/%62%61%7A", "/foo/bar/baz"),
        ] {
            for (rule, asked) in [(path, encoded), (encoded, path)] {
                check(&format!("User-agent: *\nDisallow: {rule}\n"), "x", &["/foo"], &[asked]);
            }
        }
        check("User-agent: *\nDisallow: /a%2Fb\n", "x", &["/a/b"], &["/a%2fb"]);
        check("User-agent: *\nDisallow: /100%\n", "x", &[], &["/100%", "/100%zz"]);
    }

    #[test]
    fn groups_of_one_crawler_are_joined_and_what_is_no_rule_is_passed_over() {
        let file = "\u{feff}Disallow: /nobody\r\nuser-agent : GATHERD/2.0 # me\r\nSitemap: https://a/s.xml\r\nUser-agent: b\r\n\
                    disallow: /one # here\r\nnonsense\r\n\r\nUser-agent: *\r\nDisallow: /\r\n\r\nUser-agent: gatherd\r\nDisallow: /two\r\n";
        check(file, "gatherd", &["/", "/nobody", "/three", "/robots.txt"], &["/one", "/two"]);
        check(file, "other", &["/robots.txt"], &["/", "/one"]);
        check("<html>no robots here</html>", "gatherd", &["/"], &[]);
        check("", "gatherd", &["/"], &[]);
        check("User-agent: gatherdbot\nDisallow: /\n", "gatherd", &["/"], &[]);
        check("User-agent: *\nDisallow:\n", "gatherd", &["/a"], &[]);
    }

    #[test]
    fn a_crawl_delay_is_read_where_it_makes_sense() {
        for (value, millis) in [
            ("2", Some(2000)),
            ("0.5", Some(500)),
            ("0", None),
            ("-1", None),
            ("soon", None),
            ("1e300", None),
            ("86400", Some(300_000)),
        ] {
            let rules = Rules::read(format!("User-agent: *\nCrawl-delay: {value}\n").as_bytes(), "x");
            assert_eq!(rules.delay(), millis.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn what_is_beyond_the_size_that_is_read_counts_for_nothing() {
        let file = format!("User-agent: *\nDisallow: /a\n{}Disallow: /b\n", "# filler\n".repeat(READ / 9 + 1));
        check(&file, "x", &["/b"], &["/a"]);
    }
}
