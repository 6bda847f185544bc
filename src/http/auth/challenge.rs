//! What a server asks of whom it does not know: the challenges of `WWW-Authenticate` (RFC 9110, section 11.6.1).

/// One challenge.
#[derive(Debug, PartialEq)]
pub(super) struct Challenge {
    pub scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The challenges of one line. What is none is left out.
pub(super) fn challenges(line: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    for part in parts(line) {
        // A scheme stands before its first parameter.
        let (scheme, parameter) = match part.split_once(' ') {
            Some((scheme, rest)) if !scheme.contains('=') => (Some(scheme), rest.trim_start()),
            _ if part.contains('=') => (None, part),
            _ => (Some(part), ""),
        };
        if let Some(scheme) = scheme {
            challenges.push(Challenge { scheme: scheme.to_owned(), parameters: Vec::new() });
        }
        if let (Some(challenge), Some((name, value))) = (challenges.last_mut(), parameter.split_once('=')) {
            challenge.parameters.push((name.trim().to_owned(), unquoted(value.trim())));
        }
    }
    challenges
}

/// Cuts at the commas that do not stand in quotes.
fn parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (place, letter) in line.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                parts.push(&line[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        let escaped = if letter == '\\' { letters.next() } else { None };
        text.push(escaped.unwrap_or(letter));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_any_number_of_challenges() {
        let found = challenges(r#"Newauth realm="apps, \"all\"", type=1, ,Basic realm = "simple", Negotiate"#);
        let shown: Vec<_> = found.iter().map(|challenge| (challenge.scheme.as_str(), challenge.get("REALM"))).collect();
        assert_eq!(shown, [("Newauth", Some("apps, \"all\"")), ("Basic", Some("simple")), ("Negotiate", None)]);
        assert_eq!(found[0].get("type"), Some("1"));
        assert_eq!(challenges(" , "), []);
    }
}
