//! What is done with positions and cursors.

use crate::cli::access::Access;
use crate::model::{Fault, Value};
use crate::runtime;
use crate::store::{Kept, KeptPlace};

impl Access {
    pub(super) fn kept(&self) -> Result<Vec<Kept>, Fault> {
        match self {
            Access::Daemon(daemon) => daemon.kept(),
            Access::Store(store) => store.kept(),
        }
    }

    pub(super) fn set(&self, place: &KeptPlace, value: Value) -> Result<(), Fault> {
        match self {
            Access::Daemon(daemon) => daemon.set_kept(place, &value),
            Access::Store(store) => runtime::block_on(store.set_kept(place, value, false)),
        }
    }

    /// Answers how many were reset.
    pub(super) fn reset(&self, place: &KeptPlace) -> Result<u64, Fault> {
        match self {
            Access::Daemon(daemon) => daemon.reset_kept(place),
            Access::Store(store) => runtime::block_on(store.reset_kept(place, false)).map(|count| count as u64),
        }
    }
}
