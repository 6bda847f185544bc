//! The newest faults of an engine, for those who look at it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::model::{Fault, Text, secret};

/// How many are kept.
const KEPT: usize = 100;

/// What became of the item, or of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    Retried,
    Rejected,
    Stopped,
}

impl Consequence {
    pub fn name(self) -> &'static str {
        match self {
            Consequence::Retried => "retried",
            Consequence::Rejected => "rejected",
            Consequence::Stopped => "stopped",
        }
    }
}

/// Faults of one kind, at one component, with one consequence.
#[derive(Clone, Debug)]
pub struct RecentFault {
    /// Nothing for a sink that several pipelines may share.
    pub pipeline: Option<Text>,
    /// As dead letters call it.
    pub component: Text,
    pub kind: &'static str,
    pub consequence: Consequence,
    /// Of the newest of them.
    pub message: String,
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u64,
}

/// The newest faults, those that are like each other as one.
#[derive(Debug, Default)]
pub(super) struct RecentFaults(Mutex<VecDeque<RecentFault>>);

impl RecentFaults {
    pub(super) fn add(
        &self,
        pipeline: Option<&Text>,
        component: &str,
        consequence: Consequence,
        fault: &Fault,
        now: Timestamp,
    ) {
        let kind = fault.kind.name();
        let mut faults = self.faults();
        let alike = faults.iter().position(|other| {
            (other.kind, other.consequence) == (kind, consequence)
                && *other.component == *component
                && other.pipeline.as_ref() == pipeline
        });
        let known = alike.and_then(|place| faults.remove(place));
        let (first, count) = known.map_or((now, 1), |known| (known.first, known.count + 1));
        if faults.len() == KEPT {
            faults.pop_front();
        }
        faults.push_back(RecentFault {
            pipeline: pipeline.cloned(),
            component: component.into(),
            kind,
            consequence,
            message: secret::mask(&fault.message).into_owned(),
            first,
            last: now,
            count,
        });
    }

    /// The newest first.
    pub(super) fn list(&self) -> Vec<RecentFault> {
        self.faults().iter().rev().cloned().collect()
    }

    fn faults(&self) -> MutexGuard<'_, VecDeque<RecentFault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FaultKind;

    #[test]
    fn faults_that_are_alike_are_one_and_the_newest_come_first() {
        let recent = RecentFaults::default();
        let add = |component: &str, message: &str, second: i64| {
            let now = Timestamp::from_second(second).unwrap();
            recent.add(None, component, Consequence::Retried, &Fault::retry(FaultKind::Dns, message), now);
        };
        add("get", "first", 1);
        add("post", "other", 2);
        add("get", "second", 3);
        let [newest, other] = recent.list().try_into().unwrap();
        assert_eq!((&*newest.component, newest.count, newest.message.as_str()), ("get", 2, "second"));
        assert_eq!((newest.first.as_second(), newest.last.as_second()), (1, 3));
        assert_eq!((&*other.component, other.count), ("post", 1));
        (0..KEPT as i64).for_each(|number| add(&format!("step-{number}"), "more", 4));
        assert!(recent.list().len() == KEPT && recent.list().iter().all(|fault| fault.message == "more"));
    }
}
