//! Makes arrays, objects and text, and brings together what an operation takes two or more values for.
//!
//! Where parts have several outputs each, every combination is made, the first part turning slowest. As in jaq, a part
//! without output leaves nothing to make, even if a part before it has failed; else the first failure counts.

use std::cell::Cell;
use std::fmt::Write as _;

use super::answer::{Answer, View};
use super::operation::{Construction, Entry, Key, Node};
use super::run::{Failure, Flow, Halt, Here, OneAnswer, Out, Run, at_hand, ready};
use crate::expr::fuel;
use crate::expr::metered::{ENTRY, Metered, NODE};
use crate::model::json::Selected;
use crate::model::{Number, Object, Text, Value};

thread_local! {
    /// Where text is put together.
    static TEXT: Cell<String> = const { Cell::new(String::new()) };
}

/// How much room for text a thread keeps.
const KEPT: usize = 64 << 10;

impl Run<'_> {
    /// Both operands of an operation.
    pub(super) fn both<'v>(
        &self,
        [left, right]: &'v [Node; 2],
        here: Here<'v>,
    ) -> Result<Option<(Answer<'v>, Answer<'v>)>, Failure> {
        let left = match ready(left, here) {
            Some(left) => Ok(Some(left)),
            None => self.one(left, here),
        };
        match left {
            Ok(None) => Ok(None),
            Ok(Some(left)) => match ready(right, here) {
                Some(right) => Ok(Some((left, right))),
                None => Ok(self.one(right, here)?.map(|right| (left, right))),
            },
            Err(failure) => match self.one(right, here) {
                Ok(None) => Ok(None),
                _ => Err(failure),
            },
        }
    }

    pub(super) fn collect<'v>(&self, members: &'v Node, here: Here<'v>) -> OneAnswer<'v> {
        let mut inside = 0;
        let mut values = Vec::new();
        let flow = self.each(members, here, &mut |member| {
            fuel::make(NODE);
            let member = member.into_metered();
            inside = inside.max(member.depth_bound());
            values.push(member.value);
            Ok(())
        });
        match flow {
            Err(Halt::Failed(failure)) => Err(failure),
            _ => Ok(Some(Answer::New(Metered::container(Value::array(values), inside)))),
        }
    }

    pub(super) fn object<'v>(&self, construction: &'v Construction, here: Here<'v>) -> OneAnswer<'v> {
        let Construction { entries, is_distinct, selection } = construction;
        fuel::make(ENTRY * entries.len());
        if let (Some(selection), Value::Object(input)) = (selection, here.input.value)
            && let Some(Selected { object, is_nested }) = input.select(selection)
        {
            let inside = if is_nested { here.input.depth_bound_inside() } else { 0 };
            return Ok(Some(Answer::New(Metered::container(Value::object(object), inside))));
        }
        let (mut inside, mut made, mut stopped) = (0, 0, None);
        let members = entries.iter().map_while(|entry| {
            made += 1;
            match self.entry(entry, here) {
                Ok(Some((key, value))) => {
                    inside = inside.max(value.view().depth_bound());
                    Some((key, value.into_metered().value))
                }
                other => {
                    stopped = Some(other.err());
                    None
                }
            }
        });
        let object = match is_distinct {
            true => Object::of_distinct(entries.len(), members),
            false => Object::of_up_to(entries.len(), members),
        };
        match stopped {
            None => Ok(Some(Answer::New(Metered::container(Value::object(object), inside)))),
            Some(None) => Ok(None),
            Some(Some(failure)) => {
                let mut others = entries[made..].iter().map(|entry| self.entry(entry, here));
                if others.any(|other| matches!(other, Ok(None))) { Ok(None) } else { Err(failure) }
            }
        }
    }

    fn entry<'v>(&self, entry: &'v Entry, here: Here<'v>) -> Result<Option<(Text, Answer<'v>)>, Failure> {
        match &entry.key {
            Key::Known(key) if let Some(value) = at_hand(&entry.value, here) => {
                Ok(Some((key.clone(), Answer::Part(value))))
            }
            Key::Known(key) => Ok(self.one(&entry.value, here)?.map(|value| (key.clone(), value))),
            Key::Computed(key) => match (self.one(key, here), &entry.value) {
                (Ok(None), _) => Ok(None),
                (Ok(Some(key)), value) => match self.one(value, here)? {
                    None => Ok(None),
                    Some(value) => Ok(Some((key.into_metered().key()?, value))),
                },
                (Err(failure), value) => match self.one(value, here) {
                    Ok(None) => Ok(None),
                    _ => Err(failure),
                },
            },
        }
    }

    /// Every combination of what the keys and values of an object give.
    pub(super) fn objects(&self, entries: &[Entry], here: Here<'_>, out: &mut Out<'_>) -> Flow {
        let pairs = |index: usize, take: &mut dyn FnMut((Text, Metered)) -> Flow| match &entries[index] {
            Entry { key: Key::Known(key), value } => {
                self.each(value, here, &mut |value| take((key.clone(), value.into_metered())))
            }
            Entry { key: Key::Computed(key), value } => self.product(&[key, value], here, &mut |pair| match pair {
                [key, value] => take((key.clone().key().map_err(Halt::Failed)?, value.clone())),
                _ => Ok(()),
            }),
        };
        combine(entries.len(), &pairs, &mut Vec::new(), &mut |members| {
            fuel::make(ENTRY * members.len());
            let inside = members.iter().map(|(_, value)| value.depth_bound()).max().unwrap_or(0);
            let object: Object = members.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect();
            out(Answer::New(Metered::container(Value::object(object), inside)))
        })
    }

    pub(super) fn text<'v>(&self, pieces: &'v [Node], here: Here<'v>) -> OneAnswer<'v> {
        let mut text = TEXT.take();
        text.clear();
        let mut failed = None;
        for piece in pieces {
            if let Some(piece) = at_hand(piece, here) {
                push_text(piece, &mut text);
                continue;
            }
            match self.one(piece, here) {
                Ok(Some(piece)) => push_text(piece.view(), &mut text),
                Ok(None) => return Ok(None),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        let answer = failed.map_or_else(|| Ok(Some(Answer::New(Metered::text(&*text)))), Err);
        if text.capacity() <= KEPT {
            TEXT.set(text);
        }
        answer
    }

    /// Every combination of what the pieces of a text give.
    pub(super) fn texts(&self, pieces: &[Node], here: Here<'_>, out: &mut Out<'_>) -> Flow {
        self.product(pieces, here, &mut |values| {
            let mut text = String::new();
            values.iter().for_each(|value| push_text(View::of(value), &mut text));
            out(Answer::New(Metered::text(text)))
        })
    }

    /// Every combination of the outputs of `nodes`.
    pub(super) fn product<N: AsNode>(
        &self,
        nodes: &[N],
        here: Here<'_>,
        out: &mut dyn FnMut(&[Metered]) -> Flow,
    ) -> Flow {
        let outputs = |index: usize, take: &mut dyn FnMut(Metered) -> Flow| {
            self.each(nodes[index].as_node(), here, &mut |output| take(output.into_metered()))
        };
        combine(nodes.len(), &outputs, &mut Vec::new(), out)
    }
}

pub(super) trait AsNode {
    fn as_node(&self) -> &Node;
}

impl AsNode for Node {
    fn as_node(&self) -> &Node {
        self
    }
}

impl AsNode for &Node {
    fn as_node(&self) -> &Node {
        self
    }
}

/// Adds a value as interpolation writes it.
fn push_text(value: View<'_>, text: &mut String) {
    match value.value {
        Value::Text(piece) => text.push_str(piece),
        Value::Bytes(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
        Value::Null => text.push_str("null"),
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(Number::Literal(digits)) => text.push_str(digits),
        Value::Number(Number::Int(int)) => {
            let _ = write!(text, "{int}");
        }
        _ => text.push_str(&value.to_metered().json()),
    }
}

/// Hands the outputs of a part to a closure.
type Outputs<'o, T> = dyn Fn(usize, &mut dyn FnMut(T) -> Flow) -> Flow + 'o;

/// Calls `out` with one output of each of the `count` parts, in every combination.
fn combine<T>(count: usize, outputs: &Outputs<'_, T>, chosen: &mut Vec<T>, out: &mut dyn FnMut(&[T]) -> Flow) -> Flow {
    let index = chosen.len();
    if index == count {
        return out(chosen);
    }
    let mut taken = Ok(());
    let flow = outputs(index, &mut |output| {
        chosen.push(output);
        taken = combine(count, outputs, chosen, out);
        chosen.pop();
        if taken.is_ok() { Ok(()) } else { Err(Halt::Enough) }
    });
    match flow {
        Err(Halt::Failed(failure)) if taken.is_ok() => {
            // The failure shows only if the other parts have something to combine it with.
            chosen.clear();
            let rest = |rest: usize, take: &mut dyn FnMut(T) -> Flow| outputs(index + 1 + rest, take);
            match combine(count - index - 1, &rest, chosen, &mut |_| Err(Halt::Enough)) {
                Ok(()) => Ok(()),
                Err(_) => Err(Halt::Failed(failure)),
            }
        }
        _ => taken,
    }
}
