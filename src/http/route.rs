//! What one component's requests have in common: limits, and which connections they may use.

use url::Url;

use super::pool::Pool;

use super::settings::Limits;
use super::trust::{Allow, Pair};

#[derive(Clone)]
pub(super) struct Route {
    pub limits: Limits,
    /// The hosts that the config names: those of the component's URL and of its client's base.
    pub written: Vec<Pair>,
    pub allow: Allow,
    /// Connections to hosts that the config names. Kept apart from the others: one that leads to a private address
    /// must not serve a request whose host is data.
    pub trusted: Pool,
    /// Connections whose addresses were checked.
    pub checked: Pool,
}

impl Route {
    /// The connections that a request to `url` may use.
    pub(super) fn pool(&self, url: &Url) -> &Pool {
        let is_named = self.is_written(url)
            || (self.allow.has_names() && Pair::of(url).is_some_and(|pair| self.allow.names(&pair)));
        if is_named { &self.trusted } else { &self.checked }
    }

    /// Whether the config names the host that a URL leads to.
    pub(super) fn is_written(&self, url: &Url) -> bool {
        self.written.iter().any(|pair| pair.is_of(url))
    }
}

/// The host and port that a URL template names, whatever its filters give: those of a text without filters, or of
/// the part before the first filter if the host stands there whole.
pub(super) fn written_pair(prefix: &str, is_constant: bool) -> Option<Pair> {
    let named = if is_constant {
        prefix
    } else {
        let authority = prefix.find("://")? + "://".len();
        let end = prefix[authority..].find(['/', '?', '#'])?;
        &prefix[..authority + end]
    };
    Pair::of(&Url::parse(named).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_counts_as_written_only_where_it_stands_whole_before_the_first_filter() {
        let cases = [
            ("https://a.example/x", true, Some(("a.example", 443))),
            ("http://A.example:81", true, Some(("a.example", 81))),
            ("http://[::1]:81/", false, Some(("::1", 81))),
            ("https://a.example/", false, Some(("a.example", 443))),
            ("https://a.example?", false, Some(("a.example", 443))),
            ("https://user@a.example/", false, Some(("a.example", 443))),
            ("https://a.example", false, None),
            ("https://a.example:", false, None),
            ("https://", false, None),
            ("", false, None),
            ("/path", true, None),
        ];
        for (prefix, is_constant, expected) in cases {
            let expected = expected.map(|(host, port)| Pair { host: host.into(), port });
            assert_eq!(written_pair(prefix, is_constant), expected, "{prefix}");
        }
    }
}
