//! What the author may have meant.

/// The known name that is closest to `written`, if one is close.
fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    let nearest = known.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= 1 + nearest.chars().count() / 4).then_some(nearest)
}

/// ``did you mean `map`?``, or else what there is: ``there are `each`, `map` and `where` ``.
pub fn way_out<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match (closest(written, known.iter().copied()), &known[..]) {
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
}
