//! Runs: of the items that share state in the store, one is on its way at a time, and what its pages leave behind is
//! written in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use event_listener::Event;

use super::parcel::Parcel;
use crate::model::{Outcome, Text};
use crate::store::Change;

/// The runs of one stage.
pub(super) struct Runs {
    state: Mutex<State>,
    /// Wakes the stage's workers.
    changed: Arc<Event>,
}

#[derive(Default)]
struct State {
    /// By partition that has a run: the items that wait for its end.
    waiting: HashMap<Text, VecDeque<Box<Parcel>>>,
    /// Items that have waited, and whose turn has come.
    begun: VecDeque<Box<Parcel>>,
}

impl Runs {
    pub(super) fn new(changed: Arc<Event>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed })
    }

    /// Begins a run for an item, or keeps the item until its turn has come.
    pub(super) fn begin(self: &Arc<Self>, partition: Text, mut parcel: Box<Parcel>) -> Option<Box<Parcel>> {
        let mut state = self.state();
        if let Some(waiting) = state.waiting.get_mut(&partition) {
            waiting.push_back(parcel);
            return None;
        }
        state.waiting.insert(partition.clone(), VecDeque::new());
        parcel.run = Some(Run::new(self, partition));
        Some(parcel)
    }

    /// How many items are kept here.
    pub(super) fn held(&self) -> usize {
        let state = self.state();
        state.waiting.values().map(VecDeque::len).sum::<usize>() + state.begun.len()
    }

    /// Items that have waited, and that have a run now.
    pub(super) fn take_begun(&self) -> VecDeque<Box<Parcel>> {
        std::mem::take(&mut self.state().begun)
    }

    /// The next of them, once there is one.
    pub(super) async fn begun(&self) -> Option<Box<Parcel>> {
        loop {
            let changed = self.changed.listen();
            let begun = self.state().begun.pop_front();
            if begun.is_some() {
                return begun;
            }
            changed.await;
        }
    }

    /// Lets go of all items that are kept here.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        let waiting: Vec<_> = state.waiting.values_mut().map(std::mem::take).collect();
        let begun = std::mem::take(&mut state.begun);
        drop(state);
        // Only now, since an item that goes may end its run.
        drop((waiting, begun));
    }

    /// A run has ended: the next item of its partition gets its turn.
    fn ended(self: &Arc<Self>, partition: &Text) {
        let mut state = self.state();
        let next = state.waiting.get_mut(partition).and_then(VecDeque::pop_front);
        match next {
            Some(mut parcel) => {
                parcel.run = Some(Run::new(self, partition.clone()));
                state.begun.push_back(parcel);
            }
            None => {
                state.waiting.remove(partition);
            }
        }
        drop(state);
        self.changed.notify(usize::MAX);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item's hold on its partition: shared by the item while it has pages to come, and by each page until what it
/// leaves behind is committed.
pub(super) struct Run {
    /// Gone if the stage is: then nobody waits.
    runs: Weak<Runs>,
    partition: Text,
    pages: Mutex<Pages>,
}

/// The pages of a run that have not all settled, in order.
#[derive(Default)]
struct Pages {
    /// The number of the first one here.
    first: u64,
    pages: VecDeque<Page>,
}

struct Page {
    changes: Vec<Change>,
    has_settled: bool,
}

impl Run {
    fn new(runs: &Arc<Runs>, partition: Text) -> Arc<Self> {
        Arc::new(Self { runs: Arc::downgrade(runs), partition, pages: Mutex::default() })
    }

    /// Notes the next page, which leaves `changes` behind, and answers its number.
    pub(super) fn add_page(&self, changes: Vec<Change>) -> u64 {
        let mut pages = self.pages();
        pages.pages.push_back(Page { changes, has_settled: false });
        pages.first + pages.pages.len() as u64 - 1
    }

    /// A page has ended. Answers what may be written now: what is left behind by the pages that have settled, as far
    /// as all before them have.
    pub(super) fn end_page(&self, number: u64, outcome: Outcome) -> Vec<Change> {
        let mut pages = self.pages();
        let place = usize::try_from(number - pages.first).expect("its pages are in memory");
        // One that was abandoned stays, and so does all that comes after it.
        pages.pages[place].has_settled = outcome.is_settled();
        let mut changes = Vec::new();
        while pages.pages.front().is_some_and(|page| page.has_settled) {
            let page = pages.pages.pop_front().expect("the front was just looked at");
            pages.first += 1;
            changes.extend(page.changes);
        }
        changes
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(runs) = self.runs.upgrade() {
            runs.ended(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ends: &[(u64, Outcome)], expected: &[&[i64]]) {
        let run = Run::new(&Runs::new(Arc::default()), "".into());
        for page in 0..ends.len() as i64 {
            assert_eq!(run.add_page(vec![Change::DropDead(page)]), page as u64);
        }
        for ((number, outcome), expected) in ends.iter().zip(expected) {
            let changes = run.end_page(*number, *outcome).into_iter().map(|change| match change {
                Change::DropDead(page) => page,
                other => panic!("{other:?}"),
            });
            assert_eq!(changes.collect::<Vec<_>>(), *expected, "{ends:?}");
        }
    }

    #[test]
    fn pages_leave_something_behind_in_their_order() {
        use Outcome::{Abandoned, Delivered, Filtered, Rejected};
        check(&[(0, Delivered), (1, Filtered)], &[&[0], &[1]]);
        check(&[(2, Delivered), (0, Rejected), (1, Filtered)], &[&[], &[0], &[1, 2]]);
        check(&[(0, Delivered), (1, Abandoned), (2, Delivered)], &[&[0], &[], &[]]);
        check(&[(1, Delivered), (2, Abandoned), (0, Delivered)], &[&[], &[], &[0, 1]]);
    }
}
