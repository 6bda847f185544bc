//! The clients of a config.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::admission::{Admission, Caller, Condition};
use super::auth::{AuthSettings, Credentials, Sign};
use super::connector::{Connector, Reach};
use super::cookies::{Cookies, KeepCookies};
use super::decode;
use super::endpoint::Endpoint;
use super::envelopes::Envelopes;
use super::pool::Pool;
use super::proxy::Proxies;
use super::resolver::Resolver;
use super::robots::Robots;
use super::route::{Route, written_pair};
use super::servers::Servers;
use super::settings::{ClientSettings, EndpointSettings, Limits};
use super::tls::Tls;
use super::transport::Transport;
use super::trust::{Allow, Pair};
use super::wire::Wire;
use crate::expr::Template;
use crate::model::{Fault, Text};
use crate::runtime::{self, Clock};
use crate::store::Store;

const OWN_NAME: &str = concat!("gatherd/", env!("CARGO_PKG_VERSION"));

/// The named clients of a config, and the default one. A clone shares them.
#[derive(Clone)]
pub struct Clients(Arc<All>);

struct All {
    default: Arc<Client>,
    named: HashMap<String, Arc<Client>>,
    /// The `allow` of `[service]`.
    allow: Allow,
    store: Arc<OnceLock<Store>>,
}

impl Default for Clients {
    /// The default client alone.
    fn default() -> Self {
        Self::open(HashMap::new(), Allow::default(), &Clock::system()).expect("only a `ca_file` can be unreadable")
    }
}

impl Clients {
    /// Opens the clients of `[http.NAME]`, by name, and the default client, whose name is empty; `allow` is the one of
    /// `[service]`. The fault says which file cannot be read, or which variable of the environment is no proxy.
    pub fn open(settings: HashMap<String, ClientSettings>, allow: Allow, clock: &Clock) -> Result<Self, Fault> {
        Self::open_over(&Wire::Network, settings, allow, clock)
    }

    /// [`Clients::open`], with something else in place of the network.
    pub fn open_over(
        wire: &Wire,
        mut settings: HashMap<String, ClientSettings>,
        allow: Allow,
        clock: &Clock,
    ) -> Result<Self, Fault> {
        let resolver = Arc::new(Resolver::new(clock.clone()));
        let store = Arc::new(OnceLock::new());
        let shared = Shared { resolver, store: store.clone(), clock: clock.clone(), wire: wire.clone() };
        let open = |name: &str, settings| Client::open(name.into(), settings, shared.clone()).map(Arc::new);
        let default = open("", settings.remove("").unwrap_or_default())?;
        let named = settings.into_iter().map(|(name, settings)| Ok((name.clone(), open(&name, settings)?)));
        let named = named.collect::<Result<_, Fault>>()?;
        Ok(Self(Arc::new(All { default, named, allow, store })))
    }

    /// Where the clients keep what must outlive the process. Without it, nothing does.
    pub fn use_store(&self, store: &Store) {
        // Only the first one counts; there is one store a process.
        let _ = self.0.store.set(store.clone());
    }

    /// Reads certificates, keys and tokens in files again. What cannot be read now is logged, and stays as it was.
    pub async fn reload_files(&self) {
        for client in self.0.named.values().chain([&self.0.default]) {
            let tls = client.tls.clone();
            let reloaded = runtime::blocking(move || tls.reload()).await;
            if let Ok(Err(fault)) = reloaded {
                log::error!(client = &*client.name, fault:% = fault; "files of a client stay as they were read before");
            }
            if let Some(credentials) = &client.credentials {
                credentials.look_again();
            }
        }
    }

    /// What keeps clients from working that only a person can change, one sentence each, in order of their names.
    pub fn conditions(&self) -> Vec<String> {
        self.states().into_iter().filter_map(|(_, condition)| condition).collect()
    }

    /// The hosts that take nothing at the moment, by client.
    pub fn host_conditions(&self) -> Vec<Condition> {
        let named = self.0.named.iter().map(|(name, client)| (Some(name.as_str()), client));
        let clients = std::iter::once((None, &self.0.default)).chain(named);
        clients.flat_map(|(name, client)| client.admission.conditions(name, client.clock.instant())).collect()
    }

    /// The clients of another config. Those that are in both go on, with their connections and all that they know of
    /// their hosts; so does the default one.
    pub fn changed(&self, settings: HashMap<String, ClientSettings>) -> Result<Self, Fault> {
        let All { default, named, allow, store } = &*self.0;
        let open = |(name, settings): (String, ClientSettings)| {
            let same = named.get(&name).filter(|client| client.settings.fingerprint == settings.fingerprint);
            let client = match same {
                Some(client) => client.clone(),
                None => {
                    let (resolver, clock) = (default.resolver.clone(), default.clock.clone());
                    let shared = Shared { resolver, store: store.clone(), clock, wire: default.wire.clone() };
                    Arc::new(Client::open(name.as_str().into(), settings, shared)?)
                }
            };
            Ok((name, client))
        };
        let named = settings.into_iter().map(open).collect::<Result<_, Fault>>()?;
        Ok(Self(Arc::new(All { default: default.clone(), named, allow: allow.clone(), store: store.clone() })))
    }

    /// The named clients in order of their names, each with its condition as [`Self::conditions`] has it.
    pub fn states(&self) -> Vec<(String, Option<String>)> {
        let named = self.0.named.iter().map(|(name, client)| (name.clone(), client.condition()));
        let mut states: Vec<_> = named.collect();
        states.sort_unstable();
        states
    }

    /// What one component sends its requests through. `url` is the template of their URL, whose host counts as
    /// written in the config unless a filter gives it.
    pub fn endpoint(&self, settings: &EndpointSettings, url: &Template) -> Endpoint {
        let all = &self.0;
        let prefix = url.prefix();
        // A name that is not there was reported when the config was read.
        let client = settings.via.as_ref().and_then(|name| all.named.get(name)).unwrap_or(&all.default).clone();
        let allow = Allow::joined([&settings.allow, &client.settings.allow, &all.allow]);
        let base = client.settings.base.as_ref();
        let written = written_pair(prefix, url.constant().is_some());
        // A template that begins with a path always goes to the base.
        let is_relative = !prefix.is_empty() && !prefix.contains(':') && !prefix.starts_with("//");
        let host = match (&written, base) {
            (Some(pair), _) => Some(pair.server()),
            (None, Some(base)) if is_relative => client.servers.of(base).map(|server| server.name.clone()),
            (None, _) => None,
        };
        let limits = settings.limits.of(client.settings.limits);
        let robots = settings.robots.unwrap_or(client.settings.robots) && settings.caller == Caller::Step;
        let route = client.route(limits, base.and_then(Pair::of).into_iter().chain(written).collect(), allow);
        Endpoint { client, route: Arc::new(route), host, judges: false, caller: settings.caller, robots }
    }
}

/// One client: surf on top, the connection pools below.
pub(super) struct Client {
    /// Empty for the default one.
    pub name: Text,
    pub settings: ClientSettings,
    /// What requests carry beside their own headers: those to the client's own origin, and all others.
    own_headers: Arc<HeaderMap>,
    common_headers: Arc<HeaderMap>,
    user_agent: HeaderValue,
    pub surf: surf::Client,
    pub wire: Wire,
    pub admission: Arc<Admission>,
    credentials: Option<Arc<Credentials>>,
    pub cookies: Option<Arc<Cookies>>,
    pub store: Arc<OnceLock<Store>>,
    resolver: Arc<Resolver>,
    tls: Arc<Tls>,
    proxies: Proxies,
    pub robots: Robots,
    pub servers: Servers,
    pub envelopes: Arc<Envelopes>,
    pub clock: Clock,
    /// One for each reach and time limit for connecting, so that a connection serves only requests that could
    /// have made it.
    pools: Mutex<HashMap<(Reach, Duration), Pool>>,
}

/// These headers and those of `others` whose names they have not, and then those that every request has.
fn completed(mut headers: HeaderMap, others: &[(HeaderName, HeaderValue)], user_agent: &HeaderValue) -> HeaderMap {
    for (name, value) in others {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.entry(USER_AGENT).or_insert_with(|| user_agent.clone());
    // The ranges of a compressed reply would be parts of something that cannot be expanded.
    if !headers.contains_key(RANGE) {
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static(decode::CODINGS));
    }
    headers
}

/// What all clients share.
#[derive(Clone)]
struct Shared {
    resolver: Arc<Resolver>,
    store: Arc<OnceLock<Store>>,
    clock: Clock,
    wire: Wire,
}

impl Client {
    fn open(name: Text, settings: ClientSettings, shared: Shared) -> Result<Self, Fault> {
        let Shared { resolver, store, clock, wire } = shared;
        let tls = Arc::new(Tls::new(settings.tls.clone(), settings.http2)?);
        let envelopes = Arc::<Envelopes>::default();
        let mut surf = surf::Client::with_http_client(Transport { wire: wire.clone(), envelopes: envelopes.clone() });
        let user_agent = settings.user_agent.clone().unwrap_or(HeaderValue::from_static(OWN_NAME));
        let common_headers = Arc::new(completed(HeaderMap::new(), &[], &user_agent));
        let own_headers = Arc::new(completed(HeaderMap::new(), &settings.headers, &user_agent));
        let credentials = settings.auth.as_ref().zip(settings.base.as_ref());
        let credentials = credentials.map(|(auth, base)| {
            Arc::new(Credentials::new(name.clone(), auth, base, own_headers.clone(), clock.clone()))
        });
        if let Some(credentials) = &credentials {
            surf = surf.with(Sign { credentials: credentials.clone(), envelopes: envelopes.clone() });
        }
        let keeps_cookies = settings.cookies || settings.auth.as_ref().is_some_and(AuthSettings::uses_cookies);
        let cookies = keeps_cookies.then(Arc::<Cookies>::default);
        if let Some(cookies) = &cookies {
            surf = surf.with(KeepCookies(cookies.clone()));
        }
        let admission = Arc::new(Admission::new(settings.courtesy));
        let proxies = Proxies::of(&settings.proxy, &settings.no_proxy)?;
        let robots = Robots::new(&user_agent);
        let pools = Mutex::default();
        Ok(Self {
            name,
            settings,
            own_headers,
            common_headers,
            user_agent,
            surf,
            wire,
            admission,
            credentials,
            cookies,
            store,
            resolver,
            tls,
            proxies,
            robots,
            servers: Servers::default(),
            envelopes,
            clock,
            pools,
        })
    }

    /// A request's own headers and those of the client; `is_own` says whether it goes to the client's own origin.
    pub(super) fn headers(&self, own: HeaderMap, is_own: bool) -> Arc<HeaderMap> {
        match (own.is_empty(), is_own) {
            (true, true) => self.own_headers.clone(),
            (true, false) => self.common_headers.clone(),
            (false, true) => Arc::new(completed(own, &self.settings.headers, &self.user_agent)),
            (false, false) => Arc::new(completed(own, &[], &self.user_agent)),
        }
    }

    /// What requests to this URL are signed with.
    pub(super) fn credentials_for(&self, url: &Url) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref().filter(|credentials| credentials.belong_to(url))
    }

    pub(super) fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    fn condition(&self) -> Option<String> {
        self.credentials.as_ref()?.condition()
    }

    /// What requests have in common that may go to the hosts in `written`, and elsewhere as `allow` says.
    pub(super) fn route(&self, limits: Limits, written: Vec<Pair>, allow: Allow) -> Route {
        let trusted = self.pool(&Reach::Everywhere, limits.connect);
        let checked = self.pool(&Reach::Public(allow.networks().to_vec()), limits.connect);
        Route { limits, written, allow, trusted, checked }
    }

    fn pool(&self, reach: &Reach, limit: Duration) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let connector = Connector {
                resolver: self.resolver.clone(),
                tls: self.tls.clone(),
                clock: self.clock.clone(),
                proxies: self.proxies.clone(),
                reach: reach.clone(),
                limit,
                own: self.settings.base.as_ref().and_then(Pair::of),
            };
            Pool::new(connector)
        };
        pools.entry((reach.clone(), limit)).or_insert_with(make).clone()
    }
}
