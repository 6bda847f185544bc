//! Where a process keeps its state.

use std::path::PathBuf;

/// The state folder: what the command line says, else the config, else what systemd set up, else `./gatherd-state`.
pub fn state_folder(argument: Option<PathBuf>, config: Option<PathBuf>) -> PathBuf {
    // systemd lists several folders with colons between; the first is the main one (systemd.exec(5)).
    let from_systemd = || {
        let list = std::env::var("STATE_DIRECTORY").ok()?;
        list.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
    };
    argument.or(config).or_else(from_systemd).unwrap_or_else(|| PathBuf::from("gatherd-state"))
}
