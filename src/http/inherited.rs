//! Sockets that the service manager listens at and hands to this process (sd_listen_fds(3)).
//!
//! They outlive the process: who connects while gatherd restarts waits in the socket's queue.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::OnceLock;

use listenfd::ListenFd;

static INHERITED: OnceLock<Inherited> = OnceLock::new();

#[derive(Default)]
struct Inherited {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<UnixListener>,
}

/// Takes the sockets that were handed to this process. To be called once, before the first task: it changes the
/// environment.
pub fn inherit_sockets() {
    INHERITED.get_or_init(|| {
        let mut handed = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for number in 0..handed.len() {
            if let Ok(Some(listener)) = handed.take_tcp_listener(number) {
                inherited.tcp.extend(listener.local_addr().ok().map(|address| (address, listener)));
            } else if let Ok(Some(listener)) = handed.take_unix_listener(number) {
                inherited.unix.push(listener);
            } else {
                log::warn!(number = number; "the service manager handed over something that is no listening socket");
            }
        }
        inherited
    });
}

/// The socket that listens at this address, if one was handed over.
pub(super) fn tcp(address: SocketAddr) -> Option<io::Result<TcpListener>> {
    let found = INHERITED.get()?.tcp.iter().find(|(handed, _)| *handed == address);
    found.map(|(_, listener)| listener.try_clone())
}

/// The socket at this path, if one was handed over.
pub(super) fn unix(path: &Path) -> Option<io::Result<UnixListener>> {
    let is_there = |listener: &&UnixListener| {
        let address = listener.local_addr().ok();
        address.and_then(|address| address.as_pathname().map(|handed| handed == path)).unwrap_or(false)
    };
    INHERITED.get()?.unix.iter().find(is_there).map(UnixListener::try_clone)
}
