//! `gatherd kinds`: every source, step and sink.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_USAGE, output};
use crate::assemble::{KindDescription, ROLES, describe_kinds};
use crate::settings::{Inner, Presence, Record, way_out};

#[derive(Debug, Args)]
pub(super) struct KindsArguments {
    /// A source, step, sink or section, such as `get` or `http`; without it all are listed.
    name: Option<String>,
}

pub(super) fn kinds(arguments: &KindsArguments) -> ExitCode {
    let kinds = describe_kinds();
    let mut text = Vec::new();
    let written = match &arguments.name {
        None => write_list(&mut text, &kinds),
        Some(name) => {
            let named = match named(&kinds, name) {
                Ok(named) => named,
                Err(failed) => return failed,
            };
            named.iter().enumerate().try_for_each(|(index, kind)| {
                if index > 0 {
                    writeln!(text)?;
                }
                write_kind(&mut text, kind)
            })
        }
    };
    written.expect("a Vec takes every write");
    output::print(&text)
}

/// The kinds that an author calls so: the source `queue` has the name of a section, and `http` is a sink too. Says
/// what there is if there is none.
pub(super) fn named<'k>(kinds: &'k [KindDescription], name: &str) -> Result<Vec<&'k KindDescription>, ExitCode> {
    let named: Vec<&KindDescription> = kinds.iter().filter(|kind| is_called(kind, name)).collect();
    if named.is_empty() {
        let way_out = way_out(name, kinds.iter().map(|kind| kind.name));
        output::fail(&format!("there is no source, step, sink or section `{name}`; {way_out}"));
        return Err(ExitCode::from(EXIT_USAGE));
    }
    Ok(named)
}

/// A section is found by its noun too: `http` for `[http.NAME]`.
fn is_called(kind: &KindDescription, name: &str) -> bool {
    kind.name == name || kind.noun() == name
}

fn write_list(out: &mut Vec<u8>, kinds: &[KindDescription]) -> io::Result<()> {
    let width = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    for (index, role) in ROLES.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", role.heading)?;
        for kind in kinds.iter().filter(|kind| kind.role == role.name) {
            writeln!(out, "  {:width$}  {}", kind.name, first_sentence(kind.summary))?;
        }
    }
    writeln!(out, "\n`gatherd kinds NAME` shows the settings of one, and a sample.")
}

/// A sentence ends at a full stop that a capital letter follows.
fn first_sentence(text: &str) -> &str {
    let ends = text.match_indices(". ").map(|(at, _)| at);
    let end = ends.into_iter().find(|at| text[at + 2..].starts_with(char::is_uppercase)).unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

fn write_kind(out: &mut Vec<u8>, kind: &KindDescription) -> io::Result<()> {
    writeln!(out, "{} (a {}): {}", kind.name, kind.role, kind.summary)?;
    writeln!(out, "\nSettings:")?;
    if let Some(short) = kind.short {
        writeln!(out, "  `{name} = …` is short for `{name} = {{ {short} = … }}`", name = kind.name)?;
    }
    if kind.settings.iter().all(|record| record.is_beside) {
        writeln!(out, "  none")?;
    }
    write_records(out, kind.settings.iter().filter(|record| !record.is_beside), "  ")?;
    let mut beside = kind.settings.iter().filter(|record| record.is_beside).chain(&kind.beside).peekable();
    if beside.peek().is_some() {
        writeln!(out, "\nBeside `{}`:", kind.name)?;
        write_records(out, beside, "  ")?;
    }
    writeln!(out, "\nSample:\n")?;
    for line in kind.sample.trim().lines() {
        writeln!(out, "{}", format!("  {line}").trim_end())?;
    }
    Ok(())
}

fn write_records<'r>(out: &mut Vec<u8>, records: impl Iterator<Item = &'r Record>, indent: &str) -> io::Result<()> {
    for record in records {
        let presence = match (&record.presence, &record.inner) {
            (Presence::Required, _) => ", required".to_owned(),
            (Presence::Optional, _) | (Presence::Default(_), Inner::Table(_)) => String::new(),
            (Presence::Default(default), _) => format!(", default {default}"),
        };
        writeln!(out, "{indent}{}: {}{presence}", record.key, record.expected())?;
        writeln!(out, "{indent}    {}", record.about)?;
        let deeper = format!("{indent}    ");
        match &record.inner {
            Inner::Table(inner) => write_records(out, inner.iter(), &deeper)?,
            Inner::List(elements) => write_records(out, elements.iter().take(1).flatten(), &deeper)?,
            Inner::None | Inner::Free => {}
        }
    }
    Ok(())
}
