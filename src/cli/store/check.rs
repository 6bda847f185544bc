//! `gatherd store check`.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::output::{self, counted};
use crate::model::Fault;
use crate::store::{CheckReport, Damage, Store};

pub(super) fn check(folder: &Path) -> Result<ExitCode, Fault> {
    let report = Store::check(folder)?;
    let printed = output::print(show(&report).as_bytes());
    Ok(if report.is_whole() { printed } else { ExitCode::FAILURE })
}

fn show(report: &CheckReport) -> String {
    let CheckReport { whole, damages, unnamed } = report;
    let whole = counted(*whole, "row or entry is", "rows and entries are");
    if report.is_whole() {
        return format!("ok: {whole} as they were written\n");
    }
    let mut text = String::new();
    for Damage { place, what } in damages {
        writeln!(text, "damaged: {place}: {what}").expect("a String takes every write");
    }
    if *unnamed > 0 {
        writeln!(text, "… and {unnamed} more").expect("a String takes every write");
    }
    let found = counted(damages.len() as u64 + unnamed, "place is", "places are");
    format!(
        "{text}{found} damaged; {whole} whole\n\
         Nothing was changed. `gatherd run` keeps what can be read, and sets a damaged file aside.\n"
    )
}
