//! `set`: gives an item labels.

use std::sync::Arc;

use crate::component::{
    FilterFault, Kind, Opened, Outputs, Repeats, Step, StepContext, StepSettings, Transform, TransformScope,
};
use crate::expr::Filter;
use crate::model::{Item, Text};

pub(super) const KIND: Kind<dyn StepSettings> = Kind {
    name: "set",
    summary: "Sets labels of the item: each to the first output of its filter, which sees the item as it came in. A \
              filter without output leaves its label as it was.",
    sample: r#"
[pipeline.set]
from  = { items = [{ id = 1, region = "north" }] }
steps = [
  { set = { region = ".region" } },
  { map = "{id, from: labels.region}" },
]
"#,
    read: |section| {
        let labels = section.entries("a label and the filter that gives its value");
        Some(Box::new(Set { labels: labels.into_iter().map(|(name, filter)| (name.into(), filter)).collect() }))
    },
};

#[derive(Clone)]
struct Set {
    labels: Arc<[(Text, Filter)]>,
}

impl StepSettings for Set {
    fn repeats(&self) -> Repeats {
        Repeats::Alike
    }

    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(self.clone())))
    }
}

impl Transform for Set {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let mut labels = item.labels.clone();
        for (name, filter) in self.labels.iter() {
            let value = filter.first(&item.value, &scope.of(item));
            let fault = |error| FilterFault::new(format_args!("set.{name}"), error, scope.fuel);
            if let Some(value) = value.map_err(fault)? {
                labels.set(name.clone(), value);
            }
        }
        Ok(Outputs::One(Item { labels, ..item.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::KIND;

    #[test]
    fn labels_are_set_to_first_outputs() {
        for (text, value, expected) in [
            ("set = { a = '.x', status = 'labels.status + 1' }", r#"{"x":[1]}"#, r#"one {"x":[1]} status=201 a=[1]"#),
            ("set = { a = 'empty', b = '1, 2', status = 'null' }", "0", "one 0 status=null b=1"),
            ("set = { a = '.x' }", "1", "rejected filter: `set.a` failed: cannot index 1 with \"x\""),
        ] {
            check(&KIND, text, value, expected);
        }
    }
}
