//! The way to what a daemon keeps: through the one that runs, or into its store.

use std::path::Path;

use crate::daemon::ControlClient;
use crate::model::Fault;
use crate::store::Store;

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
}
