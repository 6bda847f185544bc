//! What the author may have meant.

/// The known name that is closest to `written`, if one is close.
fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    let nearest = known.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= 1 + nearest.chars().count() / 4).then_some(nearest)
}

/// The known name that says less or more of the same, such as `user` for `username`, and `primary_key` for `key`: the
/// longest that is contained, else the only one that contains it.
fn akin<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let part = |whole: &str, part: &str| {
        let rest = whole.strip_prefix(part).or_else(|| whole.strip_suffix(part));
        rest.is_some_and(|rest| part.len() >= 4 || (part.len() >= 2 && (rest.starts_with('_') || rest.ends_with('_'))))
    };
    let contained = known.iter().filter(|name| part(written, name)).max_by_key(|name| name.len());
    let mut containing = known.iter().filter(|name| part(name, written));
    let only = containing.next().filter(|_| containing.next().is_none());
    contained.or(only).copied()
}

/// What a word of another tool is called here.
fn translated<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let (_, here) = ELSEWHERE.iter().find(|(word, _)| word.eq_ignore_ascii_case(written))?;
    here.iter().find_map(|word| known.iter().find(|name| *name == word).copied())
}

/// Words that other tools have for what is called otherwise here, and what it is called.
const ELSEWHERE: [(&str, &[&str]); 36] = [
    ("basic", &["auth"]),
    ("bearer", &["auth"]),
    ("client", &["via"]),
    ("compression", &["compress"]),
    ("console", &["stdout", "log"]),
    ("csv", &["lines", "file"]),
    ("database", &["sqlite"]),
    ("dedupe", &["new"]),
    ("deduplicate", &["new"]),
    ("distinct", &["new"]),
    ("fetch", &["get"]),
    ("filter", &["where"]),
    ("flatten", &["each"]),
    ("foreach", &["each"]),
    ("gzip", &["gz"]),
    ("input", &["lines", "from"]),
    ("interval", &["every"]),
    ("jq", &["map"]),
    ("output", &["to"]),
    ("pagination", &["pages"]),
    ("password", &["auth"]),
    ("print", &["stdout"]),
    ("schedule", &["cron"]),
    ("select", &["where"]),
    ("sink", &["to"]),
    ("sinks", &["to"]),
    ("source", &["from"]),
    ("split", &["each"]),
    ("stdin", &["lines"]),
    ("tail", &["lines"]),
    ("timer", &["every"]),
    ("token", &["auth"]),
    ("transform", &["map"]),
    ("tz", &["zone"]),
    ("unique", &["new"]),
    ("zstd", &["zst"]),
];

/// ``did you mean `map`?``, or else what there is: ``there are `each`, `map` and `where` ``.
pub fn way_out<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let meant = translated(written, &known)
        .or_else(|| closest(written, known.iter().copied()))
        .or_else(|| akin(&written.to_lowercase(), &known));
    match (meant, &known[..]) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, []) => "there is none here".to_owned(),
        (None, [only]) => format!("there is only `{only}`"),
        (None, _) => format!("there are {}", list(&known)),
    }
}

/// `` `each`, `map` and `where` ``.
pub fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match &quoted[..] {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slip_is_recognized_and_a_strange_one_is_not() {
        let known = ["each", "map", "where"];
        assert_eq!(way_out("mpa", known), "did you mean `map`?");
        assert_eq!(way_out("Where", known), "did you mean `where`?");
        assert_eq!(way_out("kafka", known), "there are `each`, `map` and `where`");
        assert_eq!(way_out("kafka", ["map"]), "there is only `map`");
        assert_eq!(way_out("kafka", []), "there is none here");
    }

    #[test]
    fn a_word_of_another_tool_and_a_name_that_says_more_or_less_are_understood() {
        for (written, known, meant) in [
            ("filter", &["each", "map", "where"][..], "where"),
            ("filter", &["where", "file"], "where"),
            ("jq", &["each", "map", "where"], "map"),
            ("csv", &["every", "lines"], "lines"),
            ("csv", &["file", "stdout"], "file"),
            ("username", &["user", "password"], "user"),
            ("rate_limit", &["base", "rate", "per_host_rate"], "rate"),
            ("key", &["path", "table", "primary_key"], "primary_key"),
            ("timezone", &["expression", "zone"], "zone"),
            ("client_id", &["token_url", "id", "secret"], "id"),
        ] {
            assert_eq!(way_out(written, known.iter().copied()), format!("did you mean `{meant}`?"), "{written}");
        }
        assert_eq!(way_out("filter", ["get", "put"]), "there are `get` and `put`");
        assert_eq!(way_out("host", ["per_host", "per_host_rate"]), "did you mean `per_host`?");
        assert_eq!(way_out("rate", ["host_rate", "group_rate"]), "there are `host_rate` and `group_rate`");
    }
}
