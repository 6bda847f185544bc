//! Servers that URLs have led to: of a URL that begins like one before, only what stands behind the server is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use url::{ParseError, Position, Url};

use super::trust::Pair;
use crate::model::Text;

/// With so many beginnings of URLs, all are forgotten: they are quickly learned again.
const REMEMBERED: usize = 4096;

/// Longer beginnings are not remembered, so that nobody's URLs fill the memory. A name has 253 bytes at most (RFC 1035).
const LONGEST_BEGINNING: usize = 300;

/// Servers by how URLs that lead there begin: as somebody writes it, and as [`Url`] does.
#[derive(Default)]
pub(super) struct Servers {
    known: Mutex<HashMap<Box<str>, Arc<Server>, foldhash::fast::RandomState>>,
}

/// Where URLs lead that begin alike.
pub(super) struct Server {
    /// Without a path, query and fragment.
    base: Url,
    pub pair: Pair,
    /// What tells it from others; see [`Pair::server`].
    pub name: Text,
}

impl Servers {
    /// Reads a URL exactly as [`Url::parse`] does.
    pub(super) fn read(&self, text: &str) -> Result<Url, ParseError> {
        let Some((beginning, rest)) = split(text) else { return Url::parse(text) };
        // Not joined while others wait for the lock.
        let known = self.known().get(beginning).cloned();
        if let Some(server) = known {
            return server.base.join(rest);
        }
        let url = Url::parse(text)?;
        if let Some(server) = Server::of(&url) {
            self.learn(beginning, Arc::new(server));
        }
        Ok(url)
    }

    /// The server that a URL leads to; nothing if it names no host.
    pub(super) fn of(&self, url: &Url) -> Option<Arc<Server>> {
        let beginning = &url[..Position::BeforePath];
        if let Some(server) = self.known().get(beginning) {
            return Some(server.clone());
        }
        let server = Arc::new(Server::of(url)?);
        self.learn(beginning, server.clone());
        Some(server)
    }

    fn learn(&self, beginning: &str, server: Arc<Server>) {
        if beginning.len() > LONGEST_BEGINNING {
            return;
        }
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(beginning.into(), server);
    }

    /// Whole even if a holder panicked: each change is one operation on the map.
    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Server>, foldhash::fast::RandomState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    fn of(url: &Url) -> Option<Self> {
        let pair = Pair::of(url)?;
        let mut base = url.clone();
        base.set_path("");
        base.set_query(None);
        base.set_fragment(None);
        Some(Self { name: pair.server(), pair, base })
    }
}

/// Cuts a URL of HTTP before its path, if it has one that stands for itself: where two slashes or a backslash follow
/// one another, or what a parser leaves out stands there, the rest alone would be read as something else.
fn split(text: &str) -> Option<(&str, &str)> {
    let authority = ["http://", "https://"].into_iter().find(|scheme| text.starts_with(scheme))?.len();
    let end = authority + text.as_bytes()[authority..].iter().position(|byte| b"/\\?#\t\n\r".contains(byte))?;
    let (beginning, rest) = text.split_at(end);
    match rest.as_bytes() {
        [b'/', b'/' | b'\\' | b'\t' | b'\n' | b'\r', ..] => None,
        [b'/', ..] if end > authority => Some((beginning, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads each text twice, so that the second time its server is known.
    fn check(servers: &Servers, text: &str) -> Result<(), TestCaseError> {
        for _ in 0..2 {
            let (read, parsed) = (servers.read(text), Url::parse(text));
            prop_assert_eq!(&read, &parsed, "{}", text);
            let (Ok(read), Ok(parsed)) = (read, parsed) else { continue };
            prop_assert_eq!(read.as_str(), parsed.as_str());
            let (pair, server) = (Pair::of(&parsed), servers.of(&read));
            prop_assert_eq!(server.as_ref().map(|server| &server.pair), pair.as_ref());
            prop_assert_eq!(server.map(|server| server.name.clone()), pair.map(|pair| pair.server()));
            // Everything that is told by its places in the text.
            let parts = |url: &Url| {
                let texts = (url.scheme().to_owned(), url.username().to_owned(), url.password().map(str::to_owned));
                let host = (url.host_str().map(str::to_owned), url.host().map(|host| host.to_owned()), url.port());
                let rest = (url.path().to_owned(), url.query().map(str::to_owned), url.fragment().map(str::to_owned));
                (texts, host, rest)
            };
            prop_assert_eq!(parts(&read), parts(&parsed));
        }
        Ok(())
    }

    #[test]
    fn what_is_known_of_a_server_changes_no_url() {
        let servers = Servers::default();
        let beginnings = [
            "http://a.example",
            "http://A.example:80",
            "https://user:pass@b.example:8443",
            "http://127.0.0.1:8080",
            "http://[::1]:81",
            "http://0x7f.1",
            "http://b\u{fc}cher.example",
            "http://a\t.example",
            "http://a b.example",
            "http://:80",
            "http://",
            "http://\t",
            "HTTP://a.example",
            " http://a.example",
            "ftp://a.example",
            "mailto:a@a.example",
        ];
        let rests = [
            "",
            "/",
            "//",
            "/\\",
            "\\",
            "/\t/b",
            "/a/../..",
            "/%2e%2E/x",
            "/a?b#c",
            "?b",
            "#c",
            "/ ",
            "/a b\u{e4}\u{0}",
            "/a@b/c",
            "@b/c",
            "/.//p",
            "/a\n",
            "/?a=1&b=\u{e4}'\"",
            "///x",
            "/host/a",
        ];
        for beginning in beginnings {
            for rest in rests {
                check(&servers, &format!("{beginning}{rest}")).unwrap();
            }
        }
    }

    #[test]
    fn servers_are_forgotten_rather_than_kept_for_ever() {
        let servers = Servers::default();
        for number in 0..2 * REMEMBERED {
            servers.read(&format!("http://host-{number}.example/")).unwrap();
        }
        assert!(servers.known().len() <= REMEMBERED);
        let servers = Servers::default();
        servers.read(&format!("http://{}@a.example/", "a".repeat(LONGEST_BEGINNING))).unwrap();
        assert!(servers.known().is_empty());
    }

    proptest! {
        #[test]
        fn a_url_is_what_its_text_says_whatever_came_before(
            texts in proptest::collection::vec("(http|https|Http)://[aB@:.\\[\\]0-9%\\\\]{0,8}[ -~\t\n\r\u{e4}]{0,12}|http://a\\.b(:8)?[/\\\\?#.%2eE\t\n @a:\u{e4}]{0,12}", 1..8)
        ) {
            let servers = Servers::default();
            for text in texts {
                check(&servers, &text)?;
            }
        }
    }
}
