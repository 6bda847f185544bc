//! `gatherd explain`: a config with every default filled in.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::{EXIT_CONFIG, EXIT_USAGE, mistakes, output};
use crate::assemble::{self, Assembled, ComponentDescription, Description, PipelineDescription, QUEUE};
use crate::component::Promise;
use crate::expr::Engine;
use crate::model::secret;
use crate::pipeline::{PipelinePlan, STAGE_CHANNEL};
use crate::runtime::Clock;
use crate::settings::{Fill, Inner, Record, Shown, expanded, key_to_toml, text_to_toml, way_out};

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// A config file, or a folder whose `*.toml` are read in the order of their names.
    path: PathBuf,
    /// The pipeline to show; all of them by default.
    name: Option<String>,
    /// Show what happens on each kind of failure in each step that goes to the network.
    #[arg(long)]
    errors: bool,
    /// Let ${NAME} and ${secret:NAME} pass that are not set here, with a warning.
    #[arg(long)]
    unset_ok: bool,
}

const TICKS: usize = 5;

pub(super) fn explain(arguments: &ExplainArguments) -> ExitCode {
    let loaded = assemble::load(std::slice::from_ref(&arguments.path), Fill::of_process(), arguments.unset_ok);
    mistakes::report(&loaded.mistakes);
    let Some(assembled) = loaded.assembled else { return ExitCode::from(EXIT_CONFIG) };
    let name = arguments.name.as_deref();
    if let Some(name) = name
        && !assembled.pipelines.iter().any(|pipeline| *pipeline.name == *name)
    {
        let way_out = way_out(name, assembled.pipelines.iter().map(|pipeline| &*pipeline.name));
        output::fail(&format!("there is no pipeline `{name}`; {way_out}"));
        return ExitCode::from(EXIT_USAGE);
    }
    let mut text = Vec::new();
    let written = if arguments.errors {
        write_errors(&mut text, &assembled, name)
    } else {
        write_config(&mut text, &assembled, name, Clock::system().timestamp())
    };
    written.expect("a Vec takes every write");
    output::print(secret::mask(&String::from_utf8_lossy(&text)).as_bytes())
}

/// All of it, or one pipeline with what it names. What is written is a config itself.
fn write_config(out: &mut Vec<u8>, assembled: &Assembled, name: Option<&str>, now: Timestamp) -> io::Result<()> {
    let Description { pipelines, sinks, clients, service } = &assembled.description;
    let shown: Vec<_> = pipelines
        .iter()
        .zip(&assembled.pipelines)
        .filter(|(pipeline, _)| name.is_none_or(|name| pipeline.name == name))
        .collect();
    for (index, (pipeline, plan)) in shown.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_pipeline(out, pipeline, plan, assembled, now)?;
    }
    let is_named = |sink: &ComponentDescription| shown.iter().any(|(pipeline, _)| pipeline.to.contains(&sink.id));
    for sink in sinks.iter().filter(|sink| !sink.is_inline && (name.is_none() || is_named(sink))) {
        let is_queue = sink.kind == QUEUE;
        writeln!(out, "\n[{}.{}]", if is_queue { QUEUE } else { "sink" }, sink.id)?;
        if is_queue {
            write_settings(out, &sink.inner)?;
            continue;
        }
        if let Some(comment) = joined(sink_queue(assembled, &sink.id), engines(sink)) {
            writeln!(out, "# {comment}")?;
        }
        write_setting(out, sink.kind, &expanded(&sink.inner))?;
        write_settings(out, &sink.beside)?;
    }
    let is_shown = |client: &str| name.is_none() || components(&shown, sinks).any(|component| uses(component, client));
    for (client, records) in clients.iter().filter(|(client, _)| is_shown(client)) {
        writeln!(out, "\n[http.{client}]")?;
        write_settings(out, records)?;
    }
    if name.is_some() {
        return Ok(());
    }
    writeln!(out, "\n[service]")?;
    write_settings(out, service)
}

/// The steps of these pipelines, and the sinks that they name.
fn components<'d>(
    pipelines: &'d [(&PipelineDescription, &PipelinePlan)],
    sinks: &'d [ComponentDescription],
) -> impl Iterator<Item = &'d ComponentDescription> {
    pipelines.iter().flat_map(|(pipeline, _)| {
        pipeline.steps.iter().chain(sinks.iter().filter(|sink| pipeline.to.contains(&sink.id)))
    })
}

/// Whether a component sends its requests through this client.
fn uses(component: &ComponentDescription, client: &str) -> bool {
    let via = component.inner.iter().find(|record| record.key == "via").and_then(|record| record.given.as_deref());
    via == Some(&text_to_toml(client))
}

fn write_pipeline(
    out: &mut Vec<u8>,
    pipeline: &PipelineDescription,
    plan: &PipelinePlan,
    assembled: &Assembled,
    now: Timestamp,
) -> io::Result<()> {
    writeln!(out, "[pipeline.{}]", pipeline.name)?;
    if let Some(vars) = &pipeline.vars {
        writeln!(out, "vars = {vars}")?;
    }
    if let Some(expect) = &pipeline.expect {
        write_setting(out, "expect", &expanded(expect))?;
    }
    let promise = match plan.source.durable {
        Some(_) => "promise: every item is delivered at least once, also over a crash, from when it is on disk",
        None => promise(plan.source.settings.promise()),
    };
    writeln!(out, "# {promise}")?;
    let ticks = plan.source.settings.ticks_after(now, TICKS);
    if !ticks.is_empty() {
        let ticks: Vec<String> = ticks.iter().map(|tick| tick.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).collect();
        writeln!(out, "# next ticks: {}; before them one within 5 s of its first start", ticks.join(", "))?;
    }
    if let Some(engines) = engines(&pipeline.source) {
        writeln!(out, "# {engines}")?;
    }
    write_setting(out, "from", &component(&pipeline.source))?;
    let steps = pipeline.steps.iter().zip(&plan.steps);
    let mut stage = 0;
    let steps = steps.map(|(step, plan)| {
        let comment = plan.settings.is_network().then(|| {
            stage += 1;
            let unchanged = match plan.settings.skips_unchanged(&plan.onward) {
                true => "; an item whose reply has not changed ends here",
                false => "",
            };
            format!("stage {stage}: a queue of {STAGE_CHANNEL} items, and {}{unchanged}", workers(plan.workers))
        });
        (joined(comment, engines(step)), component(step))
    });
    write_list(out, "steps", &steps.collect::<Vec<_>>())?;
    match (pipeline.is_logged, pipeline.to.is_empty()) {
        (true, _) => writeln!(out, "# no `to` is given, so the items are logged")?,
        (false, true) => writeln!(out, "# the items are discarded")?,
        (false, false) => {}
    }
    let to = pipeline.to.iter().map(|name| {
        let inline = assembled.description.sinks.iter().find(|sink| sink.is_inline && sink.id == *name);
        match inline {
            Some(sink) => (joined(sink_queue(assembled, name), engines(sink)), component(sink)),
            None => (None, Shown::Plain(text_to_toml(name))),
        }
    });
    write_list(out, "to", &to.collect::<Vec<_>>())
}

fn promise(promise: Promise) -> &'static str {
    match promise {
        Promise::AtLeastOnce => "promise: every item is delivered at least once, also over a crash",
        Promise::UntilTheProcessDies => {
            "promise: every item is delivered at least once, but those in flight are lost if the process dies: this \
             source cannot be asked again"
        }
    }
}

/// The queue before a sink, if a pipeline uses it.
fn sink_queue(assembled: &Assembled, name: &str) -> Option<String> {
    let plan = assembled.sinks.iter().find(|plan| *plan.name == *name)?;
    let buffer = if plan.taking_buffer().is_some() { ", then its buffer on disk" } else { "" };
    Some(format!("sink {name}: a queue of {} items{buffer}, and {}", plan.channel(), workers(plan.workers)))
}

fn joined(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}; {other}")),
        (one, other) => one.or(other),
    }
}

/// What runs each filter of a component, if it has some.
fn engines(component: &ComponentDescription) -> Option<String> {
    fn collect(records: &[Record], before: &str, found: &mut Vec<String>) {
        for record in records {
            let key = format!("{before}{}", record.key);
            match record.engine {
                Some(Engine::Native) => found.push(format!("`{key}` native")),
                Some(Engine::Jaq) => found.push(format!("`{key}` in jaq")),
                None => {}
            }
            match &record.inner {
                Inner::Table(inner) => collect(inner, &format!("{key}."), found),
                Inner::List(elements) => elements.iter().for_each(|inner| collect(inner, &format!("{key}."), found)),
                Inner::None | Inner::Free => {}
            }
        }
    }
    let mut found = Vec::new();
    collect(&component.inner, "", &mut found);
    collect(&component.beside, "", &mut found);
    (!found.is_empty()).then(|| format!("filters: {}", found.join(", ")))
}

fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

/// A component's table in full.
fn component(component: &ComponentDescription) -> Shown {
    let mut entries = vec![(component.kind.to_owned(), expanded(&component.inner))];
    for record in &component.beside {
        let shown = match &record.shown() {
            // The default is known to the pipeline alone.
            None if record.key == "id" => Some(Shown::Plain(text_to_toml(&component.id))),
            shown => shown.clone(),
        };
        entries.extend(shown.map(|shown| (record.key.clone(), shown)));
    }
    Shown::Table(entries)
}

fn write_settings(out: &mut Vec<u8>, records: &[Record]) -> io::Result<()> {
    for record in records {
        if let Some(shown) = record.shown() {
            write_setting(out, &record.key, &shown)?;
        }
    }
    Ok(())
}

fn write_setting(out: &mut Vec<u8>, key: &str, value: &Shown) -> io::Result<()> {
    let before = format!("{} = ", key_to_toml(key));
    writeln!(out, "{before}{}", value.laid_out(&before))
}

/// A list with a comment before some of its elements.
fn write_list(out: &mut Vec<u8>, key: &str, elements: &[(Option<String>, Shown)]) -> io::Result<()> {
    if elements.iter().all(|(comment, value)| comment.is_none() && matches!(value, Shown::Plain(_))) {
        return write_setting(out, key, &Shown::List(elements.iter().map(|(_, value)| value.clone()).collect()));
    }
    writeln!(out, "{key} = [")?;
    for (comment, value) in elements {
        if let Some(comment) = comment {
            writeln!(out, "  # {comment}")?;
        }
        writeln!(out, "  {},", value.laid_out("  "))?;
    }
    writeln!(out, "]")
}

/// The error table of each step that goes to the network.
fn write_errors(out: &mut Vec<u8>, assembled: &Assembled, name: Option<&str>) -> io::Result<()> {
    let mut is_first = true;
    for pipeline in assembled.pipelines.iter().filter(|pipeline| name.is_none_or(|name| *pipeline.name == *name)) {
        for step in pipeline.steps.iter().filter(|step| step.settings.is_network()) {
            if !std::mem::take(&mut is_first) {
                writeln!(out)?;
            }
            writeln!(out, "{}, step {}: the first line that fits counts", pipeline.name, step.id)?;
            let rules = step.settings.error_policy();
            let width = rules.iter().map(|(when, _)| when.chars().count()).max().unwrap_or(0);
            for (when, then) in rules {
                writeln!(out, "  {when:width$}  {then}")?;
            }
        }
    }
    if is_first {
        writeln!(out, "no step goes to the network")?;
    }
    Ok(())
}
