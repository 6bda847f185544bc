//! `changed`: lets an item go on when what matters of it is not what it was.

use std::sync::Arc;

use ring::digest::{Context, SHA256};

use crate::component::{
    FilterFault, Kind, Mark, MarkKind, Opened, Outputs, Step, StepContext, StepSettings, Transform, TransformScope,
};
use crate::expr::Filter;
use crate::model::{Item, Number, Text, Value, json};

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
        Ok(Outputs::Marked(item.clone(), Mark { pipeline, component, key, kind }))
    }
}

/// SHA-256 of the value as JSON with sorted keys, whole numbers without a fraction.
fn digest(value: &Value) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    update(&mut context, value);
    context.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

fn update(context: &mut Context, value: &Value) {
    match value {
        Value::Array(values) => {
            context.update(b"[");
            for (index, value) in values.iter().enumerate() {
                context.update(if index > 0 { b"," } else { b"" });
                update(context, value);
            }
            context.update(b"]");
        }
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            context.update(b"{");
            for (index, (key, value)) in entries.into_iter().enumerate() {
                context.update(if index > 0 { b"," } else { b"" });
                context.update(&json::to_vec(&Value::Text(key.clone())));
                context.update(b":");
                update(context, value);
            }
            context.update(b"}");
        }
        // Up to here a float tells every whole number from the next.
        Value::Number(Number::Float(float)) if float.fract() == 0.0 && float.abs() < 9e15 => {
            context.update((*float as i64).to_string().as_bytes());
        }
        scalar => context.update(&json::to_vec(scalar)),
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

    #[test]
    fn the_order_of_keys_makes_no_difference_and_all_else_does() {
        let of = |text: &str| digest(&json::parse(text.as_bytes()).expect("JSON"));
        assert_eq!(of(r#"{"a":1,"b":[2.0]}"#), of(r#"{"b":[2],"a":1.0}"#));
        let different =
            [r#"[1,2]"#, "[[1],2]", "[12]", r#"["1","2"]"#, r#"["1,\"2"]"#, "[]", "[null]", r#"{"a":[1,2]}"#];
        for (index, left) in different.iter().enumerate() {
            for right in &different[index + 1..] {
                assert_ne!(of(left), of(right), "{left} {right}");
            }
        }
    }
}
