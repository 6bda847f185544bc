//! Pipelines run without consequences: their sinks only take items, and their state is gone afterwards.

mod stand_ins;
mod virtual_time;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use stand_ins::{GivenItems, Taking, Tap};
pub(super) use virtual_time::{Elapsed, run_through};

use crate::assemble::{Assembled, QUEUE};
use crate::model::{Item, Text, Value};
use crate::pipeline::StepPlan;

/// What sinks took and steps gave, by name.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<BTreeMap<String, Vec<Item>>>>);

impl Seen {
    fn add(&self, by: &str, items: &[Item]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(by.to_owned()).or_default().extend_from_slice(items);
    }

    pub(super) fn by(&self, name: &str) -> Vec<Item> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }
}

/// Leaves only this pipeline, and the sinks that it names.
pub(super) fn keep_only(assembled: &mut Assembled, pipeline: &str) {
    assembled.pipelines.retain(|plan| *plan.name == *pipeline);
    let named: Vec<Text> = assembled.pipelines.iter().flat_map(|plan| plan.sinks.clone()).collect();
    assembled.sinks.retain(|sink| named.contains(&sink.name));
}

/// Puts into each sink's place one that only takes items; those in `sending` do their work as well. Queues stay, since
/// they are in the state.
pub(super) fn stand_in_for_sinks(assembled: &mut Assembled, sending: &[String]) -> Seen {
    let seen = Seen::default();
    for sink in &mut assembled.sinks {
        let kind = assembled.description.sinks.iter().find(|described| *described.id == *sink.name);
        let is_queue = kind.is_some_and(|described| described.kind == QUEUE);
        let works = is_queue || sending.iter().any(|name| *name == *sink.name);
        let inner = works.then(|| sink.settings.clone());
        sink.settings = Arc::new(Taking { inner, batch: sink.batch, retry: sink.retry, seen: seen.clone() });
        // It never lags.
        sink.buffer = None;
    }
    seen
}

/// Puts these values into the place of the items that sources would make.
pub(super) fn stand_in_for_sources(assembled: &mut Assembled, values: &[Value]) {
    for plan in &mut assembled.pipelines {
        plan.source.settings = Arc::new(GivenItems::new(values));
        plan.source.durable = None;
    }
}

/// Looks at what each step of a pipeline hands on. The answer has the ids of its steps, by which [`Seen`] knows them.
pub(super) fn tap_steps(assembled: &mut Assembled, pipeline: &str) -> (Vec<Text>, Seen) {
    let seen = Seen::default();
    let mut ids = Vec::new();
    for plan in assembled.pipelines.iter_mut().filter(|plan| *plan.name == *pipeline) {
        for step in std::mem::take(&mut plan.steps) {
            let (id, retry) = (step.id.clone(), step.retry);
            plan.steps.push(step);
            let settings = Arc::new(Tap { id: id.clone(), seen: seen.clone() });
            let tap = StepPlan {
                aside: None,
                id: format!("{id}.tap").into(),
                settings,
                when: None,
                retry,
                workers: 1,
                onward: crate::component::Onward::default(),
            };
            plan.steps.push(tap);
            ids.push(id);
        }
    }
    (ids, seen)
}
