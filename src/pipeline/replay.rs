//! Replays dead letters: takes up those that people ask for, and starts each where it was given up.
//!
//! A letter stays in the store while its item is on its way, and goes in the commit that settles the item. If the item
//! is given up again, its history goes on in one letter; if it is abandoned, the letter is taken up again at the next
//! start.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};

use super::ack::Ack;
use super::parcel::Parcel;
use super::produce::next_order;
use super::running::Running;
use super::walk::items_of;
use crate::component::Quiescence;
use crate::model::{Fault, Item, Labels, Origin, Outcome, Text, Value};
use crate::runtime;
use crate::store::{DeadLetter, Replay};

/// How many asks are read at a time.
const READ: usize = 256;

/// What `--from` calls the start of a pipeline.
const SOURCE: &str = "source";

/// The dead letters of one pipeline that this process has taken up.
pub(super) struct Replays {
    state: Mutex<State>,
    changed: Event,
}

struct State {
    /// By id: those on their way, and those that were abandoned.
    taken: HashSet<i64>,
    on_their_way: usize,
    /// Whether those that were asked for before the start have not all been started.
    is_behind: bool,
}

impl Default for Replays {
    fn default() -> Self {
        let state = State { taken: HashSet::new(), on_their_way: 0, is_behind: true };
        Self { state: Mutex::new(state), changed: Event::new() }
    }
}

impl Replays {
    /// Takes a letter up; false if that was done already.
    fn take(&self, letter: i64) -> bool {
        let mut state = self.state();
        let is_new = state.taken.insert(letter);
        state.on_their_way += usize::from(is_new);
        is_new
    }

    /// The letter's item has ended, and that is committed. One that was abandoned stays taken: it is the next start
    /// that tries it again.
    pub(super) fn ended(&self, letter: i64, outcome: Outcome) {
        let mut state = self.state();
        state.on_their_way -= 1;
        if outcome.is_settled() {
            state.taken.remove(&letter);
        }
        drop(state);
        self.changed.notify(usize::MAX);
    }

    fn caught_up(&self) {
        self.state().is_behind = false;
        self.changed.notify(usize::MAX);
    }

    /// Whether letters are on their way, or about to be.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        state.is_behind || state.on_their_way > 0
    }

    /// Wakes at the next change.
    pub(super) fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sources of an engine that are not at their end. As long as there are any, all pipelines stand ready for
/// replays.
#[derive(Default)]
pub(super) struct OpenSources {
    count: AtomicUsize,
    changed: Event,
}

/// One of them; it is at its end when this is dropped.
pub(super) struct OpenSource(Arc<OpenSources>);

impl OpenSources {
    pub(super) fn open(self: &Arc<Self>) -> OpenSource {
        self.count.fetch_add(1, Ordering::AcqRel);
        OpenSource(self.clone())
    }

    /// Whether only one is left: that of whoever asks.
    pub(super) fn is_last(&self) -> bool {
        self.count.load(Ordering::Acquire) == 1
    }

    /// Wakes when one has come to its end.
    pub(super) fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    fn is_none_left(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

impl Drop for OpenSource {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify(usize::MAX);
    }
}

/// Where a replayed item enters its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrance {
    /// The step of this number; behind the last one stand the sinks.
    Step(usize),
    /// The sink of this number alone.
    Sink(usize),
}

/// Starts what is asked for, until every source of the engine is at its end, or the pipeline stops. `quiescence` has
/// counted this task as busy.
pub(super) async fn replay(
    pipeline: &Running,
    sources: &OpenSources,
    limits: usize,
    mut quiescence: Option<Arc<Quiescence>>,
) {
    if !pipeline.takes_replays {
        pipeline.ledger.replays.caught_up();
        if let Some(quiescence) = quiescence {
            quiescence.end(1);
        }
        return;
    }
    let mut refused = HashSet::new();
    loop {
        let asked = pipeline.ledger.store.replay_asked();
        let source_ended = sources.changed.listen();
        if let Err(fault) = start_asked(pipeline, limits, &mut refused).await {
            pipeline.stop("replay", &fault);
        }
        pipeline.ledger.replays.caught_up();
        if let Some(quiescence) = quiescence.take() {
            quiescence.end(1);
        }
        if sources.is_none_left() || pipeline.life.is_stopping() {
            return;
        }
        runtime::race(runtime::race(asked, source_ended), pipeline.life.stopping()).await;
    }
}

/// Starts every letter that is asked for and can be started.
async fn start_asked(
    pipeline: &Running,
    limits: usize,
    refused: &mut HashSet<(i64, Option<Text>)>,
) -> Result<(), Fault> {
    let (store, replays) = (&pipeline.ledger.store, &pipeline.ledger.replays);
    let mut after = 0;
    loop {
        let asked = store.replays(&pipeline.name, after, READ)?;
        let Some(last) = asked.last() else { return Ok(()) };
        after = last.letter;
        for Replay { letter, from, interval } in asked {
            let room = async {
                pipeline.budget.room().await;
                true
            };
            let stopping = async {
                pipeline.life.stopping().await;
                false
            };
            if !runtime::race(stopping, room).await {
                return Ok(());
            }
            if !replays.take(letter) {
                continue;
            }
            // It may have ended between the look at what is asked and the taking.
            let found = if store.is_replay_asked(letter)? { store.dead_letter(letter)? } else { None };
            let Some(found) = found else {
                replays.ended(letter, Outcome::Filtered);
                continue;
            };
            match pipeline.entrance(&found.component, from.as_deref()) {
                Ok(entrance) => start(pipeline, found, entrance, limits).await,
                Err(why) => {
                    replays.ended(letter, Outcome::Filtered);
                    if refused.insert((letter, from)) {
                        log::warn!(pipeline = &*pipeline.name, component = &*found.component, letter; "a dead letter \
                            cannot be replayed, and stays: {why}");
                    }
                    continue;
                }
            }
            let next = pipeline.clock.instant() + interval;
            if !interval.is_zero() && !pipeline.life.sleep_until(&pipeline.clock, next).await {
                return Ok(());
            }
        }
    }
}

async fn start(pipeline: &Running, letter: DeadLetter, entrance: Entrance, limits: usize) {
    if let Some(quiescence) = &pipeline.ledger.quiescence {
        quiescence.begin(1);
    }
    let DeadLetter { id, item, value, labels, window, .. } = letter;
    let labels = match labels {
        Value::Object(labels) => Labels::from(labels),
        _ => Labels::default(),
    };
    let origin = Origin { replayed: Some(id), ..Origin::new(pipeline.name.clone(), window, limits) };
    let item = Item::new(Arc::new(origin), item, value, labels);
    log::debug!(trace:% = item.trace(), letter = id; "a dead letter is replayed");
    let charge = pipeline.budget.charge(next_order(), item.value.size_in_memory());
    let parcel = Parcel::new(item, Ack::replay(id, pipeline.settler.clone()), charge);
    match entrance {
        Entrance::Step(step) => pipeline.advance(parcel, step).await,
        Entrance::Sink(sink) => pipeline.hand_to_sink(parcel, &pipeline.sinks[sink]).await,
    }
}

impl Running {
    /// Whether a dead letter of this component could be replayed; the error says why not.
    pub(super) fn check_replay(&self, component: &str, from: Option<&str>) -> Result<(), String> {
        self.entrance(component, from).map(drop)
    }

    /// Where an item enters that `component` gave up, or the earlier step `from`. The error says why it cannot.
    fn entrance(&self, component: &str, from: Option<&str>) -> Result<Entrance, String> {
        let step = |id: &str| self.steps.iter().position(|step| *step.id == *id);
        let sink = |name: &str| self.sinks.iter().position(|sink| sink.component() == name);
        let set_aside_by = |queue: &str| {
            let stage =
                self.stages.iter().find(|stage| stage.aside.as_ref().is_some_and(|aside| *aside.plan.queue == *queue));
            stage.map(|stage| stage.step)
        };
        let found_by = self.steps.iter().position(|step| items_of(&step.id) == component);
        let gave_up = match step(component).or(found_by.map(|step| step + 1)).or_else(|| set_aside_by(component)) {
            Some(step) => Some(Entrance::Step(step)),
            None if self.sources.iter().any(|source| **source == *component) => Some(Entrance::Step(0)),
            None => {
                // What a queue gave up goes back into the queue.
                let in_queue = || sink(&format!("sink.{}", component.strip_prefix("queue.")?));
                sink(component).or_else(in_queue).map(Entrance::Sink)
            }
        };
        let Some(from) = from else {
            return gave_up.ok_or_else(|| {
                format!("pipeline `{}` has no `{component}` any more; name a step of it with `--from`", self.name)
            });
        };
        let earlier = match step(from) {
            Some(step) => step,
            None if from == SOURCE => 0,
            None => return Err(format!("pipeline `{}` has no step `{from}`", self.name)),
        };
        match gave_up {
            Some(Entrance::Step(step)) if earlier > step => {
                Err(format!("`{from}` comes after `{component}`, which gave the item up"))
            }
            _ => Ok(Entrance::Step(earlier)),
        }
    }
}
