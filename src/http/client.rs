//! The clients of a config, and the endpoints through which components use them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::AsyncBufReadExt;
use http::HeaderValue;
use http::header::{ACCEPT, CONTENT_LENGTH, USER_AGENT};
use hyper_util::client::legacy;
use surf::http::Body;
use url::Url;

use super::Meter;
use super::admission::Admission;
use super::auth::Sign;
use super::connector::{Connector, Reach};
use super::decode::Decode;
use super::failure::{Failure, root_cause};
use super::io::{Executor, Timer};
use super::redirect::{FinalUrl, FollowRedirects};
use super::request::{Request, Response, host_of};
use super::resolver::Resolver;
use super::route::{Route, written_pair};
use super::settings::{ClientSettings, EndpointSettings};
use super::tls::Tls;
use super::transport::{Exchange, Head, Pool, Transport, too_large};
use super::trust::{Allow, Pair};
use crate::expr::Template;
use crate::model::{Fault, FaultKind, Text};
use crate::runtime::{self, Clock};

const OWN_NAME: &str = concat!("gatherd/", env!("CARGO_PKG_VERSION"));

/// How long a connection waits for its next request.
const IDLE: Duration = Duration::from_secs(30);

/// When nothing comes over an HTTP/2 connection for this long while requests are on their way, it is asked for a sign
/// of life; and how long that may take. Else one dead connection would take all requests to its host with it.
const PING_AFTER: Duration = Duration::from_secs(15);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// Servers that send more headers than this are not answered to.
const MAX_HEADERS: usize = 256;

/// The named clients of a config, and the default one. A clone shares them.
#[derive(Clone)]
pub struct Clients(Arc<All>);

struct All {
    default: Arc<Client>,
    named: HashMap<String, Arc<Client>>,
    /// The `allow` of `[service]`.
    allow: Allow,
}

impl Default for Clients {
    /// The default client alone.
    fn default() -> Self {
        Self::open(HashMap::new(), Allow::default(), &Clock::system()).expect("only a `ca_file` can be unreadable")
    }
}

impl Clients {
    /// Opens the clients of `[http.NAME]`, by name; `allow` is the one of `[service]`. The fault says which file
    /// cannot be read.
    pub fn open(settings: HashMap<String, ClientSettings>, allow: Allow, clock: &Clock) -> Result<Self, Fault> {
        let resolver = Arc::new(Resolver::new(clock.clone()));
        let open = |settings| Client::open(settings, resolver.clone(), clock.clone()).map(Arc::new);
        let default = open(ClientSettings::default())?;
        let named = settings.into_iter().map(|(name, settings)| Ok((name, open(settings)?)));
        Ok(Self(Arc::new(All { default, named: named.collect::<Result<_, Fault>>()?, allow })))
    }

    /// What one component sends its requests through. `url` is the template of their URL, whose host counts as
    /// written in the config unless a filter gives it.
    pub fn endpoint(&self, settings: &EndpointSettings, url: &Template) -> Endpoint {
        self.endpoint_for(settings, url.prefix(), url.constant().is_some())
    }

    fn endpoint_for(&self, settings: &EndpointSettings, prefix: &str, is_constant: bool) -> Endpoint {
        let all = &self.0;
        // A name that is not there was reported when the config was read.
        let client = settings.via.as_ref().and_then(|name| all.named.get(name)).unwrap_or(&all.default).clone();
        let allow = Allow::joined([&settings.allow, &client.settings.allow, &all.allow]);
        let base = client.settings.base.as_ref();
        let written = written_pair(prefix, is_constant);
        // A template that begins with a path always goes to the base.
        let is_relative = !prefix.is_empty() && !prefix.contains(':') && !prefix.starts_with("//");
        let host = match (&written, base) {
            (Some(pair), _) => Some(pair.host.as_str().into()),
            (None, Some(base)) if is_relative => Some(host_of(base)),
            (None, _) => None,
        };
        let limits = settings.limits.of(client.settings.limits);
        let route = Route {
            limits,
            written: base.and_then(Pair::of).into_iter().chain(written).collect(),
            trusted: client.pool(&Reach::Everywhere, limits.connect),
            checked: client.pool(&Reach::Public(allow.networks().to_vec()), limits.connect),
            allow,
        };
        Endpoint { client, route: Arc::new(route), host }
    }
}

/// One client: surf on top, the connection pools below.
struct Client {
    settings: ClientSettings,
    user_agent: HeaderValue,
    surf: surf::Client,
    admission: Arc<Admission>,
    resolver: Arc<Resolver>,
    tls: Arc<Tls>,
    clock: Clock,
    /// One for each reach and time limit for connecting, so that a connection serves only requests that could
    /// have made it.
    pools: Mutex<HashMap<(Reach, Duration), Pool>>,
}

impl Client {
    fn open(settings: ClientSettings, resolver: Arc<Resolver>, clock: Clock) -> Result<Self, Fault> {
        let tls = Arc::new(Tls::new(settings.ca_file.as_deref(), settings.http2)?);
        let mut surf = surf::Client::with_http_client(Transport { clock: clock.clone() }).with(FollowRedirects);
        if let (Some(auth), Some(base)) = (&settings.auth, &settings.base) {
            surf = surf.with(Sign::new(auth, base));
        }
        let surf = surf.with(Decode);
        let admission = Arc::new(Admission::new(settings.per_host, settings.rate));
        let user_agent = settings.user_agent.clone().unwrap_or(HeaderValue::from_static(OWN_NAME));
        Ok(Self { settings, user_agent, surf, admission, resolver, tls, clock, pools: Mutex::default() })
    }

    fn pool(&self, reach: &Reach, limit: Duration) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let connector = Connector {
                resolver: self.resolver.clone(),
                tls: self.tls.clone(),
                clock: self.clock.clone(),
                reach: reach.clone(),
                limit,
            };
            legacy::Client::builder(Executor)
                .timer(Timer(self.clock.clone()))
                .pool_timer(Timer(self.clock.clone()))
                .pool_idle_timeout(IDLE)
                .http1_max_headers(MAX_HEADERS)
                .http2_keep_alive_interval(PING_AFTER)
                .http2_keep_alive_timeout(PING_ANSWER)
                .build(connector)
        };
        pools.entry((reach.clone(), limit)).or_insert_with(make).clone()
    }
}

/// A client as one component uses it. A clone shares it.
#[derive(Clone)]
pub struct Endpoint {
    client: Arc<Client>,
    route: Arc<Route>,
    host: Option<Text>,
}

impl Endpoint {
    /// The host that every request goes to, if the URL's template alone says so.
    pub fn host(&self) -> Option<&Text> {
        self.host.as_ref()
    }

    /// Reads a rendered URL. One without a host is appended to the client's base. The error says what is wrong.
    pub fn url(&self, text: &str) -> Result<Url, String> {
        let url = match (Url::parse(text), &self.client.settings.base) {
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

    /// Sends a request and reads the reply, whatever its status. Answers at once with
    /// [`crate::model::Verdict::NotBefore`] if the client's rate or the host's slots are used up.
    pub async fn send(&self, request: Request, meter: &Meter) -> Result<Response, Fault> {
        let clock = &self.client.clock;
        let started = clock.instant();
        let (method, url) = (request.method, request.url.clone());
        let Some(pair) = Pair::of(&url) else {
            return Err(Failure::reject(FaultKind::Request, "it names no host").of(method, &url));
        };
        let _permit = self.client.admission.admit(&pair, started)?;
        let limit = self.route.limits.whole;
        let late = || Failure::timeout("the reply was not whole", limit);

        let sent = clock.timeout(limit, self.head(request)).await;
        let mut response = sent.unwrap_or_else(|| Err(late())).map_err(|failure| failure.of(method, &url))?;
        let fetched_at = clock.timestamp();
        let body = response.take_body();
        let mut response: surf::http::Response = response.into();
        let head: Head = response.ext_mut().remove().expect("every response comes from the transport, which sets it");
        let FinalUrl(last_url) = response.ext_mut().remove().expect("the redirects' middleware sets it");

        let body = self.body(body, &head, started + limit, meter).await;
        Ok(Response {
            url: last_url,
            status: head.status,
            headers: head.headers,
            fetched_at,
            elapsed: clock.instant() - started,
            body: body.map_err(|failure| failure.of(method, &url)),
        })
    }

    /// Sends a request through surf, up to the end of the reply's head.
    async fn head(&self, request: Request) -> Result<surf::Response, Failure> {
        let Request { method, url, mut headers, body, keeps_body } = request;
        if self.is_own(&url) {
            for (name, value) in &self.client.settings.headers {
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.entry(USER_AGENT).or_insert_with(|| self.client.user_agent.clone());
        let route = self.route.clone();
        let exchange = Exchange { route, method, headers: Arc::new(headers), body, keeps_body, strayed: false };
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

    async fn body(&self, body: Body, head: &Head, deadline: Instant, meter: &Meter) -> Result<Bytes, Failure> {
        let limits = &self.route.limits;
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if body.is_empty() == Some(true) {
            return Ok(Bytes::new());
        }
        if announced.is_some_and(|announced: u64| announced > limits.max_body.0) {
            return Err(too_large(limits.max_body));
        }
        let clock = &self.client.clock;
        let waited = Waited::new(clock.clone());
        let mut read = std::pin::pin!(self.read(body, announced.unwrap_or(0), meter, &waited));
        let mut excused = Duration::ZERO;
        loop {
            let left = (deadline + excused).saturating_duration_since(clock.instant());
            if let Some(read) = clock.timeout(left, read.as_mut()).await {
                return read;
            }
            // Waiting for room in memory is no fault of the server.
            let total = waited.total();
            if total == excused {
                return Err(Failure::timeout("the reply was not whole", limits.whole));
            }
            excused = total;
        }
    }

    /// Reads a body to its end, slice by slice.
    async fn read(&self, mut body: Body, announced: u64, meter: &Meter, waited: &Waited) -> Result<Bytes, Failure> {
        /// So much is read before other tasks get a turn.
        const TURN: usize = 256 << 10;
        /// The first room that is made, if the server does not announce less.
        const FIRST_ROOM: usize = 64 << 10;

        let limit = self.route.limits.max_body;
        let mut bytes = Vec::new();
        let mut turn = 0;
        loop {
            let slice = body.fill_buf().await.map_err(|error| broken(&error))?;
            if slice.is_empty() {
                return Ok(bytes.into());
            }
            let length = slice.len();
            if (bytes.len() + length) as u64 > limit.0 {
                return Err(too_large(limit));
            }
            let missing = (bytes.len() + length).saturating_sub(bytes.capacity());
            if missing > 0 {
                // Doubling keeps copies few; the announced length makes none necessary for most bodies.
                let announced = usize::try_from(announced).unwrap_or(usize::MAX).min(FIRST_ROOM);
                let room = missing.max(bytes.capacity()).max(announced).min(limit.bytes());
                waited.during(meter.grow(room)).await;
                bytes.reserve_exact(room);
            }
            bytes.extend_from_slice(slice);
            body.consume(length);
            turn += length;
            if turn >= TURN {
                turn = 0;
                runtime::yield_now().await;
            }
        }
    }
}

/// How long a reply has waited for room in memory.
struct Waited {
    clock: Clock,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    ended: Duration,
    since: Option<Instant>,
}

impl Waited {
    fn new(clock: Clock) -> Self {
        Self { clock, past: Mutex::default() }
    }

    fn total(&self) -> Duration {
        let past = self.past();
        past.ended + past.since.map_or(Duration::ZERO, |since| self.clock.instant() - since)
    }

    async fn during(&self, wait: impl Future<Output = ()>) {
        self.past().since = Some(self.clock.instant());
        wait.await;
        let total = self.total();
        *self.past() = Past { ended: total, since: None };
    }

    /// Whole even if a holder panicked: each change is one assignment.
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Why a body cannot be read to its end.
fn broken(error: &std::io::Error) -> Failure {
    if let Some(failure) = Failure::inside(error) {
        return failure.clone();
    }
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Failure::retry(FaultKind::Body, "the compressed body was cut short"),
        _ => Failure::reject(FaultKind::Body, format!("the body cannot be expanded: {}", root_cause(error))),
    }
}
