//! Which edition of a cursor a run began with: what a person sets is not overwritten by a run in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CursorKey;

/// How often cursors were set or reset by a person since the store was opened; those that never were are not here.
///
/// Runs do not outlive the process, so neither needs this.
#[derive(Clone, Default)]
pub(in crate::store) struct Editions {
    committed: Arc<Mutex<HashMap<CursorKey, u64>>>,
    /// Set in the commit at hand.
    pending: Vec<CursorKey>,
}

impl Editions {
    pub(in crate::store) fn current(&self, key: &CursorKey) -> u64 {
        self.lock().get(key).copied().unwrap_or(0)
    }

    /// For the writer: whether a run that began with `edition` may still write.
    pub(in crate::store) fn is_current(&self, key: &CursorKey, edition: u64) -> bool {
        !self.pending.contains(key) && self.current(key) == edition
    }

    /// For the writer: the cursor is set in the commit at hand.
    pub(in crate::store) fn set(&mut self, key: &CursorKey) {
        self.pending.push(key.clone());
    }

    /// Whoever reads the cursor from now on reads what was set.
    pub(in crate::store) fn committed(&mut self) {
        for key in std::mem::take(&mut self.pending) {
            *self.lock().entry(key).or_default() += 1;
        }
    }

    pub(in crate::store) fn rolled_back(&mut self) {
        self.pending.clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CursorKey, u64>> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
