//! A config as its files say it: the nouns, with the tables of components still raw.

mod files;
mod nouns;

use std::path::PathBuf;

pub use files::is_test;
pub use nouns::{NOUNS, PIPELINE_KEYS, is_name};

use crate::expr::Vars;
use crate::settings::{Data, Entry, Fill, Node, Place, Reading, Table, parse};

/// What the files of a config say, merged. Tables of components stay as they are written: `assemble` reads them.
#[derive(Default)]
pub struct Config {
    /// How many files it was read from.
    pub files: usize,
    pub pipelines: Vec<Pipeline>,
    pub sinks: Vec<Named>,
    pub queues: Vec<Named>,
    pub clients: Vec<Named>,
    /// The settings of `[service]`, and where it stands first.
    pub service: Table,
    pub service_place: Option<Place>,
}

/// A section such as `[sink.db]`.
#[derive(Clone)]
pub struct Named {
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    pub node: Node,
}

/// A `[pipeline.NAME]`.
pub struct Pipeline {
    pub name: String,
    pub place: Place,
    /// Nothing if it is not there, which has been reported then.
    pub from: Option<Node>,
    pub steps: Vec<Node>,
    pub to: To,
    pub vars: Vars,
    /// The variables as they are written.
    pub vars_written: Option<Node>,
    /// What is expected of it, as it is written.
    pub expect: Option<Entry>,
}

impl Pipeline {
    /// The variables that no text of the pipeline mentions.
    pub fn unused_vars(&self) -> Vec<(&str, Place)> {
        let inline = match &self.to {
            To::Log => &[][..],
            To::Targets(targets) => &targets[..],
        };
        let inline = inline.iter().filter_map(|target| match target {
            Target::Inline(node) => Some(node),
            Target::Name(..) => None,
        });
        let nodes: Vec<&Node> = self.from.iter().chain(&self.steps).chain(inline).collect();
        let written = self.vars_written.as_ref().and_then(Node::as_table);
        let vars = written.into_iter().flat_map(Table::iter);
        vars.filter(|(name, _)| !nodes.iter().any(|node| mentions(node, name)))
            .map(|(name, entry)| (name, entry.key_place.clone()))
            .collect()
    }
}

/// Whether `$name` stands in any text of a value.
fn mentions(node: &Node, name: &str) -> bool {
    match &node.data {
        Data::Text(text) => text.match_indices('$').any(|(at, _)| {
            let after = text[at + 1..].strip_prefix(name);
            after.is_some_and(|rest| !rest.starts_with(|char: char| char.is_ascii_alphanumeric() || char == '_'))
        }),
        Data::List(nodes) => nodes.iter().any(|node| mentions(node, name)),
        Data::Table(table) => table.iter().any(|(_, entry)| mentions(&entry.node, name)),
        _ => false,
    }
}

/// Where a pipeline's items go.
pub enum To {
    /// Nothing is said: they are logged.
    Log,
    /// To these; to none means that they are discarded.
    Targets(Vec<Target>),
}

pub enum Target {
    /// A sink or queue by its name.
    Name(String, Place),
    /// A sink that stands right here.
    Inline(Node),
}

/// Reads a config from files and folders. Everything that is wrong with it so far is in the reading's list of
/// mistakes, which goes on to whoever reads the components.
pub fn read(paths: &[PathBuf], fill: Fill, unset_ok: bool) -> (Config, Reading) {
    let mut reading = Reading::new(fill);
    reading.unset_ok = unset_ok;
    let files = files::read(paths, &reading.mistakes);
    let documents: Vec<Table> = files.iter().map(|file| parse(file, &reading.mistakes)).collect();
    let config = nouns::read(&documents, &mut reading);
    (Config { files: files.len(), ..config }, reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(files: &[(&str, &str)]) -> (Config, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (config, reading) = read(&[folder.path().to_owned()], Fill::new(|_| None, None), false);
        let prefix = format!("{}/", folder.path().display());
        let mistakes = reading.mistakes.into_sorted();
        (config, mistakes.iter().map(|mistake| mistake.to_string().replace(&prefix, "")).collect())
    }

    #[test]
    fn the_files_of_a_folder_are_merged_in_name_order() {
        let (config, mistakes) = config_of(&[
            ("b.toml", "[pipeline.two]\nfrom.every = '1m'\n[service]\nmemory = '1GiB'"),
            ("a.toml", "[pipeline.one]\nfrom.every = '1m'\nto = ['db']\n[service]\ndrain = '5s'"),
            ("c.toml", "[sink.db]\nsqlite = 'x'"),
            ("ignored.txt", "not = TOML"),
        ]);
        assert_eq!(mistakes, [] as [&str; 0]);
        assert_eq!(config.files, 3);
        assert_eq!(config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(config.service.keys().collect::<Vec<_>>(), ["drain", "memory"]);
        assert_eq!(config.sinks[0].name, "db");
    }

    #[test]
    fn a_name_that_is_defined_in_two_files_names_both_places() {
        let (_, mistakes) = config_of(&[("a.toml", "[sink.db]\nlog = {}"), ("b.toml", "\n[sink.db]\nlog = {}")]);
        assert!(mistakes[0].starts_with("b.toml:2:7: `db` is defined twice"), "{mistakes:?}");
        assert!(mistakes[0].contains("a.toml:1:7"), "{mistakes:?}");
    }

    #[test]
    fn steps_may_stand_in_tables_of_their_own() {
        let (config, mistakes) = config_of(&[(
            "a.toml",
            "[pipeline.one]\nfrom.every = '1m'\n[[pipeline.one.steps]]\nget = 'x'\n[[pipeline.one.steps]]\nmap = '.'",
        )]);
        assert_eq!(mistakes, [] as [&str; 0]);
        assert_eq!(config.pipelines[0].steps.len(), 2);
    }
}
