//! A client as one component uses it.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use http::header::{ACCEPT, USER_AGENT};
use url::Url;

use super::Meter;
use super::admission::{Budget, Caller, Ending, Permit};
use super::auth::{Ticket, Token};
use super::body::BodyReader;
use super::client::Client;
use super::failure::Failure;
use super::redirect::FinalUrl;
use super::request::{Request, Response};
use super::route::Route;
use super::settings::Limits;
use super::status::{is_rate_limited, is_success, retry_after};
use super::transport::{Exchange, Head};
use super::trust::{Allow, Pair};
use super::wire::Wire;
use crate::model::{Fault, FaultKind, Size, Text, Verdict};
use crate::runtime::{self, Clock};

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

    /// Sends a request and reads the reply, whatever its status. Answers at once with [`Verdict::NotBefore`] if it may
    /// not go yet: a rate or the host's slots are used up, or the host is paused or down.
    pub async fn send(&self, request: Request, meter: &Meter) -> Result<Response, Fault> {
        let Some(pair) = Pair::of(&request.url) else {
            return Err(Failure::reject(FaultKind::Request, "it names no host").of(request.method, &request.url));
        };
        if self.robots {
            self.ask_robots(&request.url).map_err(|failure| failure.of(request.method, &request.url))?;
        }
        let Some(credentials) = self.client.credentials_for(&request.url) else {
            return self.exchange_politely(&pair, request, None, meter).await;
        };
        let ticket = credentials.ticket(&self.client, &request)?;
        let mut response = self.exchange_politely(&pair, request, Some(ticket.token.clone()), meter).await?;
        credentials.judge(&self.client, &ticket, &response)?;
        if !self.judges && is_acceptance(response.status) {
            credentials.accept(&ticket);
        }
        response.ticket = Some(ticket);
        Ok(response)
    }

    /// All requests of the client to this URL's host wait until this time.
    pub fn pause(&self, url: &Url, until: Instant) {
        if let Some(pair) = Pair::of(url) {
            self.client.admission.pause(&pair, until, self.client.clock.instant());
        }
    }

    /// Sends a request if the client lets it go now, and lets the client learn from how it ends.
    async fn exchange_politely(
        &self,
        pair: &Pair,
        request: Request,
        token: Option<Arc<Token>>,
        meter: &Meter,
    ) -> Result<Response, Fault> {
        let permit = self.client.admission.admit(pair, self.caller, self.client.clock.instant())?;
        let sent = self.exchange(request, token, meter).await;
        self.learn(permit, pair, &sent);
        sent
    }

    fn learn(&self, permit: Permit, pair: &Pair, sent: &Result<Response, Fault>) {
        let clock = &self.client.clock;
        let ending = match sent {
            Err(fault) if blames_host(fault) => Ending::Failed(&fault.message),
            Err(_) => return,
            Ok(Response { body: Err(fault), .. }) if blames_host(fault) => Ending::Failed(&fault.message),
            Ok(Response { url, status, headers, head_after, .. }) => {
                let is_own = is_at(url, pair);
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
        permit.ended(&ending, clock.instant());
    }

    /// Sends a request, signed if there is something to sign it with, and reads the reply.
    pub(super) async fn exchange(
        &self,
        request: Request,
        token: Option<Arc<Token>>,
        meter: &Meter,
    ) -> Result<Response, Fault> {
        let clock = &self.client.clock;
        let started = clock.instant();
        let (method, url) = (request.method, request.url.clone());
        let watched = match &self.client.wire {
            // On a clock that leaps, no time passes while the network has its turn.
            Wire::Watched(witness) => Some((witness, request.body.clone(), runtime::busy())),
            Wire::Network | Wire::Scripted(_) => None,
        };
        // It could not end what takes too long, either.
        let system = watched.is_some().then(Clock::system);
        let timer = system.as_ref().unwrap_or(clock);
        let limit = self.route.limits.whole;
        let deadline = timer.instant() + limit;
        let late = || Failure::timeout("the reply was not whole", limit);

        let sent = timer.timeout(limit, self.head(request, token)).await;
        let mut response = sent.unwrap_or_else(|| Err(late())).map_err(|failure| failure.of(method, &url))?;
        let fetched_at = clock.timestamp();
        let head_after = clock.instant() - started;
        let body = response.take_body();
        let mut response: surf::http::Response = response.into();
        let head: Head = response.ext_mut().remove().expect("every response comes from the transport, which sets it");
        let FinalUrl(last_url) = response.ext_mut().remove().expect("the redirects' middleware sets it");

        let body = BodyReader { limits: &self.route.limits, clock: timer, meter }.read(body, &head, deadline).await;
        let response = Response {
            url: last_url,
            status: head.status,
            headers: head.headers,
            fetched_at,
            head_after,
            elapsed: clock.instant() - started,
            body: body.map_err(|failure| failure.of(method, &url)),
            ticket: None,
        };
        if let Some((witness, body, _busy)) = watched {
            witness.saw(method, &url, &body, &response);
        }
        Ok(response)
    }

    /// Sends a request through surf, up to the end of the reply's head.
    async fn head(&self, request: Request, token: Option<Arc<Token>>) -> Result<surf::Response, Failure> {
        let Request { method, url, mut headers, body, keeps_body } = request;
        if self.is_own(&url) {
            for (name, value) in &self.client.settings.headers {
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.entry(USER_AGENT).or_insert_with(|| self.client.user_agent.clone());
        let route = self.route.clone();
        let robots = self.robots.then(|| self.clone());
        let headers = Arc::new(headers);
        let exchange = Exchange { route, method, headers, body, keeps_body, robots, strayed: false, token };
        self.client.surf.send(exchange.request_to(url)).await.map_err(Failure::from_surf)
    }

    /// Whether the client's own headers may go there: they may hold credentials, and so go to the client's base; or,
    /// if it has none, to the host that the component's author wrote.
    fn is_own(&self, url: &Url) -> bool {
        match &self.client.settings.base {
            Some(base) => base.origin() == url.origin(),
            None => Pair::of(url).is_some_and(|pair| self.route.written.contains(&pair)),
        }
    }
}

/// Whether a fault says that the host, or the way to it, does not work.
fn blames_host(fault: &Fault) -> bool {
    matches!(fault.verdict, Verdict::Retry { .. })
}

/// Whether a URL leads to this host and port.
fn is_at(url: &Url, pair: &Pair) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.') == pair.host && url.port_or_known_default() == Some(pair.port)
}

/// Whether a status shows that the server has taken the credentials, and not answered before it looked at them.
fn is_acceptance(status: u16) -> bool {
    is_success(status) || status == 304
}

impl Client {
    /// Reads a URL; see [`Endpoint::url`].
    pub(super) fn url(&self, text: &str) -> Result<Url, String> {
        let url = match (Url::parse(text), &self.settings.base) {
            (Ok(url), _) => url,
            (Err(url::ParseError::RelativeUrlWithoutBase), Some(base)) => appended(base, text)?,
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
fn appended(base: &Url, text: &str) -> Result<Url, String> {
    let mut joined = base.as_str().trim_end_matches('/').to_owned();
    if !text.is_empty() && !text.starts_with(['/', '?', '#']) {
        joined.push('/');
    }
    joined.push_str(text);
    Url::parse(&joined).map_err(|error| format!("`{}` cannot be appended to `{base}`: {error}", masked(text)))
}

/// A text that is no URL, without the parts that may hold a secret.
fn masked(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    match text[..end].rsplit_once('@') {
        Some((_, after)) => format!("…@{after}"),
        None => text[..end].to_owned(),
    }
}
