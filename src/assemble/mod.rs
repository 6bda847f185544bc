//! The one place where names in a config meet code: makes the plan of what to run.

mod admin;
mod common;
mod component;
mod description;
mod expect;
mod fingerprints;
mod kinds;
mod load;
mod onward;
mod outline;
mod pipeline;
mod schema;
mod service;
mod sink;

use std::collections::HashMap;
use std::path::PathBuf;

pub use admin::AdminSettings;
pub use description::{ComponentDescription, Description, PipelineDescription};
pub use kinds::{KindDescription, ROLES, RoleDescription, describe_kinds};
pub use load::{HostLoad, Load};
pub use outline::{Difference, Outline};
pub use schema::schema;
pub use service::Service;
pub use sink::QUEUE;

use self::fingerprints::Fingerprints;
use crate::config::{self, Config};
use crate::expr::Vars;
use crate::http::{ClientSettings, Clients, Wire};
use crate::model::{Fault, Fingerprint};
use crate::pipeline::{PipelinePlan, Plan, SinkPlan};
use crate::runtime::Clock;
use crate::settings::{Data, Fill, Mistake, Node, Place, Reading, Rule, Severity, SourceFile, Unread, describe};

/// A config that was read.
pub struct Loaded {
    /// What is wrong with it, warnings included, file by file and from top to bottom.
    pub mistakes: Vec<Mistake>,
    /// What it says, if it can be used.
    pub assembled: Option<Assembled>,
}

/// A config that can be used.
pub struct Assembled {
    pub pipelines: Vec<PipelinePlan>,
    /// Every sink that a pipeline names, once.
    pub sinks: Vec<SinkPlan>,
    /// The `[http.NAME]` by name.
    pub clients: HashMap<String, ClientSettings>,
    pub service: Service,
    pub description: Description,
}

impl Assembled {
    /// What to run. Opens the clients; the fault says which of their files cannot be read.
    pub fn into_plan(self, clock: &Clock) -> Result<Plan, Fault> {
        self.into_plan_over(&Wire::Network, clock)
    }

    /// [`Assembled::into_plan`], with something else in place of the network.
    pub fn into_plan_over(mut self, wire: &Wire, clock: &Clock) -> Result<Plan, Fault> {
        self.clients.insert(String::new(), self.service.client);
        Ok(Plan {
            pipelines: self.pipelines,
            sinks: self.sinks,
            clients: Clients::open_over(wire, self.clients, self.service.allow, clock)?,
            memory: self.service.memory,
            drain: self.service.drain,
            dead_letters: self.service.dead_letters,
            alerts: self.service.alerts.iter().map(|sink| sink.as_str().into()).collect(),
        })
    }
}

/// Reads a config from files and folders, and everything in it. Opens nothing else, and does not go to the network.
/// With `unset_ok` a `${…}` that is not set is only a warning.
pub fn load(paths: &[PathBuf], fill: Fill, unset_ok: bool) -> Loaded {
    let (config, mut reading) = config::read(paths, fill, unset_ok);
    reading.client_settings = || describe(ClientSettings::read).records.into_iter().map(|record| record.key).collect();
    let assembled = assemble(&config, &reading);
    let mistakes = reading.mistakes.into_sorted();
    let is_usable = mistakes.iter().all(|mistake| mistake.severity == Severity::Warning);
    Loaded { mistakes, assembled: is_usable.then_some(assembled).flatten() }
}

/// Reads a config with the environment and the credentials of this process. The error is its mistakes, as their author
/// reads them.
pub fn load_for_process(paths: &[PathBuf]) -> Result<Assembled, String> {
    let Loaded { mistakes, assembled } = load(paths, Fill::of_process(), false);
    assembled.ok_or_else(|| {
        let serious = mistakes.iter().filter(|mistake| mistake.severity == Severity::Mistake);
        serious.map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
    })
}

/// Reads every component of a config. Nothing if there is a mistake in it: that is in the reading's list then.
fn assemble(config: &Config, reading: &Reading) -> Option<Assembled> {
    let mut description = Description::default();
    let fingerprints = Fingerprints::new(config, reading);
    let service = read_service(config, reading, &fingerprints, &mut description);
    let clients = read_clients(config, reading, &fingerprints, &mut description);
    let mut sinks = sink::read_named(config, reading);
    let pipelines: Vec<_> = config
        .pipelines
        .iter()
        .map(|pipeline| pipeline::read(pipeline, &mut sinks, reading, &fingerprints, &mut description))
        .collect();
    report_taken_twice(config, &pipelines, reading);
    if let Some(service) = &service {
        sinks.use_for_alerts(&service.alerts, config, reading);
    }
    if config.pipelines.is_empty() && config.files > 0 && !reading.mistakes.any() {
        reading.mistakes.report(
            Rule::NoPipeline,
            None,
            "there is no pipeline to run",
            "add a section `[pipeline.NAME]`, such as `gatherd kinds every` shows",
        );
    }
    // What is named in a wrong place is not known.
    if !reading.mistakes.any() {
        warn_of_unused(config, &sinks, reading);
    }
    let sinks = sinks.into_used(&fingerprints, &mut description)?;
    let mut pipelines: Vec<PipelinePlan> = pipelines.into_iter().collect::<Option<_>>()?;
    for pipeline in &mut pipelines {
        let named = sinks.iter().filter(|sink| pipeline.sinks.contains(&sink.name)).map(|sink| sink.fingerprint);
        pipeline.fingerprint = Fingerprint::of(named.chain([pipeline.fingerprint]));
    }
    Some(Assembled { sinks, pipelines, clients: clients?, service: service?, description })
}

/// Two sources cannot take the same requests.
fn report_taken_twice(config: &Config, pipelines: &[Option<PipelinePlan>], reading: &Reading) {
    let mut taken: HashMap<String, &str> = HashMap::new();
    for (section, plan) in config.pipelines.iter().zip(pipelines) {
        let Some(takes) = plan.as_ref().and_then(|plan| plan.source.settings.takes()) else { continue };
        match taken.get(&takes) {
            None => {
                taken.insert(takes, &section.name);
            }
            Some(first) => {
                let place = section.from.as_ref().map_or(&section.place, |from| &from.place).clone();
                let message = format!("the pipeline `{first}` takes `{takes}` already");
                let message = reading.fill.mask(&message);
                reading.mistakes.report(Rule::TakenTwice, place, message, "give one of the two another `path`");
            }
        }
    }
}

/// Reads each `[http.NAME]`. Nothing if one is wrong.
fn read_clients(
    config: &Config,
    reading: &Reading,
    fingerprints: &Fingerprints<'_>,
    description: &mut Description,
) -> Option<HashMap<String, ClientSettings>> {
    let mut clients = Vec::new();
    for client in &config.clients {
        let name = format!("[http.{}]", client.name);
        let unread = Unread { name: &name, place: &client.place, node: &client.node, beside: None, keys_beside: &[] };
        let read = reading.read(unread, &Vars::default(), ClientSettings::read);
        description.clients.push((client.name.clone(), read.records));
        let fingerprint = fingerprints.of(&client.node);
        clients.push(read.value.map(|settings| (client.name.clone(), settings.with_fingerprint(fingerprint))));
    }
    clients.into_iter().collect()
}

fn read_service(
    config: &Config,
    reading: &Reading,
    fingerprints: &Fingerprints<'_>,
    description: &mut Description,
) -> Option<Service> {
    let nowhere = || Place::new(SourceFile { name: String::new(), text: String::new() }.into(), 0..0);
    let place = config.service_place.clone().unwrap_or_else(nowhere);
    let node = Node { place: place.clone(), data: Data::Table(config.service.clone()) };
    let unread = Unread { name: "[service]", place: &place, node: &node, beside: None, keys_beside: &[] };
    let read = reading.read(unread, &Vars::default(), service::read);
    description.service = read.records;
    let given = config.service.iter().map(|(key, entry)| (key.to_owned(), fingerprints.of(&entry.node))).collect();
    Some(Service { fingerprints: given, ..read.value? })
}

/// What nothing names does nothing: its author may have meant something else.
fn warn_of_unused(config: &Config, sinks: &sink::Sinks, reading: &Reading) {
    let warn = |noun: &str, section: &config::Named, way_out: String| {
        let message = format!("nothing names the {noun} `{}`", section.name);
        reading.mistakes.warn(Rule::Unused, section.place.clone(), message, way_out);
    };
    for sink in config.sinks.iter().filter(|sink| !sinks.is_used(&sink.name)) {
        warn("sink", sink, format!("name it in a pipeline: `to = [\"{}\"]`", sink.name));
    }
    for client in config.clients.iter().filter(|client| !reading.is_client_used(&client.name)) {
        warn("client", client, format!("name it in a step: `get = {{ via = \"{}\", url = … }}`", client.name));
    }
    for pipeline in &config.pipelines {
        for (name, place) in pipeline.unused_vars() {
            let message = format!("nothing uses the variable `{name}`");
            let way_out = format!("write `${name}` in a filter of this pipeline, or remove the variable");
            reading.mistakes.warn(Rule::Unused, place, message, way_out);
        }
    }
    for queue in &config.queues {
        let way_out = if !sinks.is_used(&queue.name) {
            format!("name it in a pipeline: `to = [\"{}\"]`", queue.name)
        } else if !reading.is_queue_used(&queue.name) {
            format!("read it in a pipeline: `from = {{ queue = \"{}\" }}`", queue.name)
        } else {
            continue;
        };
        warn("queue", queue, way_out);
    }
}
