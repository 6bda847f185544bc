//! What a source has at hand, without waiting for it: each item goes through the steps as far as it comes by itself, and
//! what is the same for all of them is done once for many.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::ack::Ack;
use super::compute::panicked;
use super::parcel::Parcel;
use super::produce::next_order;
use super::running::Running;
use super::walk::{Halt, Rest, Tally};
use crate::component::{Outputs, Position, Source};
use crate::model::{Fault, Item, ItemId, ItemIds, Labels, Origin, Value};
use crate::runtime::{self, Panic};

/// After so many items other tasks have their turn.
const TURN: usize = 256;

/// What has settled without leaving anything behind is committed after so many items or so long a time, or once the
/// source has nothing more at hand: each commit is a few wake-ups and an fsync.
const GATHERED: (usize, Duration) = (20_000, Duration::from_millis(10));

/// Takes what a source has at hand.
pub(super) struct AtHand {
    ids: ItemIds,
    limits: usize,
    /// What all items share, unless each counts for the `limit` steps.
    origin: Option<Arc<Origin>>,
    /// Items that are left of this turn.
    left: usize,
    counted: Counted,
    /// How many have settled that the settler was not told of, and when it was told the last time.
    untold: usize,
    told: Option<Instant>,
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
    /// That of the item under way, or of one that has ended.
    moving: Option<Position>,
}

#[derive(Clone, Copy, Default)]
struct Passing {
    entered: usize,
    left: usize,
}

impl AtHand {
    pub(super) fn new(pipeline: &Running, limits: usize) -> Self {
        let name = &pipeline.name;
        Self {
            ids: ItemIds::of(name, &pipeline.ledger.source_id),
            limits,
            origin: (limits == 0).then(|| Arc::new(Origin::new(name.clone(), None, 0))),
            left: TURN,
            untold: 0,
            told: None,
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
        self.untold += made;
        let is_time = self.told.is_none_or(|told| instant.duration_since(told) >= GATHERED.1);
        if is_time || self.untold >= GATHERED.0 {
            self.told = Some(instant);
            self.tell(pipeline);
        }
        if let Some(rest) = taken.map_err(|panic| panicked(&Panic::from(panic)))? {
            self.tell(pipeline);
            pipeline.pass_rest(rest).await;
        }
        if self.left == 0 {
            self.left = TURN;
            runtime::yield_now().await;
        }
        Ok(made > 0)
    }

    /// Has what has settled so far committed.
    pub(super) fn tell(&mut self, pipeline: &Running) {
        if self.untold > 0 {
            self.untold = 0;
            pipeline.ledger.ends.tell();
        }
    }

    fn take_inline(
        &mut self,
        pipeline: &Running,
        source: &mut dyn Source,
        most: usize,
        now: Timestamp,
    ) -> Option<Rest> {
        let counted = &mut self.counted;
        // Items that end here take turns in one place.
        let mut place: Option<Item> = None;
        while counted.made < most && pipeline.budget.has_room_now() {
            let item = match (&self.origin, &mut place) {
                (Some(_), Some(item)) => item,
                (Some(origin), place) => place.insert(blank(origin.clone())),
                (None, place) => place.insert(blank(Arc::new(Origin::new(pipeline.name.clone(), None, self.limits)))),
            };
            if !source.at_hand(self.ids, item, &mut counted.moving) {
                break;
            }
            counted.made += 1;
            let halt = pipeline.compute_on(item, 0, now, &mut counted.steps).halt;
            match halt {
                Halt::Through if pipeline.sinks.is_empty() => {
                    pipeline.counters.look_at(&item.value);
                    counted.through += 1;
                    counted.unwanted += 1;
                    counted.settle();
                }
                Halt::Outputs(step, Outputs::Filtered(reason)) => {
                    pipeline.steps[step].counters.filtered(reason, 1);
                    counted.settle();
                }
                halt => {
                    counted.pass_settled(pipeline);
                    let item = place.take().expect("the item was put there above");
                    let parcel = begin(pipeline, item, counted.moving.take());
                    let rest = pipeline.pass_now(parcel, halt, now, &mut counted.through);
                    if rest.is_some() {
                        return rest;
                    }
                }
            }
        }
        None
    }
}

/// Where a source makes an item.
fn blank(origin: Arc<Origin>) -> Item {
    Item::new(origin, ItemId(0), Value::Null, Labels::default())
}

/// Begins an item's way beyond what it comes by itself.
fn begin(pipeline: &Running, item: Item, position: Option<Position>) -> Box<Parcel> {
    pipeline.begin(1);
    let sequence = pipeline.ledger.ends.begin(position, None, None);
    let charge = pipeline.budget.charge(next_order(), item.value.size_in_memory());
    Parcel::new(item, Ack::root(sequence, pipeline.settler.clone()), charge)
}

impl Counted {
    fn settle(&mut self) {
        self.settled += 1;
        if self.moving.is_some() {
            std::mem::swap(&mut self.position, &mut self.moving);
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
