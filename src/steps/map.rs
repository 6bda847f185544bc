//! `map` and `each`: steps that make other values of an item.

use std::sync::Arc;

use crate::component::{
    FilterFault, Kind, Opened, Outputs, Reason, Repeats, Step, StepContext, StepSettings, Transform, TransformScope,
};
use crate::expr::{Filter, Results};
use crate::model::Item;
use crate::settings::Section;

pub(super) const MAP: Kind<dyn StepSettings> = Kind {
    name: "map",
    summary: "Makes another value of the item with a filter. Each output becomes an item; none ends the item as \
              filtered.",
    sample: r#"
[pipeline.map]
from  = { items = [{ id = 1, properties = { mag = 4.5, place = "at sea" } }] }
steps = [{ map = "{id, mag: .properties.mag, where: (.properties.place | ascii_upcase)}" }]
"#,
    read: |section| read(section, "map"),
};

pub(super) const EACH: Kind<dyn StepSettings> = Kind {
    name: "each",
    summary: "Takes the item apart with a filter. Each output becomes an item; none ends the item as filtered.",
    sample: r#"
[pipeline.each]
from  = { items = [{ features = [{ id = "a" }, { id = "b" }] }] }
steps = [{ each = ".features[]" }]
"#,
    read: |section| read(section, "each"),
};

fn read(section: &mut Section<'_>, name: &'static str) -> Option<Box<dyn StepSettings>> {
    section.shorthand("filter");
    let filter = section.required("filter", "the filter whose outputs go on")?;
    Some(Box::new(Map { name, filter }))
}

#[derive(Clone)]
struct Map {
    /// What the author called it.
    name: &'static str,
    filter: Filter,
}

impl StepSettings for Map {
    fn repeats(&self) -> Repeats {
        if self.name == EACH.name { Repeats::AlikeEach } else { Repeats::Alike }
    }

    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(self.clone())))
    }
}

impl Transform for Map {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let results = self.filter.results(&item.value, &scope.of(item));
        Ok(match results.map_err(|error| FilterFault::new(self.name, error, scope.fuel))? {
            Results::None => Outputs::Filtered(Reason::NoMatch),
            Results::One(value) => Outputs::Value(value),
            Results::Many(values) => Outputs::Many(values),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn every_output_becomes_an_item() {
        for (text, value, expected) in [
            ("map = '{a: .b}'", r#"{"b":1}"#, r#"one {"a":1}"#),
            ("map = { filter = '.b' }", r#"{"b":null}"#, "one null"),
            ("each = '.[]'", "[1,2]", "many [1,2]"),
            ("each = '.[]'", "[1]", "one 1"),
            ("each = '.[]'", "[]", "filtered no_match"),
            ("map = 'labels.status'", "0", "one 200"),
            ("each = '.[]'", "1", "rejected filter: `each` failed: cannot use 1 as iterable (array or object)"),
        ] {
            check(if text.starts_with("map") { &MAP } else { &EACH }, text, value, expected);
        }
    }
}
