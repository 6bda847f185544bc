//! Filters that jaq does not run: what is common in jq, translated into operations over our own values.
//!
//! It answers as jaq does, errors included, and takes a fraction of the time: parts of the item are looked at where
//! they lie, nothing is put on the heap for an output to come, constants are known beforehand.

mod answer;
mod construct;
mod foreign;
mod functions;
mod operation;
mod order;
mod path;
mod run;
mod translate;
mod update;

pub(super) use self::answer::Answer;
use self::answer::View;
use self::operation::{Node, Operation, Step, To};
use self::run::{Bindings, Here, Run};
pub(super) use self::run::{Flow, Halt};
use super::language::Seen;
use super::{FilterError, Vars, filter, fuel};
use crate::model::{Text, Value};

/// A filter as operations.
pub(super) struct Program {
    root: Node,
    /// Whether an output may be many times as large as what it was made from.
    multiplies: bool,
}

/// Up to how many copies of its input make no output too large.
const FEW: u64 = 64;

impl Program {
    /// Nothing if there is something in the filter that jaq must run.
    pub(super) fn translate(source: &str, vars: &Vars) -> Option<Self> {
        let term = jaq_core::load::parse(source, |parser| parser.term())?;
        let root = translate::translate(&term, vars)?;
        let multiplies = root.copies() > FEW;
        Some(Self { root, multiplies })
    }

    /// The key, if the filter is nothing but one, such as `.next`.
    pub(super) fn key(&self) -> Option<&Text> {
        let Operation::Path(path) = &self.root.operation else { return None };
        match &path.steps[..] {
            [Step { to: To::Key(key), .. }] if path.starts_at_input() => Some(key),
            _ => None,
        }
    }

    /// Whether it has one output at most.
    pub(super) fn is_single(&self) -> bool {
        !self.root.many
    }

    /// What is made of the output, if there is one. For those that have one at most, with the meter on.
    #[inline]
    pub(super) fn one<T>(
        &self,
        input: &Value,
        seen: &Seen<'_>,
        make: impl FnOnce(Answer<'_>) -> T,
    ) -> Result<Option<T>, FilterError> {
        let here = Here { input: View::input(input), bindings: &Bindings { last: None } };
        let answer = Run { seen }.one(&self.root, here).map_err(filter::failed)?;
        if !self.multiplies {
            fuel::forget_nested_made();
        }
        Ok(answer.map(make))
    }

    /// Hands every output to `out`. To be called with the meter on.
    pub(super) fn run(
        &self,
        input: &Value,
        seen: &Seen<'_>,
        out: &mut dyn FnMut(Answer<'_>) -> Flow,
    ) -> Result<(), FilterError> {
        let run = Run { seen };
        let here = Here { input: View::input(input), bindings: &Bindings { last: None } };
        match run.each(&self.root, here, out) {
            Err(Halt::Failed(failure)) => Err(filter::failed(failure)),
            Ok(()) | Err(Halt::Enough) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
