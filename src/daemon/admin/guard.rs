//! Who may ask what of the admin address.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri};

use crate::assemble::AdminSettings;
use crate::daemon::api::Needs;
use crate::http::{ListenAddress, Refusal, Token};

/// What a request has to show.
pub(super) struct Guard {
    /// Whether other machines can reach the address.
    is_public: bool,
    /// Whether browsers can: not a socket.
    is_port: bool,
    token: Option<Token>,
    hosts: Vec<String>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It does not say, or says twice, whom it asks.
    NoHost,
    /// It asks for a name that is not ours.
    WrongHost,
    /// A page of another site sends it.
    OtherSite,
    /// There is no token in the config, so nobody may.
    NoToken,
    MissingToken,
    WrongToken,
}

impl Refused {
    pub(super) fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Refused::NoHost => (StatusCode::BAD_REQUEST, "a request names one host, in `Host`"),
            Refused::WrongHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "this is not known by that name; add it to `hosts` in the `admin` of `[service]`",
            ),
            Refused::OtherSite => (StatusCode::FORBIDDEN, "other sites may not ask this"),
            Refused::NoToken => {
                (StatusCode::FORBIDDEN, "this needs a token, and there is none in the `admin` of `[service]`")
            }
            Refused::MissingToken => (StatusCode::UNAUTHORIZED, "this needs the token, as `Authorization: Bearer …`"),
            Refused::WrongToken => (StatusCode::FORBIDDEN, "the token is wrong"),
        }
    }
}

impl Guard {
    pub(super) fn new(settings: &AdminSettings) -> Self {
        let AdminSettings { listen, token, hosts } = settings;
        Self {
            is_public: !listen.is_local(),
            is_port: matches!(listen, ListenAddress::Tcp(_)),
            token: token.clone(),
            hosts: hosts.clone(),
        }
    }

    /// `needs` is nothing for what anyone may have.
    pub(super) fn check(&self, headers: &HeaderMap, uri: &Uri, needs: Option<Needs>) -> Result<(), Refused> {
        if self.is_port {
            self.check_host(headers, uri)?;
        }
        let needs_token = match needs {
            None => false,
            Some(Needs::Look) => self.is_public,
            Some(Needs::Token) => true,
        };
        if !needs_token {
            return Ok(());
        }
        let token = self.token.as_ref().ok_or(Refused::NoToken)?;
        token.check(headers).map_err(|refusal| match refusal {
            Refusal::Missing => Refused::MissingToken,
            Refusal::Wrong => Refused::WrongToken,
        })
    }

    /// A page of another site that has its own name lead to this address (DNS rebinding) asks for that name, since a
    /// browser does not let it say another.
    fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return Err(Refused::NoHost) };
        let host: Authority = host.to_str().ok().and_then(|host| host.parse().ok()).ok_or(Refused::NoHost)?;
        // What stands in the request line goes before the header (RFC 9112, section 3.2.2).
        if !self.is_known(host.host()) || !uri.authority().is_none_or(|asked| self.is_known(asked.host())) {
            return Err(Refused::WrongHost);
        }
        let is_from_here = |origin: &str| origin.split_once("://").is_some_and(|(_, from)| from == host.as_str());
        match headers.get(ORIGIN) {
            Some(origin) if !origin.to_str().is_ok_and(is_from_here) => Err(Refused::OtherSite),
            _ => Ok(()),
        }
    }

    /// Addresses are no names, so nobody can have them lead elsewhere.
    fn is_known(&self, host: &str) -> bool {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        address.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(listen: &str) -> Guard {
        let hosts = vec!["gather.example".to_owned()];
        Guard::new(&AdminSettings { listen: listen.parse().unwrap(), token: None, hosts })
    }

    fn check(listen: &str, request: &str, needs: Option<Needs>, expected: Result<(), Refused>) {
        let (target, lines) = request.split_once(' ').unwrap_or((request, ""));
        let mut headers = HeaderMap::new();
        for line in lines.split(' ').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once('=').unwrap();
            headers.append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        let found = guard(listen).check(&headers, &target.parse().unwrap(), needs);
        assert_eq!(found, expected, "{listen}: {request}, {needs:?}");
    }

    #[test]
    fn only_who_asks_for_an_address_or_a_known_name_is_answered() {
        const HERE: &str = "127.0.0.1:9464";
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "[::1]:1", "192.0.2.7", "gather.example:80"] {
            check(HERE, &format!("/ host={host}"), Some(Needs::Look), Ok(()));
        }
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9464", "2130706433", "x@127.0.0.2.e"]
        {
            check(HERE, &format!("/ host={host}"), None, Err(Refused::WrongHost));
        }
        check(HERE, "/", None, Err(Refused::NoHost));
        check(HERE, "/ host=localhost host=localhost", None, Err(Refused::NoHost));
        check(HERE, "/ host=a/b", None, Err(Refused::NoHost));
        check(HERE, "http://evil.example/ host=localhost", None, Err(Refused::WrongHost));
        check("unix:admin.sock", "/ host=whatever", Some(Needs::Look), Ok(()));
    }

    #[test]
    fn other_sites_may_not_ask() {
        for (origin, expected) in [
            ("http://localhost:9464", Ok(())),
            ("https://localhost:9464", Ok(())),
            ("http://localhost:9465", Err(Refused::OtherSite)),
            ("http://evil.example", Err(Refused::OtherSite)),
            ("null", Err(Refused::OtherSite)),
        ] {
            check("127.0.0.1:9464", &format!("/ host=localhost:9464 origin={origin}"), Some(Needs::Look), expected);
        }
    }

    #[test]
    fn a_change_and_what_other_machines_reach_need_the_token() {
        let here = "/ host=localhost";
        check("127.0.0.1:9464", here, Some(Needs::Token), Err(Refused::NoToken));
        check("unix:admin.sock", here, Some(Needs::Token), Err(Refused::NoToken));
        check("0.0.0.0:9464", here, Some(Needs::Look), Err(Refused::NoToken));
        check("0.0.0.0:9464", here, None, Ok(()));
    }
}
