//! What a config says of a client's proxy.

use std::fmt;

use url::Url;

use crate::model::secret;
use crate::settings::{Data, Form, Given, Node, Rule, Setting, Wrong, text_to_toml};

/// The `proxy` of an `[http.NAME]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::http) enum ProxyChoice {
    /// What the environment says.
    #[default]
    Environment,
    /// None at all.
    None,
    /// This one, with its credentials.
    Proxy(String),
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Scheme {
    /// Plain requests as they are, others by CONNECT (RFC 9110, section 9.3.6).
    Http,
    /// SOCKS 5 (RFC 1928); names are resolved here.
    Socks5,
    /// The same, but the proxy resolves names.
    Socks5WithNames,
}

/// Where a proxy is, without credentials.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http) struct Address {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Reads `http://host:port`, `socks5://…` or `socks5h://…`, and keeps a password in it as a secret. The error shows nothing of a text that is none of them.
    pub(super) fn of(text: &str) -> Result<Self, &'static str> {
        const WAY_OUT: &str =
            "this is no proxy; write one such as \"http://proxy.example:3128\" or \"socks5://proxy.example:1080\"";
        let url = Url::parse(text).map_err(|_| WAY_OUT)?;
        let (scheme, default_port) = match url.scheme() {
            "http" => (Scheme::Http, 80),
            "socks5" => (Scheme::Socks5, 1080),
            "socks5h" => (Scheme::Socks5WithNames, 1080),
            _ => return Err(WAY_OUT),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(WAY_OUT)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if let Some(password) = url.password() {
            let decoded = percent_encoding::percent_decode_str(password).decode_utf8_lossy();
            let user = percent_encoding::percent_decode_str(url.username()).decode_utf8_lossy();
            [password, &*decoded, &*format!("{user}:{decoded}")].into_iter().for_each(secret::keep);
        }
        Ok(Self { scheme, host, port: url.port().unwrap_or(default_port) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(formatter, "[{host}]:{port}") } else { write!(formatter, "{host}:{port}") }
    }
}

impl Setting for ProxyChoice {
    fn expects() -> String {
        "a proxy such as \"http://proxy.example:3128\" or \"socks5://proxy.example:1080\", or `false` for none"
            .to_owned()
    }

    fn form() -> Form {
        Form::Text
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        if let Data::Bool(false) = given.node.data {
            return Ok(Self::None);
        }
        let text = given.text()?;
        match Address::of(&text) {
            Ok(_) => Ok(Self::Proxy(text)),
            Err(wrong) => {
                let (message, way_out) = wrong.split_once("; ").unwrap_or((wrong, ""));
                Err(Wrong::content(Rule::WrongType, message, way_out))
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::None => "false".to_owned(),
            Self::Environment => text_to_toml("environment"),
            Self::Proxy(url) => text_to_toml(&shown(url)),
        }
    }

    fn show_given(node: &Node) -> String {
        match &node.data {
            Data::Text(text) => text_to_toml(&shown(text)),
            _ => node.to_toml(),
        }
    }

    fn placeholder() -> Self {
        Self::None
    }
}

/// A proxy's URL without its credentials.
fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    }
}
