//! The sinks of a config.

use std::sync::Arc;

use super::component::{self, Component, OtherRole, Role};
use super::fingerprints::Fingerprints;
use super::{ComponentDescription, Description, common, pipeline};
use crate::component::SinkSettings;
use crate::config::{Config, Named};
use crate::expr::Vars;
use crate::model::Fingerprint;
use crate::pipeline::SinkPlan;
use crate::queues::QueueSettings;
use crate::settings::{Data, Node, Reading, Rule, Unread, way_out};

/// What a queue is called among the kinds of sinks.
pub const QUEUE: &str = "queue";

pub(super) const ROLE: Role<dyn SinkSettings> = Role {
    name: "sink",
    kinds: crate::sinks::KINDS,
    example: "{ stdout = {} }",
    common: common::SINK,
    others: &[pipeline::SOURCE_ELSEWHERE, pipeline::STEP_ELSEWHERE],
};

pub(super) const ELSEWHERE: OtherRole =
    OtherRole { name: "sink", has_kind: is_sink, way_out: "write it in the pipeline's `to`" };

pub(super) fn is_sink(name: &str) -> bool {
    crate::component::find(ROLE.kinds, name).is_some()
}

/// Every sink of a config, and which of them pipelines use.
pub(super) struct Sinks {
    sinks: Vec<Sink>,
}

struct Sink {
    name: String,
    /// Nothing if it is wrong: that has been reported then.
    read: Option<Component<dyn SinkSettings, common::SinkCommon>>,
    node: Node,
    is_inline: bool,
    /// How many pipelines name it.
    users: usize,
    /// Whether one of them has other sinks beside it.
    has_neighbours: bool,
}

/// Reads each `[sink.NAME]`.
pub(super) fn read_named(config: &Config, reading: &Reading) -> Sinks {
    let vars = Vars::default();
    let read = |section: &Named| Sink {
        name: section.name.clone(),
        read: component::read(&ROLE, &section.node, &vars, reading, common::read_sink),
        node: section.node.clone(),
        is_inline: false,
        users: 0,
        has_neighbours: false,
    };
    let queues = config.queues.iter().map(|section| Sink {
        name: section.name.clone(),
        read: read_queue(section, reading),
        node: section.node.clone(),
        is_inline: false,
        users: 0,
        has_neighbours: false,
    });
    Sinks { sinks: config.sinks.iter().map(read).chain(queues).collect() }
}

/// The way into a `[queue.NAME]` is a sink like any other.
fn read_queue(section: &Named, reading: &Reading) -> Option<Component<dyn SinkSettings, common::SinkCommon>> {
    let name = format!("[queue.{}]", section.name);
    let unread = Unread { name: &name, place: &section.place, node: &section.node, beside: None, keys_beside: &[] };
    let read = reading.read(unread, &Vars::default(), QueueSettings::read);
    let settings: Option<Arc<dyn SinkSettings>> = read.value.map(|settings| Arc::new(settings) as _);
    let common = common::SinkCommon::plain(settings.as_deref());
    Some(Component { kind: QUEUE, settings, common, inner: read.records, beside: Vec::new() })
}

impl Sinks {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.sinks.iter().filter(|sink| !sink.is_inline).map(|sink| sink.name.as_str())
    }

    /// Marks a sink as used; false if there is none of that name.
    pub(super) fn use_named(&mut self, name: &str) -> bool {
        match self.sinks.iter_mut().find(|sink| sink.name == name) {
            Some(sink) => {
                sink.users += 1;
                true
            }
            None => false,
        }
    }

    /// Marks the sinks that are told of alerts as used; one that is not there is reported. A queue is none of them:
    /// nobody would know to read it.
    pub(super) fn use_for_alerts(&mut self, names: &[String], config: &Config, reading: &Reading) {
        for (number, name) in names.iter().enumerate() {
            let node = config.service.get("alerts").map(|node| match &node.data {
                Data::List(nodes) => nodes.get(number).unwrap_or(node),
                _ => node,
            });
            let place = node.map(|node| node.place.clone());
            if names[..number].contains(name) {
                let message = format!("`{name}` is named twice");
                reading.mistakes.report(Rule::NamedTwice, place, message, "name it once");
            } else if !self.use_named(name) {
                let way_out = way_out(name, self.names());
                let message = reading.fill.mask(&format!("there is no sink `{name}`"));
                reading.mistakes.report(Rule::UnknownSink, place, message, reading.fill.mask(&way_out));
            }
        }
    }

    pub(super) fn is_used(&self, name: &str) -> bool {
        self.sinks.iter().any(|sink| sink.name == name && sink.users > 0)
    }

    /// Reads a sink that stands in a pipeline's `to`, and answers its name: `PIPELINE.KIND`, and `PIPELINE.KIND-2`
    /// for the second of that kind.
    pub(super) fn add_inline(&mut self, pipeline: &str, node: &Node, vars: &Vars, reading: &Reading) -> String {
        let read = component::read(&ROLE, node, vars, reading, common::read_sink);
        let kind = read.as_ref().map_or("unknown", |sink| sink.kind);
        let mut name = format!("{pipeline}.{kind}");
        let mut number = 1;
        while self.sinks.iter().any(|sink| sink.name == name) {
            number += 1;
            name = format!("{pipeline}.{kind}-{number}");
        }
        let node = node.clone();
        self.sinks.push(Sink { name: name.clone(), read, node, is_inline: true, users: 1, has_neighbours: false });
        name
    }

    /// These sinks as they are written, each after its name.
    pub(super) fn nodes(&self, names: &[String]) -> Vec<(&str, &Node)> {
        let named = self.sinks.iter().filter(|sink| names.contains(&sink.name));
        named.map(|sink| (sink.name.as_str(), &sink.node)).collect()
    }

    /// Whether `word` stands in the settings of one of these sinks.
    pub(super) fn mention(&self, names: &[String], word: &str) -> bool {
        self.sinks.iter().any(|sink| names.contains(&sink.name) && sink.node.mentions(word))
    }

    /// These sinks take the items of one pipeline.
    pub(super) fn are_neighbours(&mut self, names: &[String]) {
        if names.len() > 1 {
            let named = self.sinks.iter_mut().filter(|sink| names.contains(&sink.name));
            named.for_each(|sink| sink.has_neighbours = true);
        }
    }

    /// The sinks that pipelines use. Nothing if any sink is wrong.
    pub(super) fn into_used(
        self,
        fingerprints: &Fingerprints<'_>,
        description: &mut Description,
    ) -> Option<Vec<SinkPlan>> {
        let mut used = Vec::new();
        for Sink { name, read, node, is_inline, users, has_neighbours } in self.sinks {
            let sink = read?;
            let settings: Arc<dyn SinkSettings> = sink.settings?;
            let is_shared = users > 1 || has_neighbours;
            let buffer = sink.common.buffer.plan(&name, is_shared && sink.kind != QUEUE);
            let (inner, mut beside) = (sink.inner, sink.beside);
            if !buffer.takes_items() {
                // Shown as if it were given, it would be asked for.
                beside.retain(|record| record.key != "buffer" || record.given.is_some());
            }
            if users > 0 {
                let own = fingerprints.of(&node);
                let buffered = [u8::from(buffer.takes_items())];
                used.push(SinkPlan {
                    fingerprint: Fingerprint::of([own.as_ref(), &buffered]),
                    buffer: Some(buffer),
                    name: name.as_str().into(),
                    settings,
                    when: sink.common.when,
                    batch: sink.common.batch,
                    retry: sink.common.retry,
                    workers: sink.common.workers,
                });
            }
            description.sinks.push(ComponentDescription { id: name, is_inline, kind: sink.kind, inner, beside });
        }
        Some(used)
    }
}
