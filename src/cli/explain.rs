//! `gatherd explain`: a config with every default filled in.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::{EXIT_CONFIG, EXIT_USAGE, mistakes, output};
use crate::assemble::{self, Assembled, ComponentDescription, PipelineDescription};
use crate::component::Promise;
use crate::pipeline::{PipelinePlan, SINK_CHANNEL, STAGE_CHANNEL};
use crate::runtime::Clock;
use crate::settings::{Fill, Record, expanded, key_to_toml, text_to_toml, way_out};

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
    output::print(&text)
}

/// All of it, or one pipeline with what it names.
fn write_config(out: &mut Vec<u8>, assembled: &Assembled, name: Option<&str>, now: Timestamp) -> io::Result<()> {
    let description = &assembled.description;
    let shown: Vec<(&PipelineDescription, &PipelinePlan)> = description
        .pipelines
        .iter()
        .zip(&assembled.pipelines)
        .filter(|(pipeline, _)| name.is_none_or(|name| pipeline.name == name))
        .collect();
    for (index, (pipeline, plan)) in shown.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_pipeline(out, pipeline, plan, now)?;
    }
    let is_shown = |sink: &ComponentDescription| {
        name.is_none() || shown.iter().any(|(pipeline, _)| pipeline.to.contains(&sink.id))
    };
    for sink in description.sinks.iter().filter(|sink| is_shown(sink)) {
        writeln!(out, "\n[sink.{}]", key_to_toml(&sink.id))?;
        if sink.id.contains('.') {
            writeln!(out, "# stands in the pipeline itself")?;
        }
        writeln!(out, "# takes from a queue of {SINK_CHANNEL} items")?;
        writeln!(out, "{} = {}", sink.kind, expanded(&sink.inner))?;
        write_settings(out, &sink.beside)?;
    }
    if name.is_none() {
        for (name, records) in &description.clients {
            writeln!(out, "\n[http.{name}]")?;
            write_settings(out, records)?;
        }
        writeln!(out, "\n[service]")?;
        write_settings(out, &description.service)?;
    }
    Ok(())
}

fn write_pipeline(
    out: &mut Vec<u8>,
    pipeline: &PipelineDescription,
    plan: &PipelinePlan,
    now: Timestamp,
) -> io::Result<()> {
    writeln!(out, "[pipeline.{}]", pipeline.name)?;
    if let Some(vars) = &pipeline.vars {
        writeln!(out, "vars = {vars}")?;
    }
    writeln!(out, "# {}", promise(plan.source.settings.promise()))?;
    let ticks = plan.source.settings.ticks_after(now, TICKS);
    if !ticks.is_empty() {
        let ticks: Vec<String> = ticks.iter().map(|tick| tick.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).collect();
        writeln!(out, "# next ticks: {}", ticks.join(", "))?;
    }
    writeln!(out, "from = {}", component(&pipeline.source))?;
    if pipeline.steps.is_empty() {
        writeln!(out, "steps = []")?;
    } else {
        writeln!(out, "steps = [")?;
        let mut stage = 0;
        for (step, plan) in pipeline.steps.iter().zip(&plan.steps) {
            if plan.settings.is_network() {
                stage += 1;
                let workers = plan.workers;
                writeln!(out, "  # stage {stage}: a queue of {STAGE_CHANNEL} items, and {workers} workers")?;
            }
            writeln!(out, "  {},", component(step))?;
        }
        writeln!(out, "]")?;
    }
    let to: Vec<String> = pipeline.to.iter().map(|name| text_to_toml(name)).collect();
    let to = format!("to = [{}]", to.join(", "));
    match (pipeline.is_logged, pipeline.to.is_empty()) {
        (true, _) => writeln!(out, "{to} # left out: the items are logged"),
        (false, true) => writeln!(out, "{to} # the items are discarded"),
        (false, false) => writeln!(out, "{to}"),
    }
}

fn promise(promise: Promise) -> &'static str {
    match promise {
        Promise::AtLeastOnce => "promise: every item is delivered at least once, also over a crash",
        Promise::UntilTheProcessDies => {
            "promise: every item is delivered at least once, but items in flight are lost if the process dies, since \
             this source cannot be asked again"
        }
    }
}

/// A source or step on one line, with all its settings.
fn component(component: &ComponentDescription) -> String {
    let mut entries = vec![format!("{} = {}", component.kind, expanded(&component.inner))];
    // The id may be a default of this pipeline, which the reader of the table cannot know.
    entries.push(format!("id = {}", text_to_toml(&component.id)));
    let beside = component.beside.iter().filter(|record| record.key != "id");
    entries.extend(beside.filter_map(|record| Some(format!("{} = {}", record.key, record.expanded()?))));
    format!("{{ {} }}", entries.join(", "))
}

fn write_settings(out: &mut Vec<u8>, records: &[Record]) -> io::Result<()> {
    for record in records {
        if let Some(value) = record.expanded() {
            writeln!(out, "{} = {value}", key_to_toml(&record.key))?;
        }
    }
    Ok(())
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
