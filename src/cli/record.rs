//! `gatherd record`: writes a test from what servers really say.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use jiff::{Timestamp, Unit};
use regex::Regex;

use super::rehearsal::{self, Elapsed, Seen};
use super::test::request_line;
use super::{EXIT_CONFIG, EXIT_USAGE, mistakes, output};
use crate::assemble::{self, Assembled};
use crate::http::{Method, Response, Url, Wire, Witness};
use crate::model::{Fault, FaultKind, Value, json, secret};
use crate::runtime::{self, Clock};
use crate::settings::{Fill, key_to_toml, text_to_toml, way_out};
use crate::store::{DeadLetterFilter, Store};

/// How much time may go by on the clock of the run: schedules tick once, and retries wait.
const MOST: Duration = Duration::from_secs(24 * 3600);

/// What stands in the test in place of a secret.
const PLACEHOLDER: &str = "masked";

/// The headers of a reply that a pipeline may look at, and that hold no secret.
const HEADERS: [&str; 9] = [
    "content-type",
    "etag",
    "last-modified",
    "link",
    "location",
    "ratelimit",
    "retry-after",
    "x-ratelimit-remaining",
    "x-total-count",
];

#[derive(Debug, Args)]
#[command(long_about = ABOUT)]
pub(super) struct RecordArguments {
    /// The pipeline to run.
    pipeline: String,
    /// Its config.
    #[arg(value_name = "PATH")]
    config: PathBuf,
    /// The file that the test is added to [default: PATH, ending in .test.toml].
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// What the test is called.
    #[arg(long, default_value = "as recorded")]
    name: String,
}

const ABOUT: &str = "\
Run a pipeline once, and write what servers replied as a test.

The pipeline runs in this process, beside a daemon that may run it too: it makes its requests once more, begins without
what the daemon remembers (positions, seen keys), and delivers nothing: its sinks only take their items. Secrets are
replaced by placeholders, and of the headers of replies only the harmless ones are kept; read the file all the same
before you share it, for gatherd cannot know what else in a reply is nobody's business.";

pub(super) fn record(arguments: &RecordArguments) -> ExitCode {
    let RecordArguments { pipeline, config, to, name } = arguments;
    let loaded = assemble::load(std::slice::from_ref(config), Fill::of_process(), false);
    let Some(mut assembled) = loaded.assembled else {
        mistakes::report(&loaded.mistakes);
        return ExitCode::from(EXIT_CONFIG);
    };
    if !assembled.pipelines.iter().any(|plan| *plan.name == **pipeline) {
        let way_out = way_out(pipeline, assembled.pipelines.iter().map(|plan| &*plan.name));
        output::fail(&format!("there is no pipeline `{pipeline}`; {way_out}"));
        return ExitCode::from(EXIT_USAGE);
    }
    rehearsal::keep_only(&mut assembled, pipeline);
    if assembled.pipelines.iter().any(|plan| plan.source.settings.takes().is_some()) {
        return output::fail(&format!("the source of `{pipeline}` waits for requests, so there is nothing to record"));
    }
    let file = to.clone().unwrap_or_else(|| config.with_extension("test.toml"));
    let written = run(assembled).and_then(|recorded| {
        let text = recorded.test(name, pipeline, &names_in(config));
        append(&file, config, &text)?;
        Ok(recorded.summary(&file))
    });
    match written {
        Ok(summary) => output::print(summary.as_bytes()),
        Err(fault) => output::fail(&fault),
    }
}

/// What was said and made in one run.
struct Recorded {
    start: Timestamp,
    exchanges: Vec<Exchange>,
    /// The items that each sink took.
    items: Vec<(String, Vec<Value>)>,
    /// The components that gave items up, and why.
    dead: Vec<(String, String)>,
}

/// One request and what came of it.
#[derive(Clone)]
struct Exchange {
    to: String,
    outcome: Outcome,
}

#[derive(Clone)]
enum Outcome {
    Reply(Reply),
    /// No reply, for this reason: a `fault` of a test.
    None(&'static str),
}

#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    /// Nothing if it is no text.
    body: Option<String>,
    length: usize,
}

#[derive(Default)]
struct Tape(Mutex<Vec<Exchange>>);

impl Witness for Tape {
    fn saw(&self, method: Method, url: &Url, _body: &Bytes, response: &Response) {
        let body = match &response.body {
            Ok(body) => body,
            Err(fault) => return self.missed(method, url, fault.kind),
        };
        let headers = HEADERS.iter().filter_map(|name| {
            let value = response.headers.get(*name)?.to_str().ok()?;
            Some(((*name).to_owned(), value.to_owned()))
        });
        let reply = Reply {
            status: response.status,
            headers: headers.collect(),
            body: String::from_utf8(body.to_vec()).ok(),
            length: body.len(),
        };
        self.add(method, url, Outcome::Reply(reply));
    }

    fn missed(&self, method: Method, url: &Url, why: FaultKind) {
        let fault = match why {
            FaultKind::Dns | FaultKind::Connect | FaultKind::Tls => "refused",
            FaultKind::Disconnect => "disconnected",
            FaultKind::Timeout => "silent",
            // Nothing that a test can say.
            _ => return,
        };
        self.add(method, url, Outcome::None(fault));
    }
}

impl Tape {
    fn add(&self, method: Method, url: &Url, outcome: Outcome) {
        let exchange = Exchange { to: request_line(method.as_ref(), url), outcome };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }
}

/// Runs the pipeline over the network, on a clock that stands still meanwhile, as it will in the test.
fn run(mut assembled: Assembled) -> Result<Recorded, Fault> {
    runtime::set_threads(1);
    runtime::watch_activity();
    let sinks: Vec<String> = assembled.sinks.iter().map(|sink| sink.name.to_string()).collect();
    let seen: Seen = rehearsal::stand_in_for_sinks(&mut assembled, &[]);
    let start = Timestamp::now().round(Unit::Second).unwrap_or(Timestamp::UNIX_EPOCH);
    let clock = Clock::turned_by_hand(start);
    let folder = tempfile::tempdir()
        .map_err(|error| Fault::stop(FaultKind::Write, format!("cannot make a folder for the state: {error}")))?;
    let store = Store::open_with(folder.path(), clock.clone())?;
    let tape = Arc::new(Tape::default());
    let plan = assembled.into_plan_over(&Wire::Watched(tape.clone()), &clock)?;
    let (engine, elapsed) = rehearsal::run_through(&plan, &store, &clock, None, MOST)?;
    let stopped = engine.status().into_iter().find_map(|pipeline| pipeline.fault);
    if let Some(fault) = engine.fault().or(stopped) {
        return Err(fault);
    }
    if elapsed != Elapsed::Ended {
        let message = "the pipeline does not come to its end, so there is no test to write";
        return Err(Fault::stop(FaultKind::Request, message));
    }
    let letters = store.dead_letters(&DeadLetterFilter::default())?;
    let values = |sink: &String| seen.by(sink).into_iter().map(|item| item.value).collect();
    Ok(Recorded {
        start,
        exchanges: tape.0.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        items: sinks.iter().map(|sink| (sink.clone(), values(sink))).collect(),
        dead: letters.iter().map(|letter| (letter.component.to_string(), letter.fault.message.clone())).collect(),
    })
}

/// The names of all variables and secrets that a config asks for, secrets marked.
fn names_in(config: &Path) -> BTreeSet<(String, bool)> {
    let fill = Regex::new(r"\$\{(secret:)?([A-Za-z0-9_.-]+)\}").expect("it is a regular expression");
    let files = match fs::read_dir(config) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![config.to_owned()],
    };
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let found: Vec<(String, bool)> = texts
        .flat_map(|text| {
            let names = fill.captures_iter(&text).map(|found| (found[2].to_owned(), found.get(1).is_some()));
            names.collect::<Vec<_>>()
        })
        .collect();
    found.into_iter().collect()
}

impl Recorded {
    /// The test, as a table of a file of tests.
    fn test(&self, name: &str, pipeline: &str, names: &BTreeSet<(String, bool)>) -> String {
        let mut text = String::from("[[test]]\n");
        push(&mut text, &format!("name = {}", text_to_toml(name)));
        push(&mut text, &format!("pipeline = {}", text_to_toml(pipeline)));
        push(&mut text, &format!("start = \"{}\"", self.start));
        let environment = names.iter().filter_map(|(name, is_secret)| {
            let value = if *is_secret { PLACEHOLDER.to_owned() } else { masked(&std::env::var(name).ok()?) };
            Some(format!("{} = {}", key_to_toml(name), text_to_toml(&value)))
        });
        let environment: Vec<String> = environment.collect();
        if !environment.is_empty() {
            push(&mut text, &format!("environment = {{ {} }}", environment.join(", ")));
        }
        if !self.dead.is_empty() {
            for (component, why) in &self.dead {
                push(&mut text, &format!("# {component} gave an item up: {}", masked(&one_line(why))));
            }
            let components: Vec<String> = self.dead.iter().map(|(component, _)| text_to_toml(component)).collect();
            push(&mut text, &format!("expect.dead = [{}]", components.join(", ")));
        }
        let requests: Vec<String> = self.exchanges.iter().map(|exchange| literal(&exchange.to)).collect();
        push(&mut text, &format!("expect.requests = [{}]", requests.join(", ")));
        for (sink, values) in &self.items {
            let list = json::pretty(&Value::array(values.clone()));
            push(&mut text, &format!("expect.items.{} = {}", key_to_toml(sink), lines(&list)));
        }
        for Exchange { to, outcome } in &self.exchanges {
            text.push_str("\n[[test.replies]]\n");
            push(&mut text, &format!("to = {}", literal(to)));
            let Reply { status, headers, body, length } = match outcome {
                Outcome::Reply(reply) => reply,
                Outcome::None(fault) => {
                    push(&mut text, &format!("fault = \"{fault}\""));
                    continue;
                }
            };
            push(&mut text, &format!("status = {status}"));
            if !headers.is_empty() {
                let headers: Vec<String> =
                    headers.iter().map(|(name, value)| format!("{} = {}", key_to_toml(name), literal(value))).collect();
                push(&mut text, &format!("headers = {{ {} }}", headers.join(", ")));
            }
            match body {
                Some(body) if body.is_empty() => {}
                // JSON is laid out for the eye; that is no other reply.
                Some(body) => {
                    let laid_out = json::parse(body.as_bytes()).map(|value| json::pretty(&value));
                    push(&mut text, &format!("body = {}", lines(laid_out.as_ref().unwrap_or(body))));
                }
                None => push(&mut text, &format!("# The body, {length} bytes that are no text, is left out.")),
            }
        }
        text
    }

    fn summary(&self, file: &Path) -> String {
        let items: usize = self.items.iter().map(|(_, values)| values.len()).sum();
        let replies = self.exchanges.iter().filter(|exchange| matches!(exchange.outcome, Outcome::Reply(_))).count();
        let replies = output::counted(replies as u64, "reply", "replies");
        let items = output::counted(items as u64, "item", "items");
        let file = file.display();
        format!("recorded {replies} and {items} in {file}\n`gatherd test {file}` plays it\n")
    }
}

fn push(text: &mut String, line: &str) {
    // A String takes every write.
    let _ = writeln!(text, "{line}");
}

/// Without secrets.
fn masked(text: &str) -> String {
    secret::mask(text).replace(secret::MASK, PLACEHOLDER)
}

/// A text as TOML, without secrets, and with `${` as it stands.
fn literal(text: &str) -> String {
    text_to_toml(&masked(text).replace("${", "$${"))
}

/// A longer text as TOML, on lines of its own where that is possible.
fn lines(text: &str) -> String {
    let text = masked(text).replace("${", "$${");
    let is_plain = !text.contains("'''") && !text.ends_with('\'') && text.contains('\n');
    let has_controls = text.chars().any(|char| char.is_control() && char != '\n' && char != '\t');
    if is_plain && !has_controls { format!("'''\n{text}'''") } else { text_to_toml(&text) }
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Adds a test to a file of tests, or begins one.
fn append(file: &Path, config: &Path, test: &str) -> Result<(), Fault> {
    let cannot =
        |error: std::io::Error| Fault::stop(FaultKind::Write, format!("cannot write `{}`: {error}", file.display()));
    let is_beside = file.with_extension("").with_extension("toml") == *config;
    let start = match file.exists() {
        true => "\n".to_owned(),
        false if is_beside => String::new(),
        false => {
            let config = fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
            format!("config = [{}]\n\n", text_to_toml(&config.to_string_lossy()))
        }
    };
    let mut opened = OpenOptions::new().append(true).create(true).open(file).map_err(cannot)?;
    opened.write_all(format!("{start}{test}").as_bytes()).map_err(cannot)
}
