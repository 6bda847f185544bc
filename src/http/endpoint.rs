//! A client as one component uses it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use pin_project_lite::pin_project;
use url::Url;

use super::Meter;
use super::admission::{Budget, Caller, Ending, Permit};
use super::auth::{Ticket, Token};
use super::body::BodyReader;
use super::client::Client;
use super::decode::{Body, is_encoded};
use super::envelopes::Envelopes;
use super::failure::Failure;
use super::pool::Arriving;
use super::redirect::may_redirect;
use super::request::{Request, Response, host_of};
use super::route::Route;
use super::servers::Servers;
use super::settings::Limits;
use super::status::{is_rate_limited, is_success, retry_after};
use super::transport::{Deadline, Exchange};
use super::trust::{Allow, Pair};
use super::wire::{Wire, Witness};
use crate::model::{Fault, FaultKind, Size, Text, Verdict};
use crate::runtime::{self, Busy, Clock};

/// A client as one component uses it. A clone shares it.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) client: Arc<Client>,
    pub(super) route: Arc<Route>,
    /// The host that every request goes to, if the URL's template alone says so.
    pub(super) host: Option<Text>,
    /// Whether the caller says by itself which replies accept the credentials and which refuse them.
    pub(super) judges: bool,
    pub(super) caller: Caller,
    /// Whether the robots.txt of a site is asked first.
    pub(super) robots: bool,
}

/// An exchange that someone is told of.
struct Watched<'a> {
    witness: &'a Arc<dyn Witness>,
    /// What is sent.
    body: Bytes,
    /// Times it: the client's own clock may be one that leaps, and that would not end what takes too long.
    clock: Clock,
    /// On a clock that leaps, no time passes while the network has its turn.
    _busy: Busy,
}

impl Endpoint {
    /// For requests that are about signing in: they go to a URL of the config, and follow no redirect.
    pub(super) fn for_signing_in(client: Arc<Client>, url: &Url) -> Self {
        const LARGEST: Size = Size::mib(1);
        let limits = Limits { redirects: 0, max_body: LARGEST, ..client.settings.limits };
        let route = Arc::new(client.route(limits, Pair::of(url).into_iter().collect(), Allow::default()));
        Self { client, route, host: None, judges: false, caller: Caller::Step, robots: false }
    }

    /// The host that every request goes to, if the URL's template alone says so.
    pub fn host(&self) -> Option<&Text> {
        self.host.as_ref()
    }

    /// This endpoint for a caller that says by itself which replies accept the credentials, with
    /// [`Endpoint::accept`], and which refuse them, with [`Endpoint::refuse`]. Nothing if its client has none.
    pub fn judging(self) -> Option<Self> {
        self.client.has_credentials().then_some(Self { judges: true, ..self })
    }

    /// The reply shows that the server has taken the credentials.
    pub fn accept(&self, auth: Option<&Ticket>) {
        if let Some((credentials, ticket)) = self.client.credentials().zip(auth) {
            credentials.accept(ticket);
        }
    }

    /// The reply shows that the server has refused the credentials: they are made new. The fault says when the request
    /// is to come again; without one, the refusal is the request's own, since others are accepted.
    pub fn refuse(&self, auth: Option<&Ticket>) -> Result<(), Fault> {
        match self.client.credentials().zip(auth) {
            Some((credentials, ticket)) => credentials.refuse(&self.client, ticket),
            None => Ok(()),
        }
    }

    /// Reads a rendered URL. One without a host is appended to the client's base. The error says what is wrong.
    pub fn url(&self, text: &str) -> Result<Url, String> {
        self.client.url(text)
    }

    /// The name of the server that a URL leads to, for fairness between servers.
    pub fn server_of(&self, url: &Url) -> Text {
        self.client.servers.of(url).map(|server| server.name.clone()).unwrap_or_default()
    }

    /// Sends a request and reads the reply, whatever its status. Answers at once with [`Verdict::NotBefore`] if it may
    /// not go yet: a rate or the host's slots are used up, or the host is paused or down.
    pub async fn send(&self, request: Box<Request>, meter: &Meter) -> Result<Box<Response>, Fault> {
        let Some(server) = self.client.servers.of(&request.url) else {
            return Err(Failure::reject(FaultKind::Request, "it names no host").of(request.method, &request.url));
        };
        if self.robots {
            self.ask_robots(&request.url).map_err(|failure| failure.of(request.method, &request.url))?;
        }
        let credentials = self.client.credentials_for(&request.url);
        let ticket = credentials.map(|credentials| credentials.ticket(&self.client, &request)).transpose()?;
        let started = self.client.clock.instant();
        let permit = self.client.admission.admit(&server.pair, self.caller, started)?;
        let token = ticket.as_ref().map(|ticket| ticket.token.clone());
        let host = server.pair.host.clone();
        let sent = match &self.client.wire {
            Wire::Watched(witness) => {
                let (method, url) = (request.method, request.url.clone());
                let sent = Box::pin(self.exchange(request, host, token, started, meter)).await;
                if let Err(fault) = &sent {
                    witness.missed(method, &url, fault.kind);
                }
                sent
            }
            Wire::Network | Wire::Scripted(_) => self.exchange(request, host, token, started, meter).await,
        };
        self.learn(permit, &server.pair, started, sent.as_deref());
        let mut response = sent?;
        if let Some((credentials, ticket)) = credentials.zip(ticket) {
            credentials.judge(&self.client, &ticket, &response)?;
            if !self.judges && is_acceptance(response.status) {
                credentials.accept(&ticket);
            }
            response.ticket = Some(ticket);
        }
        Ok(response)
    }

    /// All requests of the client to this URL's host wait until this time.
    pub fn pause(&self, url: &Url, until: Instant) {
        if let Some(pair) = Pair::of(url) {
            self.client.admission.pause(&pair, until, self.client.clock.instant());
        }
    }

    fn learn(&self, permit: Permit, pair: &Pair, started: Instant, sent: Result<&Response, &Fault>) {
        let clock = &self.client.clock;
        let ending = match sent {
            Err(fault) if blames_host(fault) => Ending::Failed(&fault.message),
            Err(_) => return,
            Ok(Response { body: Err(fault), .. }) if blames_host(fault) => Ending::Failed(&fault.message),
            Ok(Response { url, status, headers, head_after, .. }) => {
                let is_own = pair.is_of(url);
                let heeds = is_own && self.client.admission.courtesy().rate_headers;
                let is_rate_limited = is_own && is_rate_limited(*status, headers);
                Ending::Answered {
                    // What another host says, to which a redirect led, is not about this one.
                    status: match is_own {
                        true if is_rate_limited => 429,
                        true => *status,
                        false => 302,
                    },
                    retry_after: if is_rate_limited { retry_after(headers, clock) } else { None },
                    budget: if heeds { Budget::of(headers, || clock.timestamp()) } else { None },
                    latency: *head_after,
                }
            }
        };
        let now = sent.map_or_else(|_| clock.instant(), |response| started + response.elapsed);
        permit.ended(&ending, now);
    }

    /// Sends a request, signed if there is something to sign it with, and reads the reply. `host` is the one of its URL,
    /// `started` is now.
    pub(super) async fn exchange(
        &self,
        request: Box<Request>,
        host: Text,
        token: Option<Arc<Token>>,
        started: Instant,
        meter: &Meter,
    ) -> Result<Box<Response>, Fault> {
        let clock = &self.client.clock;
        let limit = self.route.limits.whole;
        let Request { method, url, headers, body, keeps_body } = *request;
        let watched = match &self.client.wire {
            Wire::Watched(witness) => {
                let body = body.clone();
                Some(Box::new(Watched { witness, body, clock: Clock::system(), _busy: runtime::busy() }))
            }
            Wire::Network | Wire::Scripted(_) => None,
        };
        let (timer, at) = match &watched {
            Some(watched) => (&watched.clock, watched.clock.instant() + limit),
            None => (clock, started + limit),
        };
        let deadline = Deadline { clock: timer.clone(), at, limit };
        let headers = self.client.headers(headers, self.is_own(&url));
        let route = self.route.clone();
        let exchange = Exchange { route, method, headers, body, strayed: false, token, deadline };
        let mut reply = self.hop(exchange.clone(), url.clone()).await.map_err(|failure| failure.of(method, &url))?;
        let mut last_url = None;
        if may_redirect(reply.status) {
            let followed = Box::pin(self.follow(exchange, &url, keeps_body, reply)).await;
            (reply, last_url) = followed.map_err(|failure| failure.of(method, &url))?;
        } else {
            // What was sent is not held while the reply is read.
            drop(exchange);
        }
        let Arriving { status, headers, body } = reply;
        let body = if is_encoded(&headers) {
            let expanded = Box::pin(timer.timeout_at(at, Body::of(body, &headers))).await;
            let expanded = expanded.unwrap_or_else(|| Err(Failure::not_whole(limit)));
            expanded.map_err(|failure| failure.of(method, &url))?
        } else {
            Body::Plain(body)
        };

        let (fetched_at, head_at) = (clock.timestamp(), clock.instant());
        let body = BodyReader { limits: &self.route.limits, clock: timer, meter }.read(body, &headers, at).await;
        let body = body.map_err(|failure| failure.of(method, &url));
        let elapsed = clock.instant() - started;
        let head_after = head_at - started;
        let asked = watched.map(|watched| (watched, url.clone()));
        let (url, host) = match last_url {
            None => (url, host),
            Some(url) => {
                let host = host_of(&url);
                (url, host)
            }
        };
        let response =
            Box::new(Response { url, host, status, headers, fetched_at, head_after, elapsed, body, ticket: None });
        if let Some((watched, asked)) = asked {
            watched.witness.saw(method, &asked, &watched.body, &response);
        }
        Ok(response)
    }

    /// Sends a request through surf, and waits for the head of the reply, which may be a redirect.
    pub(super) fn hop(&self, exchange: Exchange, url: Url) -> impl Future<Output = Result<Arriving, Failure>> {
        let envelopes = &*self.client.envelopes;
        Hop { sent: self.client.surf.send(envelopes.request(exchange, url)), envelopes }
    }

    /// Whether the client's own headers may go there: they may hold credentials, and so go to the client's base; or,
    /// if it has none, to the host that the component's author wrote.
    fn is_own(&self, url: &Url) -> bool {
        match &self.client.settings.base {
            Some(base) => has_same_origin(base, url),
            None => self.route.is_written(url),
        }
    }
}

pin_project! {
    /// What surf makes of an exchange. An async block would hold surf's future twice: as it was handed over, and as it is
    /// waited for.
    struct Hop<'a, F> {
        #[pin]
        sent: F,
        envelopes: &'a Envelopes,
    }
}

impl<F: Future<Output = surf::Result<surf::Response>>> Future for Hop<'_, F> {
    type Output = Result<Arriving, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.sent.poll(context)).map_err(Failure::from_surf)?;
        Poll::Ready(Ok(this.envelopes.open(response)))
    }
}

/// Whether a fault says that the host, or the way to it, does not work.
fn blames_host(fault: &Fault) -> bool {
    matches!(fault.verdict, Verdict::Retry { .. })
}

/// Whether two URLs of HTTP have the same origin (RFC 6454).
pub(super) fn has_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Whether a status shows that the server has taken the credentials, and not answered before it looked at them.
fn is_acceptance(status: u16) -> bool {
    is_success(status) || status == 304
}

impl Client {
    /// Reads a URL; see [`Endpoint::url`].
    pub(super) fn url(&self, text: &str) -> Result<Url, String> {
        let url = match (self.servers.read(text), &self.settings.base) {
            (Ok(url), _) => url,
            (Err(url::ParseError::RelativeUrlWithoutBase), Some(base)) => appended(&self.servers, base, text)?,
            (Err(url::ParseError::RelativeUrlWithoutBase), None) => {
                return Err(format!("`{}` names no host, and there is no `base` for it", masked(text)));
            }
            (Err(error), _) => return Err(format!("`{}` is not a URL: {error}", masked(text))),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` does not begin with http:// or https://", masked(text)));
        }
        Ok(url)
    }
}

/// The client's base with a path or query behind it. A path always stays below the base's own.
fn appended(servers: &Servers, base: &Url, text: &str) -> Result<Url, String> {
    let mut joined = base.as_str().trim_end_matches('/').to_owned();
    if !text.is_empty() && !text.starts_with(['/', '?', '#']) {
        joined.push('/');
    }
    joined.push_str(text);
    servers.read(&joined).map_err(|error| format!("`{}` cannot be appended to `{base}`: {error}", masked(text)))
}

/// A text that is no URL, without the parts that may hold a secret.
fn masked(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    match text[..end].rsplit_once('@') {
        Some((_, after)) => format!("…@{after}"),
        None => text[..end].to_owned(),
    }
}
