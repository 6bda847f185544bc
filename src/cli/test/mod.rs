//! `gatherd test`: pipelines tested without a network, and without waiting.

mod compare;
mod play;
mod read;
mod script;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use self::play::Played;
use self::read::{Case, Suite};
pub(super) use self::script::line as request_line;
use super::{EXIT_CONFIG, mistakes, output};
use crate::config::is_test;
use crate::model::secret;
use crate::runtime;

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct TestArguments {
    /// A file of tests (`quakes.test.toml`), the config that it stands beside (`quakes.toml`), or a folder of them.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Run only the tests whose names hold this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

const EXAMPLE: &str = r#"A file of tests stands beside the config that it tests:

  # quakes.test.toml
  [[test]]
  name    = "strong quakes raise an alert"
  start   = "2026-11-21T09:00:00Z"
  replies = [
    { to = "GET https://earthquake.example/summary/all_hour.geojson",
      json = { features = [{ id = "a", properties = { mag = 5.5, place = "Fiji" } }] } },
  ]
  expect.items.alerts = [{ id = "a", mag = 5.5, place = "Fiji" }]

The real pipelines run, on a clock that leaps from one event to the next. Sinks only take their
items; those that `send` names deliver them too, to the replies. What can stand in a test:

  name         what it shows
  pipeline     the pipeline to run; without it all of them
  start        when it begins (RFC 3339)
  run          how long it runs, such as "1h"; without it every source runs once to its end
  environment  what ${NAME} and ${secret:NAME} are filled with; nothing else is
  source       items in place of those that the source would make
  send         the HTTP sinks that really send their requests
  replies      { to = "METHOD URL", status = 200, headers = {…}, after = "300ms", and
                 json = …, body = "text", or file = "reply.json" (beside the tests);
                 or fault = "refused", "disconnected" or "silent" }
               Replies to the same request come one after the other; the last comes again.
  expect       items.SINK = [ … ], requests = ["METHOD URL", { to = …, json = … }],
               dead = ["COMPONENT", …]: the components that gave items up; none by default
               A list may be a text of JSON, or { file = "items.json" }.

Exit codes: 0 all is as expected, 1 something is not, 78 the tests or the config have mistakes."#;

pub(super) fn test(arguments: &TestArguments) -> ExitCode {
    let files = match files(&arguments.path) {
        Ok(files) => files,
        Err(error) => {
            output::fail(&format!("cannot read `{}`: {error}", arguments.path.display()));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if files.is_empty() {
        let path = arguments.path.display();
        output::fail(&format!("`{path}` has no tests; write some into a file whose name ends in `.test.toml`"));
        return ExitCode::from(EXIT_CONFIG);
    }
    runtime::set_threads(1);
    runtime::watch_activity();
    let mut tally = Tally::default();
    for file in &files {
        match read::suite(file) {
            Ok(suite) => run(&suite, arguments.only.as_deref(), &mut tally),
            Err(found) => {
                mistakes::report(&found);
                tally.is_broken = true;
            }
        }
    }
    tally.finish()
}

/// The files of tests that a path means.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        let file = if is_test(path) { path.to_owned() } else { path.with_extension("test.toml") };
        file.metadata()?;
        return Ok(vec![file]);
    }
    let entries = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| is_test(path)).collect();
    files.sort();
    Ok(files)
}

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    /// A file or a config has mistakes.
    is_broken: bool,
}

fn run(suite: &Suite, only: Option<&str>, tally: &mut Tally) {
    for case in suite.cases.iter().filter(|case| only.is_none_or(|only| case.name.contains(only))) {
        let started = Instant::now();
        let played = play::play(suite, case);
        let took = started.elapsed().as_millis();
        match played {
            Ok(Played { differences }) if differences.is_empty() => {
                tally.passed += 1;
                say(&format!("passed  {} ({took} ms)\n", case.name));
            }
            Ok(Played { differences }) => {
                tally.failed += 1;
                say(&format!("FAILED  {} ({took} ms)\n\n{}\n", case.name, differences.join("\n")));
            }
            Err(found) => {
                mistakes::report(&found);
                say(&format!("FAILED  {}: the config cannot be used\n", place_of(case)));
                tally.is_broken = true;
            }
        }
    }
}

fn place_of(case: &Case) -> String {
    format!("{} ({})", case.name, case.place)
}

fn say(text: &str) {
    // Nobody is left to be told if this fails; the exit code says the same.
    let _ = output::print(secret::mask(text).as_bytes());
}

impl Tally {
    fn finish(&self) -> ExitCode {
        let Self { passed, failed, is_broken } = *self;
        say(&format!("{passed} passed, {failed} failed\n"));
        match (is_broken, failed) {
            (true, _) => ExitCode::from(EXIT_CONFIG),
            (false, 0) if passed > 0 => ExitCode::SUCCESS,
            (false, _) => ExitCode::FAILURE,
        }
    }
}
