//! The settler: turns the ends of items into commits, and moves the source's position over settled items alone.

use std::sync::{Arc, Mutex, PoisonError};

use super::ack::{Branch, End, Ended, PageEnd};
use super::counters::Counters;
use super::ends::{Ends, News};
use super::flights::Flights;
use super::life::Life;
use super::replay::Replays;
use crate::component::{Position, Progress, Quiescence, Reason};
use crate::model::{Fault, Planted, Text};
use crate::runtime::{self, Clock};
use crate::store::{Change, CursorMove, Store};

/// What is known of the items of one pipeline that are in flight.
pub(super) struct Ledger {
    pub(super) pipeline: Text,
    pub(super) source_id: Text,
    pub(super) ends: Arc<Ends>,
    pub(super) flights: Flights,
    pub(super) replays: Replays,
    pub(super) counters: Arc<Counters>,
    pub(super) progress: Arc<Progress>,
    pub(super) store: Store,
    /// In a single run: what else goes on.
    pub(super) quiescence: Option<Arc<Quiescence>>,
}

/// Commits what items leave behind as they end, until nobody can end any more, or the pipeline alone is over: then
/// what has not ended is abandoned here, so that nothing that a sink still holds can speak for the pipeline that takes
/// its place. While one commit is on its way, the next one gathers.
///
/// A commit that fails ends the process, whose life is `whole`: the next start recovers.
pub(super) async fn settle(ledger: Arc<Ledger>, whole: Life, own: Life, clock: Clock) {
    let next = || {
        let over = async {
            own.part_over().await;
            None
        };
        runtime::race(ledger.ends.news(), over)
    };
    while let Some(news) = next().await {
        if let Err(fault) = commit(&ledger, news, &clock).await {
            ledger.ends.close();
            whole.fail(fault);
            return;
        }
        ledger.ends.committed();
    }
    let abandoned = ledger.ends.close();
    if ledger.quiescence.is_none() && !abandoned.is_empty() {
        let changes = abandoned.into_iter().map(|lease| Change::Release { lease, due: None }).collect();
        if let Err(fault) = ledger.store.commit(changes).await {
            whole.fail(fault);
        }
    }
}

async fn commit(ledger: &Ledger, news: News, clock: &Clock) -> Result<(), Fault> {
    let News { items, abandoned_items, position, settled, abandoned, told, others, .. } = news;
    let mut changes = Vec::new();
    let mut branches = Vec::new();
    let mut pages = Vec::new();
    let mut replayed = Vec::new();
    let mut moved_cursors = Vec::new();
    for Ended { outcome, end } in others {
        match end {
            End::Root(_) => unreachable!("the ends of the source's items are counted as they come"),
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
                let mut left = page.run.end_page(page.number, outcome);
                moved_cursors.extend(left.iter().filter_map(moved_cursor));
                changes.append(&mut left);
                pages.push((outcome, page));
            }
        }
    }
    changes.extend(settled.into_iter().map(Change::Settle));
    if ledger.quiescence.is_none() {
        changes.extend(abandoned.into_iter().map(|lease| Change::Release { lease, due: None }));
    }
    let position = position.map(Position::into_value);
    if let Some(position) = &position {
        let (pipeline, component) = (ledger.pipeline.clone(), ledger.source_id.clone());
        changes.push(Change::Position { pipeline, component, position: position.clone() });
    }
    let late = if Planted::DeadLetterApart.is_on() { hold_back_letters(&mut changes) } else { Vec::new() };
    if !changes.is_empty() {
        ledger.store.commit(changes).await?;
    }
    ledger.store.commit(late).await?;
    for component in moved_cursors {
        ledger.counters.cursor_moved(&component, clock);
    }
    for (outcome, branch) in branches {
        let Branch { parent, flight, coming, .. } = *branch;
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
    for (outcome, page) in pages {
        let PageEnd { parent, run, .. } = *page;
        parent.settle(outcome);
        // Now that what it leaves behind is committed, the next item of the partition may begin.
        drop(run);
    }
    for (letter, outcome) in &replayed {
        ledger.replays.ended(*letter, *outcome);
    }
    let abandoned_replays = replayed.iter().filter(|(_, outcome)| !outcome.is_settled()).count();
    ledger.counters.abandoned(abandoned_items + abandoned_replays);
    ledger.counters.settled(items);
    ledger.progress.ended(items, position);
    for (listener, outcome) in told {
        // Whoever asked may have gone.
        let _ = listener.try_send(outcome);
    }
    if let Some(quiescence) = &ledger.quiescence {
        quiescence.end(items + replayed.len());
    }
    Ok(())
}

/// The component whose cursor a change moves.
fn moved_cursor(change: &Change) -> Option<Text> {
    match change {
        Change::Cursor(change) if matches!(change.cursor, CursorMove::To(_)) => Some(change.key.component.clone()),
        _ => None,
    }
}

/// Planted: dead letters leave the commit that they belong to. Answers those that did so the last time.
fn hold_back_letters(changes: &mut Vec<Change>) -> Vec<Change> {
    static HELD_BACK: Mutex<Vec<Change>> = Mutex::new(Vec::new());
    let is_letter = |change: &mut Change| matches!(change, Change::Dead(_));
    let letters = changes.extract_if(.., is_letter).collect();
    std::mem::replace(&mut *HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner), letters)
}
