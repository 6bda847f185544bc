//! Steps, one a file, and the table of them.

mod changed;
mod limit;
mod links;
mod map;
mod new;
mod parse;
mod request;
mod set;
mod r#where;

use crate::component::{Kind, StepSettings};

/// Every step, by the name of its component key.
pub const KINDS: &[Kind<dyn StepSettings>] = &[
    request::GET,
    request::POST,
    request::PUT,
    request::PATCH,
    request::DELETE,
    request::HEAD,
    request::REQUEST,
    map::EACH,
    map::MAP,
    r#where::KIND,
    new::KIND,
    changed::KIND,
    set::KIND,
    limit::KIND,
    parse::KIND,
    links::KIND,
];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::component::{
        FilterFault, MarkKind, Onward, Outputs, Reason, Step, StepContext, Transform, TransformScope,
    };
    use crate::expr::Fuel;
    use crate::http::{Allow, Clients};
    use crate::model::{Item, ItemId, Labels, Origin, Value, json};
    use crate::runtime::Clock;
    use crate::settings::read_text;
    use crate::store::Store;

    /// An item with the label `status`, whose origin counts for one `limit`.
    pub(super) fn test_item(value: Value) -> Item {
        let mut labels = Labels::default();
        labels.set("status".into(), Value::from(200));
        Item::new(Arc::new(Origin::new("test".into(), None, 1)), ItemId::root(&[b"0"]), value, labels)
    }

    /// Opens the step that `text` describes, such as `map = ".a"`. The error is the first mistake.
    pub(super) fn open(kind: &Kind<dyn StepSettings>, text: &str) -> Result<Arc<dyn Transform>, String> {
        let settings = read_text(text, kind.read)
            .map_err(|mistakes| mistakes[0].to_string().lines().next().unwrap_or_default().to_owned())?;
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let context = StepContext {
            pipeline: "test".into(),
            id: "step".into(),
            clients: Clients::open(HashMap::new(), Allow::default(), &clock).unwrap(),
            store: Store::open(folder.path()).unwrap(),
            onward: Onward::default(),
            clock,
        };
        match settings.open(&context, 0) {
            Ok(Step::Transform(transform)) => Ok(transform),
            Ok(Step::Fetch(_)) => Err("it goes to the network".to_owned()),
            Err(fault) => Err(fault.to_string()),
        }
    }

    pub(super) fn apply(step: &dyn Transform, item: &Item) -> Result<Outputs, FilterFault> {
        let scope = TransformScope { now: "2026-01-02T03:04:05Z".parse().unwrap(), fuel: Fuel::Inline };
        step.apply(item, &scope).map(|outputs| match outputs {
            Outputs::Same => Outputs::One(item.clone()),
            Outputs::Value(value) => Outputs::One(item.with_value(value)),
            Outputs::Marked(None, mark) => Outputs::Marked(Some(item.clone()), mark),
            other => other,
        })
    }

    /// What became of an item, on one line; labels only if the step changed them.
    pub(super) fn show(outputs: Result<Outputs, FilterFault>) -> String {
        match outputs {
            Ok(Outputs::Filtered(reason)) => format!("filtered {}", Reason::name(reason)),
            Ok(Outputs::One(item)) => {
                let Value::Object(labels) = item.labels.to_value() else { unreachable!("labels are an object") };
                let unchanged = labels.len() == 1 && labels.get("status") == Some(&Value::from(200));
                let labels = labels.iter().filter(|_| !unchanged).map(|(name, value)| format!(" {name}={value}"));
                format!("one {}{}", item.value, labels.collect::<String>())
            }
            Ok(Outputs::Marked(Some(item), mark)) => {
                let kind = match mark.kind {
                    MarkKind::Seen { until: None } => "for ever".to_owned(),
                    MarkKind::Seen { until: Some(until) } => format!("until {until}"),
                    MarkKind::Validator(_) => unreachable!("only requests leave one behind"),
                    MarkKind::Last { digest } => format!("as {}", data_encoding::HEXLOWER.encode(&digest[..4])),
                };
                format!("marked {} {}/{} {} {kind}", item.value, mark.pipeline, mark.component, mark.key)
            }
            Ok(Outputs::Same | Outputs::Value(_) | Outputs::Marked(None, _)) => {
                unreachable!("`apply` shows the item that these are about")
            }
            Ok(Outputs::Unchanged { .. }) => unreachable!("only requests answer this"),
            Ok(Outputs::Many(values)) => format!("many {}", Value::array(values)),
            Err(FilterFault::Fault(fault)) => format!("rejected {}: {fault}", fault.kind.name()),
            Err(FilterFault::OutOfFuel) => "out of fuel".to_owned(),
        }
    }

    /// Applies the step that `text` describes to a JSON value.
    #[track_caller]
    pub(super) fn check(kind: &Kind<dyn StepSettings>, text: &str, value: &str, expected: &str) {
        let step = open(kind, text).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
        let item = test_item(json::parse(value.as_bytes()).unwrap());
        assert_eq!(show(apply(&*step, &item)), expected, "{text} on {value}");
    }

    #[test]
    fn no_two_steps_have_the_same_name() {
        let names: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }
}
