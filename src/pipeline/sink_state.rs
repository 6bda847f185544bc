//! How a sink's destination is doing, over all of the sink's workers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// What is known of a destination.
#[derive(Debug, Default)]
pub(super) struct SinkState(Mutex<Troubles>);

/// How many workers have which trouble.
#[derive(Debug, Default)]
struct Troubles {
    /// The destination fails as a whole.
    failing: usize,
    /// It refuses everything: the breaker is open.
    refused: usize,
    since: Option<Timestamp>,
}

/// How a sink is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkHealth {
    Works,
    /// The destination fails as a whole since this time: items wait.
    Fails(Timestamp),
    /// It refuses everything since this time: the breaker is open, and one item is tried now and then.
    Refuses(Timestamp),
}

/// An open breaker; closed when this is dropped.
pub(super) struct OpenBreaker<'a>(&'a SinkState);

impl SinkState {
    /// One more worker sees the destination fail.
    pub(super) fn fails(&self, now: Timestamp) {
        let mut troubles = self.troubles();
        troubles.failing += 1;
        troubles.since.get_or_insert(now);
    }

    /// A worker that saw it fail sees it work again.
    pub(super) fn works(&self) {
        self.troubles().end(|troubles| &mut troubles.failing);
    }

    pub(super) fn open_breaker(&self, now: Timestamp) -> OpenBreaker<'_> {
        let mut troubles = self.troubles();
        troubles.refused += 1;
        troubles.since.get_or_insert(now);
        OpenBreaker(self)
    }

    pub(super) fn health(&self) -> SinkHealth {
        let troubles = self.troubles();
        match troubles.since {
            Some(since) if troubles.refused > 0 => SinkHealth::Refuses(since),
            Some(since) => SinkHealth::Fails(since),
            None => SinkHealth::Works,
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Troubles {
    fn end(&mut self, which: impl FnOnce(&mut Self) -> &mut usize) {
        let count = which(self);
        *count = count.saturating_sub(1);
        if self.failing + self.refused == 0 {
            self.since = None;
        }
    }
}

impl Drop for OpenBreaker<'_> {
    fn drop(&mut self) {
        self.0.troubles().end(|troubles| &mut troubles.refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_works_again_once_no_worker_has_trouble() {
        let state = SinkState::default();
        let [first, later] = [1, 2].map(|second| Timestamp::from_second(second).unwrap());
        state.fails(first);
        state.fails(later);
        let open = state.open_breaker(later);
        assert_eq!(state.health(), SinkHealth::Refuses(first));
        drop(open);
        state.works();
        assert_eq!(state.health(), SinkHealth::Fails(first));
        state.works();
        assert_eq!(state.health(), SinkHealth::Works);
    }
}
