//! Holds the table of which module may import which, and fails on any other import, so that no ring can form.
//!
//! Every path in the code counts, not only those of `use`: `crate::…` and `super::…` are followed to the module they
//! lead to.

#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, lowest layer first, each with those that it may import.
const TABLE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("runtime", &[]),
    ("telemetry", &["model"]),
    ("expr", &["model"]),
    ("settings", &["model", "expr"]),
    ("store", &["model", "runtime", "telemetry"]),
    ("http", &["model", "runtime", "telemetry", "expr", "settings", "store"]),
    ("component", &["model", "runtime", "telemetry", "expr", "settings", "store", "http"]),
    ("sources", &["model", "runtime", "telemetry", "expr", "settings", "store", "http", "component"]),
    ("steps", &["model", "runtime", "telemetry", "expr", "settings", "store", "http", "component"]),
    ("sinks", &["model", "runtime", "telemetry", "expr", "settings", "store", "http", "component"]),
    ("queues", &["model", "runtime", "telemetry", "expr", "settings", "store", "http", "component"]),
    ("pipeline", &["model", "runtime", "telemetry", "expr", "store", "component"]),
    ("config", &["model", "expr", "settings"]),
    (
        "assemble",
        &[
            "model",
            "runtime",
            "telemetry",
            "expr",
            "settings",
            "store",
            "http",
            "component",
            "sources",
            "steps",
            "sinks",
            "queues",
            "pipeline",
            "config",
        ],
    ),
    ("daemon", &["model", "runtime", "telemetry", "http", "store", "pipeline", "config", "assemble"]),
    (
        "cli",
        &[
            "model",
            "runtime",
            "telemetry",
            "expr",
            "settings",
            "store",
            "http",
            "component",
            "pipeline",
            "config",
            "assemble",
            "daemon",
        ],
    ),
];

/// Crates that only one module may name.
const OWNED_CRATES: &[(&str, &str)] = &[
    ("async_std", "runtime"),
    ("async_global_executor", "runtime"),
    ("async_io", "runtime"),
    ("async_signal", "runtime"),
];

/// Modules whose parts are components, which never import each other.
const COMPONENTS: &[&str] = &["sources", "steps", "sinks", "queues"];

#[test]
fn every_module_imports_only_what_the_table_allows() {
    let found: Vec<_> =
        source_files().iter().flat_map(|(file, text)| violations(file, text, &component_names())).collect();
    assert!(found.is_empty(), "\n{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_table_names_every_module_and_imports_only_point_upwards_in_it() {
    let declared: BTreeSet<_> = modules_of(&fs::read_to_string("src/lib.rs").unwrap());
    let listed: BTreeSet<_> = TABLE.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(declared, listed);
    for (index, (module, allowed)) in TABLE.iter().enumerate() {
        for other in *allowed {
            assert!(TABLE[..index].iter().any(|(above, _)| above == other), "{module} imports {other} from below");
        }
    }
}

#[test]
fn a_forbidden_import_is_found_wherever_it_stands() {
    let components = BTreeMap::from([("sources".to_owned(), ["every", "cron", "lines"].map(str::to_owned).into())]);
    let check = |file: &str, text: &str, expected: &[&str]| {
        let mut found: Vec<_> =
            violations(Path::new(file), text, &components).iter().map(|found| found.to.clone()).collect();
        found.dedup();
        assert_eq!(found, expected, "{file}: {text}");
    };
    check("model/item.rs", "use crate::expr::Filter;", &["expr"]);
    check("model/item.rs", "use super::{Text, Value};\nuse super::super::store;", &["store"]);
    check("model/mod.rs", "fn f() { super::pipeline::run(); }", &["pipeline"]);
    check("expr/filter.rs", "use crate::{model::{Item, Text}, store::{self, Store}, http};", &["store", "http"]);
    check(
        "expr/filter.rs",
        "mod tests { use super::*; use crate::model::Item; use super::super::super::cli::run; }",
        &["cli"],
    );
    check(
        "expr/filter.rs",
        "// crate::store\n/* crate::store /* crate::http */ */ const A: &str = \"crate::store\";",
        &[],
    );
    check(
        "expr/filter.rs",
        "const A: &str = r#\"\"crate::store\"#; const B: char = '\"'; use crate::store;",
        &["store"],
    );
    check("expr/filter.rs", "fn f<'a>(a: &'a str) { crate::model::f(a) } pub(in crate::expr) fn g() {}", &[]);
    check("expr/filter.rs", "macro_rules! m { () => { $crate::store::open() } }", &["store"]);
    check("http/io.rs", "use async_std::net::TcpStream; use ::async_signal::Signals;", &["async_std", "async_signal"]);
    check("runtime.rs", "use async_std::net::TcpStream;", &[]);
    check("sources/every.rs", "use super::schedule::Rules; use super::cron::Cron;", &["sources::cron"]);
    check(
        "sources/lines/reader.rs",
        "use super::file::File; use super::super::every; use crate::sources::lines::A;",
        &["sources::every"],
    );
    check(
        "sources/schedule/mod.rs",
        "use crate::sources::cron::Cron; use crate::steps::Get;",
        &["sources::cron", "steps"],
    );
    check("sources/mod.rs", "use every::KIND; const A: u8 = cron::KIND;", &[]);
}

/// An import that the table does not allow.
struct Violation {
    file: PathBuf,
    line: usize,
    to: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "src/{}:{} must not import {}", self.file.display(), self.line, self.to)
    }
}

/// All files of the library, by their paths in `src`, without its root.
fn source_files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.strip_prefix("src").unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.retain(|(file, _)| file != Path::new("lib.rs") && file != Path::new("main.rs"));
    assert!(files.len() > 50, "the source was not found");
    files
}

/// The components of each module that has some: the modules that its table of kinds names.
fn component_names() -> BTreeMap<String, BTreeSet<String>> {
    let names = |module: &&str| {
        let text = fs::read_to_string(format!("src/{module}/mod.rs")).unwrap();
        let tokens = tokens(&text);
        let table = tokens.iter().position(|token| token.text == "KINDS").unwrap_or(tokens.len());
        let pairs = tokens[table..].windows(2).filter(|pair| pair[1].text == "::");
        ((*module).to_owned(), pairs.map(|pair| pair[0].text.clone()).collect())
    };
    COMPONENTS.iter().map(names).collect()
}

fn modules_of(text: &str) -> BTreeSet<String> {
    tokens(text).windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text.clone()).collect()
}

fn violations(file: &Path, text: &str, components: &BTreeMap<String, BTreeSet<String>>) -> Vec<Violation> {
    let own = module_of(file);
    let allowed = TABLE.iter().find(|(module, _)| *module == own[0]).map_or(&[][..], |(_, allowed)| allowed);
    let mut found = Vec::new();
    for (line, path) in paths(&own, text) {
        let to = match path.as_slice() {
            [krate] if OWNED_CRATES.iter().any(|(owned, owner)| owned == krate && *owner != own[0]) => krate.clone(),
            [_] if path[0] == own[0] || allowed.contains(&path[0].as_str()) => continue,
            [owned] if OWNED_CRATES.iter().any(|(krate, _)| krate == owned) => continue,
            [module, part, ..] if *module == own[0] => match components.get(module) {
                // The table itself names its components; nobody else does.
                Some(names) if names.contains(part) && own.len() > 1 && own[1] != *part => format!("{module}::{part}"),
                _ => continue,
            },
            [module, ..] if allowed.contains(&module.as_str()) => continue,
            [module, ..] => module.clone(),
            [] => continue,
        };
        found.push(Violation { file: file.to_owned(), line, to });
    }
    found
}

/// The path of the module that a file is, such as `sources::lines::reader`.
fn module_of(file: &Path) -> Vec<String> {
    let mut parts: Vec<_> = file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// Every path in the text of a module that leads to another: as it stands from the root of the crate, with its line.
/// A crate that one module owns is a path of its name alone.
fn paths(own: &[String], text: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    // The modules that stand inside the file, each with the depth of braces at which it ends.
    let mut inner: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut index = 0;
    while index < tokens.len() {
        let token = &tokens[index];
        let follows = |text: &str| tokens.get(index + 1).is_some_and(|next| next.text == text);
        match token.text.as_str() {
            "mod" if tokens.get(index + 2).is_some_and(|next| next.text == "{") => {
                inner.push((tokens[index + 1].text.clone(), depth));
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inner.pop_if(|(_, at)| *at == depth);
            }
            "crate" | "super" if follows("::") && (index == 0 || tokens[index - 1].text != "::") => {
                let mut base: Vec<String> = Vec::new();
                if token.text == "super" {
                    base = own.iter().cloned().chain(inner.iter().map(|(name, _)| name.clone())).collect();
                }
                while tokens[index].text == "super" && tokens.get(index + 1).is_some_and(|next| next.text == "::") {
                    base.pop();
                    index += 2;
                }
                if tokens[index].text == "crate" {
                    index += 2;
                }
                index = follow(&tokens, index, &base, &mut found);
                continue;
            }
            name if follows("::") && OWNED_CRATES.iter().any(|(owned, _)| *owned == name) => {
                found.push((token.line, vec![name.to_owned()]));
            }
            _ => {}
        }
        index += 1;
    }
    found
}

/// Follows the path at `index`, through the braces of a `use` if there are some, and answers where it ends.
fn follow(tokens: &[Token], mut index: usize, base: &[String], found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut path = base.to_vec();
    while let Some(token) = tokens.get(index) {
        match token.text.as_str() {
            "{" => {
                index += 1;
                while tokens.get(index).is_some_and(|token| token.text != "}") {
                    index = follow(tokens, index, &path, found);
                    if tokens.get(index).is_some_and(|token| token.text == ",") {
                        index += 1;
                    }
                }
                return index + 1;
            }
            "*" | "self" => index += 1,
            _ if token.is_name => {
                path.push(token.text.clone());
                index += 1;
            }
            _ => return (index + 1).min(tokens.len()),
        }
        if tokens.get(index).is_some_and(|token| token.text == "::") {
            index += 1;
        } else {
            // `as other` leads nowhere else.
            if tokens.get(index).is_some_and(|token| token.text == "as") {
                index += 2;
            }
            found.push((token.line, path));
            return index;
        }
    }
    index
}

struct Token {
    text: String,
    is_name: bool,
    line: usize,
}

/// The names and signs of Rust code, without comments, texts and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => comment_length(rest),
            'r' | 'b' | 'c' if raw_text_length(rest).is_some() => raw_text_length(rest).unwrap(),
            '"' => text_length(rest),
            '\'' => quote_length(rest),
            _ if first.is_alphabetic() || first == '_' => {
                let length = rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
                tokens.push(Token { text: rest[..length].to_owned(), is_name: true, line });
                length
            }
            _ if first.is_whitespace() => first.len_utf8(),
            _ => {
                let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
                tokens.push(Token { text: rest[..length].to_owned(), is_name: false, line });
                length
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    loop {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at >= text.len() {
            return at;
        }
    }
}

/// `r"…"`, `r#"…"#`, `br"…"` and the like.
fn raw_text_length(text: &str) -> Option<usize> {
    let start = text.find('r').filter(|place| *place <= 1)?;
    let after = &text[start + 1..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inner = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inner.find(&end)?;
    Some(start + 1 + hashes + 1 + length + end.len())
}

fn text_length(text: &str) -> usize {
    let mut escaped = false;
    for (place, next) in text.char_indices().skip(1) {
        match next {
            '"' if !escaped => return place + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// A character in quotes, or the name of a lifetime.
fn quote_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((place, _))) => {
            text[place + 1..].find('\'').map_or(text.len(), |end| place + 1 + end + 1)
        }
        (Some(_), Some((place, '\''))) => place + 1,
        _ => text[1..].find(|next: char| !next.is_alphanumeric() && next != '_').map_or(text.len(), |end| end + 1),
    }
}
