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

/// Where the systemd unit has its state.
const OF_THE_UNIT: &str = "/var/lib/gatherd";

/// Says that no gatherd runs there, and how to name another folder.
pub(super) fn nobody_in(folder: &Path) -> String {
    // Of a unit with a user of its own it is a link that leads to where only root can look.
    let has_unit = Path::new(OF_THE_UNIT).symlink_metadata().is_ok() && folder != Path::new(OF_THE_UNIT);
    let example = if has_unit { format!(" (that of the service is `{OF_THE_UNIT}`)") } else { String::new() };
    format!("no gatherd runs with the state folder `{}`; name another with `--state`{example}", folder.display())
}
