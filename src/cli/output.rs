//! What commands print: to standard output, without minding a reader that has gone.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::model::secret;

/// Prints `text`; a reader that closed the pipe had enough.
pub(super) fn print(text: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&format!("cannot write to standard output: {error}")),
    }
}

/// Says on standard error why a command failed.
pub(super) fn fail(fault: &dyn Display) -> ExitCode {
    // Nobody is left to be told if this fails too.
    let _ = writeln!(io::stderr().lock(), "gatherd: {}", secret::mask(&fault.to_string()));
    ExitCode::FAILURE
}

/// `1 item`, `2 items`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `1.2 MiB`
pub(super) fn about(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Rows under headings, each column as wide as its widest cell; the last is as long as it likes.
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        // A line break in a cell would break the table.
        self.rows.push(cells.map(|cell| cell.replace(char::is_control, " ")));
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}
