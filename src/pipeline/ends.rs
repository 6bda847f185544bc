//! How the items of a pipeline end: noted by whoever ends them, taken by the settler. It follows how far the source runs
//! ahead, and so how far its position may move.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use async_channel::Sender;
use event_listener::{Event, EventListener};

use super::ack::{End, Ended};
use crate::component::Position;
use crate::model::{Outcome, Planted};
use crate::store::Lease;

/// How many ends that leave something behind one commit joins at most.
const GROUP: usize = 4096;

/// A source runs at most this many items ahead of its oldest unsettled one. So many at most have settled outside, such as
/// in a sink, while the commit that says so is not on disk: they come again after a crash.
const AHEAD: usize = 10_000;

/// So many at most have settled in all and are not committed. Those that came to their end by themselves may come again
/// without anybody knowing.
const UNCOMMITTED: usize = 100_000;

/// The ends of one pipeline's items, since the last commit that took them.
#[derive(Default)]
pub(super) struct Ends {
    state: Mutex<State>,
    moved: Event,
}

/// Whoever may end items of a pipeline. The settler is done once the last clone is gone.
#[derive(Clone)]
pub(super) struct Settler(Arc<Door>);

struct Door(Arc<Ends>);

#[derive(Default)]
struct State {
    /// The sequence number of the first slot.
    first: u64,
    /// The source's items that have not all settled, in the order in which it made them.
    slots: VecDeque<Slot>,
    /// How many items those are.
    ahead: usize,
    /// Whether an item was abandoned: the position then stays before it, and the source must be opened anew.
    abandoned: bool,
    news: News,
    /// Whether the settler shall take the news. What has settled without leaving anything behind may gather first.
    is_due: bool,
    /// Items of the commit that is on its way, and how many of them ended outside.
    committing: usize,
    committing_outside: usize,
    /// Whether someone waits for room.
    is_awaited: bool,
    /// The settler, if it waits for news.
    settler: Option<Waker>,
    /// Nobody can end any more.
    is_complete: bool,
    /// The settler is gone: nothing that ends now counts.
    is_closed: bool,
}

struct Slot {
    position: Option<Position>,
    lease: Option<Lease>,
    told: Option<Sender<Outcome>>,
    /// More than one only where they have ended.
    items: usize,
    ended: bool,
}

/// What has ended, and is not committed yet.
#[derive(Default)]
pub(super) struct News {
    /// How many of the source's items; how many of those ended outside, and how many were abandoned.
    pub(super) items: usize,
    outside: usize,
    pub(super) abandoned_items: usize,
    /// The newest position that has only settled items behind it.
    pub(super) position: Option<Position>,
    pub(super) settled: Vec<Lease>,
    pub(super) abandoned: Vec<Lease>,
    /// Who is to be told of what, once this is committed.
    pub(super) told: Vec<(Sender<Outcome>, Outcome)>,
    /// What else has ended, in its order.
    pub(super) others: VecDeque<Ended>,
}

impl Ends {
    /// The way to end items.
    pub(super) fn settler(self: &Arc<Self>) -> Settler {
        Settler(Arc::new(Door(self.clone())))
    }

    /// Notes an item that the source made, and answers its sequence number.
    pub(super) fn begin(&self, position: Option<Position>, lease: Option<Lease>, told: Option<Sender<Outcome>>) -> u64 {
        let mut state = self.state();
        state.ahead += 1;
        state.slots.push_back(Slot { position, lease, told, items: 1, ended: false });
        state.first + state.slots.len() as u64 - 1
    }

    /// Notes items that the source made and that have settled already, and the position behind them. They are committed
    /// with what ends next, or after [`Ends::tell`].
    pub(super) fn pass(&self, items: usize, position: Option<Position>) {
        let mut state = self.state();
        state.news.items += items;
        if state.slots.is_empty() {
            state.news.position = position.or(state.news.position.take());
        } else {
            state.ahead += items;
            state.slots.push_back(Slot { position, lease: None, told: None, items, ended: true });
        }
    }

    /// Has the settler take what has passed so far.
    pub(super) fn tell(&self) {
        self.tell_all(self.state());
    }

    /// How many more items the source may make, if at most `most` of them may be in flight.
    pub(super) fn room(&self, most: usize) -> usize {
        let mut state = self.state();
        let uncommitted = state.news.items + state.committing;
        let outside = state.news.outside + state.committing_outside;
        let room = AHEAD.saturating_sub(state.ahead.max(state.news.others.len()).max(outside));
        let room =
            room.min(UNCOMMITTED.saturating_sub(uncommitted)).min(most.saturating_sub(state.ahead + uncommitted));
        state.is_awaited = room == 0;
        room
    }

    /// Wakes when there may be room that [`Ends::room`] did not find, or when an item was abandoned.
    pub(super) fn moved(&self) -> EventListener {
        self.moved.listen()
    }

    pub(super) fn has_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Waits until an item has been abandoned.
    pub(super) async fn abandoned(&self) {
        loop {
            let moved = self.moved.listen();
            if self.has_abandoned() {
                return;
            }
            moved.await;
        }
    }

    /// Forgets all items but those of queues, for a source that is opened anew. No other item is in flight.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        for slot in state.slots.iter_mut().filter(|slot| slot.lease.is_none()) {
            slot.ended = true;
            slot.position = None;
        }
        state.take_ended();
        state.abandoned = false;
    }

    fn end(&self, end: Ended) {
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            // It may hold the ack of its parent, which ends by that.
            drop(end);
            return;
        }
        match end {
            Ended { outcome, end: End::Root(sequence) } => state.end_root(sequence, outcome),
            other => state.news.others.push_back(other),
        }
        self.tell_all(state);
    }

    fn tell_all(&self, mut state: MutexGuard<'_, State>) {
        state.is_due = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let settler = state.settler.take();
        let is_moved = std::mem::take(&mut state.is_awaited) || state.abandoned;
        drop(state);
        if let Some(settler) = settler {
            settler.wake();
        }
        if is_moved {
            self.moved.notify(usize::MAX);
        }
    }

    /// What has ended since the last call, once there is anything; nothing once nobody can end any more.
    pub(super) async fn news(&self) -> Option<News> {
        poll_fn(|context| {
            let mut state = self.state();
            if state.is_complete && state.news.is_empty() {
                return Poll::Ready(None);
            }
            if !state.has_due_news() {
                state.settler = Some(context.waker().clone());
                return Poll::Pending;
            }
            let mut news = std::mem::take(&mut state.news);
            if news.others.len() > GROUP {
                state.news.others = news.others.split_off(GROUP);
            }
            state.is_due = !state.news.is_empty();
            state.committing = news.items;
            state.committing_outside = news.outside;
            Poll::Ready(Some(news))
        })
        .await
    }

    /// The last news are committed.
    pub(super) fn committed(&self) {
        let mut state = self.state();
        state.committing = 0;
        state.committing_outside = 0;
        self.wake(state);
    }

    /// From now on nothing that ends counts, nor what has ended since the last news. Answers what a queue has lent to
    /// those items.
    pub(super) fn close(&self) -> Vec<Lease> {
        let mut state = self.state();
        state.is_closed = true;
        let News { settled, abandoned, others, .. } = std::mem::take(&mut state.news);
        let slots = std::mem::take(&mut state.slots);
        drop(state);
        // They may hold acks.
        drop(others);
        let in_flight = slots.into_iter().filter(|slot| !slot.ended).filter_map(|slot| slot.lease);
        in_flight.chain(settled).chain(abandoned).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_due_news(&self) -> bool {
        (self.is_due || self.is_complete) && !self.news.is_empty()
    }

    fn end_root(&mut self, sequence: u64, outcome: Outcome) {
        let place = usize::try_from(sequence - self.first).expect("at most AHEAD items are unsettled");
        let slot = &mut self.slots[place];
        let news = &mut self.news;
        news.items += 1;
        news.outside += 1;
        news.abandoned_items += usize::from(!outcome.is_settled());
        news.told.extend(slot.told.take().map(|told| (told, outcome)));
        match slot.lease {
            // A queue gives it out again by itself; its neighbours do not depend on it.
            Some(lease) => {
                slot.ended = true;
                if outcome.is_settled() { news.settled.push(lease) } else { news.abandoned.push(lease) }
            }
            None if outcome.is_settled() => slot.ended = true,
            None => self.abandoned = true,
        }
        self.take_ended();
        if Planted::PositionByRead.is_on() {
            let read = self.slots.iter().rev().find_map(|slot| slot.position.clone());
            self.news.position = read.or(self.news.position.take());
        }
    }

    /// Moves the position over what has ended.
    fn take_ended(&mut self) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.ended) {
            self.first += 1;
            self.ahead -= slot.items;
            self.news.position = slot.position.or(self.news.position.take());
        }
    }
}

impl News {
    fn is_empty(&self) -> bool {
        self.items == 0 && self.others.is_empty()
    }
}

impl Settler {
    pub(super) fn end(&self, end: Ended) {
        self.0.0.end(end);
    }

    /// For items of which nobody wants to know how they end.
    pub(super) fn nobody() -> Self {
        let ends = Arc::<Ends>::default();
        ends.close();
        ends.settler()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_complete = true;
        self.0.wake(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use crate::runtime::block_on;
    use futures_lite::future::poll_once;

    struct Bench(Arc<Ends>);

    impl Bench {
        fn begin(&self, place: i64) -> u64 {
            self.0.begin(Some(Position::new(place.into())), None, None)
        }

        /// Ends items, and answers the position that they have moved to.
        fn end(&self, ends: &[(u64, Outcome)]) -> Option<i64> {
            let settler = self.0.settler();
            ends.iter().for_each(|(sequence, outcome)| {
                settler.end(Ended { outcome: *outcome, end: End::Root(*sequence) });
            });
            self.0.tell();
            let position = block_on(self.0.news()).unwrap().position;
            self.0.committed();
            position.map(|position| position.into_value().as_i64().unwrap())
        }
    }

    #[test]
    fn the_position_moves_only_over_settled_items() {
        let bench = Bench(Arc::default());
        let items: Vec<_> = (0..4).map(|place| bench.begin(place)).collect();
        assert_eq!(items, [0, 1, 2, 3]);
        assert_eq!(bench.end(&[(1, Outcome::Delivered)]), None);
        assert_eq!(bench.end(&[(0, Outcome::Rejected)]), Some(1));
        assert_eq!(bench.end(&[(2, Outcome::Abandoned), (3, Outcome::Delivered)]), None);
        assert!(bench.0.has_abandoned());
        bench.0.reset();
        assert_eq!(bench.begin(4), 4);
        assert!(!bench.0.has_abandoned());
    }

    #[test]
    fn items_that_settle_at_once_wait_for_those_before_them() {
        let bench = Bench(Arc::default());
        let position = |value: i64| Some(Position::new(Value::from(value)));
        bench.0.pass(3, position(2));
        assert!(block_on(poll_once(bench.0.news())).is_none(), "they may gather");
        assert_eq!(bench.end(&[]), Some(2));
        let slow = bench.begin(3);
        bench.0.pass(5, position(8));
        assert_eq!(bench.end(&[]), None);
        let last = bench.begin(9);
        assert_eq!(bench.end(&[(last, Outcome::Delivered)]), None);
        assert_eq!(bench.end(&[(slow, Outcome::Delivered)]), Some(9));
        bench.0.pass(1, position(10));
        assert_eq!(bench.end(&[]), Some(10));
    }

    #[test]
    fn what_is_in_flight_and_what_is_not_committed_leave_no_room() {
        let ends = Arc::<Ends>::default();
        let most = 100;
        ends.pass(40, None);
        for item in 0..30 {
            assert_eq!(ends.begin(None, None, None), item);
        }
        assert_eq!(ends.room(most), 30);
        ends.tell();
        assert_eq!(block_on(ends.news()).unwrap().items, 40);
        assert_eq!(ends.room(most), 30);
        ends.committed();
        assert_eq!(ends.room(most), 70);
        assert_eq!(ends.room(usize::MAX), AHEAD - 30);
        let settler = ends.settler();
        (0..30).for_each(|sequence| settler.end(Ended { outcome: Outcome::Delivered, end: End::Root(sequence) }));
        assert_eq!(ends.room(usize::MAX), AHEAD - 30, "they have ended, but that is not committed");
        ends.pass(1_000_000, None);
        assert_eq!(ends.room(usize::MAX), 0);
    }

    #[test]
    fn news_end_when_nobody_can_end_any_more() {
        let ends = Arc::<Ends>::default();
        let settler = ends.settler();
        let sequence = ends.begin(None, None, None);
        settler.end(Ended { outcome: Outcome::Delivered, end: End::Root(sequence) });
        drop(settler);
        assert_eq!(block_on(ends.news()).map(|news| news.items), Some(1));
        assert!(block_on(ends.news()).is_none());
    }
}
