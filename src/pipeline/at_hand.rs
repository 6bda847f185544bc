//! What a source has at hand, without waiting for it: each item goes through the steps as far as it comes by itself, and
//! what is the same for all of them is done once for many.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::ack::Ack;
use super::compute::panicked;
use super::parcel::Parcel;
use super::produce::next_order;
use super::running::Running;
use super::walk::{Halt, Tally};
use crate::component::{Outputs, Plain, Position, Source};
use crate::model::{Fault, Item, ItemIds, Origin};
use crate::runtime::{self, Panic};

/// After so many items other tasks have their turn.
const TURN: usize = 256;

/// Takes what a source has at hand.
pub(super) struct AtHand {
    ids: ItemIds,
    limits: usize,
    /// What all items share, unless each counts for the `limit` steps.
    origin: Option<Arc<Origin>>,
    /// Items that are left of this turn.
    left: usize,
    counted: Counted,
}

/// What is not in the pipeline's counters yet.
#[derive(Default)]
struct Counted {
    made: usize,
    through: usize,
    unwanted: usize,
    steps: Vec<Passing>,
    /// Items that have settled, and the position behind them.
    settled: usize,
    position: Option<Position>,
}

#[derive(Clone, Copy, Default)]
struct Passing {
    entered: usize,
    left: usize,
}

/// An item that has to wait for something before it comes further.
struct Waits {
    parcel: Box<Parcel>,
    halt: Halt,
}

impl AtHand {
    pub(super) fn new(pipeline: &Running, limits: usize) -> Self {
        let name = &pipeline.name;
        Self {
            ids: ItemIds::of(name, &pipeline.ledger.source_id),
            limits,
            origin: (limits == 0).then(|| Arc::new(Origin::new(name.clone(), None, 0))),
            left: TURN,
            counted: Counted { steps: vec![Passing::default(); pipeline.steps.len()], ..Counted::default() },
        }
    }

    /// Takes some items; false if there is none, or no room for it. What can be stopped is looked at between two calls.
    pub(super) async fn take(&mut self, pipeline: &Running, source: &mut dyn Source) -> Result<bool, Fault> {
        let Some(room) = pipeline.room_now() else { return Ok(false) };
        let most = room.min(self.left);
        let (now, instant) = (pipeline.clock.timestamp(), pipeline.clock.instant());
        let taken = catch_unwind(AssertUnwindSafe(|| self.take_inline(pipeline, source, most, now)));
        let made = self.counted.made;
        self.counted.flush(pipeline, instant);
        self.left -= made;
        if let Some(Waits { parcel, halt }) = taken.map_err(|panic| panicked(&Panic::from(panic)))? {
            pipeline.advance_from(parcel, halt, now).await;
        }
        if self.left == 0 {
            self.left = TURN;
            runtime::yield_now().await;
        }
        Ok(made > 0)
    }

    fn take_inline(
        &mut self,
        pipeline: &Running,
        source: &mut dyn Source,
        most: usize,
        now: Timestamp,
    ) -> Option<Waits> {
        let counted = &mut self.counted;
        while counted.made < most && pipeline.budget.has_room_now() {
            let Plain { value, labels, id, position } = source.at_hand(self.ids)?;
            counted.made += 1;
            let origin = match &self.origin {
                Some(origin) => origin.clone(),
                None => Arc::new(Origin::new(pipeline.name.clone(), None, self.limits)),
            };
            let mut item = Item::new(origin, id, value, labels);
            let halt = pipeline.compute_on(&mut item, 0, now, &mut counted.steps).halt;
            match halt {
                Halt::Through if pipeline.sinks.is_empty() => {
                    pipeline.counters.look_at(&item.value);
                    counted.through += 1;
                    counted.unwanted += 1;
                    counted.settle(position);
                }
                Halt::Outputs(step, Outputs::Filtered(reason)) => {
                    pipeline.steps[step].counters.filtered(reason, 1);
                    counted.settle(position);
                }
                halt => {
                    counted.pass_settled(pipeline);
                    let parcel = begin(pipeline, item, position);
                    if let Some((parcel, halt)) = pipeline.pass_now(parcel, halt, &mut counted.through) {
                        return Some(Waits { parcel, halt });
                    }
                }
            }
        }
        None
    }
}

/// Begins an item's way beyond what it comes by itself.
fn begin(pipeline: &Running, item: Item, position: Option<Position>) -> Box<Parcel> {
    pipeline.begin(1);
    let sequence = pipeline.ledger.ends.begin(position, None, None);
    let charge = pipeline.budget.charge(next_order(), item.value.size_in_memory());
    Parcel::new(item, Ack::root(sequence, pipeline.settler.clone()), charge)
}

impl Counted {
    fn settle(&mut self, position: Option<Position>) {
        self.settled += 1;
        if position.is_some() {
            self.position = position;
        }
    }

    /// Hands over what has settled: always before an item that has not, so that positions stay in their order.
    fn pass_settled(&mut self, pipeline: &Running) {
        if self.settled > 0 {
            let settled = std::mem::take(&mut self.settled);
            pipeline.begin(settled);
            pipeline.ledger.ends.pass(settled, self.position.take());
        }
    }

    fn flush(&mut self, pipeline: &Running, now: Instant) {
        self.pass_settled(pipeline);
        pipeline.counters.source.left(std::mem::take(&mut self.made));
        pipeline.counters.unwanted(std::mem::take(&mut self.unwanted));
        let through = std::mem::take(&mut self.through);
        if through > 0 {
            pipeline.counters.came_through(through, now);
        }
        for (passing, step) in self.steps.iter_mut().zip(&pipeline.steps) {
            let Passing { entered, left } = std::mem::take(passing);
            step.counters.entered(entered);
            step.counters.left(left);
        }
    }
}

impl Tally for Vec<Passing> {
    fn entered(&mut self, step: usize) {
        self[step].entered += 1;
    }

    fn left(&mut self, step: usize) {
        self[step].left += 1;
    }
}
