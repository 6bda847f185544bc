//! `limit`: lets only so many items go on.

use std::sync::Arc;

use crate::component::{
    FilterFault, Kind, Opened, Outputs, Reason, Step, StepContext, StepSettings, Transform, TransformScope,
};
use crate::model::Item;

pub(super) const KIND: Kind<dyn StepSettings> = Kind {
    name: "limit",
    summary: "Lets the first so many items go on that come from one item of the source, such as one tick; the others \
              end as filtered.",
    sample: r#"
[pipeline.limit]
from  = { items = [["a", "b", "c"]] }
steps = [{ each = ".[]" }, { limit = 2 }]
"#,
    read: |section| {
        section.shorthand("count");
        let count: u64 = section.required("count", "how many items go on")?;
        if count == 0 {
            section.mistake("count", "`limit` lets nothing go on", "write 1 or more, or leave the step out");
        }
        Some(Box::new(Limit { count }))
    },
};

struct Limit {
    count: u64,
}

impl StepSettings for Limit {
    fn is_limit(&self) -> bool {
        true
    }

    fn open(&self, _context: &StepContext, limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(Counting { count: self.count, limit })))
    }
}

struct Counting {
    count: u64,
    /// Which of the pipeline's `limit` steps it is.
    limit: usize,
}

impl Transform for Counting {
    fn apply(&self, item: &Item, _scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let goes_on = item.origin.count(self.limit) < self.count;
        Ok(if goes_on { Outputs::Same } else { Outputs::Filtered(Reason::Limit) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, open, show, test_item};
    use super::KIND;
    use crate::model::Value;

    #[test]
    fn the_first_items_of_an_origin_go_on() {
        let step = open(&KIND, "limit = 2").unwrap();
        for _ in 0..2 {
            let parent = test_item(Value::Null);
            let outcomes: Vec<_> =
                (0..4).map(|index| show(apply(&*step, &parent.child(index, Value::Bool(true))))).collect();
            assert_eq!(outcomes, ["one true", "one true", "filtered limit", "filtered limit"]);
        }
    }

    #[test]
    fn a_limit_of_nothing_is_a_mistake() {
        assert_eq!(
            open(&KIND, "limit = 0").err().as_deref(),
            Some("test.toml:1:9: `limit` lets nothing go on; write 1 or more, or leave the step out")
        );
    }
}
