//! How an item walks through the steps of its pipeline, up to the next stage or to the sinks.

use std::iter::Enumerate;
use std::vec::IntoIter;

use jiff::Timestamp;

use super::ack::Ack;
use super::compute::{compute_blocking, compute_inline, lets_in};
use super::counters::ComponentCounters;
use super::deliver::SinkInput;
use super::flights::Begun;
use super::parcel::Parcel;
use super::running::{Running, RunningStep, StepWork};
use crate::component::{Child, FilterFault, Mark, MarkKind, Outputs, Page, Reason, TransformScope};
use crate::model::{Fault, Item, Outcome, Planted, Value};

/// An item, and the number of the step that it enters next.
type Onward = (Box<Parcel>, usize);

/// How far an item came through steps that only compute, each of which made one item of it.
pub(super) struct Reached {
    pub(super) halt: Halt,
    /// Whether its value is another one now.
    pub(super) is_other: bool,
}

/// Why it goes no further by itself.
pub(super) enum Halt {
    /// It is through all steps.
    Through,
    /// The step of this number made this of it.
    Outputs(usize, Outputs),
    /// The next step needs the network: the item goes to the stage of this number.
    Stage(usize),
    /// The step of this number gave it up.
    Fault(usize, Fault),
    /// The step of this number needs a thread of its own for it.
    OutOfFuel(usize),
}

/// Counts the items that enter steps and leave them.
pub(super) trait Tally {
    fn entered(&mut self, step: usize);
    fn left(&mut self, step: usize);
}

/// Counts them as they come.
struct Each<'a>(&'a Running);

impl Tally for Each<'_> {
    fn entered(&mut self, step: usize) {
        self.0.steps[step].counters.entered(1);
    }

    fn left(&mut self, step: usize) {
        self.0.steps[step].counters.left(1);
    }
}

/// An item whose children are handed on one at a time, each all the way, before the next is made.
pub(super) struct Family {
    parent: Box<Parcel>,
    children: Enumerate<IntoIter<Value>>,
    /// The step that the children enter.
    next_step: usize,
}

/// What is left of an item's way where that has to wait.
pub(super) enum Rest {
    /// It came so far by itself.
    Item(Box<Parcel>, Halt, Timestamp),
    Family(Family),
}

impl Running {
    /// Takes an item through the steps, from number `step` on. Waits where the channels ahead are full.
    pub(super) async fn advance(&self, parcel: Box<Parcel>, step: usize) {
        self.walk(Some((parcel, step)), Vec::new()).await;
    }

    /// Takes on an item that came so far by itself.
    async fn advance_from(&self, parcel: Box<Parcel>, halt: Halt, now: Timestamp) {
        let mut families = Vec::new();
        let onward = self.pass(parcel, halt, now, &mut families).await;
        self.walk(onward, families).await;
    }

    /// Takes on what step number `step` made of an item, as far as that needs no waiting, and answers what is left. The
    /// parcel is the item as it entered that step.
    pub(super) fn pass_on(&self, parcel: Box<Parcel>, outputs: Outputs, step: usize) -> Option<Rest> {
        let is_new = parcel.item.origin.replayed.is_none();
        let mut through = 0;
        let rest = self.pass_now(parcel, Halt::Outputs(step, outputs), self.clock.timestamp(), &mut through);
        if through > 0 && is_new {
            self.counters.came_through(through, self.clock.instant());
        }
        rest
    }

    /// Takes an item through the steps, from number `step` on, as far as that needs no waiting, and answers what is left.
    fn advance_now(&self, mut parcel: Box<Parcel>, step: usize) -> Option<Rest> {
        let now = self.clock.timestamp();
        let is_new = parcel.item.origin.replayed.is_none();
        let mut through = 0;
        let halt = self.come(&mut parcel, step, now);
        let rest = self.pass_now(parcel, halt, now, &mut through);
        if through > 0 && is_new {
            self.counters.came_through(through, self.clock.instant());
        }
        rest
    }

    /// Takes on what is left.
    pub(super) async fn pass_rest(&self, rest: Rest) {
        match rest {
            Rest::Item(parcel, halt, now) => self.advance_from(parcel, halt, now).await,
            Rest::Family(family) => self.walk(None, vec![family]).await,
        }
    }

    /// Takes on a page that step number `step` has fetched for an item. What the page leaves behind waits for all that
    /// descends from it.
    pub(super) async fn pass_on_page(&self, parcel: &mut Parcel, page: Page, step: usize) {
        let Page { item, children, first_child, seen, changes, next } = page;
        let counters = &self.steps[step].counters;
        if first_child == 0 && children.is_empty() && seen == 0 && next.is_none() {
            counters.filtered(Reason::NoMatch, 1);
        }
        counters.filtered(Reason::Seen, seen);
        counters.left(children.len());
        parcel.page = next;
        parcel.charge.set(parcel.size);
        let charge = parcel.charge.also(children.iter().map(|child| child.value.size_in_memory()).sum());
        let mut ack = match &parcel.run {
            Some(run) => parcel.ack.page(run, changes),
            None if changes.is_empty() => parcel.ack.share(),
            None => parcel.ack.share().branch(changes, None),
        };
        for (number, Child { value, name, fault }) in (first_child..).zip(children) {
            let item = match name {
                Some(name) => item.named_child(&[self.steps[step].id.as_bytes(), &name], value),
                None => item.child(number, value),
            };
            let charge = charge.room_for(item.value.size_in_memory()).await;
            let parcel = Parcel::new(item, ack.share(), charge);
            match fault {
                None => {
                    if let Some(rest) = self.advance_now(parcel, step + 1) {
                        Box::pin(self.pass_rest(rest)).await;
                    }
                }
                Some(fault) => self.give_up(parcel, &items_of(&self.steps[step].id), &fault),
            }
        }
        ack.settle(Outcome::Filtered);
    }

    async fn walk(&self, mut onward: Option<Onward>, mut families: Vec<Family>) {
        loop {
            while let Some((parcel, step)) = onward {
                onward = self.go_on(parcel, step, &mut families).await;
            }
            let Some(family) = families.last_mut() else { return };
            if let Some((index, value)) = family.children.next() {
                let item = family.parent.item.child(index as u64, value);
                let charge = family.parent.charge.room_for(item.value.size_in_memory()).await;
                onward = Some((Parcel::new(item, family.parent.ack.share(), charge), family.next_step));
            } else if let Some(family) = families.pop() {
                family.parent.ack.settle(Outcome::Filtered);
            }
        }
    }

    /// Answers where the item goes from step number `step`, unless it is handed over, has children or ends here.
    async fn go_on(&self, mut parcel: Box<Parcel>, step: usize, families: &mut Vec<Family>) -> Option<Onward> {
        let now = self.clock.timestamp();
        let halt = self.come(&mut parcel, step, now);
        self.pass(parcel, halt, now, families).await
    }

    /// Takes an item through steps, from number `step` on, as far as it comes by itself, and answers what halts it.
    fn come(&self, parcel: &mut Parcel, step: usize, now: Timestamp) -> Halt {
        let Reached { halt, is_other } = self.compute_on(&mut parcel.item, step, now, &mut Each(self));
        if is_other {
            parcel.recount();
        }
        halt
    }

    /// Takes an item through steps, from number `step` on, as far as it comes by itself. What a step fails on is left as
    /// it entered the step.
    pub(super) fn compute_on(&self, item: &mut Item, step: usize, now: Timestamp, tally: &mut impl Tally) -> Reached {
        let mut is_other = false;
        for (step, running) in self.steps.iter().enumerate().skip(step) {
            self.passed(step).tap.pass(item, &self.clock);
            tally.entered(step);
            let halt = match compute_inline(now, &**running, item, apply) {
                Ok(Applied::Outputs(outputs)) => match put_in(item, outputs) {
                    Put::In { is_other: now_other } => {
                        is_other |= now_other;
                        tally.left(step);
                        continue;
                    }
                    Put::Not(outputs) => Halt::Outputs(step, outputs),
                },
                Ok(Applied::Stage(stage)) => Halt::Stage(stage),
                Err(FilterFault::Fault(fault)) => Halt::Fault(step, fault),
                Err(FilterFault::OutOfFuel) => Halt::OutOfFuel(step),
            };
            return Reached { halt, is_other };
        }
        self.passed(self.steps.len()).tap.pass(item, &self.clock);
        Reached { halt: Halt::Through, is_other }
    }

    /// Takes on an item that came so far by itself, as far as that needs no waiting, and answers what is left. An item
    /// that came through all steps is counted in `through`.
    pub(super) fn pass_now(
        &self,
        mut parcel: Box<Parcel>,
        mut halt: Halt,
        now: Timestamp,
        through: &mut usize,
    ) -> Option<Rest> {
        while let Halt::Outputs(step, outputs) = halt {
            let mut families = Vec::new();
            let Some((onward, next)) = self.take_outputs(parcel, outputs, step, &mut families) else {
                return families.pop().map(Rest::Family);
            };
            parcel = onward;
            halt = self.come(&mut parcel, next, now);
        }
        self.hand_over(parcel, halt, through).map(|(parcel, halt)| Rest::Item(parcel, halt, now))
    }

    /// Hands an item over to a stage or a sink, if that needs no waiting; else answers it.
    fn hand_over(&self, parcel: Box<Parcel>, halt: Halt, through: &mut usize) -> Option<(Box<Parcel>, Halt)> {
        match (halt, self.sinks.as_slice()) {
            (Halt::Stage(stage), _) => self.stages[stage].put_now(parcel).map(|parcel| (parcel, Halt::Stage(stage))),
            (Halt::Through, [sink]) if sink.is_plain() && !self.is_looked_at(sink) => match sink.put_now(parcel) {
                None => {
                    *through += 1;
                    sink.counters().entered(1);
                    None
                }
                Some(parcel) => Some((parcel, Halt::Through)),
            },
            (halt, _) => Some((parcel, halt)),
        }
    }

    async fn pass(
        &self,
        parcel: Box<Parcel>,
        halt: Halt,
        now: Timestamp,
        families: &mut Vec<Family>,
    ) -> Option<Onward> {
        let (step, applied) = match halt {
            Halt::Through => {
                self.hand_to_sinks(parcel).await;
                return None;
            }
            Halt::Stage(stage) => {
                self.stages[stage].put(parcel).await;
                return None;
            }
            Halt::Outputs(step, outputs) => (step, Ok(Applied::Outputs(outputs))),
            Halt::Fault(step, fault) => (step, Err(fault)),
            Halt::OutOfFuel(step) => (step, compute_blocking(now, &self.steps[step], &parcel.item, apply).await),
        };
        match applied {
            Ok(Applied::Outputs(outputs)) => self.take_outputs(parcel, outputs, step, families),
            Ok(Applied::Stage(stage)) => {
                self.stages[stage].put(parcel).await;
                None
            }
            Err(fault) => {
                self.give_up(parcel, &self.steps[step].id, &fault);
                None
            }
        }
    }

    /// Whether each item is looked at that goes into the sink.
    fn is_looked_at(&self, sink: &SinkInput) -> bool {
        self.counters.expects_fields() || sink.counters().tap.is_tapped()
    }

    /// The component that an item has passed which enters step number `step`.
    fn passed(&self, step: usize) -> &ComponentCounters {
        match step.checked_sub(1) {
            Some(before) => &self.steps[before].counters,
            None => &self.counters.source,
        }
    }

    fn take_outputs(
        &self,
        mut parcel: Box<Parcel>,
        outputs: Outputs,
        step: usize,
        families: &mut Vec<Family>,
    ) -> Option<Onward> {
        let counters = &self.steps[step].counters;
        let outputs = match put_in(&mut parcel.item, outputs) {
            Put::In { is_other } => {
                counters.left(1);
                if is_other {
                    parcel.recount();
                }
                return Some((parcel, step + 1));
            }
            Put::Not(outputs) => outputs,
        };
        match outputs {
            Outputs::Same | Outputs::Value(_) | Outputs::One(_) => unreachable!("these were put in"),
            Outputs::Filtered(reason) => {
                counters.filtered(reason, 1);
                parcel.ack.settle(Outcome::Filtered);
                None
            }
            Outputs::Marked(item, mark) => {
                if let Some(item) = item {
                    parcel.replace(item);
                }
                let parcel = self.leave_mark(parcel, mark, counters)?;
                counters.left(1);
                Some((parcel, step + 1))
            }
            Outputs::Unchanged { saved, mark } => {
                counters.saved(saved);
                counters.filtered(Reason::Unchanged, 1);
                let ack = match mark {
                    Some(mark) => parcel.ack.branch(vec![(*mark).into()], None),
                    None => parcel.ack,
                };
                ack.settle(Outcome::Filtered);
                None
            }
            Outputs::Many(values) => {
                counters.left(values.len());
                parcel.charge.set(values.iter().map(Value::size_in_memory).sum());
                families.push(Family { parent: parcel, children: values.into_iter().enumerate(), next_step: step + 1 });
                None
            }
        }
    }

    /// The item goes on if its mark is neither in the store nor in flight, and leaves it behind when it settles. A
    /// replayed item goes on in any case, and so does one with a mark that filters nothing.
    fn leave_mark(
        &self,
        mut parcel: Box<Parcel>,
        mark: Box<Mark>,
        counters: &ComponentCounters,
    ) -> Option<Box<Parcel>> {
        let filters = !matches!(mark.kind, MarkKind::Validator(_));
        if parcel.item.origin.replayed.is_some() || !filters {
            leave_at_once(&mut parcel.ack, &mark);
            parcel.ack = parcel.ack.branch(vec![(*mark).into()], None);
            return Some(parcel);
        }
        let flights = &self.ledger.flights;
        let (flight, mut ack) = match flights.begin(&mark, parcel.ack) {
            Begun::Shares => return None,
            Begun::Differs(flight, ack) => (flight, ack),
            Begun::First(flight, ack) => match self.is_known(&mark) {
                Ok(None) => (flight, ack),
                Ok(Some(reason)) => {
                    counters.filtered(reason, 1 + flights.end(&flight, Outcome::Filtered));
                    ack.settle(Outcome::Filtered);
                    return None;
                }
                Err(fault) => {
                    flights.end(&flight, Outcome::Abandoned);
                    self.stop(&mark.component, &fault);
                    return None;
                }
            },
        };
        leave_at_once(&mut ack, &mark);
        parcel.ack = ack.branch(vec![(*mark).into()], Some(flight));
        Some(parcel)
    }

    /// Why the mark would filter the item, if the store has it.
    fn is_known(&self, mark: &Mark) -> Result<Option<Reason>, Fault> {
        Ok(match mark.kind {
            MarkKind::Seen { .. } => {
                self.ledger.store.is_seen(&mark.pipeline, &mark.component, &mark.key)?.then_some(Reason::Seen)
            }
            MarkKind::Last { digest } => {
                let last = self.ledger.store.last_digest(&mark.pipeline, &mark.component, &mark.key)?;
                (last == Some(digest)).then_some(Reason::Unchanged)
            }
            MarkKind::Validator(_) => None,
        })
    }
}

/// What stands before the id of a step where dead letters speak of the items in its replies.
pub(super) const ITEMS_OF: &str = "items.";

/// What dead letters call the items that the step `id` found in a reply: they enter the step after it.
pub(super) fn items_of(id: &str) -> String {
    format!("{ITEMS_OF}{id}")
}

/// What became of an item that entered a step.
enum Applied {
    Outputs(Outputs),
    /// The step needs the network: the item goes to the stage of this number.
    Stage(usize),
}

fn apply(step: &RunningStep, item: &Item, scope: TransformScope) -> Result<Applied, FilterFault> {
    if !lets_in(step.when.as_ref(), item, scope)? {
        return Ok(Applied::Outputs(Outputs::Same));
    }
    match &step.work {
        StepWork::Transform(transform) => transform.apply(item, &scope).map(Applied::Outputs),
        StepWork::Fetch(stage) => Ok(Applied::Stage(*stage)),
    }
}

/// What became of an item that a step gave outputs for.
enum Put {
    /// The step made one item of it, which took its place.
    In { is_other: bool },
    /// Something else.
    Not(Outputs),
}

// Values that move from one place into another and on stall the processor, so those who hand them on are one function.
#[inline(always)]
fn put_in(item: &mut Item, outputs: Outputs) -> Put {
    match outputs {
        Outputs::Same => Put::In { is_other: false },
        Outputs::Value(value) => {
            item.value = value;
            Put::In { is_other: true }
        }
        Outputs::One(other) => {
            let is_other = !other.value.is_same(&item.value);
            *item = other;
            Put::In { is_other }
        }
        outputs => Put::Not(outputs),
    }
}

/// Planted: a mark that does not wait for the end of its item.
fn leave_at_once(ack: &mut Ack, mark: &Mark) {
    let is_planted = match mark.kind {
        MarkKind::Validator(_) => Planted::ValidatorBeforeAck.is_on(),
        MarkKind::Seen { .. } | MarkKind::Last { .. } => Planted::NewBeforeAck.is_on(),
    };
    if is_planted {
        ack.share().branch(vec![mark.clone().into()], None).settle(Outcome::Filtered);
    }
}
