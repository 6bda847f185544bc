//! `sort_by(f)` and its like.

use jaq_core::Error;
use std::cmp::Ordering;

use super::answer::{Answer, View};
use super::operation::{Arrange, Node};
use super::run::{Failure, Halt, Here, OneAnswer, Run};
use crate::expr::arithmetic::compare;
use crate::expr::fuel;
use crate::expr::metered::{Metered, NODE};
use crate::model::Value;

/// A member of an array and all that the key filter gives for it.
struct Keyed<'v> {
    keys: Vec<Metered>,
    member: View<'v>,
}

impl Run<'_> {
    pub(super) fn arrange<'v>(&self, arrange: Arrange, key: &'v Node, here: Here<'v>) -> OneAnswer<'v> {
        let Value::Array(values) = here.input.value else {
            return Err(Error::typ(here.input.to_metered(), "array"));
        };
        fuel::make(2 * NODE * values.len());
        if matches!(arrange, Arrange::Sort) && values.len() < 2 {
            // As jaq does, the key is not asked for.
            return Ok(Some(Answer::Part(here.input)));
        }
        let mut keyed = Vec::with_capacity(values.len());
        for value in values.iter() {
            let member = here.input.member(value);
            keyed.push(Keyed { keys: self.keys(key, here.on(member))?, member });
        }
        Ok(match arrange {
            Arrange::Sort => {
                keyed.sort_by(|left, right| compare_keys(&left.keys, &right.keys));
                Some(Answer::New(array(keyed.iter())))
            }
            Arrange::Group => {
                keyed.sort_by(|left, right| compare_keys(&left.keys, &right.keys));
                let groups = keyed.chunk_by(|left, right| compare_keys(&left.keys, &right.keys).is_eq());
                Some(Answer::New(groups.map(|group| array(group.iter())).collect()))
            }
            Arrange::Least => best(keyed, Ordering::is_lt),
            Arrange::Greatest => best(keyed, Ordering::is_ge),
        })
    }

    fn keys(&self, key: &Node, here: Here<'_>) -> Result<Vec<Metered>, Failure> {
        let mut keys = Vec::with_capacity(1);
        let flow = self.each(key, here, &mut |key| {
            keys.push(key.into_metered());
            Ok(())
        });
        match flow {
            Err(Halt::Failed(failure)) => Err(failure),
            _ => Ok(keys),
        }
    }
}

fn array<'k, 'v: 'k>(keyed: impl Iterator<Item = &'k Keyed<'v>>) -> Metered {
    keyed.map(|keyed| keyed.member.to_metered()).collect()
}

/// The member that none takes the place of: one takes it if its keys compare so to those of the best before it.
fn best(keyed: Vec<Keyed<'_>>, takes_over: fn(Ordering) -> bool) -> Option<Answer<'_>> {
    let takes_over = |next: &Keyed<'_>, best: &Keyed<'_>| takes_over(compare_keys(&next.keys, &best.keys));
    let better = keyed.into_iter().reduce(|best, next| if takes_over(&next, &best) { next } else { best });
    better.map(|best| Answer::Part(best.member))
}

fn compare_keys(left: &[Metered], right: &[Metered]) -> Ordering {
    let pairs = left.iter().zip(right).map(|(left, right)| compare(&left.value, &right.value));
    pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
}
