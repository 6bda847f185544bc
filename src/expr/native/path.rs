//! Follows paths such as `.a[0][]?`.

use std::ops::Range;

use jaq_core::{Error, ValT};

use super::answer::{Answer, View};
use super::operation::{Index, Operation, Path, Step, To};
use super::run::{Failure, Flow, Halt, Here, OneAnswer, Out, Run};
use crate::expr::fuel;
use crate::expr::metered::{Metered, position};
use crate::model::Value;

impl Path {
    /// Where the path leads, if that takes nothing but keys from the input on.
    #[inline]
    pub(super) fn at_hand<'v>(&self, input: View<'v>) -> Option<View<'v>> {
        if !self.starts_at_input() {
            return None;
        }
        let (view, followed) = along_keys(input, &self.steps);
        (followed == self.steps.len()).then_some(view)
    }
}

impl Run<'_> {
    /// Where a path leads that has no `[]` in it.
    pub(super) fn path<'v>(&self, path: &'v Path, here: Here<'v>) -> OneAnswer<'v> {
        let (mut at, steps) = match path.of.operation {
            Operation::Input => {
                let (view, followed) = along_keys(here.input, &path.steps);
                (Answer::Part(view), &path.steps[followed..])
            }
            _ => match self.one(&path.of, here)? {
                Some(at) => (at, &path.steps[..]),
                None => return Ok(None),
            },
        };
        if steps.is_empty() {
            return Ok(Some(at));
        }
        let Some(indices) = self.indices(path, here)? else { return Ok(None) };
        for step in steps {
            let next = match at {
                Answer::Part(view) => step.from(view, &indices),
                Answer::New(value) => step.from(View::of(&value), &indices).map(Answer::detached),
            };
            at = match next {
                Ok(next) => next,
                Err(_) if step.optional => return Ok(None),
                Err(failure) => return Err(failure),
            };
        }
        Ok(Some(at))
    }

    /// Hands everything to `out` that a path leads to.
    pub(super) fn paths(&self, path: &Path, here: Here<'_>, out: &mut Out<'_>) -> Flow {
        let mut go_on = |start: Answer<'_>, steps: &[Step]| match self.indices(path, here) {
            Ok(Some(indices)) => follow(steps, start, &indices, out),
            Ok(None) => Ok(()),
            Err(failure) => Err(Halt::Failed(failure)),
        };
        match path.of.operation {
            Operation::Input => {
                let (view, followed) = along_keys(here.input, &path.steps);
                go_on(Answer::Part(view), &path.steps[followed..])
            }
            _ => self.each(&path.of, here, &mut |start| go_on(start, &path.steps)),
        }
    }

    /// What stands in a path's brackets. If one of them has no output, the path leads nowhere, whether or not another
    /// fails.
    pub(super) fn indices(&self, path: &Path, here: Here<'_>) -> Result<Option<Vec<Metered>>, Failure> {
        let mut indices = Vec::with_capacity(path.indices.len());
        let mut failed = None;
        for index in &path.indices {
            match self.one(index, here) {
                Ok(Some(index)) => indices.push(index.into_metered()),
                Ok(None) => return Ok(None),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(Some(indices)), Err)
    }
}

/// Where the keys lead that a path begins with, and how many steps that are: the common case, without any ado.
fn along_keys<'v>(from: View<'v>, steps: &[Step]) -> (View<'v>, usize) {
    let mut at = from;
    for (followed, step) in steps.iter().enumerate() {
        at = match (&step.to, at.value) {
            (To::Key(key), Value::Object(object)) => object.get(key).map_or(View::null(), |value| at.member(value)),
            (To::Key(_), Value::Null) => at,
            _ => return (at, followed),
        };
    }
    (at, steps.len())
}

fn follow(steps: &[Step], at: Answer<'_>, indices: &[Metered], out: &mut Out<'_>) -> Flow {
    let Some((step, rest)) = steps.split_first() else { return out(at) };
    if !matches!(step.to, To::Each) {
        return match step.from(at.view(), indices) {
            Ok(next) => follow(rest, next, indices, out),
            Err(_) if step.optional => Ok(()),
            Err(failure) => Err(Halt::Failed(failure)),
        };
    }
    let mut visit = |member| {
        fuel::spend(2);
        follow(rest, Answer::Part(at.view().member(member)), indices, out)
    };
    match at.value() {
        Value::Array(values) => values.iter().try_for_each(&mut visit),
        Value::Object(object) => object.values().try_for_each(&mut visit),
        _ if step.optional => Ok(()),
        _ => Err(Halt::Failed(Error::typ(at.view().to_metered(), "iterable (array or object)"))),
    }
}

impl Step {
    /// What this step leads to from a value; null where there is nothing.
    pub(super) fn from<'v>(&self, view: View<'v>, indices: &[Metered]) -> Result<Answer<'v>, Failure> {
        let index = match &self.to {
            To::Key(key) => {
                return match view.value {
                    Value::Object(object) => {
                        Ok(Answer::Part(object.get(key).map_or(View::null(), |value| view.member(value))))
                    }
                    Value::Null => Ok(Answer::Part(View::null())),
                    _ => Err(Error::index(view.to_metered(), Metered::scalar(Value::Text(key.clone())))),
                };
            }
            To::Index(index) => index.value(indices),
            To::Slice(start, end) => {
                let [start, end] = [start, end].map(|bound| bound.as_ref().map(|bound| bound.value(indices)));
                return slice(view, start..end);
            }
            // Has many outputs, which `follow` hands on.
            To::Each => return Ok(Answer::Part(view)),
        };
        match (view.value, &index.value) {
            (Value::Null, _) => Ok(Answer::Part(View::null())),
            (Value::Object(object), Value::Text(key)) => {
                Ok(Answer::Part(object.get(key).map_or(View::null(), |value| view.member(value))))
            }
            (Value::Array(values), Value::Number(number)) => {
                let found = position(number, values.len()).and_then(|at| values.get(at));
                Ok(Answer::Part(found.map_or(View::null(), |value| view.member(value))))
            }
            _ => Ok(view.to_metered().find(index)?.map_or(Answer::Part(View::null()), Answer::New)),
        }
    }
}

impl Index {
    pub(super) fn value<'i>(&'i self, indices: &'i [Metered]) -> &'i Metered {
        match self {
            Self::Known(value) => value,
            Self::Computed(place) => &indices[*place],
        }
    }
}

fn slice<'v>(view: View<'v>, range: Range<Option<&Metered>>) -> Result<Answer<'v>, Failure> {
    match view.value {
        Value::Null => Ok(Answer::Part(View::null())),
        _ => Ok(Answer::New(view.to_metered().range(range)?)),
    }
}
