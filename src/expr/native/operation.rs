//! The tree that a filter is translated into.

use std::collections::HashSet;
use std::sync::Arc;

use jaq_core::ops::{Cmp, Math};

use super::foreign::Foreign;
use super::functions::Function;
use super::update::Update;
use crate::expr::metered::Metered;
use crate::expr::regular::Expression;
use crate::model::Text;
use crate::model::json::{Field, Selection};

/// An operation, with what is known of it before it runs.
pub(super) struct Node {
    pub(super) operation: Operation,
    /// Whether it may have more than one output. The others are run without a place to put outputs.
    pub(super) many: bool,
    /// Whether what it answers hangs on its input.
    pub(super) reads_input: bool,
    /// Whether what it answers hangs on variables, labels or the time.
    pub(super) reads_scope: bool,
}

/// What jq's words and signs come down to. Every operation takes an input (`.`) and has any number of outputs.
pub(super) enum Operation {
    /// `.`
    Input,
    Constant(Metered),
    /// `$x`: the value that was bound so many bindings ago, zero for the last one.
    Variable(usize),
    Labels,
    /// `labels.NAME`
    Label(Text),
    Window,
    Now,
    Path(Box<Path>),
    /// `f | g`
    Pipe(Box<[Node; 2]>),
    /// `f as $x | g`
    Bind(Box<[Node; 2]>),
    /// `f, g`
    Comma(Box<[Node; 2]>),
    /// `[f]`
    Collect(Box<Node>),
    /// `{(key): value, …}`
    Object(Box<Construction>),
    /// `"…\(f)…"`: each of these as text, one after the other.
    Text(Box<[Node]>),
    /// `f + g`
    Calculate(Math, Box<[Node; 2]>),
    /// `f < g`
    Compare(Cmp, Box<[Node; 2]>),
    /// `-f`
    Negate(Box<Node>),
    /// `f or g` (decided by a left side that is true), `f and g` (by one that is false).
    Logic {
        decided_by: bool,
        sides: Box<[Node; 2]>,
    },
    /// `f // g`
    Alternative(Box<[Node; 2]>),
    /// `if f then g else h end`
    If(Box<[Node; 3]>),
    /// `try f catch g`, `f?`
    Try(Box<Node>, Option<Box<Node>>),
    Empty,
    /// `error`: fails with its input.
    Fail,
    Not,
    /// `first(f)`
    First(Box<Node>),
    /// `reduce f as $x (start; step)`
    Reduce(Box<Reduce>),
    /// `sort_by(f)` and its like.
    By(Arrange, Box<Node>),
    Update(Box<Update>),
    /// `del(.a, .b)`: without what these paths, from the input on, lead to.
    Delete(Vec<Path>),
    /// A function of the input, and of an argument if it takes one.
    Call(Function, Option<Box<Node>>),
    /// `test("…")` with an expression that is known.
    Test(Arc<Expression>),
    /// A function that jaq's library has.
    Foreign(Box<Foreign>, Box<[Node]>),
}

/// A path such as `.a[0][]?`.
pub(super) struct Path {
    pub(super) of: Node,
    /// What stands in brackets and is not known; computed before the path is followed.
    pub(super) indices: Vec<Node>,
    pub(super) steps: Vec<Step>,
}

impl Path {
    pub(super) fn starts_at_input(&self) -> bool {
        matches!(self.of.operation, Operation::Input)
    }

    fn has_each(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.to, To::Each))
    }
}

pub(super) struct Step {
    pub(super) to: To,
    /// Followed by `?`: a value that has no such part is left out.
    pub(super) optional: bool,
}

pub(super) enum To {
    Key(Text),
    Index(Index),
    /// From and up to.
    Slice(Option<Index>, Option<Index>),
    /// `[]`
    Each,
}

pub(super) enum Index {
    Known(Metered),
    /// One of [`Path::indices`].
    Computed(usize),
}

/// An object that is to be made.
pub(super) struct Construction {
    pub(super) entries: Box<[Entry]>,
    /// Whether all keys are known, and no two are the same.
    pub(super) is_distinct: bool,
    /// How it is made of an input that is still text, if the entries are constants and parts of the input alone.
    pub(super) selection: Option<Selection>,
}

impl Construction {
    pub(super) fn of(entries: Box<[Entry]>) -> Self {
        let mut keys = HashSet::new();
        let is_distinct = entries.iter().all(|entry| matches!(&entry.key, Key::Known(key) if keys.insert(key)));
        let fields: Option<Vec<_>> = entries.iter().map(Entry::field).collect();
        let selection = fields.and_then(|fields| Selection::new(&fields));
        Self { entries, is_distinct, selection }
    }
}

impl Entry {
    /// Nothing if it is neither a constant nor a part of the input that keys lead to.
    fn field(&self) -> Option<(Text, Field)> {
        let Key::Known(name) = &self.key else { return None };
        let field = match &self.value.operation {
            Operation::Constant(constant) => Field::Constant(constant.value.clone()),
            Operation::Path(path) if path.starts_at_input() => {
                let key = |step: &Step| match &step.to {
                    To::Key(key) if !step.optional => Some(key.clone()),
                    _ => None,
                };
                Field::Part(path.steps.iter().map(key).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        Some((name.clone(), field))
    }
}

pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) value: Node,
}

pub(super) enum Key {
    Known(Text),
    Computed(Node),
}

pub(super) struct Reduce {
    pub(super) of: Node,
    pub(super) start: Node,
    pub(super) step: Node,
}

/// What is done with the members of an array by a key of each.
#[derive(Clone, Copy)]
pub(super) enum Arrange {
    Sort,
    Group,
    Least,
    Greatest,
}

impl Node {
    pub(super) fn new(operation: Operation) -> Self {
        let (mut many, mut reads_input, mut reads_scope) = (false, false, false);
        let mut children = Vec::new();
        operation.each_child(&mut |child| children.push((child.many, child.reads_input, child.reads_scope)));
        for (child_many, child_input, child_scope) in &children {
            many |= child_many;
            reads_input |= child_input;
            reads_scope |= child_scope;
        }
        match &operation {
            Operation::Input | Operation::Fail | Operation::Not | Operation::Test(_) => reads_input = true,
            Operation::Call(..) => reads_input = true,
            Operation::By(..) | Operation::Foreign(..) | Operation::Update(_) | Operation::Delete(_) => {
                (many, reads_input) = (false, true);
            }
            Operation::Variable(_) | Operation::Labels | Operation::Label(_) | Operation::Window | Operation::Now => {
                reads_scope = true;
            }
            // What the right side takes is what the left side gives.
            Operation::Pipe(sides) => reads_input = sides[0].reads_input,
            Operation::Path(path) => many |= path.has_each(),
            Operation::Comma(_) => many = true,
            Operation::Collect(_) | Operation::First(_) | Operation::Reduce(_) => many = false,
            _ => {}
        }
        if let Operation::Foreign(function, _) = &operation {
            many = function.many;
        }
        Self { operation, many, reads_input, reads_scope }
    }

    /// How often one output may hold the input, or another value that was there: a bound on how much larger than those
    /// it may be. Texts do not count, since their bytes are counted as they are made.
    pub(super) fn copies(&self) -> u64 {
        let sum = |nodes: &mut dyn Iterator<Item = &Self>| nodes.map(Self::copies).fold(0, u64::saturating_add);
        match &self.operation {
            Operation::Pipe(sides) | Operation::Bind(sides) => sides[0].copies().saturating_mul(sides[1].copies()),
            // Whatever a loop makes is looked at when it is there.
            Operation::Collect(members) if members.many => u64::MAX,
            Operation::Reduce(_) => u64::MAX,
            Operation::Object(made) => sum(&mut made.entries.iter().map(|entry| &entry.value)),
            Operation::Calculate(_, sides) => sum(&mut sides.iter()),
            Operation::Path(path) => path.of.copies(),
            Operation::Update(update) if update.path.has_each() => u64::MAX,
            Operation::Update(update) => update.with.copies().saturating_add(1),
            _ => {
                let mut most = 1;
                self.operation.each_child(&mut |child| most = most.max(child.copies()));
                most
            }
        }
    }
}

impl Operation {
    fn each_child<'n>(&'n self, visit: &mut dyn FnMut(&'n Node)) {
        match self {
            Self::Input
            | Self::Constant(_)
            | Self::Variable(_)
            | Self::Labels
            | Self::Label(_)
            | Self::Window
            | Self::Now
            | Self::Empty
            | Self::Fail
            | Self::Not
            | Self::Test(_) => {}
            Self::Path(path) => {
                visit(&path.of);
                path.indices.iter().for_each(visit);
            }
            Self::Pipe(sides)
            | Self::Bind(sides)
            | Self::Comma(sides)
            | Self::Calculate(_, sides)
            | Self::Compare(_, sides)
            | Self::Logic { sides, .. }
            | Self::Alternative(sides) => sides.iter().for_each(visit),
            Self::If(parts) => parts.iter().for_each(visit),
            Self::Collect(inner) | Self::Negate(inner) | Self::First(inner) | Self::By(_, inner) => visit(inner),
            Self::Object(made) => {
                for Entry { key, value } in &made.entries {
                    if let Key::Computed(key) = key {
                        visit(key);
                    }
                    visit(value);
                }
            }
            Self::Text(nodes) | Self::Foreign(_, nodes) => nodes.iter().for_each(visit),
            Self::Try(inner, catch) => {
                visit(inner);
                catch.iter().for_each(|catch| visit(catch));
            }
            Self::Reduce(reduce) => [&reduce.of, &reduce.start, &reduce.step].into_iter().for_each(visit),
            Self::Update(update) => {
                update.path.indices.iter().for_each(&mut *visit);
                visit(&update.with);
            }
            Self::Delete(paths) => paths.iter().flat_map(|path| &path.indices).for_each(visit),
            Self::Call(_, argument) => argument.iter().for_each(|argument| visit(argument)),
        }
    }
}
