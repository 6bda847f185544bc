//! `gatherd state reset`.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::output;
use crate::model::Fault;
use crate::store::KeptPlace;

pub(super) fn reset(folder: &Path, place: &KeptPlace) -> Result<ExitCode, Fault> {
    let count = Access::to_write(folder)?.reset(place)?;
    Ok(output::print(format!("reset {}\n", output::counted(count, "place", "places")).as_bytes()))
}
