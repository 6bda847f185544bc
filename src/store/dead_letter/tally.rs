//! How many dead letters each pipeline has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};
use rusqlite::Connection;

use super::rows::{self, Grown};
use crate::model::Text;

/// How many dead letters a pipeline has, and how many bytes they take on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadSize {
    pub items: u64,
    pub bytes: u64,
}

/// What is known of the dead letters without asking the file. The writer keeps it up to date.
#[derive(Debug, Default)]
pub(in crate::store) struct DeadBoard {
    sizes: Mutex<HashMap<Text, DeadSize>>,
    shrunk: Event,
    asked: Event,
}

impl DeadBoard {
    pub(in crate::store) fn size(&self, pipeline: &str) -> DeadSize {
        self.sizes().get(pipeline).copied().unwrap_or_default()
    }

    /// Wakes when there are fewer.
    pub(in crate::store) fn shrunk(&self) -> EventListener {
        self.shrunk.listen()
    }

    /// Wakes when one is asked to be replayed.
    pub(in crate::store) fn asked(&self) -> EventListener {
        self.asked.listen()
    }

    fn sizes(&self) -> MutexGuard<'_, HashMap<Text, DeadSize>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's side of the board: what the commit at hand will change.
#[derive(Debug)]
pub(in crate::store) struct Tally {
    board: Arc<DeadBoard>,
    grown: Vec<Grown>,
    is_asked: bool,
}

impl Tally {
    pub(in crate::store) fn recover(connection: &Connection) -> rusqlite::Result<Self> {
        let mut tally = Self { board: Arc::default(), grown: rows::sizes(connection)?, is_asked: false };
        tally.committed();
        Ok(tally)
    }

    pub(in crate::store) fn board(&self) -> &Arc<DeadBoard> {
        &self.board
    }

    pub(in crate::store) fn add(&mut self, grown: impl Into<Option<Grown>>) {
        self.grown.extend(grown.into());
    }

    /// One was asked to be replayed.
    pub(in crate::store) fn ask(&mut self) {
        self.is_asked = true;
    }

    pub(in crate::store) fn rolled_back(&mut self) {
        self.grown.clear();
        self.is_asked = false;
    }

    pub(in crate::store) fn committed(&mut self) {
        if !self.grown.is_empty() {
            let mut sizes = self.board.sizes();
            let mut is_less = false;
            for Grown { pipeline, items, bytes } in self.grown.drain(..) {
                let size = sizes.entry(pipeline).or_default();
                size.items = size.items.saturating_add_signed(items);
                size.bytes = size.bytes.saturating_add_signed(bytes);
                is_less |= items < 0 || bytes < 0;
            }
            drop(sizes);
            if is_less {
                self.board.shrunk.notify(usize::MAX);
            }
        }
        if std::mem::take(&mut self.is_asked) {
            self.board.asked.notify(usize::MAX);
        }
    }
}
