//! Translates what jaq's parser makes of a filter into operations, as far as there are operations for it.
//!
//! The definitions of the library (`jaq_core`, `jaq_std`, `prelude.jq`) and those in the filter itself are written out
//! where they are called, so a word means the same as in jaq because it is the same text. What calls itself has no
//! end when it is written out, so it stays with jaq.

mod call;
mod scope;

use std::cell::Cell;

use jaq_core::ValT as _;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::{Opt, Part};

use self::scope::{Named, Place};
use super::answer::Answer;
use super::operation::{Construction, Entry, Index, Key, Node, Operation, Path, Reduce, Step, To};
use super::run::{Bindings, Here, Run};
use super::update::{Change, Update};
use super::{View, fuel};
use crate::expr::language::{self, Seen};
use crate::expr::metered::Metered;
use crate::expr::{FilterError, Fuel, Scope};
use crate::model::{Labels, Text, Value};

/// How many operations a filter may become, and how deep they may stand in each other: running them takes stack.
const OPERATIONS: usize = 4096;
const NESTING: usize = 64;

/// The largest constant that is computed beforehand, in bytes.
const CONSTANT_LIMIT: usize = 64 << 10;

pub(super) fn translate(term: &Term<&str>, vars: &[(Text, Value)]) -> Option<Node> {
    let names: Vec<String> = vars.iter().map(|(name, _)| format!("${name}")).collect();
    let translator = Translator { definitions: language::definitions(), left: Cell::new(OPERATIONS) };
    let mut place = Place::beginning(translator.definitions.len());
    for (name, (_, value)) in names.iter().zip(vars) {
        place = place.with(Named::Constant(name, Metered::input(value.clone())));
    }
    translator.term(term, &place)
}

struct Translator {
    definitions: &'static [Def<&'static str>],
    /// How many operations may still be made.
    left: Cell<usize>,
}

impl Translator {
    fn term<'t>(&self, term: &'t Term<&'t str>, place: &Place<'t>) -> Option<Node> {
        let place = &place.deeper(NESTING)?;
        let operation = match term {
            Term::Id => Operation::Input,
            Term::Num(digits) => return number(digits),
            Term::Str(format, parts) => return self.text(*format, parts, place),
            Term::Arr(None) => Operation::Collect(self.boxed(Operation::Empty)?),
            Term::Arr(Some(members)) => Operation::Collect(self.term(members, place)?.into()),
            Term::Obj(entries) => {
                let entries = entries.iter().map(|(key, value)| self.entry(key, value.as_ref(), place));
                Operation::Object(Construction::of(entries.collect::<Option<_>>()?).into())
            }
            Term::Neg(inner) => Operation::Negate(self.term(inner, place)?.into()),
            Term::BinOp(left, sign, right) => return self.binary(left, sign, right, place),
            Term::TryCatch(inner, catch) => {
                let catch = match catch {
                    Some(catch) => Some(Box::new(self.term(catch, place)?)),
                    None => None,
                };
                Operation::Try(self.term(inner, place)?.into(), catch)
            }
            Term::IfThenElse(branches, otherwise) => return self.branches(branches, otherwise.as_deref(), place),
            Term::Def(definitions, body) => {
                let mut place = place.clone();
                for definition in definitions {
                    place = place.with(Named::Definition(definition));
                }
                return self.term(body, &place);
            }
            Term::Fold("reduce", of, Pattern::Var(name), arguments) => {
                let [start, step] = &arguments[..] else { return None };
                let reduce = Reduce {
                    of: self.term(of, place)?,
                    start: self.term(start, place)?,
                    step: self.term(step, &place.binding(name))?,
                };
                if reduce.start.many || reduce.step.many {
                    return None;
                }
                Operation::Reduce(reduce.into())
            }
            Term::Call(name, arguments) => return self.call(name, arguments, place),
            Term::Var(name) => match place.variable(name)? {
                Ok(distance) => Operation::Variable(distance),
                Err(constant) => Operation::Constant(constant),
            },
            Term::Path(of, path) => {
                let of = self.term(of, place)?;
                return self.path(of, &path.0, place);
            }
            Term::Recurse | Term::Label(..) | Term::Break(_) | Term::Fold(..) => return None,
        };
        self.node(operation)
    }

    /// The operation as part of the tree, or the constant that it comes down to.
    fn node(&self, operation: Operation) -> Option<Node> {
        self.left.set(self.left.get().checked_sub(1)?);
        let node = Node::new(operation);
        let known = !node.many && !node.reads_input && !node.reads_scope;
        if known && !matches!(node.operation, Operation::Constant(_)) {
            return Some(constant(&node).map_or(node, |value| Node::new(Operation::Constant(value))));
        }
        Some(node)
    }

    fn boxed(&self, operation: Operation) -> Option<Box<Node>> {
        self.node(operation).map(Box::new)
    }

    fn binary<'t>(
        &self,
        left: &'t Term<&'t str>,
        sign: &'t BinaryOp<&'t str>,
        right: &'t Term<&'t str>,
        place: &Place<'t>,
    ) -> Option<Node> {
        let left = self.term(left, place)?;
        if let BinaryOp::Pipe(Some(pattern)) = sign {
            let Pattern::Var(name) = pattern else { return None };
            return self.bind(name, left, place, |place| self.term(right, place));
        }
        let sides = [left, self.term(right, place)?];
        self.node(match sign {
            BinaryOp::Pipe(_) => return self.pipe(sides),
            BinaryOp::Comma => Operation::Comma(sides.into()),
            BinaryOp::Alt => Operation::Alternative(sides.into()),
            BinaryOp::Or => Operation::Logic { decided_by: true, sides: sides.into() },
            BinaryOp::And => Operation::Logic { decided_by: false, sides: sides.into() },
            BinaryOp::Math(math) => Operation::Calculate(*math, sides.into()),
            BinaryOp::Cmp(sign) => Operation::Compare(*sign, sides.into()),
            BinaryOp::Assign => return self.update(sides, Change::Assign),
            BinaryOp::Update => return self.update(sides, Change::Apply),
            BinaryOp::UpdateMath(math) => return self.update(sides, Change::Calculate(*math)),
            BinaryOp::UpdateAlt => return self.update(sides, Change::Default),
        })
    }

    /// A change of what one path leads to, by something that has one output at most.
    fn update(&self, [left, with]: [Node; 2], change: Change) -> Option<Node> {
        match left.operation {
            Operation::Path(path) if path.starts_at_input() && !with.many => {
                self.node(Operation::Update(Update { path: *path, change, with }.into()))
            }
            _ => None,
        }
    }

    /// `value as $name | rest`
    fn bind<'t>(
        &self,
        name: &'t str,
        value: Node,
        place: &Place<'t>,
        rest: impl FnOnce(&Place<'t>) -> Option<Node>,
    ) -> Option<Node> {
        if let Operation::Constant(value) = value.operation {
            return rest(&place.with(Named::Constant(name, value)));
        }
        let rest = rest(&place.binding(name))?;
        self.node(Operation::Bind([value, rest].into()))
    }

    fn pipe(&self, [left, right]: [Node; 2]) -> Option<Node> {
        match (left.operation, right.operation) {
            (Operation::Input, operation) => Some(Node::new(operation)),
            (operation, Operation::Input) => Some(Node::new(operation)),
            (operation, Operation::Path(path)) if path.indices.is_empty() && path.starts_at_input() => {
                self.extended(Node::new(operation), path.steps)
            }
            (left, right) => self.node(Operation::Pipe([Node::new(left), Node::new(right)].into())),
        }
    }

    fn path<'t>(&self, of: Node, parts: &'t [(Part<Term<&'t str>>, Opt)], place: &Place<'t>) -> Option<Node> {
        let mut indices = Vec::new();
        let mut steps = Vec::new();
        for (part, opt) in parts {
            let mut index = |term: &'t Term<&'t str>| {
                let node = self.term(term, place)?;
                Some(match node {
                    Node { operation: Operation::Constant(value), .. } => Index::Known(value),
                    Node { many: true, .. } => return None,
                    node => {
                        indices.push(node);
                        Index::Computed(indices.len() - 1)
                    }
                })
            };
            let mut bound = |term: &'t Option<Term<&'t str>>| match term {
                None => Some(None),
                Some(term) => index(term).map(Some),
            };
            let to = match part {
                Part::Range(None, None) => To::Each,
                Part::Range(start, end) => To::Slice(bound(start)?, bound(end)?),
                Part::Index(term) => match index(term)? {
                    Index::Known(Metered { value: Value::Text(key), .. }) => To::Key(key),
                    index => To::Index(index),
                },
            };
            steps.push(Step { to, optional: matches!(opt, Opt::Optional) });
        }
        if indices.is_empty() {
            return self.extended(of, steps);
        }
        self.node(Operation::Path(Path { of, indices, steps }.into()))
    }

    /// A path that goes on from `of`, which may be a path itself.
    fn extended(&self, of: Node, steps: Vec<Step>) -> Option<Node> {
        let path = match of.operation {
            Operation::Path(mut path) => {
                path.steps.extend(steps);
                path
            }
            operation => Path { of: Node::new(operation), indices: Vec::new(), steps }.into(),
        };
        self.node(Operation::Path(path))
    }

    fn branches<'t>(
        &self,
        branches: &'t [(Term<&'t str>, Term<&'t str>)],
        otherwise: Option<&'t Term<&'t str>>,
        place: &Place<'t>,
    ) -> Option<Node> {
        let Some(((condition, then), rest)) = branches.split_first() else {
            return match otherwise {
                Some(otherwise) => self.term(otherwise, place),
                None => self.node(Operation::Input),
            };
        };
        let condition = self.term(condition, place)?;
        if let Operation::Constant(value) = &condition.operation {
            return match super::answer::is_true(&value.value) {
                true => self.term(then, place),
                false => self.branches(rest, otherwise, place),
            };
        }
        let then = self.term(then, place)?;
        let otherwise = self.branches(rest, otherwise, place)?;
        self.node(Operation::If([condition, then, otherwise].into()))
    }

    fn entry<'t>(&self, key: &'t Term<&'t str>, value: Option<&'t Term<&'t str>>, place: &Place<'t>) -> Option<Entry> {
        if let (Term::Var(name), None) = (key, value) {
            return Some(Entry { key: Key::Known(name[1..].into()), value: self.term(key, place)? });
        }
        let term = key;
        let key = self.term(term, place)?;
        Some(match (key, value) {
            (Node { operation: Operation::Constant(Metered { value: Value::Text(key), .. }), .. }, value) => {
                let value = match value {
                    Some(value) => self.term(value, place)?,
                    None => {
                        let step = Step { to: To::Key(key.clone()), optional: false };
                        self.extended(Node::new(Operation::Input), vec![step])?
                    }
                };
                Entry { key: Key::Known(key), value }
            }
            (key, Some(value)) => Entry { key: Key::Computed(key), value: self.term(value, place)? },
            (index, None) => {
                let steps = vec![Step { to: To::Index(Index::Computed(0)), optional: false }];
                let path = Path { of: Node::new(Operation::Input), indices: vec![index], steps };
                let index_is_one = !path.indices[0].many;
                let value = index_is_one.then(|| self.node(Operation::Path(path.into())))??;
                Entry { key: Key::Computed(self.term(term, place)?), value }
            }
        })
    }

    fn text<'t>(
        &self,
        format: Option<&'t str>,
        parts: &'t [StrPart<&'t str, Term<&'t str>>],
        place: &Place<'t>,
    ) -> Option<Node> {
        let mut pieces = Vec::new();
        let mut constant = String::new();
        for part in parts {
            let piece = match part {
                StrPart::Str(text) => {
                    constant.push_str(text);
                    continue;
                }
                StrPart::Char(character) => {
                    constant.push(*character);
                    continue;
                }
                StrPart::Term(term) => self.term(term, place)?,
            };
            if !constant.is_empty() {
                pieces.push(text_constant(&std::mem::take(&mut constant)));
            }
            pieces.push(match format {
                None => piece,
                Some(format) => {
                    let written = self.call(format, &[], place)?;
                    self.pipe([piece, written])?
                }
            });
        }
        if pieces.is_empty() {
            return Some(text_constant(&constant));
        }
        if !constant.is_empty() {
            pieces.push(text_constant(&constant));
        }
        match format {
            None => self.node(Operation::Text(pieces.into())),
            // What a format makes is not always text, so this is a sum as any other, the last part first.
            Some(_) => {
                let last = pieces.pop()?;
                let add = |sum: Node, piece: Node| {
                    self.node(Operation::Calculate(jaq_core::ops::Math::Add, [piece, sum].into()))
                };
                pieces.into_iter().rev().try_fold(last, add)
            }
        }
    }
}

fn text_constant(text: &str) -> Node {
    Node::new(Operation::Constant(Metered::scalar(Value::from(text))))
}

fn number(digits: &str) -> Option<Node> {
    let value = match digits.parse::<isize>() {
        Ok(int) => Metered::from(int),
        Err(_) => Metered::from_num(digits).ok()?,
    };
    // Numbers that JSON lacks must be seen to be made by the run.
    let finite = !matches!(&value.value, Value::Number(number) if !number.as_f64().is_finite());
    finite.then(|| Node::new(Operation::Constant(value)))
}

/// What a node answers whatever it runs on; nothing if that is no single, small value.
fn constant(node: &Node) -> Option<Metered> {
    let labels = Labels::default();
    let scope = Scope { labels: &labels, window: None, now: jiff::Timestamp::UNIX_EPOCH, fuel: Fuel::Inline };
    let seen = Seen::new(&scope);
    let known = fuel::metered(Fuel::Inline, || {
        let here = Here { input: View::null(), bindings: &Bindings { last: None } };
        let answer = Run { seen: &seen }.one(node, here).ok().flatten().map(Answer::into_metered);
        Ok::<_, FilterError>(answer.filter(|_| !fuel::was_not_finite_made()))
    });
    known.ok().flatten().filter(|value| value.value.size_in_memory() <= CONSTANT_LIMIT)
}
