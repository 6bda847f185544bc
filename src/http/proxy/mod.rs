//! Proxies: which one a request takes, if any, and the way through it.
//!
//! A client's `proxy` goes before those of the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in lower
//! case too), which do not hold for this machine's own addresses. What a proxy connects to is its own affair; what is
//! checked here is what can be: addresses in URLs, and names that resolve here.

mod choice;
mod tunnel;

use std::env;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

pub(super) use self::choice::ProxyChoice;
use self::choice::{Address, Scheme};
pub(super) use self::tunnel::{checked_target, through};
use crate::model::{Fault, FaultKind};

/// The proxies of one client.
#[derive(Clone, Default)]
pub(super) struct Proxies(Option<Arc<Rules>>);

struct Rules {
    matcher: Matcher,
    /// Whether they come from the environment.
    is_environment: bool,
}

/// The proxy that a request takes.
pub(super) struct Proxy {
    intercept: Intercept,
    pub address: Address,
}

/// Proxies of the environment: the variable's name in lower case, and the value.
const VARIABLES: [&str; 3] = ["all_proxy", "http_proxy", "https_proxy"];

impl Proxies {
    /// What a client has chosen; `no_proxy` are the hosts that it reaches without. The fault says which variable of
    /// the environment is no proxy.
    pub(super) fn of(choice: &ProxyChoice, no_proxy: &[String]) -> Result<Self, Fault> {
        match choice {
            ProxyChoice::None => Ok(Self(None)),
            ProxyChoice::Proxy(url) => {
                let matcher = Matcher::builder().all(url.as_str()).no(no_proxy.join(",")).build();
                Ok(Self(Some(Arc::new(Rules { matcher, is_environment: false }))))
            }
            ProxyChoice::Environment => Self::of_environment(no_proxy, |name| env::var(name).ok()),
        }
    }

    fn of_environment(no_proxy: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let find = |name: &str| {
            let found = [name.to_owned(), name.to_uppercase()].into_iter();
            found.filter_map(|name| variable(&name).filter(|value| !value.is_empty()).map(|value| (name, value))).next()
        };
        let mut values = [String::new(), String::new(), String::new()];
        for (value, name) in values.iter_mut().zip(VARIABLES) {
            let Some((name, found)) = find(name) else { continue };
            // A proxy without a scheme speaks HTTP.
            let url = if found.contains("://") { found } else { format!("http://{found}") };
            Address::of(&url).map_err(|wrong| {
                let message = format!("the environment variable {name} names no proxy that can be used: {wrong}");
                Fault::stop(FaultKind::Connect, message)
            })?;
            *value = url;
        }
        if values.iter().all(String::is_empty) {
            return Ok(Self(None));
        }
        let [all, http, https] = values;
        let no = find("no_proxy").map(|(_, value)| value).into_iter().chain(no_proxy.iter().cloned());
        let no = no.collect::<Vec<_>>().join(",");
        let matcher = Matcher::builder().all(all).http(http).https(https).no(no).build();
        Ok(Self(Some(Arc::new(Rules { matcher, is_environment: true }))))
    }

    /// The proxy for a request to `target`, if it takes one.
    pub(super) fn for_target(&self, target: &Uri) -> Option<Proxy> {
        let rules = self.0.as_ref()?;
        if rules.is_environment && is_own_machine(target.host()?) {
            return None;
        }
        let intercept = rules.matcher.intercept(target)?;
        let address = Address::of(&intercept.uri().to_string()).ok()?;
        Some(Proxy { intercept, address })
    }

    /// What a request shows the proxy that it is sent to as it is, without a tunnel, if it needs credentials there.
    pub(super) fn authorization(&self, target: &Uri) -> Option<HeaderValue> {
        self.0.as_ref()?;
        let proxy = self.for_target(target).filter(|proxy| proxy.is_asked_directly(target))?;
        proxy.intercept.basic_auth().cloned()
    }
}

impl Proxy {
    /// Whether a request goes to it as it is: without encryption, HTTP needs no tunnel through an HTTP proxy.
    pub(super) fn is_asked_directly(&self, target: &Uri) -> bool {
        self.address.scheme == Scheme::Http && target.scheme_str() == Some("http")
    }
}

/// Whether a host is this machine, by its name or address.
fn is_own_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables and their values.
    type Environment<'a> = &'a [(&'a str, &'a str)];

    fn proxy_for(url: &str, no_proxy: &[&str], environment: Environment<'_>) -> Result<Option<String>, Fault> {
        let variable =
            |name: &str| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        let no_proxy: Vec<String> = no_proxy.iter().map(|host| (*host).to_owned()).collect();
        let proxies = Proxies::of_environment(&no_proxy, variable)?;
        Ok(proxies.for_target(&url.parse().unwrap()).map(|proxy| proxy.address.to_string()))
    }

    #[test]
    fn the_environment_says_which_proxy_a_request_takes() {
        let both = &[("http_proxy", "http://h:1"), ("https_proxy", "http://s:2")][..];
        let cases: &[(&str, Environment<'_>, Option<&str>)] = &[
            ("http://a.example/", &[], None),
            ("http://a.example/", both, Some("h:1")),
            ("https://a.example/", both, Some("s:2")),
            ("http://a.example/", &[("HTTP_PROXY", "http://h:1")], Some("h:1")),
            (
                "http://a.example/",
                &[("HTTP_PROXY", "http://upper:1"), ("http_proxy", "http://lower:1")],
                Some("lower:1"),
            ),
            ("https://a.example/", &[("HTTP_PROXY", "http://h:1")], None),
            ("https://a.example/", &[("ALL_PROXY", "socks5://all:3")], Some("all:3")),
            ("http://a.example/", &[("all_proxy", "all")], Some("all:80")),
            ("http://a.example/", &[("all_proxy", "socks5://all")], Some("all:1080")),
            ("https://a.example/", &[("all_proxy", "all:1"), ("https_proxy", "s:2")], Some("s:2")),
            ("http://a.example/", &[("http_proxy", ""), ("all_proxy", "all:1")], Some("all:1")),
            ("http://a.example/", &[("http_proxy", "http://user:pass@h:1")], Some("h:1")),
            ("http://localhost/", both, None),
            ("http://127.0.0.1:80/", both, None),
            ("http://127.9.9.9/", both, None),
            ("http://[::1]/", both, None),
        ];
        for (url, environment, expected) in cases {
            let found = proxy_for(url, &[], environment).unwrap();
            assert_eq!(found.as_deref(), *expected, "{url} with {environment:?}");
        }
    }

    #[test]
    fn hosts_without_a_proxy_are_named_as_everywhere() {
        let cases = [
            ("a.example", "a.example", true),
            ("a.example", "www.a.example", true),
            ("a.example", "nota.example", false),
            ("a.example", "example", false),
            (".a.example", "a.example", true),
            (".a.example", "www.a.example", true),
            ("A.Example", "a.example", true),
            ("b.example, a.example", "a.example", true),
            ("b.example,a.example", "c.example", false),
            ("*", "a.example", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.0.0.0/8", "10.200.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("fd00::/8", "[fd00::7]", true),
            ("10.0.0.0/8", "ten.example", false),
            ("", "a.example", false),
        ];
        for (no_proxy, host, is_direct) in cases {
            for (name, upper) in [("no_proxy", "http_proxy"), ("NO_PROXY", "HTTP_PROXY")] {
                let environment = [(upper, "http://h:1"), (name, no_proxy)];
                let found = proxy_for(&format!("http://{host}/"), &[], &environment).unwrap();
                assert_eq!(found.is_none(), is_direct, "{host} with {name}={no_proxy}");
            }
            let found = proxy_for(&format!("http://{host}/"), &[no_proxy], &[("http_proxy", "h:1")]).unwrap();
            assert_eq!(found.is_none(), is_direct, "{host} with no_proxy = [\"{no_proxy}\"]");
        }
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_said_without_what_it_may_hide() {
        for value in ["ftp://hunter2@h:1", "http://", "socks4://u:hunter2@h:1", "http://hunter2 x/"] {
            let fault = proxy_for("http://a.example/", &[], &[("HTTPS_PROXY", value)]).unwrap_err();
            assert!(fault.message.contains("HTTPS_PROXY") && !fault.message.contains("hunter2"), "{fault}");
        }
    }
}
