//! `new`: lets each key through once.

use std::sync::Arc;
use std::time::Duration;

use crate::component::{
    FilterFault, Kind, Mark, MarkKind, Opened, Outputs, Repeats, Step, StepContext, StepSettings, Transform,
    TransformScope,
};
use crate::expr::Filter;
use crate::model::{Item, Text};

pub(super) const KIND: Kind<dyn StepSettings> = Kind {
    name: "new",
    summary: "Lets an item go on if its key was not seen before; else the item ends as filtered. A key counts as seen \
              once the item that had it has settled.",
    sample: r#"
[pipeline.new]
from  = { items = [{ id = "a" }, { id = "b" }, { id = "a" }] }
steps = [{ new = { of = ".id", keep = "30d" } }]
"#,
    read: |section| {
        section.shorthand("of");
        let of = section.required("of", "the key: one text, number or boolean");
        let keep = section.optional("keep", "how long a key is remembered; for ever if left out");
        Some(Box::new(New { of: of?, keep }))
    },
};

#[derive(Clone)]
struct New {
    of: Filter,
    keep: Option<Duration>,
}

impl StepSettings for New {
    fn repeats(&self) -> Repeats {
        // A key that is forgotten comes through again.
        if self.keep.is_none() { Repeats::End } else { Repeats::Unknown }
    }

    fn open(&self, context: &StepContext, _limit: usize) -> Opened<Step> {
        let (settings, pipeline, component) = (self.clone(), context.pipeline.clone(), context.id.clone());
        Ok(Step::Transform(Arc::new(Opening { settings, pipeline, component })))
    }
}

struct Opening {
    settings: New,
    pipeline: Text,
    component: Text,
}

impl Transform for Opening {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let key = self.settings.of.one_text(&item.value, &scope.of(item));
        let key = key.map_err(|error| FilterFault::new(KIND.name, error, scope.fuel))?;
        // A time beyond what a calendar holds is for ever.
        let until = self.settings.keep.and_then(|keep| scope.now.checked_add(keep).ok());
        let (pipeline, component) = (self.pipeline.clone(), self.component.clone());
        Ok(Outputs::Marked(None, Box::new(Mark { pipeline, component, key, kind: MarkKind::Seen { until } })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::KIND;

    #[test]
    fn an_item_carries_its_key() {
        for (text, value, expected) in [
            ("new = '.id'", r#"{"id":"a"}"#, r#"marked {"id":"a"} test/step a for ever"#),
            ("new = { of = '.', keep = '1d' }", "7", "marked 7 test/step 7 until 2026-01-03T03:04:05Z"),
            (
                "new = '.id'",
                "{}",
                "rejected filter: `new` failed: it gives null, where text, a number or a boolean should stand",
            ),
            ("new = '.[]'", "[1,2]", "rejected filter: `new` failed: it gives more than one result"),
        ] {
            check(&KIND, text, value, expected);
        }
    }
}
