//! `gatherd try`: fetches one thing, and shows what each step makes of it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::output::{self, counted};
use super::rehearsal::{self, Seen};
use super::{EXIT_CONFIG, EXIT_USAGE, mistakes};
use crate::assemble::{self, Assembled};
use crate::http::Wire;
use crate::model::{Fault, Item, Object, Text, Value, json};
use crate::pipeline::{Engine, Options};
use crate::runtime::{self, Clock};
use crate::settings::{Fill, text_to_toml};
use crate::store::{DeadLetter, DeadLetterFilter, Store};

#[derive(Debug, Args)]
pub(super) struct TryArguments {
    /// What to fetch; relative to the base of the client if there is one.
    url: String,
    /// A step that follows, as a config has it, such as 'each = ".items[]"'. May be given several times.
    #[arg(long = "step", value_name = "TOML")]
    steps: Vec<String>,
    /// A jq filter over what the steps have left: the same as a last step `map`.
    #[arg(long, value_name = "FILTER")]
    jq: Option<String>,
    /// A config whose clients `--via` can name.
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The `[http.NAME]` of the config that sends the request: its base, its credentials, its limits.
    #[arg(long, value_name = "NAME", requires = "config")]
    via: Option<String>,
    /// Print JSON also on a terminal.
    #[arg(long)]
    json: bool,
}

/// What the pipeline is called that is made of the arguments.
const PIPELINE: &str = "try";

/// How much of what a step gave is shown on a terminal.
const ITEMS: usize = 3;
const LINES: usize = 24;

pub(super) fn try_url(arguments: &TryArguments) -> ExitCode {
    let url = &arguments.url;
    let is_whole = ["http://", "https://", "${"].iter().any(|start| url.starts_with(start));
    if arguments.via.is_none() && !is_whole {
        let way_out = match url.contains("://") || url.starts_with('/') {
            true => "write one that begins with http:// or https://, or name a client with `--via`".to_owned(),
            false => format!("write `http://{url}` or `https://{url}`, or name a client with `--via`"),
        };
        output::fail(&format!("`{url}` is not a whole URL; {way_out}"));
        return ExitCode::from(EXIT_USAGE);
    }
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return output::fail(&format!("cannot make a folder for the state: {error}")),
    };
    let written = folder.path().join("try.toml");
    if let Err(error) = std::fs::write(&written, config(arguments)) {
        return output::fail(&format!("cannot write `{}`: {error}", written.display()));
    }
    let paths: Vec<PathBuf> = arguments.config.iter().cloned().chain([written]).collect();
    let loaded = assemble::load(&paths, Fill::of_process(), false);
    let serious: Vec<_> = loaded.mistakes.into_iter().filter(|_| loaded.assembled.is_none()).collect();
    mistakes::report(&serious);
    let Some(assembled) = loaded.assembled else {
        return ExitCode::from(if arguments.config.is_some() { EXIT_CONFIG } else { EXIT_USAGE });
    };
    match run(assembled, &folder.path().join("state")) {
        Ok(tried) => {
            let is_good = tried.dead.is_empty();
            let text = if arguments.json || !io::stdout().is_terminal() { tried.json() } else { tried.text() };
            let printed = output::print(text.as_bytes());
            if is_good { printed } else { ExitCode::FAILURE }
        }
        Err(fault) => output::fail(&fault),
    }
}

/// The pipeline as a config.
fn config(arguments: &TryArguments) -> String {
    // A filter in it would have no item to run on, and no URL holds a brace as it is (RFC 3986, section 2).
    let url = arguments.url.replace('{', "%7B").replace('}', "%7D");
    let via = arguments.via.as_ref().map(|via| format!(", via = {}", text_to_toml(via))).unwrap_or_default();
    let mut steps = vec![format!("get = {{ url = {}{via} }}, retry = {{ tries = 1 }}", text_to_toml(&url))];
    steps.extend(arguments.steps.iter().map(|step| {
        let inner = step.trim().strip_prefix('{').and_then(|step| step.strip_suffix('}'));
        inner.unwrap_or(step).to_owned()
    }));
    steps.extend(arguments.jq.iter().map(|filter| format!("map = {}", text_to_toml(filter))));
    let steps: String = steps.iter().map(|step| format!("  {{ {step} }},\n")).collect();
    format!("[pipeline.{PIPELINE}]\nfrom = {{ items = [true] }}\nsteps = [\n{steps}]\nto = []\n")
}

/// What became of the fetch.
struct Tried {
    /// Each step and the items that it handed on.
    steps: Vec<(Text, Vec<Item>)>,
    dead: Vec<DeadLetter>,
}

fn run(mut assembled: Assembled, state: &Path) -> Result<Tried, Fault> {
    rehearsal::keep_only(&mut assembled, PIPELINE);
    let (ids, seen) = rehearsal::tap_steps(&mut assembled, PIPELINE);
    let clock = Clock::system();
    let store = Store::open_with(state, clock.clone())?;
    let plan = assembled.into_plan_over(&Wire::Network, &clock)?;
    plan.clients.use_store(&store);
    let options = Options { clock, once: true, give_up: None };
    runtime::block_on(async {
        let engine = Engine::start(&plan, &store, &options)?;
        engine.finished().await;
        if let Some(fault) = engine.fault() {
            return Err(fault);
        }
        let stopped = engine.status().into_iter().find_map(|pipeline| pipeline.fault);
        stopped.map_or(Ok(()), Err)
    })?;
    let dead = store.dead_letters(&DeadLetterFilter::default())?;
    let steps = |seen: &Seen| ids.iter().map(|id| (id.clone(), seen.by(id))).collect();
    Ok(Tried { steps: steps(&seen), dead })
}

impl Tried {
    /// `{"steps": [{"step": "get", "items": [{"value": …, "labels": {…}}]}], "faults": [{"step": …, "fault": …}]}`.
    fn json(&self) -> String {
        let item = |item: &Item| object([("value", item.value.clone()), ("labels", item.labels.to_value())]);
        let step = |(id, items): &(Text, Vec<Item>)| {
            object([("step", Value::Text(id.clone())), ("items", Value::array(items.iter().map(item).collect()))])
        };
        let fault = |letter: &DeadLetter| {
            object([
                ("step", Value::Text(letter.component.clone())),
                ("kind", Value::from(letter.fault.kind.as_str())),
                ("fault", Value::from(letter.fault.message.as_str())),
                ("value", letter.value.clone()),
            ])
        };
        json::pretty(&object([
            ("steps", Value::array(self.steps.iter().map(step).collect())),
            ("faults", Value::array(self.dead.iter().map(fault).collect())),
        ]))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (id, items) in &self.steps {
            let faults: Vec<_> = self.dead.iter().filter(|letter| letter.component == *id).collect();
            text.push_str(&format!("{id}: {}", counted(items.len() as u64, "item", "items")));
            if let Some(item) = items.first().filter(|_| id.starts_with("get")) {
                text.push_str(&format!(", {}", reply(item)));
            }
            text.push('\n');
            for item in items.iter().take(ITEMS) {
                push_value(&mut text, &item.value);
            }
            if items.len() > ITEMS {
                // A String takes every write.
                let _ = writeln!(text, "  … and {} more", items.len() - ITEMS);
            }
            for letter in &faults {
                let _ = writeln!(text, "  failed: {}", letter.fault.message);
            }
            if items.is_empty() && faults.is_empty() {
                text.push_str("  nothing came of it\n");
                break;
            }
            if items.is_empty() {
                break;
            }
        }
        text
    }
}

/// `200 in 85 ms, application/json`.
fn reply(item: &Item) -> String {
    let label = |name: &str| item.labels.get(name);
    let status = label("status").map(|status| status.to_string()).unwrap_or_default();
    let elapsed = label("elapsed").and_then(|elapsed| match elapsed {
        Value::Number(seconds) => Some(format!(" in {:.0} ms", seconds.as_f64() * 1000.0)),
        _ => None,
    });
    let kind =
        label("headers").and_then(|headers| headers.get("content-type").and_then(Value::as_text).map(str::to_owned));
    let kind = kind.map(|kind| format!(", {kind}"));
    format!("{status}{}{}", elapsed.unwrap_or_default(), kind.unwrap_or_default())
}

/// A value, indented, and cut where it gets long.
fn push_value(text: &mut String, value: &Value) {
    let pretty = match value {
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => format!("({} bytes)", bytes.len()),
        value => json::pretty(value),
    };
    let lines: Vec<&str> = pretty.lines().collect();
    for line in lines.iter().take(LINES) {
        let shown: String = line.chars().filter(|char| !char.is_control() || *char == '\t').collect();
        let _ = writeln!(text, "  {shown}");
    }
    if lines.len() > LINES {
        let _ = writeln!(text, "  … {} more", counted((lines.len() - LINES) as u64, "line", "lines"));
    }
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::object(entries.into_iter().map(|(key, value)| (Text::from(key), value)).collect::<Object>())
}
