//! `gatherd schema`: the JSON Schema of the config.

use std::process::ExitCode;

use super::output;
use crate::assemble;

pub(super) fn schema() -> ExitCode {
    output::print(format!("{:#}\n", assemble::schema()).as_bytes())
}
