//! `expect` of a pipeline: when to raise an alert.

use std::time::Duration;

use crate::pipeline::Expect;
use crate::settings::{Rule, Section};

pub(super) const ABOUT: &str =
    "what is expected; when it is not so, an alert opens once, and closes once when it is again";

pub(super) fn read(section: &mut Section<'_>) -> Option<Expect> {
    let new_within: Option<Duration> =
        section.optional("new_within", "something new comes through all steps at least so often");
    let min_items = section.or("min_items", 1, "how many items come through within `new_within`");
    section.at_least(min_items, 1, "with 0 nothing is expected");
    let max_dead = section.optional("max_dead", "how many dead letters the pipeline has at most");
    let fields = section.or("fields", Vec::new(), "keys that every item has, none of them null, behind all steps");
    if new_within.is_some_and(|within| within.is_zero()) {
        let message = "nothing can come through in no time";
        section.broken(Rule::TooSmall, "new_within", message, "write a duration such as \"2h\"");
    }
    if section.has("min_items") && !section.has("new_within") {
        let message = "`min_items` needs `new_within`: the time in which they come";
        section.broken(Rule::MissingKey, "min_items", message, "add `new_within = …`, a duration such as \"2h\"");
    }
    Some(Expect { new_within, min_items, max_dead, fields })
}
