//! What was found on the way of a source's item, for the source.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::Timestamp;

/// What was found on the way of an item and its descendants. For sources that ask for it.
#[derive(Debug)]
pub struct Findings {
    has_new: AtomicBool,
    /// In milliseconds since 1970; [`Findings::UNKNOWN`] while no reply has come.
    fresh_until: AtomicI64,
}

impl Default for Findings {
    fn default() -> Self {
        Self { has_new: AtomicBool::new(false), fresh_until: AtomicI64::new(Self::UNKNOWN) }
    }
}

impl Findings {
    const UNKNOWN: i64 = i64::MAX;

    /// Something of it was delivered.
    pub fn found_new(&self) {
        self.has_new.store(true, Ordering::Relaxed);
    }

    pub fn has_new(&self) -> bool {
        self.has_new.load(Ordering::Relaxed)
    }

    /// A reply came that its server calls fresh until then. One that does not say so may change at any time.
    pub fn found_reply(&self, fresh_until: Option<Timestamp>) {
        self.fresh_until.fetch_min(fresh_until.map_or(i64::MIN, Timestamp::as_millisecond), Ordering::Relaxed);
    }

    /// Until when all replies are fresh, if they say so.
    pub fn fresh_until(&self) -> Option<Timestamp> {
        match self.fresh_until.load(Ordering::Relaxed) {
            Self::UNKNOWN => None,
            until => Timestamp::from_millisecond(until).ok(),
        }
    }
}
