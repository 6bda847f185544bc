//! A pipeline that runs: what its tasks share, and the three ways in which an item leaves it.

use std::sync::Arc;

use async_channel::Sender;

use super::ack::{Ack, Ended};
use super::budget::PipelineBudget;
use super::buffer::Room;
use super::compute::{compute, lets_in};
use super::counters::Counters;
use super::deliver::SinkInput;
use super::life::Life;
use super::parcel::Parcel;
use super::settle::Ledger;
use super::stage::Stage;
use crate::component::{Reason, Transform};
use crate::expr::Filter;
use crate::model::{Fault, Outcome, Text, Verdict};
use crate::runtime::Clock;
use crate::store::{Change, DeadLetter, FaultRecord, Push};

/// What the tasks of one pipeline share.
pub(super) struct Running {
    pub(super) name: Text,
    pub(super) ledger: Arc<Ledger>,
    pub(super) steps: Vec<Arc<RunningStep>>,
    /// One for each network step, in order.
    pub(super) stages: Vec<Stage>,
    pub(super) sinks: Vec<SinkInput>,
    pub(super) budget: Arc<PipelineBudget>,
    pub(super) counters: Arc<Counters>,
    pub(super) settler: Sender<Ended>,
    pub(super) clock: Clock,
    pub(super) life: Life,
}

pub(super) struct RunningStep {
    pub(super) id: Text,
    pub(super) when: Option<Filter>,
    pub(super) work: StepWork,
}

pub(super) enum StepWork {
    Transform(Arc<dyn Transform>),
    /// The place of its stage in [`Running::stages`].
    Fetch(usize),
}

impl Running {
    /// The item ends on purpose.
    pub(super) fn filter(&self, ack: Ack, reason: Reason) {
        self.counters.filtered(reason, 1);
        ack.settle(Outcome::Filtered);
    }

    /// `component` does not get on with the item, and the fault says what now: it becomes a dead letter, or the
    /// pipeline stops and the item is abandoned.
    pub(super) fn give_up(&self, parcel: Parcel, component: &str, fault: &Fault) {
        if fault.verdict == Verdict::Stop {
            self.stop(component, fault);
            return;
        }
        reject(parcel, component, fault, &self.counters, &self.clock);
    }

    /// No item can pass until a person has acted.
    pub(super) fn stop(&self, component: &str, fault: &Fault) {
        if !self.life.is_stopping() {
            log::error!(pipeline = &*self.name, component = component, fault:% = fault; "pipeline stopped");
        }
        self.life.fail(fault.clone());
    }

    /// The item reaches every sink that wants it.
    pub(super) async fn hand_to_sinks(&self, mut parcel: Parcel) {
        let mut wanted = Vec::new();
        for sink in &self.sinks {
            let lets_in = compute(&self.clock, sink.gate(), &parcel.item, |when, item, scope| {
                lets_in(when.as_ref(), item, scope)
            });
            match lets_in.await {
                Ok(true) => wanted.push(sink),
                Ok(false) => {}
                Err(fault) => self.give_up(parcel.share(), sink.component(), &fault),
            }
        }
        let Some((last, others)) = wanted.split_last() else {
            self.filter(parcel.ack, Reason::NoSink);
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

    /// The item goes into the buffers of sinks that lag, in the commit that settles it here. It is written once.
    async fn hand_to_buffers(&self, mut parcel: Parcel, lagging: &[&SinkInput]) {
        let mut changes = Vec::new();
        let mut queues = Vec::new();
        for sink in lagging {
            let Some(buffer) = sink.buffer() else { continue };
            match buffer.room(&self.life).await {
                Ok(Room::Free) => {}
                Ok(Room::After(items)) => {
                    self.counters.filtered(Reason::Dropped, 1);
                    log::warn!(component = sink.component(); "buffer is full; its oldest item is dropped");
                    changes.push(Change::DropOldest { queue: buffer.plan.queue.clone(), items });
                    buffer.left(items);
                }
                Ok(Room::Refused(fault)) => {
                    self.give_up(parcel.share(), sink.component(), &fault);
                    continue;
                }
                Ok(Room::Never) => return,
                Err(fault) => {
                    self.stop(sink.component(), &fault);
                    return;
                }
            }
            buffer.put();
            queues.push(buffer.plan.queue.clone());
        }
        if queues.is_empty() {
            parcel.ack.settle(Outcome::Filtered);
            return;
        }
        changes.push(Change::Push(Push::of(queues, &parcel.item)));
        parcel.ack.branch(changes, None).settle(Outcome::Delivered);
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
pub(super) fn reject(parcel: Parcel, component: &str, fault: &Fault, counters: &Counters, clock: &Clock) {
    let item = &parcel.item;
    let now = clock.timestamp();
    let (kind, message) = (fault.kind.name().to_owned(), fault.message.clone());
    let record = FaultRecord { at: now, kind, message, attempts: parcel.tries.count.max(1) };
    let letter = DeadLetter {
        id: 0,
        pipeline: item.origin.pipeline.clone(),
        component: component.into(),
        item: item.id,
        trace: item.trace().to_string(),
        value: item.value.clone(),
        labels: item.labels.to_value(),
        window: item.origin.window,
        history: vec![record.clone()],
        fault: record,
        first: now,
        last: now,
        count: 1,
    };
    log::debug!(component = component, trace = &*letter.trace, fault:% = fault; "item became a dead letter");
    counters.rejected();
    parcel.ack.branch(vec![Change::Dead(Box::new(letter))], None).settle(Outcome::Rejected);
}
