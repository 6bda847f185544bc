//! `changed`: lets an item go on when what matters of it is not what it was.

use std::sync::Arc;

use crate::component::{
    FilterFault, Kind, Mark, MarkKind, Opened, Outputs, Repeats, Step, StepContext, StepSettings, Transform,
    TransformScope,
};
use crate::expr::Filter;
use crate::model::{Item, Text, Value, digest};

pub(super) const KIND: Kind<dyn StepSettings> = Kind {
    name: "changed",
    summary: "Lets an item go on if what the filter gives differs from the last time, for this key; else the item \
              ends as filtered. The last time is the last item that has settled.",
    sample: r#"
[pipeline.changed]
from  = { items = [{ id = 1, price = 10 }, { id = 2, price = 10 }, { id = 1, price = 11 }] }
steps = [{ changed = { of = ".price", key = ".id" } }]
"#,
    read: |section| {
        section.shorthand("of");
        let of = section.required("of", "what is compared");
        let key = section.optional("key", "what tells things apart that change on their own; all are one if left out");
        Some(Box::new(Changed { of: of?, key }))
    },
};

#[derive(Clone)]
struct Changed {
    of: Filter,
    key: Option<Filter>,
}

impl StepSettings for Changed {
    fn repeats(&self) -> Repeats {
        // Without a key it compares with whatever came last.
        if self.key.is_some() { Repeats::End } else { Repeats::EndInARow }
    }

    fn open(&self, context: &StepContext, _limit: usize) -> Opened<Step> {
        let (settings, pipeline, component) = (self.clone(), context.pipeline.clone(), context.id.clone());
        Ok(Step::Transform(Arc::new(Comparing { settings, pipeline, component })))
    }
}

struct Comparing {
    settings: Changed,
    pipeline: Text,
    component: Text,
}

impl Transform for Comparing {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let fault = |error| FilterFault::new(KIND.name, error, scope.fuel);
        let key = match &self.settings.key {
            Some(key) => key.one_text(&item.value, &scope.of(item)).map_err(fault)?,
            None => Text::default(),
        };
        let outputs = self.settings.of.run(&item.value, &scope.of(item)).map_err(fault)?;
        let kind = MarkKind::Last { digest: digest(&Value::array(outputs)) };
        let (pipeline, component) = (self.pipeline.clone(), self.component.clone());
        Ok(Outputs::Marked(None, Box::new(Mark { pipeline, component, key, kind })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn an_item_carries_a_digest_of_what_is_compared() {
        // printf '[10]' | sha256sum
        check(
            &KIND,
            "changed = { of = '.a', key = '.id' }",
            r#"{"a":10,"id":1}"#,
            "marked {\"a\":10,\"id\":1} test/step 1 as 41164c42",
        );
        check(&KIND, "changed = '.a'", r#"{"a":10.0}"#, "marked {\"a\":10.0} test/step  as 41164c42");
        check(
            &KIND,
            "changed = { of = '.', key = '.id' }",
            "{}",
            "rejected filter: `changed` failed: it gives null, where text, a number or a boolean should stand",
        );
    }
}
