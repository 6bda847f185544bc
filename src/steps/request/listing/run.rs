//! What the store keeps of runs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::new_by::{NewBy, Remembered, Sifted};
use super::progress::{Next, Progress, RunProgress};
use crate::component::StepContext;
use crate::model::{Fault, Text, Value};
use crate::store::{Change, Cursor, CursorChange, CursorKey, CursorMove, Digest, Rank, Store};

/// The cursors of one step, and its runs in flight.
pub(super) struct Runs {
    store: Store,
    pipeline: Text,
    component: Text,
    /// By partition.
    remembered: Mutex<HashMap<Text, Remembered>>,
}

impl Runs {
    pub(super) fn new(context: &StepContext) -> Self {
        let StepContext { store, pipeline, id, .. } = context;
        let (store, pipeline, component) = (store.clone(), pipeline.clone(), id.clone());
        Self { store, pipeline, component, remembered: Mutex::default() }
    }

    fn key(&self, partition: &Text) -> CursorKey {
        let (pipeline, component) = (self.pipeline.clone(), self.component.clone());
        CursorKey { pipeline, component, partition: partition.clone() }
    }

    /// Where an item begins that asks for `request`: where the run that the store keeps goes on, if that asked for the
    /// same; else at the cursor. The second answer tells which it is.
    pub(super) fn begin(
        &self,
        partition: &Text,
        request: Digest,
        first: Next,
        new_by: &NewBy,
    ) -> Result<(Progress, bool), Fault> {
        self.remembered().insert(partition.clone(), Remembered::default());
        let cursor = self.store.cursor(&self.key(partition))?;
        let kept = cursor.run.as_ref().and_then(Progress::from_value);
        let is_broken = kept.is_some();
        let goes_on = |progress: &Progress| progress.request == request && !matches!(progress.next, Next::Never(_));
        if let Some(mut progress) = kept.filter(goes_on) {
            progress.run.edition = cursor.edition;
            progress.run.comes_again = true;
            return Ok((progress, true));
        }
        let mut progress = Progress::new(request, first);
        progress.run = beginning_at(cursor, is_broken, new_by);
        Ok((progress, false))
    }

    /// Begins anew at the cursor, since the page that a run was to go on with is refused.
    pub(super) fn begin_anew(
        &self,
        partition: &Text,
        refused: &Progress,
        first: Next,
        new_by: &NewBy,
    ) -> Result<Progress, Fault> {
        let cursor = self.store.cursor(&self.key(partition))?;
        let mut progress = Progress::new(refused.request, first);
        progress.children = refused.children;
        progress.run = beginning_at(cursor, true, new_by);
        Ok(progress)
    }

    /// Takes from a page's items those that are new.
    pub(super) fn sift(
        &self,
        partition: &Text,
        found: Vec<super::new_by::Found>,
        run: &mut RunProgress,
        new_by: &NewBy,
    ) -> Result<Sifted, Fault> {
        let key = self.key(partition);
        let mut remembered = self.remembered();
        let remembered = remembered.entry(partition.clone()).or_default();
        new_by.sift(partition, found, run, remembered, |items| self.store.are_settled(&key, items))
    }

    /// What the store is given once the page before `progress` has settled, and every one before it. `is_last` tells
    /// that the run is over with it.
    pub(super) fn changes(
        &self,
        partition: &Text,
        progress: &mut Progress,
        sifted: &mut Sifted,
        is_last: bool,
        new_by: &NewBy,
    ) -> Result<Vec<Change>, Fault> {
        let cursor = moved(&mut progress.run, is_last, new_by)?;
        let mut settled = std::mem::take(&mut sifted.settled);
        let forget_below = match &cursor {
            CursorMove::To(value) => Some(new_by.boundary(value)?),
            CursorMove::Stays | CursorMove::Away => None,
        };
        if let Some(bound) = &forget_below {
            settled.retain(|item| !is_below(&item.rank, bound));
        }
        if is_last {
            self.remembered().remove(partition);
        }
        let was_kept = progress.pages > 1 || progress.run.comes_again;
        if is_last && !was_kept && settled.is_empty() && cursor == CursorMove::Stays {
            return Ok(Vec::new());
        }
        let run = (!is_last).then(|| progress.to_value());
        let (key, edition) = (self.key(partition), progress.run.edition);
        Ok(vec![Change::Cursor(Box::new(CursorChange { key, edition, cursor, run, settled, forget_below }))])
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<Text, Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run from this cursor on; `comes_again` tells whether an earlier one has come to nothing.
fn beginning_at(cursor: Cursor, comes_again: bool, new_by: &NewBy) -> RunProgress {
    let Cursor { value: began_at, edition, .. } = cursor;
    RunProgress { began_at, edition, ascends: new_by.is_ascending, comes_again, ..RunProgress::default() }
}

/// How a page moves the cursor: the last one to the maximum, and any other only while all items ascend. Once they do
/// not, it goes back to where the run began.
fn moved(run: &mut RunProgress, is_last: bool, new_by: &NewBy) -> Result<CursorMove, Fault> {
    let beyond: Option<&Value> = match &run.maximum {
        Some(maximum) if new_by.is_beyond(maximum, run.began_at.as_ref())? => Some(maximum),
        _ => None,
    };
    if is_last || (new_by.is_ascending && run.ascends) {
        let Some(maximum) = beyond.cloned() else { return Ok(CursorMove::Stays) };
        run.has_moved = true;
        return Ok(CursorMove::To(maximum));
    }
    if !std::mem::take(&mut run.has_moved) {
        return Ok(CursorMove::Stays);
    }
    Ok(run.began_at.clone().map_or(CursorMove::Away, CursorMove::To))
}

/// Whether what has the one rank stands below the other.
pub(super) fn is_below(rank: &Rank, bound: &Rank) -> bool {
    match (rank, bound) {
        (Rank::Integer(rank), Rank::Integer(bound)) => rank < bound,
        (Rank::Text(rank), Rank::Text(bound)) => rank < bound,
        (Rank::Integer(rank), Rank::Real(bound)) => (*rank as f64) < *bound,
        (Rank::Real(rank), Rank::Integer(bound)) => *rank < *bound as f64,
        (Rank::Real(rank), Rank::Real(bound)) => rank < bound,
        _ => false,
    }
}
