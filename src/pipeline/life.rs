//! How an engine's life goes: it runs, runs dry, and is over.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use event_listener::Event;

use crate::model::Fault;
use crate::runtime::{self, Clock};

/// The life of an engine, or of one of its pipelines. Shared by its tasks and by whoever wants it to end: a clone
/// shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    own: Arc<State>,
    /// The engine's, for a pipeline: it ends both.
    parent: Option<Arc<State>>,
}

#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    fault: Mutex<Option<Fault>>,
    changed: Event,
}

/// Sources make no more items, and nobody waits for a remote any more.
const STOPPING: u8 = 1;
/// What is still in flight is abandoned.
const OVER: u8 = 2;

impl Life {
    /// The life of a part, which ends with the whole or before it.
    pub(super) fn part(&self) -> Self {
        Self { own: Arc::default(), parent: Some(self.own.clone()) }
    }

    pub(super) fn stop(&self) {
        self.own.reach(STOPPING);
    }

    pub(super) fn end(&self) {
        self.own.reach(OVER);
    }

    /// It cannot go on. Only the first fault counts.
    pub(super) fn fail(&self, fault: Fault) {
        self.own.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        self.stop();
    }

    /// Nor can the whole that it is a part of.
    pub(super) fn fail_whole(&self, fault: &Fault) {
        if let Some(parent) = &self.parent {
            Self { own: parent.clone(), parent: None }.fail(fault.clone());
        }
        self.fail(fault.clone());
    }

    /// Why it could not go on.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.own.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.has_reached(STOPPING)
    }

    pub(super) async fn stopping(&self) {
        self.reached(STOPPING).await;
    }

    /// What `work` answers, or nothing if the end came before.
    pub(super) async fn unless_over<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let over = async {
            self.reached(OVER).await;
            None
        };
        runtime::race(async { Some(work.await) }, over).await
    }

    /// Sleeps until `when`; false if a stop came before.
    pub(super) async fn sleep_until(&self, clock: &Clock, when: Instant) -> bool {
        let stopped = async {
            self.stopping().await;
            false
        };
        let slept = async {
            clock.sleep_until(when).await;
            true
        };
        runtime::race(stopped, slept).await
    }

    pub(super) fn is_over(&self) -> bool {
        self.has_reached(OVER)
    }

    /// Waits until this part is over, whatever becomes of the whole.
    pub(super) async fn part_over(&self) {
        loop {
            let changed = self.own.changed.listen();
            if self.own.phase.load(Ordering::Acquire) >= OVER {
                return;
            }
            changed.await;
        }
    }

    fn has_reached(&self, phase: u8) -> bool {
        let reached = |state: &Arc<State>| state.phase.load(Ordering::Acquire) >= phase;
        reached(&self.own) || self.parent.as_ref().is_some_and(reached)
    }

    async fn reached(&self, phase: u8) {
        loop {
            let own = self.own.changed.listen();
            let parent = self.parent.as_ref().map(|parent| parent.changed.listen());
            if self.has_reached(phase) {
                return;
            }
            match parent {
                Some(parent) => runtime::race(own, parent).await,
                None => own.await,
            }
        }
    }
}

impl State {
    fn reach(&self, phase: u8) {
        self.phase.fetch_max(phase, Ordering::AcqRel);
        self.changed.notify(usize::MAX);
    }
}
