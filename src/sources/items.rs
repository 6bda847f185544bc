//! `items`: values that stand in the config itself.

use std::sync::Arc;

use async_trait::async_trait;

use crate::component::{Kind, Opened, Places, Position, Produced, Promise, Source, SourceContext, SourceSettings};
use crate::model::{Array, Fault, Item, ItemId, ItemIds, Labels, Value, json};
use crate::settings::Section;

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "items",
    summary: "Values written in the config, or a range of whole numbers. A list that was interrupted goes on where \
              it was at the next start; one that came to its end begins anew.",
    sample: r#"
[pipeline.squares]
from  = { items = { range = [1, 10] } }
steps = [{ map = "{number: ., square: (. * .)}" }]
"#,
    read: |section| Some(Box::new(Items::read(section)?)),
};

struct Items {
    list: List,
    repeat: bool,
}

#[derive(Clone)]
enum List {
    Values(Array),
    Range { first: i64, step: i64, count: u64 },
}

impl Items {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("values");
        let values: Option<Vec<Value>> = section.optional("values", "the items themselves");
        let range: Option<Vec<Value>> =
            section.optional("range", "the first and the last of the whole numbers that are the items");
        let step: u64 = section.or("step", 1, "how far one number of a range is from the next");
        let repeat = section.or("repeat", true, "a list that came to its end begins anew at the next start");
        let list = match (values, range) {
            (Some(values), None) => List::Values(values.into()),
            (None, Some(range)) => match List::range(&range, step) {
                Ok(list) => list,
                Err(reason) => {
                    section.mistake("range", reason, "write the first and the last number, such as `range = [1, 100]`");
                    return None;
                }
            },
            _ => {
                section.mistake(
                    "values",
                    "a list needs either `values` or a `range`",
                    "write `items = [\"a\", \"b\"]` or `items = { range = [1, 100] }`",
                );
                return None;
            }
        };
        Some(Self { list, repeat })
    }
}

impl List {
    fn range(bounds: &[Value], step: u64) -> Result<Self, String> {
        let &[Some(first), Some(last)] = bounds.iter().map(Value::as_i64).collect::<Vec<_>>().as_slice() else {
            return Err("a range is two whole numbers".to_owned());
        };
        if last < first {
            return Err(format!("the range ends at {last}, before it begins at {first}"));
        }
        let step = i64::try_from(step).ok().filter(|step| *step > 0).ok_or("the step of a range is at least 1")?;
        // The number of steps is at most the distance, which fits in 64 bits unsigned; only the whole range does not.
        let count = (last.abs_diff(first) / step.unsigned_abs()).checked_add(1).ok_or("the range is too long")?;
        Ok(List::Range { first, step, count })
    }

    fn get(&self, index: u64) -> Option<Value> {
        match self {
            List::Values(values) => values.get(usize::try_from(index).ok()?).cloned(),
            List::Range { first, step, count } => {
                let offset = i64::try_from(index).ok().filter(|_| index < *count)?.checked_mul(*step)?;
                Some(Value::from(first.checked_add(offset)?))
            }
        }
    }

    /// Tells this list from another that a position may belong to.
    fn fingerprint(&self) -> i64 {
        let text = match self {
            List::Values(values) => json::to_vec(&Value::Array(values.clone())),
            List::Range { first, step, count } => format!("{first} {step} {count}").into_bytes(),
        };
        ItemId::root(&[&text]).0.cast_signed()
    }
}

impl SourceSettings for Items {
    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        let fingerprint = self.list.fingerprint();
        let place = context.position.as_ref().and_then(Place::read);
        let mut place = match place {
            Some(place) if place.fingerprint == fingerprint => place,
            // The list was edited, so its places mean other items.
            Some(place) => Place { run: place.run.wrapping_add(1), next: 0, fingerprint },
            None => Place { run: 0, next: 0, fingerprint },
        };
        if self.repeat && place.next > 0 && self.list.get(place.next).is_none() {
            place = Place { run: place.run.wrapping_add(1), next: 0, fingerprint };
        }
        let run = Arc::new(Run { run: place.run, fingerprint });
        Ok(Box::new(Reading { list: self.list.clone(), run, next: place.next }))
    }
}

/// A place in the list, stored as `[run, next, fingerprint]`.
#[derive(Clone, Copy)]
struct Place {
    /// How many times the list began before, so that its items are not taken for those of an earlier run.
    run: i64,
    next: u64,
    fingerprint: i64,
}

impl Place {
    fn read(position: &Value) -> Option<Self> {
        let Value::Array(parts) = position else { return None };
        let &[run, next, fingerprint] = parts.iter().map(Value::as_i64).collect::<Option<Vec<_>>>()?.as_slice() else {
            return None;
        };
        Some(Self { run, next: u64::try_from(next).ok()?, fingerprint })
    }

    /// What tells the item here from all others of the list.
    fn bytes(run: i64, next: u64) -> [u8; 16] {
        (u128::from(run.cast_unsigned()) | u128::from(next) << 64).to_le_bytes()
    }
}

/// The places of one run of a list.
#[derive(Debug)]
struct Run {
    run: i64,
    fingerprint: i64,
}

impl Places for Run {
    fn position(&self, next: u64) -> Value {
        let next = i64::try_from(next).unwrap_or(i64::MAX);
        Value::array(vec![self.run.into(), next.into(), self.fingerprint.into()])
    }
}

struct Reading {
    list: List,
    run: Arc<Run>,
    /// Where the next item stands.
    next: u64,
}

impl Reading {
    /// The next item, and what tells it from others.
    fn step(&mut self) -> Option<(Value, [u8; 16])> {
        let value = self.list.get(self.next)?;
        let place = Place::bytes(self.run.run, self.next);
        self.next += 1;
        Some((value, place))
    }
}

#[async_trait]
impl Source for Reading {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        let Some((value, place)) = self.step() else { return Ok(None) };
        let position = Position::counted(self.run.clone(), self.next);
        Ok(Some(Produced { position: Some(position), ..Produced::new(value, place.to_vec()) }))
    }

    fn at_hand(&mut self, ids: ItemIds, item: &mut Item, position: &mut Option<Position>) -> bool {
        let Some((value, place)) = self.step() else { return false };
        (item.value, item.labels, item.id) = (value, Labels::default(), ids.at(&place));
        Position::count_on(position, &self.run, self.next);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract;
    use crate::runtime::{Clock, block_on};

    /// Opens the list at a position and takes at most `count` items; answers them and the position after.
    fn take(items: &Items, position: Option<Value>, count: usize) -> (Vec<Produced>, Option<Value>) {
        let context = contract::source_context("list", "items", Clock::system());
        let context = SourceContext { position: position.clone(), once: true, ..context };
        let mut source = items.open(context).unwrap();
        let mut made = Vec::new();
        while made.len() < count {
            let Some(item) = block_on(source.next()).unwrap() else { break };
            made.push(item);
        }
        let position = made.last().and_then(|item| item.position.clone()).map(Position::into_value).or(position);
        (made, position)
    }

    fn values(items: &[Produced]) -> String {
        Value::array(items.iter().map(|item| item.value.clone()).collect()).to_string()
    }

    fn range(bounds: &str, step: u64) -> Result<Items, String> {
        let Value::Array(bounds) = json::parse(bounds.as_bytes()).unwrap() else { unreachable!() };
        Ok(Items { list: List::range(&bounds, step)?, repeat: true })
    }

    #[test]
    fn a_range_has_both_its_ends() {
        for (bounds, step, expected) in [
            ("[1, 3]", 1, "[1,2,3]"),
            ("[-1, 9]", 5, "[-1,4,9]"),
            ("[0, 9]", 4, "[0,4,8]"),
            ("[9223372036854775806, 9223372036854775807]", 1, "[9223372036854775806,9223372036854775807]"),
        ] {
            assert_eq!(values(&take(&range(bounds, step).unwrap(), None, 10).0), expected);
        }
        for (bounds, step) in [("[3, 1]", 1), ("[1]", 1), ("[1, 2.5]", 1), ("[1, 2]", 0)] {
            assert!(range(bounds, step).is_err(), "{bounds} {step}");
        }
    }

    #[test]
    fn an_interrupted_list_goes_on_and_one_at_its_end_begins_anew() {
        let items = range("[1, 4]", 1).unwrap();
        let (first, position) = take(&items, None, 3);
        assert_eq!(values(&first), "[1,2,3]");
        let (rest, position) = take(&items, position, 9);
        assert_eq!(values(&rest), "[4]");
        let (again, _) = take(&items, position.clone(), 9);
        assert_eq!(values(&again), "[1,2,3,4]");
        assert_ne!(first[0].place, again[0].place, "items of another run are other items");
        let once = Items { repeat: false, ..items };
        assert_eq!(values(&take(&once, position, 9).0), "[]");
    }

    #[test]
    fn an_edited_list_begins_anew() {
        let list = |text: &str| {
            let Value::Array(values) = json::parse(text.as_bytes()).unwrap() else { unreachable!() };
            Items { list: List::Values(values), repeat: true }
        };
        let (_, position) = take(&list(r#"["a", "b", "c"]"#), None, 2);
        assert_eq!(values(&take(&list(r#"["a", "b", "c"]"#), position.clone(), 9).0), r#"["c"]"#);
        assert_eq!(values(&take(&list(r#"["a", "x", "c"]"#), position, 9).0), r#"["a","x","c"]"#);
    }
}
