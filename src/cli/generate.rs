//! `gatherd generate`: man pages and shell completions, made from the command line itself, for those who package it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, output};

#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// Where the folders `man` and `completions` go.
    folder: PathBuf,
}

pub(super) fn generate(arguments: &GenerateArguments) -> ExitCode {
    let folder = &arguments.folder;
    let mut command = Arguments::command();
    command.build();
    let written = write_man(&command, &folder.join("man")).and_then(|()| {
        let completions = folder.join("completions");
        fs::create_dir_all(&completions)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command, "gatherd", &completions)?;
        }
        Ok(())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&format!("cannot write into `{}`: {error}", folder.display())),
    }
}

/// One page a command: `gatherd.1`, `gatherd-run.1`, `gatherd-dead-list.1`.
fn write_man(command: &Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(folder.join(format!("{name}.1")), page)?;
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
        .try_for_each(|inner| write_man(inner, folder))
}
