//! What the author of a broken config reads.
//!
//! `tests/mistakes/` holds a config, or a folder of configs, for each rule of the language and of each component, and
//! beside it what `gatherd check` says of it. With `GATHERD_UPDATE=1` the texts and the table in `RULES.md` are
//! written anew; read them then, for they are the product.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatherd::assemble;
use gatherd::settings::{Breaks, Fill, Mistake, Rule, Severity};

const FOLDER: &str = "tests/mistakes";

/// Where components report mistakes of their own.
const COMPONENTS: [&str; 5] = ["src/sources", "src/steps", "src/sinks", "src/queues", "src/http"];

struct Case {
    /// The file or folder of the config, below [`FOLDER`].
    config: String,
    /// The environment that the config says it needs, in comments such as `# environment: NAME=value`.
    environment: HashMap<String, String>,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut configs: Vec<PathBuf> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
        configs.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "toml"));
        configs.sort();
        configs.iter().map(|path| Case::of(path)).collect()
    }

    fn of(path: &Path) -> Case {
        let text = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let variables = text.lines().filter_map(|line| line.strip_prefix("# environment: ")?.split_once('='));
        Case {
            config: path.file_name().unwrap().to_str().unwrap().to_owned(),
            environment: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// What the binary says, and its exit code.
    fn run(&self) -> (String, i32) {
        let output = Command::new(env!("CARGO_BIN_EXE_gatherd"))
            .args(["check", &self.config])
            .current_dir(FOLDER)
            .env_clear()
            .envs(&self.environment)
            .output()
            .unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let environment = self.environment.clone();
        let fill = Fill::new(move |name| environment.get(name).cloned(), None);
        assemble::load(&[Path::new(FOLDER).join(&self.config)], fill, false).mistakes
    }

    fn expected(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.config).with_extension("txt")
    }
}

/// Compares a file with what it should hold, or writes it anew if that is asked for.
fn check_file(path: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os("GATHERD_UPDATE").is_some() {
        fs::write(path, text).unwrap();
        return Ok(());
    }
    let there = fs::read_to_string(path).unwrap_or_default();
    if there == text { Ok(()) } else { Err(format!("--- {} says\n{there}\n--- but now it is\n{text}", path.display())) }
}

#[test]
fn every_broken_config_is_answered_with_what_its_author_needs() {
    let mut wrong = Vec::new();
    for case in Case::all() {
        let (text, code) = case.run();
        let is_usable = case.mistakes().iter().all(|mistake| mistake.severity == Severity::Warning);
        assert_eq!(code, if is_usable { 0 } else { 78 }, "{}: {text}", case.config);
        assert!(!text.contains("hunter2"), "{} shows what was filled in: {text}", case.config);
        wrong.extend(check_file(&case.expected(), &text).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mistake_names_the_way_out() {
    for case in Case::all() {
        let mistakes = case.mistakes();
        assert!(!mistakes.is_empty(), "{} has no mistake", case.config);
        for mistake in mistakes {
            for sentence in [&mistake.message, &mistake.way_out] {
                assert!(!sentence.trim().is_empty(), "{}: {mistake}", case.config);
                assert!(!sentence.ends_with('.'), "{}: the list of mistakes ends no sentence: {mistake}", case.config);
            }
        }
    }
}

#[test]
fn every_rule_has_a_case() {
    let broken: BTreeMap<String, Vec<Breaks>> = Case::all()
        .into_iter()
        .map(|case| (case.config.clone(), case.mistakes().iter().map(|mistake| mistake.breaks).collect()))
        .collect();
    let all: Vec<Breaks> = broken.values().flatten().copied().collect();
    let unbroken: Vec<&str> =
        Rule::ALL.iter().filter(|rule| !all.contains(&Breaks::Language(**rule))).map(|rule| rule.name()).collect();
    assert!(unbroken.is_empty(), "no config breaks {unbroken:?}: add one to {FOLDER}");

    let reported: BTreeSet<(String, u32)> = all
        .iter()
        .filter_map(|breaks| match breaks {
            Breaks::Component(site) => Some((site.file().to_owned(), site.line())),
            Breaks::Language(_) => None,
        })
        .collect();
    let unreported: Vec<String> = checks_of_components()
        .into_iter()
        .filter(|site| !reported.contains(site))
        .map(|(file, line)| format!("{file}:{line}"))
        .collect();
    assert!(unreported.is_empty(), "no config is told these mistakes: add one to {FOLDER}\n{}", unreported.join("\n"));
}

/// Every line of the components' code that reports a mistake.
fn checks_of_components() -> Vec<(String, u32)> {
    let mut checks = Vec::new();
    for file in COMPONENTS.iter().flat_map(|folder| rust_files(Path::new(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (line, number) in code.lines().zip(1..) {
            if line.contains(".mistake(") || line.contains(".mistake_in_text(") {
                checks.push((file.to_str().unwrap().to_owned(), number));
            }
        }
    }
    checks
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn the_table_of_rules_is_up_to_date() {
    let mut language: BTreeMap<Rule, BTreeSet<String>> = BTreeMap::new();
    let mut components: BTreeMap<(String, u32), (String, BTreeSet<String>)> = BTreeMap::new();
    for case in Case::all() {
        for mistake in case.mistakes() {
            match mistake.breaks {
                Breaks::Language(rule) => language.entry(rule).or_default().insert(case.config.clone()),
                Breaks::Component(site) => components
                    .entry((site.file().to_owned(), site.line()))
                    .or_insert_with(|| (mistake.message.clone(), BTreeSet::new()))
                    .1
                    .insert(case.config.clone()),
            };
        }
    }
    let links =
        |cases: &BTreeSet<String>| cases.iter().map(|case| format!("[{case}]({case})")).collect::<Vec<_>>().join(", ");
    let mut table = String::from(
        "# The rules of the config language\n\nWritten by `GATHERD_UPDATE=1 cargo test --test mistakes`.\n\n\
         | rule | what it says | broken by |\n|---|---|---|\n",
    );
    for (rule, cases) in &language {
        writeln!(table, "| {} | {} | {} |", rule.name(), rule.about().trim(), links(cases)).unwrap();
    }
    table.push_str(
        "\n# The rules of the components\n\n| checked in | what its author reads | broken by |\n|---|---|---|\n",
    );
    for ((file, _), (message, cases)) in &components {
        writeln!(table, "| {} | {} | {} |", file.trim_start_matches("src/"), message.replace('|', "\\|"), links(cases))
            .unwrap();
    }
    check_file(&Path::new(FOLDER).join("RULES.md"), &table).unwrap();
}
