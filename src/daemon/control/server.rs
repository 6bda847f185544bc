//! The daemon's side of the control socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::socket_places;
use crate::daemon::api::{Api, ApiRoute};
use crate::http::{ListenAddress, Listeners, Listening, Route};

/// How many commands are served at once.
const CONNECTIONS: usize = 64;

/// How long the last replies may take.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// Answers commands until it is closed.
pub(in crate::daemon) struct Control {
    listening: Vec<Listening>,
    listeners: Listeners,
    /// In the state folder, where the socket is elsewhere.
    link: Option<PathBuf>,
}

impl Control {
    /// Listens at the control socket of a state folder. A daemon works without it too, so a failure is only logged.
    pub(in crate::daemon) fn listen(state: &Path, api: &Arc<Api>) -> Option<Self> {
        let mut places = socket_places(state);
        let socket = places.next()?;
        let listeners = Listeners::with_connections(api.clock.clone(), CONNECTIONS);
        match listen(&socket, &listeners, api) {
            Ok(listening) => {
                let link = places.next().and_then(|at| link(&socket, at));
                Some(Self { listening, listeners, link })
            }
            Err(error) => {
                log::warn!(socket:% = socket.display(), cause:% = error; "commands cannot reach this gatherd");
                None
            }
        }
    }

    /// Takes no more commands; those that have come are answered.
    pub(in crate::daemon) async fn close(self) {
        self.listeners.close();
        drop(self.listening);
        self.listeners.finished(LAST_REPLIES).await;
        if let Some(link) = &self.link {
            // Without its socket it leads nowhere, and the next start replaces it.
            let _ = fs::remove_file(link);
        }
    }
}

fn listen(socket: &Path, listeners: &Listeners, api: &Arc<Api>) -> io::Result<Vec<Listening>> {
    let address = ListenAddress::Unix(socket.to_owned());
    // Whoever asks before the last is there waits for it.
    let _change = listeners.change();
    let listen = |ApiRoute { method, path, handler, .. }: ApiRoute| {
        listeners.listen(&address, Route { method, path: path.to_owned(), handler })
    };
    let listening = api.routes().into_iter().map(listen).collect::<io::Result<_>>()?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listening)
}

/// So that whoever knows the state folder finds the socket.
fn link(socket: &Path, at: PathBuf) -> Option<PathBuf> {
    if socket.parent() == at.parent() {
        return None;
    }
    let _ = fs::remove_file(&at);
    let linked = fs::canonicalize(socket).and_then(|socket| std::os::unix::fs::symlink(socket, &at));
    linked.inspect_err(|error| log::debug!(cause:% = error; "cannot link to the control socket")).ok().map(|()| at)
}
