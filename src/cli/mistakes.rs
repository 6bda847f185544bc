//! How commands show what is wrong with a config.

use std::io::{self, Write};

use crate::model::secret;
use crate::settings::{Mistake, Severity};

/// Writes every mistake and warning to standard error, and how many there are.
pub(super) fn report(mistakes: &[Mistake]) {
    let mut text = String::new();
    for mistake in mistakes {
        text.push_str(&format!("{mistake}\n\n"));
    }
    match mistakes.iter().filter(|mistake| mistake.severity == Severity::Mistake).count() {
        0 => {}
        1 => text.push_str("1 mistake: the config cannot be used\n"),
        serious => text.push_str(&format!("{serious} mistakes: the config cannot be used\n")),
    }
    // Nobody is left to be told if this fails.
    let _ = io::stderr().lock().write_all(secret::mask(&text).as_bytes());
}
