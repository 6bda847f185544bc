//! From a host and port to a connection: resolve, check the address, connect, encrypt.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use hyper::Uri;

use super::failure::Failure;
use super::io::Stream;
use super::proxy::{Proxies, Proxy, checked_target, through};
use super::resolver::Resolver;
use super::tls::Tls;
use super::trust::{Network, Pair, is_public};
use crate::model::FaultKind;
use crate::runtime::{Clock, TcpStream};

/// How long an address may take before the next one is tried beside it (RFC 8305, "Happy Eyeballs").
const STAGGER: Duration = Duration::from_millis(250);

/// Which addresses a connection may lead to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// Any: the host is one that the config names.
    Everywhere,
    /// Public addresses, and those in these networks.
    Public(Vec<Network>),
}

/// Makes connections.
pub(super) struct Connector {
    pub resolver: Arc<Resolver>,
    pub tls: Arc<Tls>,
    pub clock: Clock,
    pub proxies: Proxies,
    pub reach: Reach,
    /// The time limit for all of it.
    pub limit: Duration,
    /// The host that may be told who the client is.
    pub own: Option<Pair>,
}

impl Connector {
    pub(super) async fn connect_in_time(&self, target: &Uri) -> Result<Stream, Failure> {
        let connected = self.clock.timeout(self.limit, self.connect(target)).await;
        connected.unwrap_or_else(|| Err(Failure::timeout("no connection came about", self.limit)))
    }

    async fn connect(&self, target: &Uri) -> Result<Stream, Failure> {
        let host = target.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let encrypted = target.scheme_str() == Some("https");
        let port = target.port_u16().unwrap_or(if encrypted { 443 } else { 80 });

        let stream = match self.proxies.for_target(target) {
            None => {
                let addresses = self.within_reach(host, self.resolve(host, port).await?)?;
                self.connect_to(&addresses).await?
            }
            Some(proxy) => {
                let told = self.target_beyond(&proxy, host, port).await?;
                let stream = self.connect_to_proxy(&proxy).await?;
                if proxy.is_asked_directly(target) {
                    return Ok(Stream::ToProxy(stream));
                }
                through(&proxy, stream, &told, port).await?
            }
        };
        if encrypted {
            self.tls.encrypt(stream, host, self.is_own(host, port)).await
        } else {
            Ok(Stream::Plain(stream))
        }
    }

    fn is_own(&self, host: &str, port: u16) -> bool {
        self.own.as_ref().is_some_and(|own| own.port == port && own.host.eq_ignore_ascii_case(host))
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        self.resolver.resolve(host, port).await.map_err(|error| {
            Failure::retry(FaultKind::Dns, format!("the name `{host}` cannot be resolved: {}", cause(&error)))
        })
    }

    async fn connect_to(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
        let connected = connect_to_any(&self.clock, addresses).await;
        let stream = connected.map_err(|error| Failure::retry(FaultKind::Connect, cause(&error)))?;
        // Requests go out in one piece, so waiting for more to send only costs time.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn connect_to_proxy(&self, proxy: &Proxy) -> Result<TcpStream, Failure> {
        let connected = async {
            let addresses = self.resolve(&proxy.address.host, proxy.address.port).await?;
            self.connect_to(&addresses).await
        };
        connected.await.map_err(|failure| {
            let cause = format!("the proxy `{}` cannot be reached: {}", proxy.address, failure.cause);
            Failure { cause, ..failure }
        })
    }

    /// What a proxy is told to connect to. Where data may not lead is refused, as far as it can be seen here: a name
    /// that does not resolve here may well resolve there.
    async fn target_beyond(&self, proxy: &Proxy, host: &str, port: u16) -> Result<String, Failure> {
        let resolved = self.resolve(host, port).await;
        if let (Reach::Public(networks), Ok(addresses)) = (&self.reach, &resolved) {
            let refused = |socket: &&SocketAddr| {
                !is_public(socket.ip()) && !networks.iter().any(|network| network.contains(**socket))
            };
            // The proxy may choose any of them.
            let refused: Vec<_> = addresses.iter().filter(refused).copied().collect();
            if !refused.is_empty() {
                self.within_reach(host, refused)?;
            }
        }
        checked_target(proxy, host, resolved.as_deref().ok())
    }

    /// Those of the addresses that may be connected to.
    fn within_reach(&self, host: &str, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Failure> {
        let refused = addresses.first().copied();
        if let Reach::Public(networks) = &self.reach {
            addresses
                .retain(|socket| is_public(socket.ip()) || networks.iter().any(|network| network.contains(*socket)));
        }
        match (refused, addresses.is_empty()) {
            (_, false) => Ok(addresses),
            (None, true) => Err(Failure::retry(FaultKind::Dns, format!("the name `{host}` has no address"))),
            (Some(address), true) => Err(Failure::reject(
                FaultKind::Forbidden,
                format!(
                    "data or a redirect led to {}, which is not a public address; if that is wanted, \
                     write `allow = [\"{}\"]` under `[service]`",
                    if address.ip().to_string() == host {
                        format!("`{host}`")
                    } else {
                        format!("`{host}` ({})", address.ip())
                    },
                    host
                ),
            )),
        }
    }
}

/// The first connection that comes about. Addresses are tried in turn, each with a head start before the next.
fn connect_to_any<'a>(
    clock: &'a Clock,
    addresses: &'a [SocketAddr],
) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + 'a>> {
    Box::pin(async move {
        let Some((first, others)) = addresses.split_first() else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let mut first = pin!(TcpStream::connect(*first));
        if others.is_empty() {
            return first.await;
        }
        if let Some(connected) = clock.timeout(STAGGER, first.as_mut()).await {
            return match connected {
                Ok(stream) => Ok(stream),
                Err(_) => connect_to_any(clock, others).await,
            };
        }
        let mut others = connect_to_any(clock, others);
        enum Ended<T> {
            First(T),
            Others(T),
        }
        let ended =
            future::or(async { Ended::First(first.as_mut().await) }, async { Ended::Others(others.as_mut().await) });
        match ended.await {
            Ended::First(Ok(stream)) | Ended::Others(Ok(stream)) => Ok(stream),
            Ended::First(Err(_)) => others.await,
            Ended::Others(Err(_)) => first.await,
        }
    })
}

/// The system's words for an I/O error, without the number.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "the host cannot be reached".to_owned(),
        io::ErrorKind::NetworkUnreachable => "the network cannot be reached".to_owned(),
        _ => super::failure::root_cause(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tls::TlsFiles;
    use super::*;
    use crate::runtime::block_on;

    fn connector(reach: Reach) -> Connector {
        let clock = Clock::system();
        let resolver = Arc::new(Resolver::new(clock.clone()));
        let tls = Arc::new(Tls::new(TlsFiles::default(), false).unwrap());
        Connector { resolver, tls, clock, proxies: Proxies::default(), reach, limit: Duration::from_secs(5), own: None }
    }

    #[test]
    fn the_address_that_a_name_leads_to_now_is_the_one_that_is_checked() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target: Uri =
            format!("http://innocent.example:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
        let mut connector = connector(Reach::Public(Vec::new()));
        connector.resolver.remember("innocent.example", vec!["127.0.0.1".parse().unwrap()]);
        let failure = block_on(connector.connect_in_time(&target)).err().unwrap();
        assert_eq!(failure.kind, FaultKind::Forbidden);
        assert!(failure.cause.contains("`innocent.example` (127.0.0.1)"), "{failure}");
        connector.reach = Reach::Public(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(block_on(connector.connect_in_time(&target)).is_ok());
    }

    #[test]
    fn of_several_addresses_only_those_within_reach_are_tried() {
        let connector = connector(Reach::Public(Vec::new()));
        let addresses = ["10.0.0.1:80", "1.1.1.1:80", "[::1]:80"].map(|address| address.parse().unwrap());
        let kept = connector.within_reach("a.example", addresses.to_vec()).unwrap();
        assert_eq!(kept, ["1.1.1.1:80".parse().unwrap()]);
    }

    #[test]
    fn an_address_that_refuses_does_not_keep_the_next_from_being_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let connected = block_on(connect_to_any(&Clock::system(), &[refusing, good])).unwrap();
        assert_eq!(connected.peer_addr().unwrap(), good);
    }
}
