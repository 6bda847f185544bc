//! `gatherd graph`: the pipelines as a drawing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{EXIT_CONFIG, StateArgument, mistakes, output, status};
use crate::assemble::{self, Assembled, QUEUE};
use crate::daemon::{Status, state_folder};
use crate::settings::Fill;

#[derive(Debug, Args)]
pub(super) struct GraphArguments {
    /// Config files, or folders whose `*.toml` are read in the order of their names [default: what runs].
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: GraphFormat,
    #[command(flatten)]
    state: StateArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GraphFormat {
    /// A line a pipeline.
    Text,
    /// For Graphviz.
    Dot,
    /// For Markdown that knows Mermaid.
    Mermaid,
}

pub(super) fn graph(arguments: GraphArguments) -> ExitCode {
    let graph = if arguments.paths.is_empty() {
        match status::ask(&state_folder(arguments.state.state, None)) {
            Ok(status) => Graph::of_daemon(&status),
            Err(fault) => return output::fail(&fault),
        }
    } else {
        // What is not set here does not change the drawing.
        let loaded = assemble::load(&arguments.paths, Fill::of_process(), true);
        mistakes::report(&loaded.mistakes);
        let Some(assembled) = loaded.assembled else { return ExitCode::from(EXIT_CONFIG) };
        Graph::of_config(&assembled)
    };
    let text = match arguments.format {
        GraphFormat::Text => graph.to_text(),
        GraphFormat::Dot => graph.to_dot(),
        GraphFormat::Mermaid => graph.to_mermaid(),
    };
    output::print(text.as_bytes())
}

/// Pipelines, and what joins them.
struct Graph {
    flows: Vec<Flow>,
    /// Names of queues among what flows lead to and come from.
    queues: BTreeSet<String>,
}

/// A pipeline.
struct Flow {
    name: String,
    /// Source and steps, in order.
    components: Vec<String>,
    /// The queue that it comes from.
    reads: Option<String>,
    /// Sinks and queues.
    to: Vec<String>,
}

impl Graph {
    fn of_config(assembled: &Assembled) -> Self {
        let sinks = &assembled.description.sinks;
        let queues = sinks.iter().filter(|sink| sink.kind == QUEUE).map(|sink| sink.id.clone()).collect();
        let flow = |plan: &crate::pipeline::PipelinePlan| Flow {
            name: plan.name.to_string(),
            components: [&plan.source.id]
                .into_iter()
                .chain(plan.steps.iter().map(|step| &step.id))
                .map(|id| id.to_string())
                .collect(),
            reads: plan.source.settings.queue().map(str::to_owned),
            to: plan.sinks.iter().map(|sink| sink.to_string()).collect(),
        };
        Self { flows: assembled.pipelines.iter().map(flow).collect(), queues }
    }

    /// Parts that only empty a buffer are left out; a durable source shows as what it is: a queue between two flows.
    fn of_daemon(status: &Status) -> Self {
        let shown = status.pipelines.iter().filter(|pipeline| pipeline.part.as_deref() != Some("buffer"));
        let flow = |pipeline: &crate::daemon::PipelineShown| {
            let (to, components): (Vec<_>, Vec<_>) = pipeline.components.iter().partition(|one| one.role == "sink");
            Flow {
                name: pipeline.name.clone(),
                components: components.into_iter().map(|one| one.id.clone()).collect(),
                reads: pipeline.reads.clone(),
                to: to.into_iter().map(|one| one.id.trim_start_matches("sink.").to_owned()).collect(),
            }
        };
        let flows: Vec<Flow> = shown.map(flow).collect();
        let queues = flows.iter().filter_map(|flow| flow.reads.clone());
        let known = status.queues.iter().map(|queue| queue.name.clone());
        let queues = queues.chain(known.filter(|name| flows.iter().any(|flow| flow.to.contains(name)))).collect();
        Self { flows, queues }
    }

    /// `name: source → step → sink, sink`
    fn to_text(&self) -> String {
        let mut text = String::new();
        for Flow { name, components, reads, to } in &self.flows {
            let mut components = components.clone();
            if let (Some(source), Some(queue)) = (components.first_mut(), reads) {
                *source = format!("({queue})");
            }
            let to = to
                .iter()
                .map(|name| if self.queues.contains(name) { format!("({name})") } else { format!("[{name}]") });
            let to: Vec<String> = to.collect();
            let to = if to.is_empty() { "nowhere".to_owned() } else { to.join(", ") };
            line(&mut text, format_args!("{name}: {} → {to}", components.join(" → ")));
        }
        text
    }

    /// The DOT language of Graphviz.
    fn to_dot(&self) -> String {
        let mut text = String::from("digraph gatherd {\n  rankdir=LR;\n  node [shape=box];\n");
        for (number, flow) in self.flows.iter().enumerate() {
            line(&mut text, format_args!("  subgraph cluster_{number} {{\n    label={};", quoted(&flow.name)));
            for (place, component) in flow.components.iter().enumerate() {
                line(&mut text, format_args!("    p{number}_{place} [label={}];", quoted(component)));
            }
            text.push_str("  }\n");
        }
        for (name, id) in self.ends() {
            let shape = if self.queues.contains(name) { "cylinder" } else { "folder" };
            line(&mut text, format_args!("  {id} [label={}, shape={shape}];", quoted(name)));
        }
        for (from, to) in self.edges() {
            line(&mut text, format_args!("  {from} -> {to};"));
        }
        text.push_str("}\n");
        text
    }

    fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (number, flow) in self.flows.iter().enumerate() {
            line(&mut text, format_args!("  subgraph c{number}[{}]", quoted(&flow.name)));
            for (place, component) in flow.components.iter().enumerate() {
                line(&mut text, format_args!("    p{number}_{place}[{}]", quoted(component)));
            }
            text.push_str("  end\n");
        }
        for (name, id) in self.ends() {
            let (open, close) = if self.queues.contains(name) { ("[(", ")]") } else { ("([", "])") };
            line(&mut text, format_args!("  {id}{open}{}{close}", quoted(name)));
        }
        for (from, to) in self.edges() {
            line(&mut text, format_args!("  {from} --> {to}"));
        }
        text
    }

    /// Sinks and queues, each once, with what the drawing calls it.
    fn ends(&self) -> Vec<(&str, String)> {
        let named = self.flows.iter().flat_map(|flow| flow.to.iter().chain(&flow.reads));
        let names: BTreeSet<&str> = named.map(String::as_str).collect();
        names.into_iter().enumerate().map(|(number, name)| (name, format!("e{number}"))).collect()
    }

    fn edges(&self) -> Vec<(String, String)> {
        let ends = self.ends();
        let end = |name: &str| ends.iter().find(|(other, _)| *other == name).map(|(_, id)| id.clone());
        let mut edges = Vec::new();
        for (number, Flow { components, reads, to, .. }) in self.flows.iter().enumerate() {
            let component = |place: usize| format!("p{number}_{place}");
            edges.extend(reads.as_deref().and_then(end).map(|queue| (queue, component(0))));
            edges.extend((1..components.len()).map(|place| (component(place - 1), component(place))));
            let last = components.len().saturating_sub(1);
            edges.extend(to.iter().filter_map(|name| end(name)).map(|end| (component(last), end)));
        }
        edges
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes every write");
}

/// In the quotes of DOT and of Mermaid. Names have neither quotes nor backslashes, but whatever they hold, it stays one
/// text.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace(['"', '\\'], "'"))
}
