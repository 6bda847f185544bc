//! Changes what paths lead to: `.a = 1`, `.a |= f`, `.a += 1`, `.a //= 1`, `del(.a)`.

use jaq_core::ops::Math;
use jaq_core::path::Opt;
use jaq_core::{Error, Exn, ValT, ValX};

use super::answer::View;
use super::operation::{Node, Path, Step, To};
use super::run::{Bindings, Failure, Here, Run};
use crate::expr::metered::{Metered, NODE};
use crate::expr::{builtins, fuel};
use crate::model::Value;

pub(super) struct Update {
    /// From the input on, and with at least one step.
    pub(super) path: Path,
    pub(super) change: Change,
    pub(super) with: Node,
}

#[derive(Clone, Copy)]
pub(super) enum Change {
    /// `=`
    Assign,
    /// `|=`
    Apply,
    /// `+=` and its like
    Calculate(Math),
    /// `//=`
    Default,
}

/// What becomes of what a path leads to; nothing if it is taken out.
type Changed<'c> = dyn Fn(Metered) -> Result<Option<Metered>, Failure> + 'c;

impl Run<'_> {
    pub(super) fn update(
        &self,
        update: &Update,
        input: Metered,
        bindings: &Bindings<'_>,
    ) -> Result<Option<Metered>, Failure> {
        let here = Here { input: View::of(&input), bindings };
        let Update { path, change, with } = update;
        let operand = match change {
            Change::Apply => None,
            _ => match self.one(with, here)? {
                Some(operand) => Some(operand.into_metered()),
                None => return Ok(None),
            },
        };
        let Some(indices) = self.indices(path, here)? else { return Ok(Some(input)) };
        let changed = |old: Metered| match (change, &operand) {
            (Change::Assign, Some(new)) => Ok(Some(new.clone())),
            (Change::Calculate(math), Some(right)) => math.run(old, right.clone()).map(Some),
            (Change::Default, Some(new)) if !old.as_bool() => Ok(Some(new.clone())),
            (Change::Default, Some(_)) => Ok(Some(old)),
            (_, _) => self.consume(with, old, bindings),
        };
        rewrite(&path.steps, &indices, input, &changed).map(Some)
    }

    pub(super) fn delete(&self, paths: &[Path], input: Metered, bindings: &Bindings<'_>) -> Result<Metered, Failure> {
        let here = Here { input: View::of(&input), bindings };
        let mut found = Vec::new();
        for path in paths {
            if let Some(indices) = self.indices(path, here)? {
                list(&path.steps, &indices, here.input, &mut Vec::new(), &mut found)?;
            }
        }
        builtins::delete_paths(input, Metered::input(Value::array(found)))
    }
}

fn rewrite(steps: &[Step], indices: &[Metered], value: Metered, changed: &Changed<'_>) -> Result<Metered, Failure> {
    let Some((step, rest)) = steps.split_first() else { return Ok(value) };
    let inner = |member: Metered| -> std::option::IntoIter<ValX<'static, Metered>> {
        let member = match rest {
            [] => changed(member).transpose(),
            rest => Some(rewrite(rest, indices, member, changed)),
        };
        member.map(|member| member.map_err(Exn::from)).into_iter()
    };
    let opt = if step.optional { Opt::Optional } else { Opt::Essential };
    let rewritten = match &step.to {
        To::Key(key) => value.map_index(&Metered::scalar(Value::Text(key.clone())), opt, inner),
        To::Index(index) => value.map_index(index.value(indices), opt, inner),
        To::Slice(start, end) => {
            let [start, end] = [start, end].map(|bound| bound.as_ref().map(|bound| bound.value(indices)));
            value.map_range(start..end, opt, inner)
        }
        To::Each => value.map_values(opt, inner),
    };
    rewritten.map_err(|failure| failure.get_err().unwrap_or_else(|_| Error::str("break")))
}

/// Lists every path that the steps lead along from `at`, each as an array that begins with `before`.
fn list(
    steps: &[Step],
    indices: &[Metered],
    at: View<'_>,
    before: &mut Vec<Value>,
    found: &mut Vec<Value>,
) -> Result<(), Failure> {
    let Some((step, rest)) = steps.split_first() else {
        fuel::make(NODE * (1 + before.len()));
        found.push(Value::array(before.clone()));
        return Ok(());
    };
    let mut go_on = |part: Value, to: View<'_>| {
        before.push(part);
        list(rest, indices, to, before, found)?;
        before.pop();
        Ok(())
    };
    let part = match &step.to {
        To::Key(key) => Value::Text(key.clone()),
        To::Index(index) => index.value(indices).value.clone(),
        To::Slice(start, end) => {
            let [start, end] = [start, end].map(|bound| bound.as_ref().map(|bound| bound.value(indices).clone()));
            Metered::from(start..end).value
        }
        To::Each => {
            return match at.value {
                Value::Array(values) => {
                    let mut members = values.iter().enumerate();
                    members.try_for_each(|(index, value)| go_on(Value::from(index as i64), at.member(value)))
                }
                Value::Object(object) => {
                    let mut members = object.entries();
                    members.try_for_each(|(key, value)| go_on(Value::Text(key), at.member(value)))
                }
                _ if step.optional => Ok(()),
                _ => Err(Error::typ(at.to_metered(), "iterable (array or object)")),
            };
        }
    };
    match step.from(at, indices) {
        Ok(next) => go_on(part, next.view()),
        Err(_) if step.optional => Ok(()),
        Err(failure) => Err(failure),
    }
}
