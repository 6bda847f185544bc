//! `gatherd dead edit`.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::cli::access::Access;
use crate::cli::output;
use crate::model::{Fault, FaultKind, Value, json};

#[derive(Debug, Args)]
pub(super) struct EditArguments {
    /// Its number in the list.
    id: i64,
    /// The new value as JSON, or `-` to read it from standard input; without it, $VISUAL or $EDITOR opens the old
    /// one.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    value: Option<String>,
}

pub(super) fn edit(folder: &Path, arguments: &EditArguments) -> Result<ExitCode, Fault> {
    let id = arguments.id;
    let failed = |cause: &dyn std::fmt::Display| {
        Fault::stop(FaultKind::Request, format!("cannot edit dead letter {id}: {cause}"))
    };
    // Opened anew to write: an editor may stay open for long, and a daemon must be able to start meanwhile.
    let before = Access::to_read(folder)?.letter(id, "edit")?.value_to_json();
    let value = match arguments.value.as_deref() {
        Some("-") => {
            let mut text = Vec::new();
            io::stdin().lock().read_to_end(&mut text).map_err(|error| failed(&error))?;
            json::parse(&text).map_err(|error| failed(&error))?
        }
        Some(text) => json::parse(text.as_bytes()).map_err(|error| failed(&error))?,
        None => edit_in_editor(id, &before).map_err(|cause| failed(&cause))?,
    };
    if value == before {
        return Ok(output::print(b"nothing has changed\n"));
    }
    Access::to_write(folder)?.edit(id, value)?;
    Ok(output::print(
        format!("dead letter {id} has another value; `gatherd dead replay {id}` sends it on\n").as_bytes(),
    ))
}

/// What a person makes of the value. The error says where the text is that is not JSON.
fn edit_in_editor(id: i64, before: &Value) -> Result<Value, String> {
    let editor =
        ["VISUAL", "EDITOR"].iter().filter_map(|name| std::env::var(name).ok()).find(|editor| !editor.is_empty());
    let editor = editor.ok_or("neither $VISUAL nor $EDITOR is set; set one, or give the value with `--value`")?;
    let mut file = tempfile::Builder::new()
        .prefix(&format!("dead-{id}-"))
        .suffix(".json")
        .tempfile()
        .map_err(|error| format!("cannot make a file to edit: {error}"))?;
    let written = file.write_all(json::pretty(before).as_bytes()).and_then(|()| file.flush());
    written.map_err(|error| format!("cannot write a file to edit: {error}"))?;
    // As git does it: the variable may hold arguments, which the shell takes apart.
    let edited = Command::new("sh").arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(file.path()).status();
    match edited {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("`{editor}` ended with {status}")),
        Err(error) => return Err(format!("cannot start `{editor}`: {error}")),
    }
    let text = std::fs::read(file.path()).map_err(|error| format!("cannot read what was edited: {error}"))?;
    json::parse(&text).map_err(|error| match file.keep() {
        Ok((_, path)) => format!("what was edited is {error}; it is kept in `{}`", path.display()),
        Err(_) => format!("what was edited is {error}"),
    })
}
