//! `gatherd new`: a commented config to start from.

use std::process::ExitCode;

use clap::Args;

use super::{kinds, output};
use crate::assemble::{KindDescription, describe_kinds};
use crate::settings::{Inner, Presence, Record, key_to_toml};

/// The config of the package, which says what belongs where.
const PLAIN: &str = include_str!("../../config/gatherd.toml");

#[derive(Debug, Args)]
pub(super) struct NewArguments {
    /// A source, step, sink or section that the config shall show, such as `get` or `http`.
    kind: Option<String>,
}

pub(super) fn new(arguments: &NewArguments) -> ExitCode {
    let Some(name) = &arguments.kind else { return output::print(PLAIN.as_bytes()) };
    let all = describe_kinds();
    match kinds::named(&all, name) {
        Ok(named) => {
            let configs: Vec<String> = named.into_iter().map(config).collect();
            output::print(configs.join("\n").as_bytes())
        }
        Err(failed) => failed,
    }
}

/// The sample of a kind, and below it, as comments, all that the kind can be told.
fn config(kind: &KindDescription) -> String {
    let mut text = format!("# {}: {}\n{}", kind.name, kind.summary, kind.sample);
    let is_section = kind.name.starts_with('[');
    text.push_str(&format!(
        "\n# All that can be said of {}, with what holds if nothing is said. `…` stands for a value of yours.\n#\n",
        if is_section { kind.name.to_owned() } else { format!("`{}`", kind.name) }
    ));
    let (beside, inside): (Vec<&Record>, Vec<&Record>) = kind.settings.iter().partition(|record| record.is_beside);
    let mut lines = Vec::new();
    if is_section {
        lines.push(kind.name.to_owned());
        push_records(&mut lines, inside.into_iter(), "", "");
    } else if inside.is_empty() {
        lines.push(format!("{} = {{}},", kind.name));
    } else {
        lines.push(format!("{} = {{", kind.name));
        push_records(&mut lines, inside.into_iter(), "  ", ",");
        lines.push("},".to_owned());
    }
    push_records(&mut lines, beside.into_iter().chain(&kind.beside), "", ",");
    lines.iter().for_each(|line| text.push_str(&format!("#   {line}\n")));
    text
}

/// One setting after the other, each below what it is for. In the inline table of a component a comma ends it.
fn push_records<'r>(lines: &mut Vec<String>, records: impl Iterator<Item = &'r Record>, indent: &str, comma: &str) {
    for record in records {
        let Record { key, about, presence, inner, .. } = record;
        let expects = record.expected();
        let required = if *presence == Presence::Required { "; required" } else { "" };
        lines.push(format!("{indent}# {about} ({expects}{required})"));
        let key = key_to_toml(key);
        let deeper = format!("{indent}  ");
        match (inner, presence) {
            (Inner::Table(inner), _) => {
                lines.push(format!("{indent}{key} = {{"));
                push_records(lines, inner.iter(), &deeper, ",");
                lines.push(format!("{indent}}}{comma}"));
            }
            (Inner::List(elements), _) => {
                lines.push(format!("{indent}{key} = [{{"));
                push_records(lines, elements.first().into_iter().flatten(), &deeper, ",");
                lines.push(format!("{indent}}}]{comma}"));
            }
            (_, Presence::Default(default)) => lines.push(format!("{indent}{key} = {default}{comma}")),
            _ => lines.push(format!("{indent}{key} = …{comma}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the comments below the sample hold, once they are none.
    fn uncommented(text: &str) -> String {
        let (_, after) = text.split_once("stands for a value of yours.\n#\n").unwrap();
        let lines: String =
            after.lines().map(|line| format!("{}\n", line.strip_prefix("#   ").unwrap().replace('…', "'x'"))).collect();
        // What stands in a component's table ends with a comma, and so do the settings beside it.
        if lines.starts_with('[') { lines } else { format!("component = {{\n{lines}}}\n") }
    }

    #[test]
    fn the_comments_below_a_sample_are_a_config_themselves() {
        for kind in describe_kinds() {
            let text = config(&kind);
            let document: Result<toml::Table, _> = toml::from_str(&uncommented(&text));
            assert!(document.is_ok(), "{}: {:?}\n{}", kind.name, document.unwrap_err(), uncommented(&text));
        }
    }
}
