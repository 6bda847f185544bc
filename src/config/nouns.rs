//! From the tables of the files to the nouns of a config.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Config, Named, Pipeline, Target, To};
use crate::expr::Vars;
use crate::model::{Text, Value};
use crate::settings::{Data, Entry, Mistakes, Node, Place, Reading, Rule, Section, Table, Unread, way_out};

/// The sections of a config.
pub const NOUNS: [&str; 5] = ["pipeline", "sink", "http", "queue", "service"];

/// What a pipeline is made of.
pub const PIPELINE_KEYS: [&str; 5] = ["from", "steps", "to", "vars", "expect"];

/// Merges the documents and takes out the nouns.
pub(super) fn read(documents: &[Table], reading: &mut Reading) -> Config {
    let mut config = Config::default();
    let mut pipelines = Vec::new();
    for (key, entry) in documents.iter().flat_map(Table::iter) {
        let mistakes = &reading.mistakes;
        match key {
            "pipeline" => add_sections(key, entry, &mut pipelines, mistakes),
            "sink" => add_sections(key, entry, &mut config.sinks, mistakes),
            "http" => add_sections(key, entry, &mut config.clients, mistakes),
            "queue" => add_sections(key, entry, &mut config.queues, mistakes),
            "service" => add_service(entry, &mut config, mistakes),
            _ => mistakes.report(
                Rule::UnknownNoun,
                entry.key_place.clone(),
                format!("there is no section `[{key}]`"),
                match key {
                    "test" => {
                        "tests stand in a file whose name ends in `.test.toml`: `gatherd test` runs them".to_owned()
                    }
                    _ => way_out(key, NOUNS),
                },
            ),
        }
    }
    report_shared_names(&config, &reading.mistakes);
    if let Some(folder) = secrets_folder(&config, reading) {
        reading.fill.add_secrets(folder);
    }
    reading.clients = config.clients.iter().map(|client| client.name.clone()).collect();
    reading.queues = config.queues.iter().map(|queue| queue.name.clone()).collect();
    config.pipelines = pipelines.iter().filter_map(|section| read_pipeline(section, reading)).collect();
    config
}

/// Adds each `[NOUN.NAME]`.
fn add_sections(noun: &str, entry: &Entry, sections: &mut Vec<Named>, mistakes: &Mistakes) {
    let Some(table) = entry.node.as_table() else {
        let message = format!("`{noun}` cannot be {}", entry.node.kind());
        let way_out = format!("write a section `[{noun}.NAME]`");
        return mistakes.report(Rule::WrongType, entry.node.place.clone(), message, way_out);
    };
    // Settings right in `[pipeline]`: their author has forgotten the name.
    if table.iter().any(|(_, entry)| entry.node.as_table().is_none()) {
        let message = format!("`[{noun}]` has no name");
        let way_out = format!("write a section `[{noun}.NAME]`, and its settings there");
        return mistakes.report(Rule::UnnamedSection, entry.key_place.clone(), message, way_out);
    }
    for (name, entry) in table.iter() {
        let place = entry.key_place.clone();
        if !is_name(name) {
            mistakes.report(
                Rule::BadName,
                place,
                format!("`{name}` cannot be a name"),
                "take letters, digits, `_` and `-`, and begin with a letter or digit",
            );
        } else if let Some(first) = sections.iter().find(|section| section.name == name) {
            report_twice(name, place, &first.place, mistakes);
        } else {
            sections.push(Named { name: name.to_owned(), place, node: entry.node.clone() });
        }
    }
}

/// Whether `name` can be a name: names stand in metrics, file names, trace ids and on command lines.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
}

fn report_twice(name: &str, place: Place, first: &Place, mistakes: &Mistakes) {
    let message = format!("`{name}` is defined twice, first at {first}");
    mistakes.report(Rule::DefinedTwice, place, message, "keep one of the two, or give one of them another name");
}

fn add_service(entry: &Entry, config: &mut Config, mistakes: &Mistakes) {
    let Some(table) = entry.node.as_table() else {
        let message = format!("`service` cannot be {}", entry.node.kind());
        return mistakes.report(Rule::WrongType, entry.node.place.clone(), message, "write a section `[service]`");
    };
    config.service_place.get_or_insert_with(|| entry.key_place.clone());
    for (key, entry) in table.iter() {
        match config.service.entry(key) {
            Some(first) => report_twice(key, entry.key_place.clone(), &first.key_place, mistakes),
            None => config.service.insert(key.to_owned(), entry.clone()),
        }
    }
}

/// `to` names sinks and queues, so no two of them may have the same name.
fn report_shared_names(config: &Config, mistakes: &Mistakes) {
    for queue in &config.queues {
        if let Some(sink) = config.sinks.iter().find(|sink| sink.name == queue.name) {
            report_twice(&queue.name, queue.place.clone(), &sink.place, mistakes);
        }
    }
}

/// `[service] secrets`, which must be known before anything else is read.
fn secrets_folder(config: &Config, reading: &Reading) -> Option<PathBuf> {
    let node = config.service.get("secrets")?;
    match &node.data {
        // What is wrong with it is reported when `[service]` is read as a whole.
        Data::Text(text) => Some(PathBuf::from(reading.filled_quietly(text)?)),
        _ => None,
    }
}

fn read_pipeline(section: &Named, reading: &Reading) -> Option<Pipeline> {
    let table = section.node.as_table()?;
    let mistakes = &reading.mistakes;
    for (key, entry) in table.iter().filter(|(key, _)| !PIPELINE_KEYS.contains(key)) {
        let message = format!("a pipeline has no `{key}`");
        mistakes.report(Rule::UnknownKey, entry.key_place.clone(), message, way_out(key, PIPELINE_KEYS));
    }
    let from = table.get("from").cloned();
    if from.is_none() {
        let message = format!("the pipeline `{}` has no source", section.name);
        let way_out = "add `from = { every = \"1m\" }`, or another source that `gatherd kinds` shows";
        mistakes.report(Rule::MissingKey, section.place.clone(), message, way_out);
    }
    let steps = table.get("steps").map_or(Vec::new(), |node| list(node, "steps", "[ { get = \"…\" }, … ]", mistakes));
    let to = table.get("to").map_or(To::Log, |node| {
        To::Targets(
            list(node, "to", "[\"NAME\", …]", mistakes).into_iter().filter_map(|node| target(node, reading)).collect(),
        )
    });
    Some(Pipeline {
        name: section.name.clone(),
        place: section.place.clone(),
        from,
        steps,
        to,
        vars: table.entry("vars").map(|entry| read_vars(entry, reading)).unwrap_or_default(),
        vars_written: table.get("vars").cloned(),
        expect: table.entry("expect").cloned(),
    })
}

fn list(node: &Node, key: &str, example: &str, mistakes: &Mistakes) -> Vec<Node> {
    if let Data::List(nodes) = &node.data {
        return nodes.clone();
    }
    const LONGEST: usize = 60;
    let message = format!("`{key}` cannot be {}", node.kind());
    let written = Some(node.to_toml())
        .filter(|text| text.len() <= LONGEST && matches!(node.data, Data::Text(_) | Data::Table(_)));
    let list = written.map_or_else(|| example.to_owned(), |written| format!("[{written}]"));
    mistakes.report(Rule::WrongType, node.place.clone(), message, format!("write a list such as `{key} = {list}`"));
    Vec::new()
}

fn target(node: Node, reading: &Reading) -> Option<Target> {
    match &node.data {
        Data::Text(name) => reading.filled(&node, name).map(|name| Target::Name(name, node.place)),
        Data::Table(_) => Some(Target::Inline(node)),
        _ => {
            let message = format!("items cannot go to {}", node.kind());
            let way_out = "write the name of a sink, or a sink such as { stdout = {} }";
            reading.mistakes.report(Rule::WrongType, node.place, message, way_out);
            None
        }
    }
}

fn read_vars(entry: &Entry, reading: &Reading) -> Vars {
    let unread = Unread { name: "vars", place: &entry.key_place, node: &entry.node, beside: None, keys_beside: &[] };
    let read = reading.read(unread, &Vars::default(), |section: &mut Section<'_>| {
        Some(section.entries::<Value>("a variable: `$NAME` in the pipeline's filters"))
    });
    for (name, entry) in entry.node.as_table().into_iter().flat_map(Table::iter).filter(|(name, _)| !is_variable(name))
    {
        reading.mistakes.report(
            Rule::BadVariable,
            entry.key_place.clone(),
            format!("`${name}` cannot be a variable"),
            "take letters, digits and `_`, and begin with a letter or `_`",
        );
    }
    // A variable whose value is wrong is there all the same, so that the filters that use it are not wrong too.
    let values: HashMap<String, Value> = read.value.unwrap_or_default().into_iter().collect();
    let names = entry.node.as_table().into_iter().flat_map(Table::keys).filter(|name| is_variable(name));
    Arc::new(names.map(|name| (Text::from(name), values.get(name).cloned().unwrap_or_default())).collect())
}

/// As jq has it.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}
