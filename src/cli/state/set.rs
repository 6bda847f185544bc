//! `gatherd state set`.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::PlaceArguments;
use crate::cli::access::Access;
use crate::cli::output;
use crate::model::{Fault, Value, json};

#[derive(Debug, Args)]
pub(super) struct SetArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// JSON, such as 7 or "2026-01-31T00:00:00Z"; what is no JSON is taken as a text.
    value: String,
}

pub(super) fn set(folder: &Path, arguments: SetArguments) -> Result<ExitCode, Fault> {
    let SetArguments { place, value } = arguments;
    let value = json::parse(value.as_bytes()).unwrap_or_else(|_| Value::from(value));
    Access::to_write(folder)?.set(&place.into_place(), value.clone())?;
    Ok(output::print(format!("set to {value}\n").as_bytes()))
}
