//! `gatherd tap`: items as they pass.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;

use super::switches::no_daemon;
use super::{StateArgument, output};
use crate::daemon::{ControlClient, TapOrder, state_folder};
use crate::model::{Fault, FaultKind, Rate, Value};
use crate::runtime::{self, Signals};

#[derive(Debug, Args)]
pub(super) struct TapArguments {
    /// A pipeline, or a component of one: `quakes`, `quakes.get`, `quakes.sink.db`. Without a component, what has come
    /// through all steps is shown; of a sink, what it is given.
    #[arg(value_name = "NAME[.COMPONENT]")]
    place: String,
    /// How many items to show at most.
    #[arg(long, value_name = "RATE", default_value_t = TapOrder::RATE)]
    rate: Rate,
    /// End after so many items.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// One JSON object a line, with the item's labels.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateArgument,
}

/// Shows items until a signal comes (such as by Ctrl-C), or the pipeline ends.
pub(super) fn tap(arguments: TapArguments) -> ExitCode {
    let folder = state_folder(arguments.state.state, None);
    let Some(daemon) = ControlClient::find(&folder) else { return output::fail(&no_daemon("tap", &folder)) };
    let (pipeline, component) = match arguments.place.split_once('.') {
        Some((pipeline, component)) => (pipeline.to_owned(), Some(component.to_owned())),
        None => (arguments.place.clone(), None),
    };
    let order = TapOrder { pipeline, component, rate: arguments.rate, limit: arguments.limit };
    match runtime::block_on(show(&daemon, &order, arguments.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => output::fail(&fault),
    }
}

async fn show(daemon: &ControlClient, order: &TapOrder, as_json: bool) -> Result<(), Fault> {
    let mut signals = Signals::listen()
        .map_err(|error| Fault::stop(FaultKind::Read, format!("cannot listen for signals: {error}")))?;
    let mut items = daemon.tap(order).await?;
    if !as_json && io::stderr().is_terminal() {
        note(&format!("at most {} are shown; Ctrl-C ends it", order.rate));
    }
    let mut told = Told::default();
    loop {
        let asked_to_stop = async {
            let _ = signals.next().await;
            None
        };
        let Some(next) = runtime::race(async { Some(items.next().await) }, asked_to_stop).await else { break };
        let Some(item) = next? else {
            if order.limit != Some(told.shown) {
                note("the pipeline has ended, or a reload has started it anew");
            }
            break;
        };
        told.add(&item);
        let line = if as_json { format!("{item}\n") } else { line(&item) };
        let mut stdout = io::stdout().lock();
        // A reader that closed the pipe had enough.
        if stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            break;
        }
    }
    if !as_json {
        note(&told.to_string());
    }
    Ok(())
}

/// What was seen and what was not.
#[derive(Default)]
struct Told {
    shown: u64,
    passed: u64,
    lost: u64,
}

impl Told {
    fn add(&mut self, item: &Value) {
        let count = |name| item.get(name).and_then(Value::as_i64).and_then(|count| u64::try_from(count).ok());
        self.shown += 1;
        self.passed += count("passed").unwrap_or(1);
        self.lost += count("lost").unwrap_or(0);
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shown, passed, lost } = self;
        write!(formatter, "{shown} of {passed} shown")?;
        if *lost > 0 {
            write!(formatter, "; {lost} more would have been, but were not read in time")?;
        }
        Ok(())
    }
}

/// `14:03:22.120  quakes-7f3a  {"id":1}`
fn line(item: &Value) -> String {
    let text = |name| item.get(name).and_then(Value::as_text).unwrap_or("?").to_owned();
    let time = text("at");
    // The time of day, to the millisecond.
    let time: String = time.split_once('T').map_or(&*time, |(_, time)| time).chars().take(12).collect();
    let value = item.get("value").map_or_else(|| "(too large to be shown)".to_owned(), Value::to_string);
    format!("{:12}  {}  {value}\n", time.trim_end_matches('Z'), text("item"))
}

/// Beside the items, so that these can be piped on.
fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "gatherd: {text}");
}
