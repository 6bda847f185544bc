//! The way to what is kept: through the daemon that runs, or into the store.

use std::path::Path;

use crate::daemon::ControlClient;
use crate::model::{Fault, Value};
use crate::runtime;
use crate::store::{Kept, KeptPlace, Store};

pub(super) enum Access {
    Daemon(ControlClient),
    Store(Store),
}

impl Access {
    /// To look only.
    pub(super) fn to_read(folder: &Path) -> Result<Self, Fault> {
        match ControlClient::find(folder) {
            Some(daemon) => Ok(Access::Daemon(daemon)),
            None => Store::open_to_read(folder).map(Access::Store),
        }
    }

    /// To change something. No store is made where there is none.
    pub(super) fn to_write(folder: &Path) -> Result<Self, Fault> {
        match ControlClient::find(folder) {
            Some(daemon) => Ok(Access::Daemon(daemon)),
            None => {
                Store::open_to_read(folder).map(drop)?;
                Store::open(folder).map(Access::Store)
            }
        }
    }

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
