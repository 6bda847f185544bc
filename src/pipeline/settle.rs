//! The settler: turns the ends of items into commits, and moves the source's position over settled items alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use event_listener::{Event, EventListener};

use super::ack::{Branch, End, Ended, PageEnd};
use super::counters::Counters;
use super::flights::Flights;
use super::life::Life;
use super::replay::Replays;
use crate::component::{Position, Progress, Quiescence, Reason};
use crate::model::{Fault, Outcome, Planted, Text};
use crate::runtime;
use crate::store::{Change, Lease, Store};

/// How many ends one commit joins at most.
const GROUP: usize = 4096;

/// A source runs at most this many items ahead of its oldest unsettled one.
const AHEAD: usize = 10_000;

/// What is known of the items of one pipeline that are in flight.
pub(super) struct Ledger {
    pub(super) pipeline: Text,
    pub(super) source_id: Text,
    pub(super) ahead: Ahead,
    pub(super) flights: Flights,
    pub(super) replays: Replays,
    pub(super) counters: Arc<Counters>,
    pub(super) progress: Arc<Progress>,
    pub(super) store: Store,
    /// In a single run: what else goes on.
    pub(super) quiescence: Option<Arc<Quiescence>>,
}

/// The source's items that have not all settled, in the order in which it made them.
#[derive(Default)]
pub(super) struct Ahead {
    state: Mutex<AheadState>,
    moved: Event,
}

#[derive(Default)]
struct AheadState {
    /// The sequence number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// Whether an item was abandoned: the position then stays before it, and the source must be opened anew.
    abandoned: bool,
}

struct Slot {
    position: Option<Position>,
    lease: Option<Lease>,
    told: Option<Sender<Outcome>>,
    ended: bool,
}

/// What the ends of some items mean for their source.
#[derive(Default)]
struct Moved {
    /// The newest position that has only settled items behind it.
    position: Option<Position>,
    settled: Vec<Lease>,
    abandoned: Vec<Lease>,
    /// Who is to be told of what, once this is committed.
    told: Vec<(Sender<Outcome>, Outcome)>,
}

impl Ahead {
    /// Notes an item that the source made, and answers its sequence number.
    pub(super) fn produced(
        &self,
        position: Option<Position>,
        lease: Option<Lease>,
        told: Option<Sender<Outcome>>,
    ) -> u64 {
        let mut state = self.state();
        state.slots.push_back(Slot { position, lease, told, ended: false });
        state.first + state.slots.len() as u64 - 1
    }

    /// Whether the source may make one more item, if it may run at most `most` items ahead.
    pub(super) fn has_room(&self, most: usize) -> bool {
        self.state().slots.len() < most.min(AHEAD)
    }

    /// Wakes when items have ended.
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
        while state.slots.pop_front_if(|slot| slot.ended).is_some() {
            state.first += 1;
        }
        state.abandoned = false;
    }

    /// Nothing that has not ended will: answers what a queue has lent to it.
    fn abandon_rest(&self) -> Vec<Lease> {
        let mut state = self.state();
        state.slots.drain(..).filter(|slot| !slot.ended).filter_map(|slot| slot.lease).collect()
    }

    /// Notes how items ended.
    fn ended(&self, ends: &[(u64, Outcome)]) -> Moved {
        let mut moved = Moved::default();
        let mut state = self.state();
        for (sequence, outcome) in ends {
            let place = usize::try_from(sequence - state.first).expect("at most AHEAD items are unsettled");
            let slot = &mut state.slots[place];
            moved.told.extend(slot.told.take().map(|told| (told, *outcome)));
            match slot.lease {
                // A queue gives it out again by itself; its neighbours do not depend on it.
                Some(lease) => {
                    slot.ended = true;
                    if outcome.is_settled() { moved.settled.push(lease) } else { moved.abandoned.push(lease) }
                }
                None if outcome.is_settled() => slot.ended = true,
                None => state.abandoned = true,
            }
        }
        while state.slots.front().is_some_and(|slot| slot.ended) {
            let slot = state.slots.pop_front().expect("the front was just looked at");
            state.first += 1;
            moved.position = slot.position.or(moved.position);
        }
        if Planted::PositionByRead.is_on() {
            moved.position = state.slots.iter().rev().find_map(|slot| slot.position.clone()).or(moved.position);
        }
        drop(state);
        self.moved.notify(usize::MAX);
        moved
    }

    fn state(&self) -> MutexGuard<'_, AheadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits what items leave behind as they end, until nobody can end any more, or the pipeline alone is over: then
/// what has not ended is abandoned here, so that nothing that a sink still holds can speak for the pipeline that takes
/// its place.
///
/// A commit that fails ends the process, whose life is `whole`: the next start recovers.
pub(super) async fn settle(ledger: Arc<Ledger>, ends: Receiver<Ended>, whole: Life, own: Life) {
    let next = || {
        let over = async {
            own.part_over().await;
            None
        };
        runtime::race(async { ends.recv().await.ok() }, over)
    };
    while let Some(first) = next().await {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = ends.try_recv()
        {
            group.push(next);
        }
        if let Err(fault) = settle_group(&ledger, group).await {
            whole.fail(fault);
            return;
        }
    }
    ends.close();
    let abandoned = ledger.ahead.abandon_rest();
    if ledger.quiescence.is_none() && !abandoned.is_empty() {
        let changes = abandoned.into_iter().map(|lease| Change::Release { lease, due: None }).collect();
        if let Err(fault) = ledger.store.commit(changes).await {
            whole.fail(fault);
        }
    }
}

async fn settle_group(ledger: &Ledger, group: Vec<Ended>) -> Result<(), Fault> {
    let mut changes = Vec::new();
    let mut roots = Vec::new();
    let mut branches = Vec::new();
    let mut pages = Vec::new();
    let mut replayed = Vec::new();
    for Ended { outcome, end } in group {
        match end {
            End::Root(sequence) => roots.push((sequence, outcome)),
            End::Replay(letter) => {
                if outcome.is_settled() {
                    changes.push(Change::EndReplay(letter));
                }
                replayed.push((letter, outcome));
            }
            End::Branch(mut branch) => {
                if outcome.is_settled() {
                    changes.append(&mut branch.changes);
                }
                branches.push((outcome, branch));
            }
            End::Page(page) => {
                changes.append(&mut page.run.end_page(page.number, outcome));
                pages.push((outcome, page));
            }
        }
    }
    let Moved { position, settled, abandoned, told } = ledger.ahead.ended(&roots);
    changes.extend(settled.into_iter().map(Change::Settle));
    if ledger.quiescence.is_none() {
        changes.extend(abandoned.into_iter().map(|lease| Change::Release { lease, due: None }));
    }
    if let Some(Position(position)) = &position {
        let (pipeline, component) = (ledger.pipeline.clone(), ledger.source_id.clone());
        changes.push(Change::Position { pipeline, component, position: position.clone() });
    }
    let late = if Planted::DeadLetterApart.is_on() { hold_back_letters(&mut changes) } else { Vec::new() };
    if !changes.is_empty() {
        ledger.store.commit(changes).await?;
    }
    ledger.store.commit(late).await?;
    for (outcome, Branch { parent, flight, coming, .. }) in branches {
        // What they put into buffers is counted by the store from now on.
        drop(coming);
        if let Some(flight) = flight {
            let sharers = ledger.flights.end(&flight, outcome);
            if sharers > 0 {
                ledger.counters.of(flight.component()).filtered(Reason::Duplicate, sharers);
            }
        }
        parent.settle(outcome);
    }
    for (outcome, PageEnd { parent, run, .. }) in pages {
        parent.settle(outcome);
        // Now that what it leaves behind is committed, the next item of the partition may begin.
        drop(run);
    }
    for (letter, outcome) in &replayed {
        ledger.replays.ended(*letter, *outcome);
    }
    for outcome in roots.iter().map(|(_, outcome)| outcome).chain(replayed.iter().map(|(_, outcome)| outcome)) {
        if !outcome.is_settled() {
            ledger.counters.abandoned();
        }
    }
    ledger.counters.settled(roots.len());
    ledger.progress.ended(roots.len(), position);
    for (listener, outcome) in told {
        // Whoever asked may have gone.
        let _ = listener.try_send(outcome);
    }
    if let Some(quiescence) = &ledger.quiescence {
        quiescence.end(roots.len() + replayed.len());
    }
    Ok(())
}

/// Planted: dead letters leave the commit that they belong to. Answers those that did so the last time.
fn hold_back_letters(changes: &mut Vec<Change>) -> Vec<Change> {
    static HELD_BACK: Mutex<Vec<Change>> = Mutex::new(Vec::new());
    let is_letter = |change: &mut Change| matches!(change, Change::Dead(_));
    let letters = changes.extract_if(.., is_letter).collect();
    std::mem::replace(&mut *HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner), letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    #[test]
    fn the_position_moves_only_over_settled_items() {
        let ahead = Ahead::default();
        for place in 0..4 {
            ahead.produced(Some(Position(Value::from(place))), None, None);
        }
        let position =
            |ends: &[(u64, Outcome)]| ahead.ended(ends).position.map(|Position(value)| value.as_i64().unwrap());
        assert_eq!(position(&[(1, Outcome::Delivered)]), None);
        assert_eq!(position(&[(0, Outcome::Rejected)]), Some(1));
        assert_eq!(position(&[(2, Outcome::Abandoned), (3, Outcome::Delivered)]), None);
        assert!(ahead.has_abandoned());
        ahead.reset();
        assert_eq!(ahead.produced(None, None, None), 4);
        assert!(!ahead.has_abandoned());
    }
}
