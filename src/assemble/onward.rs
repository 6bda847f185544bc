//! What stands behind each step of a pipeline.

use super::common::StepCommon;
use super::component::Component;
use super::fingerprints::Fingerprints;
use crate::component::{Onward, Repeats, StepSettings};
use crate::config::Pipeline;
use crate::settings::Node;

/// What a filter may look at beside an item's value that differs from one time to the next.
const FLEETING: [&str; 3] = ["now", "labels", "window"];

/// What stands behind step number `place` of a pipeline whose source's items recur or not: the step's own settings count too, since they decide what it hands on.
pub(super) fn onward(
    place: usize,
    recurs: bool,
    steps: &[Component<dyn StepSettings, StepCommon>],
    pipeline: &Pipeline,
    sinks: &[(&str, &Node)],
    fingerprints: &Fingerprints<'_>,
) -> Onward {
    let behind = steps.iter().zip(&pipeline.steps).skip(place + 1);
    // What passes the step by is not told from what it hands on.
    let passes_by = steps[place].common.when.is_some();
    Onward {
        digest: fingerprints.onward(pipeline, place, sinks).into_bytes(),
        repeats: if passes_by { Repeats::Unknown } else { repeats(behind) },
        recurs,
    }
}

/// What these steps do, taken together, with an item that comes again.
fn repeats<'s>(steps: impl Iterator<Item = (&'s Component<dyn StepSettings, StepCommon>, &'s Node)>) -> Repeats {
    let mut may_be_many = false;
    for (step, node) in steps {
        if FLEETING.iter().any(|word| node.mentions(word)) {
            return Repeats::Unknown;
        }
        let own = step.settings.as_ref().map_or(Repeats::Unknown, |settings| settings.repeats());
        match own {
            Repeats::Alike => {}
            Repeats::AlikeEach => may_be_many = true,
            Repeats::Unknown => return Repeats::Unknown,
            // What passes it by comes through each time.
            Repeats::End | Repeats::EndInARow if step.common.when.is_some() => {}
            Repeats::EndInARow if may_be_many => {}
            Repeats::End | Repeats::EndInARow => return own,
        }
    }
    Repeats::Unknown
}
