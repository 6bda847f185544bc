//! `gatherd schema` against configs that can be used, and against every broken one.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatherd::settings::{Breaks, Fill, Rule, Severity};
use gatherd::{assemble, config};
use jsonschema::Validator;
use serde_json::Value;

/// The rules that a schema cannot know of, each for a reason of its own.
const BEYOND: &[(Rule, &str)] = &[
    (Rule::UnreadableFile, "it is about the file"),
    (Rule::EmptyFolder, "it is about the folder"),
    (Rule::Syntax, "what is no TOML has no data to look at"),
    (Rule::BadFilter, "it takes a parser of jq"),
    (Rule::BadTemplate, "it takes a parser of jq"),
    (Rule::UnsetVariable, "it is about the environment"),
    (Rule::UnsetSecret, "it is about the environment"),
    (Rule::BadFilledValue, "it is about the environment"),
    (Rule::DefinedTwice, "it is about several files, or several tables"),
    (Rule::NoPipeline, "another file may have one"),
    (Rule::BadRetry, "two values are compared"),
    (Rule::UnknownSink, "a name is looked up"),
    (Rule::UnknownClient, "a name is looked up"),
    (Rule::UnknownQueue, "a name is looked up"),
    (Rule::Unused, "a name is looked for"),
    (Rule::TakenTwice, "two tables are compared"),
    (Rule::OpenAdmin, "what an address can be reached from takes a parser of addresses"),
    (Rule::OpenAdmin, "one setting hangs on what another says"),
];

/// What a component checks in code of its own is beyond a schema too.
fn is_beyond(breaks: Breaks) -> bool {
    match breaks {
        Breaks::Component(_) => true,
        Breaks::Language(rule) => BEYOND.iter().any(|(beyond, _)| *beyond == rule),
    }
}

fn schema() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_gatherd")).arg("schema").output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// A config as JSON has it; nothing if it is no TOML.
fn data(text: &str) -> Option<Value> {
    let document: toml::Table = toml::from_str(text).ok()?;
    Some(serde_json::to_value(document).unwrap())
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_config =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml") && !config::is_test(path);
    let mut files: Vec<PathBuf> = entries.filter(is_config).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no config");
    files
}

/// What the schema has against a config.
fn objections(validator: &Validator, name: &str, text: &str) -> Vec<String> {
    let data = data(text).unwrap_or_else(|| panic!("{name} is no TOML"));
    validator.iter_errors(&data).map(|error| format!("{name}: {}: {error}", error.instance_path())).collect()
}

#[test]
fn the_schema_is_a_schema() {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let kinds = assemble::describe_kinds();
    for kind in kinds.iter().filter(|kind| kind.role != "section") {
        let definition = format!("{}.{}", kind.role, kind.name);
        assert!(schema["$defs"].get(&definition).is_some(), "there is no `{definition}`");
    }
}

#[test]
fn the_schema_accepts_every_config_that_can_be_used() {
    let validator = validator();
    let mut wrong = Vec::new();
    for kind in assemble::describe_kinds() {
        wrong.extend(objections(&validator, kind.name, kind.sample));
    }
    for folder in ["config", "config/examples", "benches"] {
        // Beside the configs of the benches stand tables of what was measured.
        let configs = toml_files(folder).into_iter().map(|file| (fs::read_to_string(&file).unwrap(), file));
        for (text, file) in configs.filter(|(text, _)| text.contains("[pipeline.")) {
            wrong.extend(objections(&validator, &file.display().to_string(), &text));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_schema_accepts_what_explain_shows() {
    let validator = validator();
    let mut wrong = Vec::new();
    for file in toml_files("config/examples") {
        let explained =
            Command::new(env!("CARGO_BIN_EXE_gatherd")).args(["explain", "--unset-ok"]).arg(&file).output().unwrap();
        let text = String::from_utf8(explained.stdout).unwrap();
        wrong.extend(objections(&validator, &file.display().to_string(), &text));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_too_small_or_no_name_is_objected_to_by_itself() {
    let validator = validator();
    for (settings, is_right) in [
        (r#"service.memory = "16MiB""#, true),
        (r#"service.memory = "15MiB""#, false),
        (r#"service.memory = "16MB""#, false),
        ("service.memory = 16777215", false),
        (r#"service.dead_letters = { bytes = "1B" }"#, true),
        (r#"service.dead_letters = { bytes = "0GiB" }"#, false),
        (r#"pipeline.p.from = { every = "1m", id = "the-clock" }"#, true),
        (r#"pipeline.p.from = { every = "1m", id = "the clock" }"#, false),
        (r#"pipeline.p.from = { every = "1m", id = "-" }"#, false),
        (r#"pipeline.p.to = [{ stdout = {}, batch = { bytes = "0B" } }]"#, false),
    ] {
        let text = if settings.contains("from") {
            settings.to_owned()
        } else {
            format!("{settings}\npipeline.p.from = {{ every = \"1m\" }}")
        };
        assert_eq!(validator.is_valid(&data(&text).unwrap()), is_right, "{settings}");
    }
}

#[test]
fn the_schema_objects_to_every_mistake_that_a_schema_can_see() {
    let validator = validator();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in toml_files("tests/mistakes") {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let Some(data) = data(&text) else { continue };
        let breaks = rules_broken_by(&file, &text);
        let visible: Vec<&Breaks> = breaks.iter().filter(|breaks| !is_beyond(**breaks)).collect();
        match (visible.is_empty(), validator.is_valid(&data)) {
            (false, true) => wrong.push(format!("{} passes, and breaks {visible:?}", file.display())),
            (true, false) => {
                let objections = objections(&validator, "", &text);
                wrong.push(format!("{} is refused, though it breaks only {breaks:?}: {objections:?}", file.display()));
            }
            (false, false) => seen += 1,
            (true, true) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 15, "only {seen} configs break what a schema can see");
}

#[test]
fn no_rule_is_called_beyond_a_schema_in_vain() {
    let unbroken: Vec<&str> = BEYOND
        .iter()
        .filter(|(rule, _)| !Path::new("tests/mistakes").join(format!("{}.toml", rule.name())).exists())
        .map(|(rule, _)| rule.name())
        .filter(|name| !Path::new("tests/mistakes").join(name).is_dir())
        .collect();
    assert_eq!(unbroken, [] as [&str; 0]);
}

/// What `gatherd check` would say, with the environment that the config says it needs.
fn rules_broken_by(file: &Path, text: &str) -> Vec<Breaks> {
    let variables = text.lines().filter_map(|line| line.strip_prefix("# environment: ")?.split_once('='));
    let variables: HashMap<String, String> =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let fill = Fill::new(move |name| variables.get(name).cloned(), None);
    let mistakes = assemble::load(&[file.to_owned()], fill, false).mistakes;
    assert!(!mistakes.is_empty(), "{} has no mistake", file.display());
    let serious = mistakes.iter().filter(|mistake| mistake.severity == Severity::Mistake);
    serious.map(|mistake| mistake.breaks).collect()
}
