//! `gatherd top`: a status that is drawn anew every second.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rustix::termios::tcgetwinsize;

use super::{ask, table};
use crate::cli::{StateArgument, output};
use crate::daemon::{Status, state_folder};
use crate::model::{Fault, FaultKind, parse_duration};
use crate::runtime::{self, Clock, Signals};

#[derive(Debug, Args)]
pub(in crate::cli) struct TopArguments {
    /// How long to wait between two looks.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    every: Duration,
    #[command(flatten)]
    state: StateArgument,
}

/// On a terminal until a signal comes (such as by Ctrl-C), or gatherd has gone; elsewhere once.
pub(in crate::cli) fn top(arguments: TopArguments) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let shown = if io::stdout().is_terminal() {
        runtime::block_on(watch(&folder, arguments.every))
    } else {
        ask(&folder).map(|status| output::print(table::table(&status, None).as_bytes()))
    };
    shown.unwrap_or_else(|fault| output::fail(&fault))
}

async fn watch(folder: &Path, every: Duration) -> Result<ExitCode, Fault> {
    let mut before: Option<Status> = None;
    let first = ask(folder)?;
    let mut signals = Signals::listen()
        .map_err(|error| Fault::stop(FaultKind::Read, format!("cannot listen for signals: {error}")))?;
    let screen = Screen::enter();
    let mut status = first;
    loop {
        screen.draw(&table::table(&status, before.as_ref()));
        let asked_to_stop = async {
            let _ = signals.next().await;
            true
        };
        let waited = async {
            Clock::system().sleep(every).await;
            false
        };
        if runtime::race(asked_to_stop, waited).await {
            return Ok(ExitCode::SUCCESS);
        }
        before = Some(std::mem::replace(&mut status, ask(folder)?));
    }
}

/// The terminal's other screen, as xterm and all that follow it have one; left when this is dropped.
struct Screen;

impl Screen {
    fn enter() -> Self {
        write("\x1b[?1049h\x1b[?25l");
        Self
    }

    fn draw(&self, text: &str) {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (columns, rows) = size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let lines = text.lines().take(rows - 1).map(|line| line.chars().take(columns).collect::<String>());
        write(&format!("\x1b[H\x1b[J{}\r\n", lines.collect::<Vec<_>>().join("\r\n")));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write("\x1b[?25h\x1b[?1049l");
    }
}

/// A terminal that has gone is no fault: a signal ends the command then.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
