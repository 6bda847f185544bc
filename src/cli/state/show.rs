//! `gatherd state show`.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::output;
use crate::model::{Fault, FaultKind, json};
use crate::store::{Kept, KeptAt, KeptPlace};

pub(super) fn show(folder: &Path, place: &KeptPlace) -> Result<ExitCode, Fault> {
    let KeptPlace { pipeline, component, partition } = place;
    let is_asked = |kept: &&Kept| {
        let is_partition = match (&kept.at, partition) {
            (KeptAt::Cursor { partition: of, .. }, Some(asked)) => of == asked,
            (KeptAt::Position(_), Some(_)) => false,
            (_, None) => true,
        };
        kept.pipeline == *pipeline && kept.component == *component && is_partition
    };
    let kept = Access::to_read(folder)?.kept()?;
    let shown: String = kept.iter().filter(is_asked).map(|kept| json::pretty(&kept.to_json()) + "\n").collect();
    if shown.is_empty() {
        let message = format!(
            "cannot show the state of `{component}` in pipeline `{pipeline}`: there is none (see `gatherd state list`)"
        );
        return Err(Fault::stop(FaultKind::Request, message));
    }
    Ok(output::print(shown.as_bytes()))
}
