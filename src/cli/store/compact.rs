//! `gatherd store compact`.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::output::{self, about};
use crate::daemon::ControlClient;
use crate::model::Fault;
use crate::runtime;
use crate::store::{Compacted, Store};

pub(super) fn compact(folder: &Path) -> Result<ExitCode, Fault> {
    let Compacted { bytes_before, bytes_after } = match ControlClient::find(folder) {
        Some(daemon) => daemon.compact()?,
        None => {
            // No store is made where there is none.
            Store::open_to_read(folder).map(drop)?;
            runtime::block_on(Store::open(folder)?.compact())?
        }
    };
    Ok(output::print(format!("{} before, {} now\n", about(bytes_before), about(bytes_after)).as_bytes()))
}
