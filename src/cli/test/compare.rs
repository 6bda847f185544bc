//! How what came differs from what was expected.

use similar::{ChangeTag, TextDiff};

use super::read::Expected;
use super::script::line;
use crate::http::Sent;
use crate::model::{Object, Text, Value, json};

/// Values that are short stand on one line.
const WIDTH: usize = 100;

/// How many lines stand around a difference.
const CONTEXT: usize = 2;

/// The difference between two lists of values, whatever their order; nothing if there is none.
pub(super) fn compare(expected: &[Value], came: &[Value]) -> Option<String> {
    let (pairs, missing, extra) = pair(expected, came, |expected, came| expected == came);
    let same: Vec<String> = pairs.iter().map(|(expected, _)| shown(expected)).collect();
    diff(&same, &missing.into_iter().map(shown).collect::<Vec<_>>(), &extra.into_iter().map(shown).collect::<Vec<_>>())
}

/// The difference between the requests that are expected and those that were made.
pub(super) fn compare_requests(expected: &[Expected], made: &[Sent]) -> Option<String> {
    let (pairs, missing, extra) = pair(expected, made, fits);
    let same: Vec<String> = pairs.iter().map(|(expected, _)| shown_expected(expected)).collect();
    let missing: Vec<String> = missing.into_iter().map(shown_expected).collect();
    let extra: Vec<String> = extra.into_iter().map(shown_sent).collect();
    diff(&same, &missing, &extra)
}

type Paired<'a, E, C> = (Vec<(&'a E, &'a C)>, Vec<&'a E>, Vec<&'a C>);

/// Finds for each of `expected` one of `came`; answers the pairs, and what is left on both sides.
fn pair<'a, E, C>(expected: &'a [E], came: &'a [C], fits: impl Fn(&E, &C) -> bool) -> Paired<'a, E, C> {
    let mut left: Vec<&C> = came.iter().collect();
    let (mut pairs, mut missing) = (Vec::new(), Vec::new());
    for expected in expected {
        match left.iter().position(|came| fits(expected, came)) {
            Some(found) => pairs.push((expected, left.remove(found))),
            None => missing.push(expected),
        }
    }
    (pairs, missing, left)
}

fn fits(expected: &Expected, sent: &Sent) -> bool {
    let has = |(name, value): &(String, String)| {
        sent.headers.get_all(name).iter().any(|sent| sent.as_bytes() == value.as_bytes())
    };
    expected.to == line(&sent.method, &sent.url)
        && expected.json.as_ref().is_none_or(|json| json::parse(&sent.body).is_ok_and(|sent| sent == *json))
        && expected.body.as_ref().is_none_or(|body| sent.body == body.as_bytes())
        && expected.headers.iter().all(has)
}

/// What is missing stands beside what came in its place. What is the same is only counted.
fn diff(same: &[String], missing: &[String], extra: &[String]) -> Option<String> {
    if missing.is_empty() && extra.is_empty() {
        return None;
    }
    let mut text = String::new();
    if !same.is_empty() {
        text.push_str(&format!("  ({} as expected)\n", same.len()));
    }
    for at in 0..missing.len().max(extra.len()) {
        let (old, new) = (missing.get(at), extra.get(at));
        let (Some(old), Some(new)) = (old, new) else {
            let (sign, lines) = if let Some(old) = old { ('-', old) } else { ('+', new?) };
            lines.lines().for_each(|line| text.push_str(&format!("{sign} {line}\n")));
            continue;
        };
        for group in TextDiff::from_lines(old, new).grouped_ops(CONTEXT) {
            for change in
                group.iter().flat_map(|op| TextDiff::from_lines(old, new).iter_changes(op).map(own).collect::<Vec<_>>())
            {
                text.push_str(&change);
            }
        }
    }
    Some(text)
}

fn own(change: similar::Change<&str>) -> String {
    let sign = match change.tag() {
        ChangeTag::Delete => '-',
        ChangeTag::Insert => '+',
        ChangeTag::Equal => ' ',
    };
    format!("{sign} {}\n", change.value().trim_end_matches('\n'))
}

fn shown(value: &Value) -> String {
    let line = value.to_string();
    if line.chars().count() <= WIDTH { format!("{line}\n") } else { json::pretty(value) }
}

fn shown_expected(expected: &Expected) -> String {
    let Expected { to, json, body, headers } = expected;
    if json.is_none() && body.is_none() && headers.is_empty() {
        return format!("{to}\n");
    }
    let mut object = Object::default();
    object.insert(Text::from("to"), Value::from(to.as_str()));
    if !headers.is_empty() {
        let headers: Object =
            headers.iter().map(|(name, value)| (Text::from(name.as_str()), Value::from(value.as_str()))).collect();
        object.insert(Text::from("headers"), Value::object(headers));
    }
    if let Some(json) = json {
        object.insert(Text::from("json"), json.clone());
    }
    if let Some(body) = body {
        object.insert(Text::from("body"), Value::from(body.as_str()));
    }
    shown(&Value::object(object))
}

fn shown_sent(sent: &Sent) -> String {
    let to = line(&sent.method, &sent.url);
    if sent.body.is_empty() {
        return format!("{to}\n");
    }
    let (key, body) = match json::parse(&sent.body) {
        Ok(json) => ("json", json),
        Err(_) => ("body", Value::from(String::from_utf8_lossy(&sent.body).into_owned())),
    };
    let entries = [(Text::from("to"), Value::from(to)), (Text::from(key), body)];
    shown(&Value::object(entries.into_iter().collect::<Object>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<Value> {
        let Ok(Value::Array(values)) = json::parse(text.as_bytes()) else { panic!("{text}") };
        values.to_vec()
    }

    #[test]
    fn lists_are_compared_whatever_their_order() {
        for (expected, came, diff) in [
            ("[1, 2]", "[2, 1.0]", None),
            ("[1, 1]", "[1]", Some("  (1 as expected)\n- 1\n")),
            ("[]", r#"[{"a":null}]"#, Some("+ {\"a\":null}\n")),
            (r#"[{"a":1}]"#, r#"[{"a":2}]"#, Some("- {\"a\":1}\n+ {\"a\":2}\n")),
        ] {
            assert_eq!(compare(&values(expected), &values(came)).as_deref(), diff, "{expected} {came}");
        }
    }

    #[test]
    fn of_a_long_value_only_what_differs_is_shown() {
        let long = |last: &str| {
            let fields: Vec<String> = (0..30).map(|number| format!("\"field {number}\": {number}")).collect();
            values(&format!("[{{{}, \"last\": {last}}}]", fields.join(", ")))
        };
        let diff = compare(&long("1"), &long("2")).unwrap();
        assert_eq!(diff.lines().count(), 5, "{diff}");
        assert!(diff.contains("-   \"last\": 1\n+   \"last\": 2\n"), "{diff}");
    }
}
