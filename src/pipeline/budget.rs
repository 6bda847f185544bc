//! One budget of memory for all values in flight.
//!
//! Half of it is divided among the pipelines, so that none can starve another; the other half is for whoever comes
//! first. When neither has room, new intake waits, and of the items in flight only the one that came first may grow:
//! so some item always gets to its end, and memory stays under the budget plus one item.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use event_listener::Event;

use crate::component::Grow;
use crate::model::Size;
use crate::runtime::Clock;

/// When nothing is given back for so long, the item beyond the budget may itself wait for those behind it, such as for
/// their workers: then the first that waits may grow too.
const STUCK: Duration = Duration::from_secs(2);

/// The budget of the process.
#[derive(Debug)]
pub(super) struct Budget {
    /// What pipelines may hold beyond their own shares, all together.
    common_limit: usize,
    /// Below zero for a moment, when what is taken and given back at once is counted the other way round.
    common_used: AtomicIsize,
    /// The half that is divided among the pipelines, as far as it is not.
    undivided: Mutex<usize>,
    freed: Event,
    growing: Mutex<Growing>,
    clock: Clock,
}

/// Who waits to grow, and who does so beyond the budget.
#[derive(Debug, Default)]
struct Growing {
    /// How many waits there are for each item, by its order of arrival.
    waiting: BTreeMap<u64, usize>,
    /// The item beyond the budget, by its order of arrival, and the bytes that it holds there. More than one only
    /// where one of them was stuck.
    beyond: BTreeMap<u64, usize>,
}

/// One pipeline's part in the budget.
#[derive(Debug)]
pub(super) struct PipelineBudget {
    budget: Arc<Budget>,
    /// What it may hold whatever the others do.
    share: usize,
    used: AtomicUsize,
}

/// Bytes held by one item; given back when dropped.
pub(super) struct Charge {
    holder: Arc<PipelineBudget>,
    /// The order in which the item's ancestor came in.
    order: u64,
    bytes: usize,
    /// How many of them are beyond the budget.
    beyond: usize,
    /// What it holds together with other charges.
    common: Option<Arc<Charge>>,
}

impl Budget {
    pub(super) fn new(memory: Size, clock: Clock) -> Arc<Self> {
        let half = memory.bytes() / 2;
        Arc::new(Self {
            common_limit: half,
            common_used: AtomicIsize::new(0),
            undivided: Mutex::new(half),
            freed: Event::new(),
            growing: Mutex::default(),
            clock,
        })
    }

    /// Divides among `count` pipelines what is not divided yet. Each gives its share back when it is gone.
    pub(super) fn for_pipelines(self: &Arc<Self>, count: usize) -> Vec<Arc<PipelineBudget>> {
        let mut undivided = self.undivided();
        let share = *undivided / count.max(1);
        *undivided -= share * count;
        drop(undivided);
        (0..count)
            .map(|_| Arc::new(PipelineBudget { budget: self.clone(), share, used: AtomicUsize::new(0) }))
            .collect()
    }

    fn undivided(&self) -> std::sync::MutexGuard<'_, usize> {
        self.undivided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all values together may take.
    pub(super) fn limit(&self) -> usize {
        2 * self.common_limit
    }

    fn common_used(&self) -> usize {
        usize::try_from(self.common_used.load(Ordering::Acquire)).unwrap_or(0)
    }

    fn growing(&self) -> std::sync::MutexGuard<'_, Growing> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PipelineBudget {
    /// What all values of the process together may take.
    pub(super) fn limit(&self) -> usize {
        self.budget.limit()
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether there is room for a new item.
    pub(super) fn has_room_now(&self) -> bool {
        self.has_room(0)
    }

    /// Waits until there is room for a new item.
    pub(super) async fn room(&self) {
        while !self.has_room(0) {
            let freed = self.budget.freed.listen();
            if self.has_room(0) {
                return;
            }
            freed.await;
        }
    }

    /// Counts `bytes` for the item of this order, whether there is room or not.
    pub(super) fn charge(self: &Arc<Self>, order: u64, bytes: usize) -> Charge {
        self.take(bytes);
        Charge { holder: self.clone(), order, bytes, beyond: 0, common: None }
    }

    fn has_room(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Acquire);
        let share = self.share;
        let more_common = (used + bytes).saturating_sub(share.max(used));
        (used < share && used + bytes <= share) || self.budget.common_used() + more_common < self.budget.common_limit
    }

    fn take(&self, bytes: usize) {
        let before = self.used.fetch_add(bytes, Ordering::AcqRel);
        let common = self.beyond_share(before + bytes) - self.beyond_share(before);
        self.budget.common_used.fetch_add(common.cast_signed(), Ordering::AcqRel);
    }

    fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        let common = self.beyond_share(before) - self.beyond_share(before - bytes);
        self.budget.common_used.fetch_sub(common.cast_signed(), Ordering::AcqRel);
        self.budget.freed.notify(usize::MAX);
    }

    fn beyond_share(&self, used: usize) -> usize {
        used.saturating_sub(self.share)
    }
}

impl Drop for PipelineBudget {
    fn drop(&mut self) {
        *self.budget.undivided() += self.share;
    }
}

impl Charge {
    /// A charge of another `bytes` for a descendant, counted at once.
    pub(super) fn also(&self, bytes: usize) -> Self {
        self.holder.charge(self.order, bytes)
    }

    /// Another charge for the same bytes: they are given back when the last of them is dropped.
    pub(super) fn share(&mut self) -> Self {
        if self.bytes > 0 {
            let alone = self.also(0);
            self.common = Some(Arc::new(std::mem::replace(self, alone)));
        }
        let mut share = self.also(0);
        share.common.clone_from(&self.common);
        share
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// From now on the item holds `bytes`, counted at once.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.holder.take(bytes - self.bytes);
        } else if bytes < self.bytes {
            self.stay_beyond(bytes);
            self.holder.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// No more than `bytes` are beyond the budget from now on.
    fn stay_beyond(&mut self, bytes: usize) {
        let less = self.beyond.saturating_sub(bytes);
        if less > 0 {
            self.beyond -= less;
            let mut growing = self.holder.budget.growing();
            if let Some(held) = growing.beyond.get_mut(&self.order) {
                *held -= less;
                if *held == 0 {
                    growing.beyond.remove(&self.order);
                }
            }
        }
    }

    /// Takes over what another charge of the same item holds.
    pub(super) fn absorb(&mut self, other: Option<Self>) {
        if let Some(mut other) = other {
            self.bytes += std::mem::take(&mut other.bytes);
            self.beyond += std::mem::take(&mut other.beyond);
        }
    }

    /// A charge of `bytes` for a descendant, once there is room for it.
    pub(super) async fn room_for(&self, bytes: usize) -> Self {
        let mut charge = self.also(0);
        charge.grow(bytes).await;
        charge
    }

    /// Holds `bytes` more, once there is room for them, or once this is the item that may go beyond the budget.
    async fn grow(&mut self, bytes: usize) {
        if !self.grow_now(bytes) {
            self.wait_to_grow(bytes).await;
            self.take(bytes);
        }
    }

    /// Holds `bytes` more if there is room for them.
    fn grow_now(&mut self, bytes: usize) -> bool {
        let has_room = self.holder.has_room(bytes);
        if has_room {
            self.take(bytes);
        }
        has_room
    }

    fn take(&mut self, bytes: usize) {
        self.holder.take(bytes);
        self.bytes += bytes;
    }

    async fn wait_to_grow(&mut self, bytes: usize) {
        let budget = self.holder.budget.clone();
        let _waiting = Waiting::begin(&budget, self.order);
        let mut is_stuck = false;
        loop {
            let freed = budget.freed.listen();
            if self.holder.has_room(bytes) {
                return;
            }
            {
                let mut growing = budget.growing();
                let is_first = growing.waiting.keys().next() == Some(&self.order);
                // The others wait for what an item beyond holds: it has to get to its end, even if an earlier waits.
                let is_beyond = growing.beyond.contains_key(&self.order);
                if is_beyond || (is_first && (growing.beyond.is_empty() || is_stuck)) {
                    *growing.beyond.entry(self.order).or_default() += bytes;
                    self.beyond += bytes;
                    return;
                }
            }
            is_stuck = budget.clock.timeout(STUCK, freed).await.is_none();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 || self.beyond > 0 {
            self.stay_beyond(0);
            self.holder.give_back(self.bytes);
        }
    }
}

/// An item that waits to grow, for as long as it does.
struct Waiting<'a> {
    budget: &'a Budget,
    order: u64,
}

impl<'a> Waiting<'a> {
    fn begin(budget: &'a Budget, order: u64) -> Self {
        *budget.growing().waiting.entry(order).or_default() += 1;
        Self { budget, order }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut growing = self.budget.growing();
        if let Some(count) = growing.waiting.get_mut(&self.order) {
            *count -= 1;
            if *count == 0 {
                growing.waiting.remove(&self.order);
            }
        }
        drop(growing);
        // The next in order may be the one that may grow now.
        self.budget.freed.notify(usize::MAX);
    }
}

/// Counts what a reply takes while it grows, on behalf of the item that asked for it.
pub(super) struct ReplyCharge(async_lock::Mutex<Option<Charge>>);

impl ReplyCharge {
    pub(super) fn beside(charge: &Charge) -> Arc<Self> {
        Arc::new(Self(async_lock::Mutex::new(Some(charge.also(0)))))
    }

    /// What was counted, once the reply is there. Nobody grows it any more.
    pub(super) fn take(&self) -> Option<Charge> {
        self.0.try_lock()?.take()
    }
}

#[async_trait]
impl Grow for ReplyCharge {
    async fn grow(&self, bytes: usize) {
        if let Some(charge) = self.0.lock().await.as_mut() {
            charge.grow(bytes).await;
        }
    }

    fn grow_now(&self, bytes: usize) -> bool {
        // Nobody else has it but who asks: it is locked for as long as that waits to grow.
        self.0.try_lock().is_some_and(|mut charge| charge.as_mut().is_none_or(|charge| charge.grow_now(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;

    fn is_pending(future: impl Future<Output = ()>) -> bool {
        runtime::block_on(futures_lite::future::poll_once(future)).is_none()
    }

    #[test]
    fn intake_waits_while_the_budget_is_full_and_goes_on_when_it_is_not() {
        let budget = Budget::new(Size(1000), Clock::system());
        let pipeline = budget.for_pipelines(1).remove(0);
        let charge = pipeline.charge(1, 1000);
        assert!(is_pending(pipeline.room()));
        drop(charge);
        runtime::block_on(pipeline.room());
    }

    #[test]
    fn a_pipeline_that_fills_the_common_half_leaves_the_others_their_shares() {
        let budget = Budget::new(Size(1000), Clock::system());
        let mut pipelines = budget.for_pipelines(2);
        let (greedy, modest) = (pipelines.remove(0), pipelines.remove(0));
        let _held = greedy.charge(1, 5000);
        assert!(is_pending(greedy.room()));
        runtime::block_on(modest.room());
    }

    #[test]
    fn one_item_at_a_time_grows_beyond_a_full_budget() {
        let budget = Budget::new(Size(1000), Clock::system());
        let pipeline = budget.for_pipelines(1).remove(0);
        let (mut first, mut second) = (pipeline.charge(1, 500), pipeline.charge(2, 500));
        runtime::block_on(second.grow(10));
        assert!(is_pending(first.grow(10)), "another is beyond the budget");
        runtime::block_on(second.grow(10));
        drop(second);
        runtime::block_on(first.grow(900));
        assert!(is_pending(pipeline.charge(3, 0).grow(10)));
    }

    #[test]
    fn of_those_that_wait_to_grow_the_first_to_come_in_goes_first() {
        let budget = Budget::new(Size(1000), Clock::system());
        let pipeline = budget.for_pipelines(1).remove(0);
        let mut beyond = pipeline.charge(1, 1000);
        runtime::block_on(beyond.grow(1));
        let (mut early, mut late) = (pipeline.charge(2, 600), pipeline.charge(3, 600));
        let mut late_waits = Box::pin(late.grow(10));
        let mut early_waits = Box::pin(early.grow(10));
        assert!(is_pending(&mut late_waits) && is_pending(&mut early_waits));
        drop(beyond);
        assert!(is_pending(&mut late_waits));
        runtime::block_on(early_waits);
    }

    #[test]
    fn the_one_beyond_the_budget_grows_on_while_an_earlier_one_waits() {
        let budget = Budget::new(Size(1000), Clock::system());
        let pipeline = budget.for_pipelines(1).remove(0);
        let (mut early, mut late) = (pipeline.charge(1, 500), pipeline.charge(2, 500));
        runtime::block_on(late.grow(10));
        let mut early_waits = Box::pin(early.grow(10));
        assert!(is_pending(&mut early_waits));
        runtime::block_on(late.grow(10));
        drop(late);
        runtime::block_on(early_waits);
    }

    #[test]
    fn an_item_that_shrinks_leaves_what_is_beyond_the_budget_to_others() {
        let budget = Budget::new(Size(1000), Clock::system());
        let pipeline = budget.for_pipelines(1).remove(0);
        let (mut first, mut second) = (pipeline.charge(1, 500), pipeline.charge(2, 500));
        runtime::block_on(first.grow(500));
        let mut second_waits = Box::pin(second.grow(700));
        assert!(is_pending(&mut second_waits));
        first.set(0);
        runtime::block_on(second_waits);
    }

    #[test]
    fn what_several_sinks_hold_counts_once_and_until_the_last_lets_go() {
        let budget = Budget::new(Size(1000), Clock::system());
        let pipeline = budget.for_pipelines(1).remove(0);
        let mut charge = pipeline.charge(1, 700);
        let shares = [charge.share(), charge.share()];
        assert_eq!(pipeline.used.load(Ordering::Acquire), 700);
        drop(charge);
        assert_eq!(pipeline.used.load(Ordering::Acquire), 700);
        drop(shares);
        assert_eq!(pipeline.used.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_is_given_back_is_what_was_taken() {
        let budget = Budget::new(Size(1000), Clock::system());
        let pipeline = budget.for_pipelines(1).remove(0);
        let mut charge = pipeline.charge(1, 700);
        charge.set(20);
        charge.set(900);
        let other = runtime::block_on(charge.room_for(50));
        drop((charge, other));
        assert_eq!(pipeline.used.load(Ordering::Acquire), 0);
        assert_eq!(budget.common_used.load(Ordering::Acquire), 0);
    }
}
