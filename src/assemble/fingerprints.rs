//! Whether a noun of a config still says what it said: its own text, `${…}` filled in, and that of what it names.

use crate::config::{Config, Named, Pipeline, Target, To};
use crate::model::Fingerprint;
use crate::settings::{Data, Node, Reading, Table};

/// Takes the fingerprints of one config's nouns.
pub(super) struct Fingerprints<'a> {
    config: &'a Config,
    reading: &'a Reading,
}

impl<'a> Fingerprints<'a> {
    pub(super) fn new(config: &'a Config, reading: &'a Reading) -> Self {
        Self { config, reading }
    }

    /// Of a section, or of a sink that stands in a pipeline.
    pub(super) fn of(&self, node: &Node) -> Fingerprint {
        self.of_all([node])
    }

    /// Of all that a pipeline says, but not of its sinks.
    pub(super) fn of_pipeline(&self, pipeline: &Pipeline) -> Fingerprint {
        let targets = match &pipeline.to {
            To::Log => "log".to_owned(),
            To::Targets(targets) => targets.iter().map(named).collect(),
        };
        let expect = pipeline.expect.as_ref().map(|entry| &entry.node);
        let nodes = pipeline.from.iter().chain(&pipeline.steps).chain(&pipeline.vars_written).chain(expect);
        Fingerprint::of([self.of_all(nodes).as_ref(), targets.as_bytes()])
    }

    /// Of step number `place` of a pipeline and of all that decides what becomes of its items, up to the sinks, each after
    /// its name.
    pub(super) fn onward(&self, pipeline: &Pipeline, place: usize, sinks: &[(&str, &Node)]) -> Fingerprint {
        let sink_nodes = sinks.iter().map(|(_, node)| *node);
        let nodes = pipeline.steps[place..].iter().chain(&pipeline.vars_written).chain(sink_nodes);
        let names = sinks.iter().map(|(name, _)| name.as_bytes());
        // Another gatherd may have other defaults.
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        Fingerprint::of([version, self.of_all(nodes).as_ref()].into_iter().chain(names))
    }

    fn of_all<'n>(&self, nodes: impl IntoIterator<Item = &'n Node>) -> Fingerprint {
        let mut texts = Vec::new();
        for node in nodes {
            let filled = self.filled(node);
            texts.push(filled.to_toml());
            // Whatever text is the name of something counts as naming it: too much rather than too little.
            let nouns = self.config.clients.iter().chain(&self.config.queues);
            texts.extend(nouns.filter(|noun| names(&filled, noun)).map(|noun| self.filled(&noun.node).to_toml()));
        }
        Fingerprint::of(texts)
    }

    fn filled(&self, node: &Node) -> Node {
        let data = match &node.data {
            Data::Text(text) => Data::Text(self.reading.filled_quietly(text).unwrap_or_else(|| text.clone())),
            Data::List(nodes) => Data::List(nodes.iter().map(|node| self.filled(node)).collect()),
            Data::Table(table) => {
                let mut filled = Table::default();
                for (key, entry) in table.iter() {
                    let entry = crate::settings::Entry { node: self.filled(&entry.node), ..entry.clone() };
                    filled.insert(key.to_owned(), entry);
                }
                Data::Table(filled)
            }
            other => other.clone(),
        };
        Node { data, ..node.clone() }
    }
}

fn named(target: &Target) -> String {
    match target {
        Target::Name(name, _) => format!("{name}\n"),
        Target::Inline(_) => "\n".to_owned(),
    }
}

fn names(node: &Node, noun: &Named) -> bool {
    match &node.data {
        Data::Text(text) => *text == noun.name,
        Data::List(nodes) => nodes.iter().any(|node| names(node, noun)),
        Data::Table(table) => table.iter().any(|(_, entry)| names(&entry.node, noun)),
        _ => false,
    }
}
