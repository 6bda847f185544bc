//! A pipeline that runs: what its tasks share, and the three ways in which an item leaves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ack::Ack;
use super::budget::PipelineBudget;
use super::buffer::Room;
use super::compute::{compute, lets_in};
use super::counters::{ComponentCounters, Counters};
use super::deliver::SinkInput;
use super::ends::Settler;
use super::life::Life;
use super::parcel::Parcel;
use super::plan::DeadLimits;
use super::recent::{Consequence, RecentFaults};
use super::settle::Ledger;
use super::stage::Stage;
use super::status::Pause;
use super::switch::Switch;
use crate::component::{Reason, Transform, Trigger};
use crate::expr::Filter;
use crate::model::{Fault, FaultKind, ItemId, Outcome, Size, Text, Verdict, secret};
use crate::runtime::{self, Clock};
use crate::store::{Change, DeadLetter, DeadSize, FaultRecord, Push};

/// What the tasks of one pipeline share.
pub(super) struct Running {
    pub(super) name: Text,
    /// What brings items to the first step, as dead letters call it.
    pub(super) sources: Vec<Text>,
    pub(super) uses_window: bool,
    /// Whether dead letters of its name are its own: not those of a part of a pipeline.
    pub(super) takes_replays: bool,
    pub(super) dead_limits: DeadLimits,
    /// Whether it waits for its dead letters to become fewer.
    pub(super) is_paused: AtomicBool,
    /// Whether its source waits for items to end.
    pub(super) wants_room: AtomicBool,
    pub(super) switch: Switch,
    /// Asks its source for a tick; nothing if that is no schedule.
    pub(super) trigger: Option<Arc<Trigger>>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) steps: Vec<Arc<RunningStep>>,
    /// One for each network step, in order.
    pub(super) stages: Vec<Stage>,
    pub(super) sinks: Vec<SinkInput>,
    pub(super) budget: Arc<PipelineBudget>,
    pub(super) counters: Arc<Counters>,
    pub(super) recent: Arc<RecentFaults>,
    pub(super) settler: Settler,
    pub(super) clock: Clock,
    pub(super) life: Life,
}

pub(super) struct RunningStep {
    pub(super) id: Text,
    pub(super) when: Option<Filter>,
    pub(super) work: StepWork,
    pub(super) counters: Arc<ComponentCounters>,
}

pub(super) enum StepWork {
    Transform(Arc<dyn Transform>),
    /// The place of its stage in [`Running::stages`].
    Fetch(usize),
}

impl Running {
    /// The source has made `count` more items.
    pub(super) fn begin(&self, count: usize) {
        self.ledger.progress.produced(count);
        if let Some(quiescence) = &self.ledger.quiescence {
            quiescence.begin(count);
        }
    }

    /// No sink wants the item: it ends on purpose.
    fn let_go(&self, ack: Ack) {
        self.counters.unwanted(1);
        ack.settle(Outcome::Filtered);
    }

    /// `component` does not get on with the item, and the fault says what now: it becomes a dead letter, or the
    /// pipeline stops and the item is abandoned.
    pub(super) fn give_up(&self, parcel: Box<Parcel>, component: &str, fault: &Fault) {
        if fault.verdict == Verdict::Stop {
            self.stop(component, fault);
            return;
        }
        reject(parcel, component, fault, self.counters.of(component), &self.recent, &self.clock);
    }

    /// No item can pass until a person has acted.
    pub(super) fn stop(&self, component: &str, fault: &Fault) {
        if !self.life.is_stopping() {
            log::error!(pipeline = &*self.name, component = component, fault:% = fault; "pipeline stopped");
            self.recent.add(Some(&self.name), component, Consequence::Stopped, fault, self.clock.timestamp());
        }
        match fault.kind {
            // Nothing passes without the store; the next start recovers it.
            FaultKind::Store => self.life.fail_whole(fault),
            _ => self.life.fail(fault.clone()),
        }
    }

    pub(super) fn pause(&self) -> Option<Pause> {
        if !self.switch.is_on() {
            return Some(Pause::ByHand);
        }
        self.is_paused.load(Ordering::Relaxed).then_some(Pause::TooManyDeadLetters)
    }

    /// Waits until what was in flight at a crash has been worked on alone, or the pipeline stops.
    pub(super) async fn recovered(&self) {
        let stopped = async {
            self.life.stopping().await;
            Ok(())
        };
        if let Err(fault) = runtime::race(stopped, self.ledger.store.recovered()).await {
            self.stop(&self.ledger.source_id, &fault);
        }
    }

    /// How many items the source may make now: it must not run too far ahead, and whatever is in flight must find room
    /// among the dead letters. None if the pipeline waits for its dead letters to become fewer.
    pub(super) fn room_now(&self) -> Option<usize> {
        let DeadSize { items, bytes } = self.ledger.store.dead_size(&self.name);
        let room = self.dead_limits.items.saturating_sub(usize::try_from(items).unwrap_or(usize::MAX));
        (room > 0 && bytes < self.dead_limits.bytes.0).then(|| self.ledger.ends.room(room))
    }

    /// Waits until there is room for one more item of the source. A single run does not wait for a person to make room.
    pub(super) async fn room(&self, once: bool) -> Result<(), Fault> {
        let Ledger { ends, replays, store, .. } = &*self.ledger;
        if !self.is_paused.load(Ordering::Relaxed) && self.room_now().is_some_and(|room| room > 0) {
            self.wants_room.store(false, Ordering::Relaxed);
            return Ok(());
        }
        loop {
            let (moved, left, replayed) = (ends.moved(), store.dead_letters_left(), replays.changed());
            if let Some(room) = self.room_now() {
                if self.is_paused.swap(false, Ordering::Relaxed) {
                    log::info!(pipeline = &*self.name, dead_letters = store.dead_size(&self.name).items; "pipeline goes on");
                }
                self.wants_room.store(room == 0, Ordering::Relaxed);
                if room > 0 {
                    return Ok(());
                }
                self.stages.iter().for_each(|stage| stage.make_room(self));
                moved.await;
                continue;
            }
            let DeadSize { items, bytes } = store.dead_size(&self.name);
            if once && !replays.is_busy() {
                let message = format!(
                    "its dead letters have reached their limit: {items} items, {}; look at them with `gatherd dead list`, \
                     replay or drop some, or raise `dead_letters` in `[service]`",
                    Size(bytes)
                );
                return Err(Fault::stop(FaultKind::Wait, message));
            }
            if !self.is_paused.swap(true, Ordering::Relaxed) {
                log::warn!(pipeline = &*self.name, dead_letters = items, bytes; "pipeline pauses until some of its dead \
                    letters are replayed or dropped");
            }
            runtime::race(left, replayed).await;
        }
    }

    /// The item reaches every sink that wants it.
    pub(super) async fn hand_to_sinks(&self, mut parcel: Box<Parcel>) {
        if parcel.item.origin.replayed.is_none() {
            self.counters.look_at(&parcel.item.value);
            self.counters.came_through(1, self.clock.instant());
        }
        match self.sinks.as_slice() {
            [] => return self.let_go(parcel.ack),
            [sink] if sink.is_plain() => {
                sink.counters().entered(1);
                sink.counters().tap.pass(&parcel.item, &self.clock);
                return sink.put_in_channel(parcel).await;
            }
            _ => {}
        }
        let mut wanted = Vec::new();
        for sink in &self.sinks {
            match self.lets_in(sink, &parcel).await {
                Ok(true) => {
                    sink.counters().entered(1);
                    sink.counters().tap.pass(&parcel.item, &self.clock);
                    wanted.push(sink);
                }
                Ok(false) => {}
                Err(fault) => self.give_up(parcel.share(), sink.component(), &fault),
            }
        }
        let Some((last, others)) = wanted.split_last() else {
            self.let_go(parcel.ack);
            return;
        };
        let mut lagging = Vec::new();
        for sink in others {
            if !took(sink, &mut parcel).await {
                lagging.push(*sink);
            }
        }
        if lagging.is_empty() && last.buffer().is_none() {
            last.put(parcel).await;
            return;
        }
        if !took(last, &mut parcel).await {
            lagging.push(*last);
        }
        self.hand_to_buffers(parcel, &lagging).await;
    }

    /// The item reaches this sink alone, if the sink wants it. It waits for the sink's channel even where there is a
    /// buffer, so that what it is stays known.
    pub(super) async fn hand_to_sink(&self, parcel: Box<Parcel>, sink: &SinkInput) {
        match self.lets_in(sink, &parcel).await {
            Ok(true) => {
                sink.counters().entered(1);
                sink.counters().tap.pass(&parcel.item, &self.clock);
                sink.put_in_channel(parcel).await;
            }
            Ok(false) => self.let_go(parcel.ack),
            Err(fault) => self.give_up(parcel, sink.component(), &fault),
        }
    }

    async fn lets_in(&self, sink: &SinkInput, parcel: &Parcel) -> Result<bool, Fault> {
        let gate = sink.gate();
        compute(self.clock.timestamp(), gate, &parcel.item, |when, item, scope| lets_in(when.as_ref(), item, scope))
            .await
    }

    /// The item goes into the buffers of sinks that lag, in the commit that settles it here. It is written once.
    async fn hand_to_buffers(&self, mut parcel: Box<Parcel>, lagging: &[&SinkInput]) {
        let (mut changes, mut coming) = (Vec::new(), Vec::new());
        let mut queues = Vec::new();
        for sink in lagging {
            let Some(buffer) = sink.buffer() else { continue };
            match buffer.room(&self.life).await {
                Room::Free => {}
                Room::After(items) => {
                    sink.counters().filtered(Reason::Dropped, 1);
                    log::warn!(component = sink.component(); "buffer is full; its oldest item is dropped");
                    changes.push(Change::DropOldest { queue: buffer.plan.queue.clone(), items });
                }
                Room::Refused(fault) => {
                    self.give_up(parcel.share(), sink.component(), &fault);
                    continue;
                }
                Room::Never => return,
            }
            coming.push(buffer.put(parcel.size));
            queues.push(buffer.plan.queue.clone());
        }
        if queues.is_empty() {
            parcel.ack.settle(Outcome::Filtered);
            return;
        }
        if let Some(findings) = &parcel.item.origin.findings {
            findings.found_new();
        }
        changes.push(Change::Push(Push::of(queues, &parcel.item)));
        parcel.ack.branch_into_buffers(changes, coming).settle(Outcome::Delivered);
    }
}

/// Whether a sink took the item; if not, it has to go into the sink's buffer.
async fn took(sink: &SinkInput, parcel: &mut Parcel) -> bool {
    match sink.put(parcel.share()).await {
        None => true,
        Some(back) => {
            back.ack.settle(Outcome::Filtered);
            false
        }
    }
}

/// The item becomes a dead letter, as it entered the component that gives it up.
pub(super) fn reject(
    parcel: Box<Parcel>,
    component: &str,
    fault: &Fault,
    counters: &ComponentCounters,
    recent: &RecentFaults,
    clock: &Clock,
) {
    let item = &parcel.item;
    let now = clock.timestamp();
    recent.add(Some(&item.origin.pipeline), component, Consequence::Rejected, fault, now);
    // Ticks that are like each other are one dead letter.
    let is_tick = item.origin.tick == Some(item.id);
    let id = if is_tick { ItemId::root(&[item.origin.pipeline.as_bytes(), b"tick"]) } else { item.id };
    let (kind, message) = (fault.kind.name().to_owned(), secret::mask(&fault.message).into_owned());
    let record = FaultRecord { at: now, kind, message, attempts: parcel.tries.count.max(1) };
    let letter = DeadLetter {
        id: 0,
        pipeline: item.origin.pipeline.clone(),
        component: component.into(),
        item: id,
        trace: item.trace().to_string(),
        value: item.value.clone(),
        labels: secret::mask_in(item.labels.to_value()),
        window: item.origin.window,
        history: vec![record.clone()],
        fault: record,
        first: now,
        last: now,
        count: 1,
        is_replay_asked: false,
    };
    log::debug!(component = component, trace = &*letter.trace, fault:% = fault; "item became a dead letter");
    counters.rejected();
    let letter = Box::new(letter);
    let change = match item.origin.replayed {
        Some(replayed) => Change::DeadAgain { letter, replayed },
        None => Change::Dead(letter),
    };
    parcel.ack.branch(vec![change], None).settle(Outcome::Rejected);
}
