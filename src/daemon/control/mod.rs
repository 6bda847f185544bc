//! The control socket, over which commands speak with a daemon that runs: HTTP/1.1 on `control.sock`, for its owner
//! alone. What it answers stands in [`super::api`].

mod client;
mod server;

use std::path::{Path, PathBuf};

pub use client::{ControlClient, TappedItems};
pub(super) use server::Control;

const SOCKET: &str = "control.sock";

/// Where the socket may be, the likeliest place first: in the folder that systemd made for it, or in the state folder.
fn socket_places(state: &Path) -> impl Iterator<Item = PathBuf> {
    // systemd lists several folders with colons between; the first is the main one (systemd.exec(5)).
    let list = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
    let runtime = list.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from);
    runtime.into_iter().chain([state.to_owned()]).map(|folder| folder.join(SOCKET))
}
