//! `where`: lets the items go on for which a filter holds.

use std::sync::Arc;

use crate::component::{
    FilterFault, Kind, Opened, Outputs, Reason, Repeats, Step, StepContext, StepSettings, Transform, TransformScope,
};
use crate::expr::Filter;
use crate::model::Item;

pub(super) const KIND: Kind<dyn StepSettings> = Kind {
    name: "where",
    summary: "Lets an item go on if the first output of a filter is neither false nor null; else the item ends as \
              filtered.",
    sample: r#"
[pipeline.where]
from  = { items = [{ mag = 4.5 }, { mag = 6.1 }] }
steps = [{ where = ".mag >= 5" }]
"#,
    read: |section| {
        section.shorthand("filter");
        Some(Box::new(Where { filter: section.required("filter", "the condition")? }))
    },
};

#[derive(Clone)]
struct Where {
    filter: Filter,
}

impl StepSettings for Where {
    fn repeats(&self) -> Repeats {
        Repeats::Alike
    }

    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(self.clone())))
    }
}

impl Transform for Where {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let holds = self.filter.test(&item.value, &scope.of(item));
        let holds = holds.map_err(|error| FilterFault::new(KIND.name, error, scope.fuel))?;
        Ok(if holds { Outputs::Same } else { Outputs::Filtered(Reason::NoMatch) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::KIND;

    #[test]
    fn the_first_output_decides() {
        for (text, value, expected) in [
            ("where = '. > 1'", "2", "one 2"),
            ("where = '. > 1'", "1", "filtered no_match"),
            ("where = '.a'", r#"{"a":0}"#, r#"one {"a":0}"#),
            ("where = '.a'", "{}", "filtered no_match"),
            ("where = 'empty'", "1", "filtered no_match"),
            ("where = 'true, error'", "1", "one 1"),
            ("where = '.a'", "1", "rejected filter: `where` failed: cannot index 1 with \"a\""),
        ] {
            check(&KIND, text, value, expected);
        }
    }
}
