//! Which addresses a request may reach: those whose host the config names, those that `allow` names, and the public
//! Internet.
//!
//! A host from data, or one that a remote redirects to, must not lead into the network that gatherd runs in
//! (server-side request forgery). The address that is really connected to is the one that is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use url::{Host, Url};

use crate::model::Text;

/// A host and port as a config or a reply writes them; the host is in lower case, an IPv6 address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub host: Text,
    pub port: u16,
}

impl Pair {
    pub(super) fn of(url: &Url) -> Option<Self> {
        let (host, port) = place_of(url)?;
        Some(Self { host: host.into(), port })
    }

    /// What tells servers apart: the host, with its port unless that is one of HTTP's own.
    pub(super) fn server(&self) -> Text {
        match self.port {
            80 | 443 => self.host.clone(),
            port => format!("{}:{port}", self.host).into(),
        }
    }

    /// Whether a URL leads there.
    pub(super) fn is_of(&self, url: &Url) -> bool {
        place_of(url) == Some((&*self.host, self.port))
    }
}

/// The host and port that a URL leads to. Its parser has put the host into lower case.
fn place_of(url: &Url) -> Option<(&str, u16)> {
    let host = url.host_str()?;
    // Addresses stand in a URL as they are written here, but for the brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host.trim_end_matches('.'), url.port_or_known_default()?))
}

/// What may be reached beside public addresses and the hosts that the config names: the entries of `allow`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allow {
    names: Vec<AllowedName>,
    networks: Vec<Network>,
}

#[derive(Clone, Debug, PartialEq)]
struct AllowedName {
    host: String,
    /// Nothing means every port.
    port: Option<u16>,
}

/// The addresses that begin with the first `prefix` bits of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
    /// Nothing means every port.
    port: Option<u16>,
}

impl Allow {
    /// Reads host names, `host:port`, addresses, `address:port` and networks such as `10.0.0.0/8`.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, String> {
        let mut allow = Self::default();
        for entry in entries {
            allow.add(entry.as_ref())?;
        }
        Ok(allow)
    }

    fn add(&mut self, entry: &str) -> Result<(), String> {
        let wrong = || {
            format!(
                "`{entry}` is no host, address or network; write one such as \"db.internal\", \"db.internal:8080\", \
                 \"10.1.2.3\" or \"10.0.0.0/8\""
            )
        };
        if let Ok(network) = entry.parse() {
            self.networks.push(network);
            return Ok(());
        }
        let (host, port) = match entry.rsplit_once(':') {
            None => (entry, None),
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
        };
        match Host::parse(host) {
            Ok(Host::Domain(name)) if !name.contains('*') => {
                self.names.push(AllowedName { host: name.trim_end_matches('.').to_owned(), port });
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    /// These entries and those of `others`.
    pub(super) fn joined<'a>(others: impl IntoIterator<Item = &'a Allow>) -> Self {
        let mut joined = Self::default();
        for other in others {
            joined.names.extend_from_slice(&other.names);
            joined.networks.extend_from_slice(&other.networks);
        }
        joined.networks.sort_unstable();
        joined.networks.dedup();
        joined
    }

    pub(super) fn names(&self, pair: &Pair) -> bool {
        let matches = |name: &AllowedName| name.host == *pair.host && name.port.is_none_or(|port| port == pair.port);
        self.names.iter().any(matches)
    }

    /// Whether it names any host.
    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether an entry speaks of this host, by its name or as the address that it is.
    pub(super) fn speaks_of(&self, pair: &Pair) -> bool {
        let is_in =
            |address: IpAddr| self.networks.iter().any(|network| network.contains(SocketAddr::new(address, pair.port)));
        self.names(pair) || pair.host.parse().is_ok_and(is_in)
    }

    pub(super) fn networks(&self) -> &[Network] {
        &self.networks
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { address, prefix: width(address), port: None });
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self { address: socket.ip(), prefix: width(socket.ip()), port: Some(socket.port()) });
        }
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let prefix: u8 = prefix.parse().map_err(|_| ())?;
        if prefix > width(address) { Err(()) } else { Ok(Self { address, prefix, port: None }) }
    }
}

impl Network {
    pub(super) fn contains(&self, socket: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == socket.port())
            && match (self.address, socket.ip().to_canonical()) {
                (IpAddr::V4(own), IpAddr::V4(other)) => same_prefix(own.to_bits(), other.to_bits(), self.prefix),
                (IpAddr::V6(own), IpAddr::V6(other)) => same_prefix(own.to_bits(), other.to_bits(), self.prefix),
                _ => false,
            }
    }
}

/// How many bits an address of this family has.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn same_prefix<T: Into<u128>>(one: T, other: T, prefix: u8) -> bool {
    let width = 8 * size_of::<T>() as u32;
    let differing: u128 = one.into() ^ other.into();
    // A prefix of zero shifts everything out, which a plain shift refuses.
    differing.checked_shr(width - u32::from(prefix)).unwrap_or(0) == 0
}

/// Whether an address belongs to the public Internet. What embeds an IPv4 address is as public as that one.
///
/// After the registries of special-purpose addresses that IANA keeps for IPv4 and IPv6 (RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // Azure's platform service stands at an address that is public in form only.
    const AZURE_PLATFORM: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let special = match address.octets() {
        [0 | 10 | 127 | 224.., ..] => true,
        [100, 64..=127, ..] => true,
        [169, 254, ..] => true,
        [172, 16..=31, ..] => true,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [192, 168, ..] => true,
        [198, 18..=19, ..] | [198, 51, 100, _] => true,
        [203, 0, 113, _] => true,
        _ => address == AZURE_PLATFORM,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments, which Teredo is among, and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let public = [
            "1.1.1.1",
            "93.184.216.34",
            "2606:2800:220:1:248:1893:25c8:1946",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        let others = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.0.1",
            "192.0.2.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
        ];
        for address in others {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn allow_takes_names_addresses_and_networks() {
        let entries = ["db.internal", "Cache.Internal:6380", "10.0.0.0/8", "192.168.1.5:80", "fd00::/8", "0.0.0.0/0"];
        let allow = Allow::parse(&entries[..5]).unwrap();
        let pair = |host: &str, port| Pair { host: host.into(), port };
        assert!(allow.names(&pair("db.internal", 1)) && allow.names(&pair("cache.internal", 6380)));
        assert!(!allow.names(&pair("cache.internal", 80)) && !allow.names(&pair("internal", 80)));
        let reaches = |socket: &str| {
            let socket = socket.parse().unwrap();
            allow.networks().iter().any(|network| network.contains(socket))
        };
        assert!(reaches("10.200.1.1:5") && reaches("192.168.1.5:80") && reaches("[fd12::1]:443"));
        assert!(reaches("[::ffff:10.0.0.1]:80"), "a mapped address is the address it maps");
        assert!(!reaches("192.168.1.5:81") && !reaches("192.168.1.6:80") && !reaches("[fe80::1]:80"));
        let everything = Allow::parse(&entries[5..]).unwrap();
        assert!(everything.networks()[0].contains("127.0.0.1:1".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "host:port", "http://a", "*.internal", "a b"] {
            assert!(Allow::parse(&[wrong]).is_err(), "{wrong}");
        }
    }
}
