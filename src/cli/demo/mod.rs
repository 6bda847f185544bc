//! `gatherd demo`: a sample API and a pipeline that gathers from it, on this machine alone.

mod api;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::progress::{Progress, summarize};
use super::{EXIT_CONFIG, mistakes, output};
use crate::assemble;
use crate::daemon::{self, Ending, Order};
use crate::model::{Fault, FaultKind};
use crate::runtime::Clock;
use crate::settings::Fill;

const CONFIG: &str = include_str!("gatherd.toml");

/// How many rows of each result are shown.
const ROWS: usize = 3;

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Where the config and the results go. A config that is there already is used as it is.
    #[arg(default_value = "gatherd-demo", value_name = "FOLDER")]
    folder: PathBuf,
}

pub(super) fn demo(arguments: &DemoArguments) -> ExitCode {
    let folder = &arguments.folder;
    if let Err(fault) = prepare(folder) {
        return output::fail(&fault);
    }
    let listening = match api::start() {
        Ok(listening) => listening,
        Err(error) => return output::fail(&format!("cannot start the sample API: {error}")),
    };
    let api = format!("http://{}", listening.bound());
    output::print(introduction(folder, &api).as_bytes());
    let base = api.clone();
    let variables = move |name: &str| if name == "DEMO_API" { Some(base.clone()) } else { std::env::var(name).ok() };
    let paths = vec![PathBuf::from("gatherd.toml")];
    let loaded = assemble::load(&paths, Fill::new(variables, None), false);
    mistakes::report(&loaded.mistakes);
    let Some(assembled) = loaded.assembled else { return ExitCode::from(EXIT_CONFIG) };
    let run = || -> Result<Ending, Fault> {
        let (service, outline) = (assembled.service.clone(), assembled.outline());
        let plan = assembled.into_plan(&Clock::system())?;
        let state = PathBuf::from("state");
        let order = Order { plan, paths, service, outline, state, once: true, give_up: None, admin: None };
        daemon::run(&order, Progress::show)
    };
    match run() {
        Ok(ending) => {
            summarize(&ending, &folder.join("state"));
            if ending.stopped_by_itself() {
                return ExitCode::FAILURE;
            }
            output::print(conclusion(folder, &api).as_bytes())
        }
        Err(fault) => output::fail(&fault),
    }
}

/// Makes the folder with the config in it, and goes there: relative paths count from the working directory.
fn prepare(folder: &Path) -> Result<(), Fault> {
    let cannot = |what: &str, error: io::Error| {
        Fault::stop(FaultKind::Write, format!("cannot {what} `{}`: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(|error| cannot("make the folder", error))?;
    let config = folder.join("gatherd.toml");
    if !config.exists() {
        fs::write(config, CONFIG).map_err(|error| cannot("write the config into", error))?;
    }
    std::env::set_current_dir(folder).map_err(|error| cannot("go to", error))
}

fn introduction(folder: &Path, api: &str) -> String {
    format!(
        "\
A sample API with {stations} weather stations listens on {api}.
Some of its replies are slow, some are 503 at first, one station is gone for good, one is broken.

The pipeline in {config} asks it for the list, fetches the details of each station beside the
others, and keeps them. Here is one round of it:

",
        stations = api::STATIONS,
        config = folder.join("gatherd.toml").display(),
    )
}

/// What there is now, and what to do with it.
fn conclusion(folder: &Path, api: &str) -> String {
    let shown = folder.display();
    let mut text = format!("\nThe stations are in {shown}/weather.db:\n\n");
    text.push_str(&first_rows().unwrap_or_else(|error| format!("  (cannot be read: {error})\n")));
    text.push_str(&format!("\nThe stormy ones are in {shown}/storms.ndjson:\n\n"));
    let storms = fs::read_to_string("storms.ndjson").unwrap_or_default();
    storms.lines().take(ROWS).for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str(&format!(
        "
The broken station was asked five times, and then kept as a dead letter:

  gatherd dead list --state {shown}/state

Run the demo again: the rows are updated, not doubled. Then change {shown}/gatherd.toml,
see what it means, and run it once more:

  DEMO_API={api} gatherd explain {shown}/gatherd.toml

`gatherd kinds` lists everything that a pipeline can be made of.
"
    ));
    text
}

fn first_rows() -> rusqlite::Result<String> {
    let database = rusqlite::Connection::open("weather.db")?;
    let mut query =
        database.prepare("SELECT name, temperature, wind, response_ms FROM stations ORDER BY id LIMIT ?1")?;
    let rows = query.query_map([ROWS as i64], |row| {
        let (name, temperature, wind, millis): (String, f64, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(format!("  {name:<20} {temperature:>5.1} °C  {wind:>3} km/h  answered in {millis} ms\n"))
    })?;
    rows.collect()
}
