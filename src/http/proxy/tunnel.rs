//! The way through a proxy: a tunnel by CONNECT or SOCKS 5.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use tower_service::Service;

use super::Proxy;
use super::choice::Scheme;
use crate::http::failure::{Failure, root_cause};
use crate::http::io::Stream;
use crate::model::FaultKind;
use crate::runtime::TcpStream;

/// Where a tunnel is to lead: what the proxy is told. `resolved` are the addresses of the name as it resolves here, all
/// of which may be reached. A proxy that is to be told an address is told the first.
pub(in crate::http) fn checked_target(
    proxy: &Proxy,
    host: &str,
    resolved: Option<&[SocketAddr]>,
) -> Result<String, Failure> {
    if proxy.address.scheme != Scheme::Socks5 {
        return Ok(host.to_owned());
    }
    let first = resolved.and_then(<[_]>::first);
    let address = first.ok_or_else(|| {
        let cause = format!(
            "the name `{host}` cannot be resolved here; with `socks5h://` in place of `socks5://` the proxy resolves it"
        );
        Failure::retry(FaultKind::Dns, cause)
    })?;
    Ok(address.ip().to_string())
}

/// Leads a connection to the proxy on to `host`.
pub(in crate::http) async fn through(
    proxy: &Proxy,
    stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<TcpStream, Failure> {
    let written = if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let target: Uri = format!("https://{written}:{port}/")
        .parse()
        .map_err(|error| Failure::reject(FaultKind::Request, format!("no tunnel can lead to `{host}`: {error}")))?;
    let connected = Connected(Some(Stream::Plain(stream)));
    let nowhere: Uri = Uri::from_static("http://proxy/");
    let led = match proxy.address.scheme {
        Scheme::Http => {
            let mut tunnel = Tunnel::new(nowhere, connected);
            if let Some(authorization) = proxy.intercept.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            tunnel.call(target).await.map_err(|error| cause(&error))
        }
        Scheme::Socks5 | Scheme::Socks5WithNames => {
            let mut socks = SocksV5::new(nowhere, connected);
            if let Some((user, password)) = proxy.intercept.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            socks.call(target).await.map_err(|error| error.to_string())
        }
    };
    match led {
        Ok(Stream::Plain(stream)) => Ok(stream),
        Ok(_) => unreachable!("a tunnel gives back the connection that it was made of"),
        Err(cause) => {
            let cause = format!("the proxy `{}` opens no way to `{host}:{port}`: {cause}", proxy.address);
            Err(Failure::retry(FaultKind::Connect, cause))
        }
    }
}

/// Why the proxy opens no tunnel, and below that what really happened.
fn cause(error: &(dyn Error + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", root_cause(source)),
        None => error.to_string(),
    }
}

/// The connection to the proxy, which is there already, as the library asks for it.
struct Connected(Option<Stream>);

impl Service<Uri> for Connected {
    type Response = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Ok(self.0.take().expect("a tunnel asks for its connection once")))
    }
}
