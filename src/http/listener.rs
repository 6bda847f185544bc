//! Where servers listen: an address and port, or a socket of this machine.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::inherited;
use super::io::Stream;
use crate::runtime::{TcpListener, UnixListener};
use crate::settings::Section;

/// An address and port, or the path of a socket of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl ListenAddress {
    /// The setting `listen`.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let listen: Option<String> = section.required(
            "listen",
            "an address and port, such as \"127.0.0.1:8080\", or a socket of this machine, such as \"unix:hook.sock\"",
        );
        match listen?.parse() {
            Ok(listen) => Some(listen),
            Err(wrong) => {
                let wrong: String = wrong;
                let (message, way_out) = wrong.split_once("; ").unwrap_or((&wrong, "write an address and a port"));
                section.mistake("listen", message, way_out);
                None
            }
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Tcp(address) => address.ip().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }
}

/// The error has the form "what is wrong; the way out".
impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WAY_OUT: &str = "write one such as \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/gatherd/hook.sock\"";
        match text.strip_prefix("unix:") {
            Some("") => Err(format!("`{text}` names no socket; {WAY_OUT}")),
            Some(path) => Ok(ListenAddress::Unix(path.into())),
            None => {
                text.parse().map(ListenAddress::Tcp).map_err(|_| format!("`{text}` is no address and port; {WAY_OUT}"))
            }
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(formatter, "{address}"),
            ListenAddress::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Takes connections. A socket's file goes when this is dropped.
pub(super) struct Listener {
    socket: Socket,
    address: ListenAddress,
    /// The service manager listens there too, and goes on.
    is_inherited: bool,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// A socket that the service manager has handed over is used. A socket's file that a process left behind when it
    /// died is replaced.
    pub(super) fn bind(address: &ListenAddress) -> io::Result<Self> {
        if let Some(socket) = inherited(address)? {
            return Ok(Self { socket, address: address.clone(), is_inherited: true });
        }
        let is_inherited = false;
        Ok(match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind_to(*address)?;
                let address = ListenAddress::Tcp(listener.local_addr()?);
                Self { socket: Socket::Tcp(listener), address, is_inherited }
            }
            ListenAddress::Unix(path) => {
                let bind = || std::os::unix::net::UnixListener::bind(path);
                let listener = bind().or_else(|error| if remove_left_behind(path) { bind() } else { Err(error) })?;
                Self { socket: Socket::Unix(listener.into()), address: address.clone(), is_inherited }
            }
        })
    }

    /// Where it listens, with the port that the system chose if the address asked for port 0.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The next connection, and who has opened it, if that can be told.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Stream::Plain(stream), Some(peer))
            }
            Socket::Unix(listener) => (Stream::Local(listener.accept().await?.0), None),
        })
    }
}

/// The socket that was handed over for this address, if there is one.
fn inherited(address: &ListenAddress) -> io::Result<Option<Socket>> {
    Ok(match address {
        ListenAddress::Tcp(address) => {
            let handed = inherited::tcp(*address).transpose()?;
            handed.map(TcpListener::from_bound).transpose()?.map(Socket::Tcp)
        }
        ListenAddress::Unix(path) => {
            let handed = inherited::unix(path).transpose()?;
            handed.map(|listener| Socket::Unix(listener.into()))
        }
    })
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.is_inherited
            && let ListenAddress::Unix(path) = &self.address
            && let Err(error) = std::fs::remove_file(path)
        {
            log::warn!(path:% = path.display(), cause:% = error; "a socket's file could not be removed");
        }
    }
}

/// Removes a socket's file if nobody listens at it.
fn remove_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) && std::fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_shown() {
        for text in ["127.0.0.1:8080", "[::1]:80", "unix:/run/x.sock", "unix:hook.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["8080", "localhost:80", "127.0.0.1", "unix:", ""] {
            assert!(text.parse::<ListenAddress>().unwrap_err().contains("; write one such as"), "{text}");
        }
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let address = ListenAddress::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(Listener::bind(&address).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "not a socket").unwrap();
        assert!(Listener::bind(&address).is_err() && path.exists());
    }
}
