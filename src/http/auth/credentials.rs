//! The state machine of a named client's credentials.
//!
//! ```text
//!            ticket                        reply
//! request ─────────► signed, sent ─────────────────► accepted: all is well
//!    ▲                                          └──► refused: one new token for all that wait, and the request is
//!    │                                               sent again; refused once more: the client is held back
//!    └── not before T: a token is on its way, cannot be had, or the server refuses what there is
//! ```
//!
//! Nobody waits in here. A new token comes in a task of its own, and whoever needs it learns when to come again.
//! A reply that refuses one request, while others with the same credentials are accepted, is that request's own.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use url::Url;

use super::AuthSettings;
use super::desk::Desk;
use super::outgoing::Outgoing;
use super::scheme::{Denial, Scheme, Token};
use crate::expr::{Filter, Fuel, Scope};
use crate::http::client::Client;
use crate::http::content::{ReadAs, value_of};
use crate::http::endpoint::has_same_origin;
use crate::http::failure::Failure;
use crate::http::request::{Request, Response};
use crate::http::transport::Exchange;
use crate::model::{Fault, FaultKind, Labels, Text, Value, Verdict};
use crate::runtime::{self, Clock};

/// A token is replaced this long before it ends, or after three quarters of its life if that is earlier.
const AHEAD: Duration = Duration::from_secs(60);
/// A token with less than this left is not used any more: it could end on its way.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Whatever its issuer says, a token is good for so long, so that no issuer is asked again and again.
const SHORTEST_LIFE: Duration = Duration::from_millis(250);

/// How soon a request comes again that waits for a token. It doubles while the token does not come.
const SOON: Duration = Duration::from_millis(10);
/// The longest time after which a request that waits looks again whether things have changed. It costs nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The wait after a failure; it doubles with each one that follows.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest where a person has to act.
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

/// How many requests are remembered that were refused.
const REFUSED_REMEMBERED: usize = 1024;

/// Replies beyond this size are not parsed for `refresh_when`.
const LARGE: usize = 256 << 10;

/// What a named client signs with.
pub(in crate::http) struct Credentials {
    client: Text,
    scheme: Arc<dyn Scheme>,
    refresh_when: Option<Filter>,
    /// The one that they belong to, and are sent to alone.
    base: Url,
    clock: Clock,
    state: Mutex<State>,
    own_headers: Arc<HeaderMap>,
    /// These as they were signed last, and by which token.
    signed: Mutex<Option<(Arc<Token>, Arc<HeaderMap>)>>,
}

/// The right to send one signed request.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub(in crate::http) token: Arc<Token>,
    /// Which of the client's tokens it is.
    generation: u64,
    sent_at: Instant,
    /// Stands for the request.
    fingerprint: u64,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    generation: u64,
    /// Since when a new token is on its way.
    awaited: Option<Instant>,
    /// Why there is no new token.
    denied: Option<Trouble>,
    /// Why the server does not take what there is.
    refused: Option<Trouble>,
    /// When the latest request was sent that the server accepted with this generation.
    accepted: Option<Instant>,
    /// The token was made new because the server refused the one before it, and nothing was accepted since.
    is_renewed: bool,
    /// Requests that were refused.
    refusals: HashMap<u64, Refusal>,
}

struct Held {
    token: Arc<Token>,
    /// From when on a new one is to be got.
    renew_at: Option<Instant>,
    ends_at: Option<Instant>,
    is_refused: bool,
}

/// What is remembered of a request that was refused.
struct Refusal {
    /// When it was sent the last time.
    sent_at: Instant,
    /// How often it was refused again, after others had been accepted in the meantime.
    outlived: u32,
}

/// Failures one after the other.
struct Trouble {
    count: u32,
    /// Of the latest.
    since: Instant,
    until: Instant,
    cause: String,
    is_permanent: bool,
    is_told: bool,
}

impl Credentials {
    /// `own_headers` are those that most requests to the client's own origin have.
    pub(in crate::http) fn new(
        client: Text,
        settings: &AuthSettings,
        base: &Url,
        own_headers: Arc<HeaderMap>,
        clock: Clock,
    ) -> Self {
        let AuthSettings { scheme, refresh_when } = settings.clone();
        let mut state = State::default();
        if scheme.issuer().is_none() {
            state.held = Some(Held { token: Arc::default(), renew_at: None, ends_at: None, is_refused: false });
        }
        let (base, state, signed) = (base.clone(), Mutex::new(state), Mutex::default());
        Self { client, scheme, refresh_when, base, clock, state, own_headers, signed }
    }

    /// Whether requests to this URL are signed.
    pub(in crate::http) fn belong_to(&self, url: &Url) -> bool {
        has_same_origin(url, &self.base)
    }

    pub(super) fn sign(&self, request: &mut surf::Request, token: &Arc<Token>) -> Result<(), Failure> {
        let exchange = Exchange::of_mut(request);
        if !self.scheme.signs_alike() || !Arc::ptr_eq(&exchange.headers, &self.own_headers) {
            return self.scheme.sign(&mut Outgoing::new(request, &self.clock), token);
        }
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*signed {
            Some((by, headers)) if Arc::ptr_eq(by, token) => exchange.headers = headers.clone(),
            _ => {
                self.scheme.sign(&mut Outgoing::new(request, &self.clock), token)?;
                *signed = Some((token.clone(), Exchange::of(request).headers.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn scheme(&self) -> &dyn Scheme {
        &*self.scheme
    }

    /// What a request is signed with; or a fault whose verdict says when to come again.
    pub(in crate::http) fn ticket(self: &Arc<Self>, client: &Arc<Client>, request: &Request) -> Result<Ticket, Fault> {
        let now = self.clock.instant();
        let mut state = self.lock();
        if self.needs_token(&state, now) {
            self.send_for_token(&mut state, client, now);
        }
        if let Some(refused) = state.refused.as_ref().filter(|refused| now < refused.until) {
            return Err(self.held_back(refused, now));
        }
        let Some(token) = state.usable(now) else {
            return Err(match &state.denied {
                Some(denied) => self.held_back(denied, now),
                None => self.comes_soon(&state, now),
            });
        };
        if let Some(refused) = &mut state.refused {
            // This request finds out whether the server takes them again; the others wait for what comes of it.
            refused.until = now + refused.pause();
        }
        Ok(Ticket { token, generation: state.generation, sent_at: now, fingerprint: fingerprint(request) })
    }

    /// Learns from a reply whether the server takes the credentials. A fault says when the request is to come again;
    /// without one the reply stands.
    pub(in crate::http) fn judge(
        self: &Arc<Self>,
        client: &Arc<Client>,
        ticket: &Ticket,
        response: &Response,
    ) -> Result<(), Fault> {
        if self.is_refusal(response) { self.refuse(client, ticket) } else { Ok(()) }
    }

    /// The server has accepted a request.
    pub(in crate::http) fn accept(&self, ticket: &Ticket) {
        let mut state = self.lock();
        if ticket.generation != state.generation {
            return;
        }
        state.accepted = state.accepted.max(Some(ticket.sent_at));
        state.is_renewed = false;
        if !state.refusals.is_empty() {
            state.refusals.remove(&ticket.fingerprint);
        }
        if let Some(refused) = state.refused.take().filter(|refused| refused.is_told) {
            log::info!(client = &*self.client, after:? = refused.count; "client is signed in again");
        }
    }

    /// The server has refused a request. A fault says when it is to come again; without one the refusal is the
    /// request's own, since others are accepted.
    pub(in crate::http) fn refuse(self: &Arc<Self>, client: &Arc<Client>, ticket: &Ticket) -> Result<(), Fault> {
        let now = self.clock.instant();
        let has_issuer = self.scheme.issuer().is_some();
        let mut state = self.lock();
        let is_current = ticket.generation == state.generation;
        let is_known = state.refusals.contains_key(&ticket.fingerprint);
        let outlived = state.note_refusal(ticket);
        // The very token was good for a request that was sent no earlier than this one.
        let is_contradicted = is_current && state.accepted >= Some(ticket.sent_at);
        // A token can end at any moment, also one that was just made new for this request: that may happen once.
        let enough = if has_issuer { 2 } else { 1 };
        if outlived >= enough || (is_contradicted && (is_known || !has_issuer)) {
            state.refusals.remove(&ticket.fingerprint);
            return Ok(());
        }
        if has_issuer {
            let is_on_its_way = state.awaited.is_some() && state.held.as_ref().is_some_and(|held| held.is_refused);
            if !is_current || is_on_its_way {
                return Err(self.comes_again(&state, now));
            }
            if let Some(held) = &mut state.held {
                held.is_refused = true;
            }
            if !state.is_renewed {
                state.is_renewed = true;
                self.send_for_token(&mut state, client, now);
                return Err(self.comes_again(&state, now));
            }
        }
        // Requests that were on their way together are refused together.
        let is_late = state.refused.as_ref().is_some_and(|refused| ticket.sent_at < refused.since);
        if !is_late {
            let cause = if has_issuer {
                "the server refuses a token that was just issued"
            } else {
                "the server refuses the credentials"
            };
            // A single request may be refused for reasons of its own, so what never changes is tried twice.
            let tell_from = if has_issuer { 1 } else { 2 };
            state.refused = Some(self.trouble(state.refused.take(), &Denial::permanent(cause), tell_from, now));
        }
        Err(state
            .refused
            .as_ref()
            .map_or_else(|| self.comes_again(&state, now), |refused| self.held_back(refused, now)))
    }

    /// Why the client cannot sign in at the moment, if that is so.
    pub(in crate::http) fn condition(&self) -> Option<String> {
        let state = self.lock();
        let trouble = state.refused.iter().chain(&state.denied).find(|trouble| trouble.is_told)?;
        // One that failed to get its next token in time still has this one.
        let is_held_back = state.refused.is_some() || state.usable(self.clock.instant()).is_none();
        is_held_back.then(|| format!("client {} cannot sign in: {}", self.client, trouble.cause))
    }

    /// What it was given may have changed: a file is read again, and a client that was held back tries at once.
    pub(in crate::http) fn look_again(&self) {
        let now = self.clock.instant();
        let mut state = self.lock();
        if let Some(held) = state.held.as_mut().filter(|held| held.token.look_again.is_some()) {
            held.renew_at = Some(now);
        }
        let State { denied, refused, .. } = &mut *state;
        denied.iter_mut().chain(refused).for_each(|trouble| trouble.until = now);
    }

    fn is_refusal(&self, response: &Response) -> bool {
        let Some(filter) = &self.refresh_when else {
            // What another server thinks of a request that was not signed for it says nothing.
            return response.status == 401 && self.belong_to(&response.url);
        };
        let body = response.body.as_ref().ok().filter(|body| body.len() <= LARGE);
        let read = |read_as| body.and_then(|body| value_of(body.clone(), &response.headers, read_as).ok());
        let value = read(ReadAs::Auto).or_else(|| read(ReadAs::Text)).unwrap_or(Value::Null);
        let labels = Labels::default().with_reply(Arc::new(response.to_reply()));
        let scope = Scope { labels: &labels, window: None, now: self.clock.timestamp(), fuel: Fuel::Inline };
        filter.test(&value, &scope).unwrap_or_else(|error| {
            log::debug!(client = &*self.client, cause:? = error; "`refresh_when` failed on a reply");
            false
        })
    }

    fn needs_token(&self, state: &State, now: Instant) -> bool {
        if self.scheme.issuer().is_none() || state.awaited.is_some() {
            return false;
        }
        let is_over = |trouble: &Option<Trouble>| trouble.as_ref().is_none_or(|trouble| trouble.until <= now);
        let is_due = state.held.as_ref().and_then(|held| held.renew_at).is_some_and(|when| when <= now);
        // While the server refuses what it is given, only what costs nothing is looked at.
        is_over(&state.denied) && (is_due || (state.usable(now).is_none() && is_over(&state.refused)))
    }

    /// Starts the task that gets a new token, unless one is on its way.
    fn send_for_token(self: &Arc<Self>, state: &mut State, client: &Arc<Client>, now: Instant) {
        if state.awaited.is_some() {
            return;
        }
        state.awaited = Some(now);
        let (own, client) = (self.clone(), client.clone());
        drop(runtime::spawn(async move {
            let issued = runtime::catch_panic(own.issue(&client)).await;
            let issued = issued.unwrap_or_else(|panic| Err(Denial::for_now(format!("its code panicked: {}", panic.0))));
            own.issued(issued);
        }));
    }

    async fn issue(&self, client: &Arc<Client>) -> Result<Token, Denial> {
        match self.scheme.issuer() {
            Some(issuer) => issuer.issue(&Desk { client }).await,
            None => Ok(Token::default()),
        }
    }

    fn issued(&self, issued: Result<Token, Denial>) {
        let now = self.clock.instant();
        let mut state = self.lock();
        state.awaited = None;
        match issued {
            Err(denial) => {
                let had_another = state.usable(now).is_some();
                // As long as there is another, nobody need know.
                let tell_from = if had_another { u32::MAX } else { 1 };
                state.denied = Some(self.trouble(state.denied.take(), &denial, tell_from, now));
            }
            Ok(token) => {
                if let Some(denied) = state.denied.take().filter(|denied| denied.is_told) {
                    log::info!(client = &*self.client, after:? = denied.count; "client can sign in again");
                }
                // A new session ends the one before it, so that one is used to its end.
                let is_ahead = !self.scheme.uses_cookies();
                state.take(token, is_ahead, now);
            }
        }
    }

    /// The trouble that one more failure makes. It is told once: when it begins, and when it turns out that a person
    /// has to act.
    fn trouble(&self, before: Option<Trouble>, denial: &Denial, tell_from: u32, now: Instant) -> Trouble {
        let Denial { cause, is_permanent, not_before } = denial.clone();
        let was_told = before.as_ref().is_some_and(|before| before.is_told && before.is_permanent == is_permanent);
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let mut trouble = Trouble { count, since: now, until: now, cause, is_permanent, is_told: was_told };
        trouble.until = (now + trouble.pause()).max(not_before.unwrap_or(now));
        if !was_told && count >= tell_from {
            trouble.is_told = true;
            let cause = &*trouble.cause;
            if is_permanent {
                log::error!(client = &*self.client, cause = cause; "client cannot sign in; its requests wait, and it \
                    tries again slowly");
            } else {
                log::warn!(client = &*self.client, cause = cause; "client cannot sign in for now; its requests wait");
            }
        }
        trouble
    }

    fn held_back(&self, trouble: &Trouble, now: Instant) -> Fault {
        let until = trouble.until.max(now + SOON).min(now + LOOK_AGAIN);
        let message = format!("the client `{}` cannot sign in: {}", self.client, trouble.cause);
        Fault::new(FaultKind::Auth, Verdict::NotBefore(until), message)
    }

    /// For a request that was refused: others go before it, since it may be alone in that.
    fn comes_again(&self, state: &State, now: Instant) -> Fault {
        Fault { kind: FaultKind::Auth, ..self.comes_soon(state, now) }
    }

    /// For a request that cannot be signed yet.
    fn comes_soon(&self, state: &State, now: Instant) -> Fault {
        let waited = state.awaited.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let message = format!("the client `{}` is signing in", self.client);
        Fault::not_before(now + waited.clamp(SOON, LOOK_AGAIN), message)
    }

    /// The state stays whole even if a holder panicked: what a panic leaves behind is at worst one try more.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The token to sign with, if there is one that is good.
    fn usable(&self, now: Instant) -> Option<Arc<Token>> {
        let held = self.held.as_ref()?;
        let is_over = held.ends_at.is_some_and(|end| end <= now);
        (!held.is_refused && !is_over).then(|| held.token.clone())
    }

    fn take(&mut self, token: Token, is_ahead: bool, now: Instant) {
        let is_same = self.held.as_ref().is_some_and(|held| held.token.text == token.text);
        if !is_same {
            self.generation += 1;
            self.accepted = None;
            // What was refused was another one.
            if let Some(refused) = &mut self.refused {
                refused.until = now;
            }
        }
        let lifetime = token.lifetime.map(|lifetime| lifetime.max(SHORTEST_LIFE));
        let ahead = lifetime.filter(|_| is_ahead).map(|lifetime| lifetime - AHEAD.min(lifetime / 4));
        self.held = Some(Held {
            renew_at: token.look_again.or(ahead).map(|delay| now + delay),
            ends_at: lifetime.map(|lifetime| now + (lifetime - LAST_MOMENT.min(lifetime / 10))),
            token: Arc::new(token),
            is_refused: false,
        });
    }

    /// Answers how often a request was refused again, after others had been accepted in the meantime.
    fn note_refusal(&mut self, ticket: &Ticket) -> u32 {
        if self.refusals.len() >= REFUSED_REMEMBERED {
            self.refusals.clear();
        }
        let first = Refusal { sent_at: ticket.sent_at, outlived: 0 };
        let Some(known) = self.refusals.get_mut(&ticket.fingerprint) else {
            self.refusals.insert(ticket.fingerprint, first);
            return 0;
        };
        let outlived = known.outlived + u32::from(self.accepted > Some(known.sent_at));
        *known = Refusal { outlived, ..first };
        outlived
    }
}

impl Trouble {
    /// The wait that follows, somewhat longer or shorter by chance so that many clients do not come together.
    fn pause(&self) -> Duration {
        let longest = if self.is_permanent { LONGEST_REFUSAL } else { LONGEST_WAIT };
        let wait = FIRST_WAIT.saturating_mul(1 << (self.count - 1).min(16)).min(longest);
        wait.mul_f64(0.75 + fastrand::f64() / 2.0)
    }
}

/// Stands for a request: the same one has the same.
fn fingerprint(request: &Request) -> u64 {
    // Of this process alone.
    static HASH: std::sync::LazyLock<foldhash::fast::RandomState> = std::sync::LazyLock::new(Default::default);
    let mut hasher = HASH.build_hasher();
    request.method.as_ref().hash(&mut hasher);
    request.url.as_str().hash(&mut hasher);
    request.body.hash(&mut hasher);
    hasher.finish()
}
