//! Runs operations.
//!
//! An operation that has at most one output simply returns it ([`Run::one`]). The others hand each output to a
//! closure ([`Run::each`]), which may say that it wants no more. As in jaq, a failure ends the run up to the nearest
//! `try`, and what a failure comes after has been put out by then.

use jaq_core::Error;
use jaq_core::ops::{Cmp, Math};

use super::answer::{Answer, View};
use super::functions::Function;
use super::operation::{Node, Operation, Reduce};
use crate::expr::arithmetic::{compare, numbers};
use crate::expr::fuel;
use crate::expr::language::Seen;
use crate::expr::metered::Metered;
use crate::model::Value;

pub(super) type Failure = Error<Metered>;

/// Why no more outputs come.
pub(in crate::expr) enum Halt {
    Failed(Failure),
    /// Who takes the outputs wants no more.
    Enough,
}

pub(in crate::expr) type Flow = Result<(), Halt>;

/// Takes outputs.
pub(super) type Out<'o> = dyn FnMut(Answer<'_>) -> Flow + 'o;

pub(super) type OneAnswer<'v> = Result<Option<Answer<'v>>, Failure>;

/// The values of variables, the one bound last first.
pub(super) struct Bindings<'b> {
    pub(super) last: Option<(&'b Metered, &'b Bindings<'b>)>,
}

/// Where an operation runs: its input, and what variables mean.
#[derive(Clone, Copy)]
pub(super) struct Here<'v> {
    pub(super) input: View<'v>,
    pub(super) bindings: &'v Bindings<'v>,
}

impl<'v> Here<'v> {
    pub(super) fn on<'w>(self, input: View<'w>) -> Here<'w>
    where
        'v: 'w,
    {
        Here { input, bindings: self.bindings }
    }
}

pub(super) struct Run<'r> {
    pub(super) seen: &'r Seen<'r>,
}

fn new<'v>(value: impl Into<Metered>) -> OneAnswer<'v> {
    Ok(Some(Answer::New(value.into())))
}

/// The output of an operation that lies somewhere already, so that nothing has to run.
#[inline(always)]
pub(super) fn at_hand<'v>(node: &'v Node, here: Here<'v>) -> Option<View<'v>> {
    match &node.operation {
        Operation::Input => Some(here.input),
        Operation::Constant(value) => Some(View::of(value)),
        Operation::Path(path) => path.at_hand(here.input),
        _ => None,
    }
}

/// The same with what a look at the input gives.
#[inline]
pub(super) fn ready<'v>(node: &'v Node, here: Here<'v>) -> Option<Answer<'v>> {
    match &node.operation {
        Operation::Call(Function::Look(look, _), _) => look(here.input.value).map(Answer::New),
        _ => at_hand(node, here).map(Answer::Part),
    }
}

impl Run<'_> {
    /// The output of an operation that has at most one.
    pub(super) fn one<'v>(&self, node: &'v Node, here: Here<'v>) -> OneAnswer<'v> {
        match &node.operation {
            Operation::Input => Ok(Some(Answer::Part(here.input))),
            Operation::Constant(value) => Ok(Some(Answer::Part(View::of(value)))),
            Operation::Path(path) => self.path(path, here),
            Operation::Variable(distance) => Ok(Some(Answer::Part(variable(here.bindings, *distance)))),
            Operation::Labels => new(Metered::input(self.seen.labels())),
            Operation::Label(name) => new(Metered::input(self.seen.label(name))),
            Operation::Window => new(Metered::input(self.seen.window())),
            Operation::Now => new(self.seen.now()),
            Operation::Pipe(sides) => match self.one(&sides[0], here)? {
                None => Ok(None),
                Some(Answer::Part(view)) => self.one(&sides[1], here.on(view)),
                Some(Answer::New(value)) => Ok(self.consume(&sides[1], value, here.bindings)?.map(Answer::New)),
            },
            Operation::Bind(sides) => {
                let Some(value) = self.one(&sides[0], here)? else { return Ok(None) };
                let value = value.into_metered();
                let bindings = Bindings { last: Some((&value, here.bindings)) };
                let answer = self.one(&sides[1], Here { input: here.input, bindings: &bindings })?;
                Ok(answer.map(Answer::detached))
            }
            Operation::Collect(members) => self.collect(members, here),
            Operation::Object(construction) => self.object(construction, here),
            Operation::Text(pieces) => self.text(pieces, here),
            Operation::Calculate(math, sides) => self.calculate(*math, sides, here),
            Operation::Compare(..) => Ok(self.truth(node, here)?.map(|truth| Answer::New(truth.into()))),
            Operation::Negate(inner) => match self.one(inner, here)? {
                None => Ok(None),
                Some(value) => Ok(Some(Answer::New((-value.into_metered())?))),
            },
            Operation::Logic { .. } => Ok(self.truth(node, here)?.map(|truth| Answer::New(truth.into()))),
            Operation::Alternative(sides) => match self.one(&sides[0], here)? {
                Some(left) if left.is_true() => Ok(Some(left)),
                _ => self.one(&sides[1], here),
            },
            Operation::If(parts) => match self.truth(&parts[0], here)? {
                None => Ok(None),
                Some(truth) => self.one(if truth { &parts[1] } else { &parts[2] }, here),
            },
            Operation::Try(inner, catch) => match (self.one(inner, here), catch) {
                (Ok(answer), _) => Ok(answer),
                (Err(_), None) => Ok(None),
                (Err(failure), Some(catch)) => {
                    let value = failure.into_val();
                    Ok(self.one(catch, here.on(View::of(&value)))?.map(Answer::detached))
                }
            },
            Operation::Empty => Ok(None),
            Operation::Fail => Err(Error::new(here.input.to_metered())),
            Operation::Not => new(!super::answer::is_true(here.input.value)),
            Operation::First(inner) => self.first(inner, here),
            Operation::Reduce(reduce) => self.reduce(reduce, here),
            Operation::By(arrange, key) => self.arrange(*arrange, key, here),
            Operation::Call(Function::Look(look, run), _) => match look(here.input.value) {
                Some(answer) => new(answer),
                None => Ok(Some(Answer::New(run(here.input.to_metered())?))),
            },
            Operation::Call(..) | Operation::Update(_) | Operation::Delete(_) => {
                Ok(self.consume(node, here.input.to_metered(), here.bindings)?.map(Answer::New))
            }
            Operation::Test(expression) => match here.input.value {
                Value::Text(text) => new(expression.is_in(text)),
                _ => Err(Error::typ(here.input.to_metered(), "string")),
            },
            Operation::Foreign(function, arguments) => self.foreign(function, arguments, here),
            // It has many outputs; those who want one alone take the first.
            Operation::Comma(_) => self.first(node, here),
        }
    }

    /// Whether the output of an operation that has at most one is neither `false` nor `null`.
    fn truth(&self, node: &Node, here: Here<'_>) -> Result<Option<bool>, Failure> {
        match &node.operation {
            Operation::Compare(sign, sides) => match (at_hand(&sides[0], here), at_hand(&sides[1], here)) {
                (Some(left), Some(right)) => Ok(Some(holds(*sign, left.value, right.value))),
                _ => {
                    let sides = self.both(sides, here)?;
                    Ok(sides.map(|(left, right)| holds(*sign, left.value(), right.value())))
                }
            },
            Operation::Logic { decided_by, sides } => match self.truth(&sides[0], here)? {
                Some(left) if left != *decided_by => self.truth(&sides[1], here),
                decided => Ok(decided),
            },
            _ => Ok(self.one(node, here)?.map(|answer| answer.is_true())),
        }
    }

    fn calculate<'v>(&self, math: Math, sides: &'v [Node; 2], here: Here<'v>) -> OneAnswer<'v> {
        let of_numbers = |left: &Value, right: &Value| match (left, right) {
            (Value::Number(left), Value::Number(right)) => numbers(math, left, right),
            _ => None,
        };
        if let (Some(left), Some(right)) = (at_hand(&sides[0], here), at_hand(&sides[1], here))
            && let Some(result) = of_numbers(left.value, right.value)
        {
            return Ok(Some(Answer::New(result)));
        }
        let Some((left, right)) = self.both(sides, here)? else { return Ok(None) };
        let result = match of_numbers(left.value(), right.value()) {
            Some(result) => result,
            None => math.run(left.into_metered(), right.into_metered())?,
        };
        Ok(Some(Answer::New(result)))
    }

    /// Hands the output of an operation that has at most one to `out`.
    #[inline]
    fn only(&self, node: &Node, here: Here<'_>, out: &mut Out<'_>) -> Flow {
        match self.one(node, here) {
            Ok(None) => Ok(()),
            Ok(Some(answer)) => out(answer),
            Err(failure) => Err(Halt::Failed(failure)),
        }
    }

    /// Hands every output to `out`.
    pub(super) fn each(&self, node: &Node, here: Here<'_>, out: &mut Out<'_>) -> Flow {
        fuel::spend(1);
        if !node.many {
            return self.only(node, here, out);
        }
        match &node.operation {
            Operation::Path(path) => self.paths(path, here, out),
            Operation::Pipe(sides) if !sides[1].many => self.each(&sides[0], here, &mut |input| {
                fuel::spend(1);
                self.only(&sides[1], here.on(input.view()), out)
            }),
            Operation::Pipe(sides) => {
                self.each(&sides[0], here, &mut |input| self.each(&sides[1], here.on(input.view()), out))
            }
            Operation::Bind(sides) => self.each(&sides[0], here, &mut |value| {
                let value = value.into_metered();
                let bindings = Bindings { last: Some((&value, here.bindings)) };
                self.each(&sides[1], Here { input: here.input, bindings: &bindings }, out)
            }),
            Operation::Comma(sides) => {
                self.each(&sides[0], here, out)?;
                self.each(&sides[1], here, out)
            }
            Operation::Object(construction) => self.objects(&construction.entries, here, out),
            Operation::Text(pieces) => self.texts(pieces, here, out),
            Operation::Calculate(math, sides) => self.product(&sides[..], here, &mut |values| match values {
                [left, right] => {
                    let result = math.run(left.clone(), right.clone()).map_err(Halt::Failed)?;
                    out(Answer::New(result))
                }
                _ => Ok(()),
            }),
            Operation::Compare(sign, sides) => self.product(&sides[..], here, &mut |values| match values {
                [left, right] => out(Answer::New(holds(*sign, &left.value, &right.value).into())),
                _ => Ok(()),
            }),
            Operation::Negate(inner) => {
                self.each(inner, here, &mut |value| out(Answer::New((-value.into_metered()).map_err(Halt::Failed)?)))
            }
            Operation::Logic { decided_by, sides } => self.each(&sides[0], here, &mut |left| {
                if left.is_true() == *decided_by {
                    return out(Answer::New((*decided_by).into()));
                }
                self.each(&sides[1], here, &mut |right| out(Answer::New(right.is_true().into())))
            }),
            Operation::Alternative(sides) => {
                let mut found = false;
                self.each(&sides[0], here, &mut |left| {
                    if !left.is_true() {
                        return Ok(());
                    }
                    found = true;
                    out(left)
                })?;
                if found { Ok(()) } else { self.each(&sides[1], here, out) }
            }
            Operation::If(parts) => self.each(&parts[0], here, &mut |condition| {
                self.each(if condition.is_true() { &parts[1] } else { &parts[2] }, here, out)
            }),
            Operation::Try(inner, catch) => match (self.guarded(inner, here, out), catch) {
                (Ok(flow), _) => flow,
                (Err(_), None) => Ok(()),
                (Err(failure), Some(catch)) => self.each(catch, here.on(View::of(&failure.into_val())), out),
            },
            Operation::Foreign(function, arguments) => self.each_foreign(function, arguments, here, out),
            // The others have one output at most.
            _ => self.only(node, here, out),
        }
    }

    /// Like [`Run::each`], but tells a failure of the operation (the outer error) from what `out` answered.
    pub(super) fn guarded(&self, node: &Node, here: Here<'_>, out: &mut Out<'_>) -> Result<Flow, Failure> {
        let mut taken = Ok(());
        let flow = self.each(node, here, &mut |answer| {
            taken = out(answer);
            if taken.is_ok() { Ok(()) } else { Err(Halt::Enough) }
        });
        match flow {
            Err(Halt::Failed(failure)) => Err(failure),
            _ => Ok(taken),
        }
    }

    fn first<'v>(&self, inner: &'v Node, here: Here<'v>) -> OneAnswer<'v> {
        if !inner.many {
            return self.one(inner, here);
        }
        let mut first = None;
        let flow = self.each(inner, here, &mut |answer| {
            first = Some(answer.detached());
            Err(Halt::Enough)
        });
        match flow {
            Err(Halt::Failed(failure)) => Err(failure),
            _ => Ok(first),
        }
    }

    /// With a step that has no output, the whole has none.
    fn reduce<'v>(&self, reduce: &'v Reduce, here: Here<'v>) -> OneAnswer<'v> {
        let Some(start) = self.one(&reduce.start, here)? else { return Ok(None) };
        let mut state = Some(start.into_metered());
        let flow = self.each(&reduce.of, here, &mut |value| {
            let value = value.into_metered();
            let bindings = Bindings { last: Some((&value, here.bindings)) };
            let Some(input) = state.take() else { return Err(Halt::Enough) };
            state = self.consume(&reduce.step, input, &bindings).map_err(Halt::Failed)?;
            if state.is_some() { Ok(()) } else { Err(Halt::Enough) }
        });
        match flow {
            Err(Halt::Failed(failure)) => Err(failure),
            _ => Ok(state.map(Answer::New)),
        }
    }
}

impl Run<'_> {
    /// The output of an operation that has at most one, on an input of its own: what nobody else holds is changed
    /// where it is.
    pub(super) fn consume(
        &self,
        node: &Node,
        input: Metered,
        bindings: &Bindings<'_>,
    ) -> Result<Option<Metered>, Failure> {
        let here = Here { input: View::of(&input), bindings };
        match &node.operation {
            Operation::Input => Ok(Some(input)),
            Operation::Pipe(sides) => match self.consume(&sides[0], input, bindings)? {
                None => Ok(None),
                Some(between) => self.consume(&sides[1], between, bindings),
            },
            Operation::Bind(sides) => {
                let Some(value) = self.one(&sides[0], here)? else { return Ok(None) };
                let value = value.into_metered();
                self.consume(&sides[1], input, &Bindings { last: Some((&value, bindings)) })
            }
            Operation::If(parts) => {
                let Some(truth) = self.truth(&parts[0], here)? else { return Ok(None) };
                self.consume(if truth { &parts[1] } else { &parts[2] }, input, bindings)
            }
            Operation::Calculate(math, sides) if matches!(sides[0].operation, Operation::Input) => {
                let Some(right) = self.one(&sides[1], here)? else { return Ok(None) };
                let right = right.into_metered();
                math.run(input, right).map(Some)
            }
            Operation::Update(update) => self.update(update, input, bindings),
            Operation::Delete(paths) => self.delete(paths, input, bindings).map(Some),
            Operation::Call(function, argument) => {
                let argument = match argument {
                    None => None,
                    Some(argument) => match self.one(argument, here)? {
                        None => return Ok(None),
                        Some(argument) => Some(argument.into_metered()),
                    },
                };
                function.run(input, argument).map(Some)
            }
            _ => Ok(self.one(node, here)?.map(Answer::into_metered)),
        }
    }
}

fn variable<'v>(bindings: &'v Bindings<'v>, distance: usize) -> View<'v> {
    let mut at = bindings;
    for _ in 0..distance {
        match at.last {
            Some((_, outer)) => at = outer,
            None => break,
        }
    }
    at.last.map_or(View::null(), |(value, _)| View::of(value))
}

fn holds(sign: Cmp, left: &Value, right: &Value) -> bool {
    let order = compare(left, right);
    match sign {
        Cmp::Lt => order.is_lt(),
        Cmp::Le => order.is_le(),
        Cmp::Gt => order.is_gt(),
        Cmp::Ge => order.is_ge(),
        Cmp::Eq => order.is_eq(),
        Cmp::Ne => order.is_ne(),
    }
}
