//! An API that gives out tokens, takes them back, and counts.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::server::{Connection, Seen, Server, json, reply};

/// A server with a token end point at `/token` and `/login`, and items at `/items/N`, which it hands out for a good
/// token alone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Tokens that are good, and until when.
    tokens: HashMap<String, Option<Instant>>,
    issued: usize,
    served: usize,
    refused: usize,
    lifetime: Option<Duration>,
    /// What the token end point answers in place of a token.
    denial: Option<Vec<u8>>,
    /// Paths that are refused whatever the token.
    forbidden: Vec<String>,
    /// What is answered to a bad token.
    refusal: Vec<u8>,
    /// What is answered to the next requests for items that have a good token.
    next: Vec<Vec<u8>>,
    /// How long the token end point takes.
    delay: Duration,
}

impl Api {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            tokens: HashMap::new(),
            issued: 0,
            served: 0,
            refused: 0,
            lifetime: Some(Duration::from_secs(3600)),
            denial: None,
            forbidden: Vec::new(),
            refusal: reply("401 Unauthorized", &[], "who are you?"),
            next: Vec::new(),
            delay: Duration::ZERO,
        }));
        let own = state.clone();
        let server = Server::start(move |seen, connection| answer(&own, seen, connection));
        Self { server, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// How many tokens it has given out.
    pub(crate) fn issued(&self) -> usize {
        self.state.lock().unwrap().issued
    }

    /// How many items it has handed out.
    pub(crate) fn served(&self) -> usize {
        self.state.lock().unwrap().served
    }

    /// How many requests had a bad token.
    pub(crate) fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }

    /// How often the token end point was asked.
    pub(crate) fn asked(&self) -> usize {
        self.server.seen().iter().filter(|seen| seen.target == "/token" || seen.target == "/login").count()
    }

    pub(crate) fn set_lifetime(&self, lifetime: Option<Duration>) {
        self.state.lock().unwrap().lifetime = lifetime;
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Takes all tokens back.
    pub(crate) fn revoke(&self) {
        self.state.lock().unwrap().tokens.clear();
    }

    /// From now on the token end point answers this, or gives out tokens again.
    pub(crate) fn deny(&self, denial: Option<Vec<u8>>) {
        self.state.lock().unwrap().denial = denial;
    }

    pub(crate) fn forbid(&self, path: &str) {
        self.state.lock().unwrap().forbidden.push(path.to_owned());
    }

    pub(crate) fn allow_all(&self) {
        self.state.lock().unwrap().forbidden.clear();
    }

    pub(crate) fn refuse_with(&self, refusal: Vec<u8>) {
        self.state.lock().unwrap().refusal = refusal;
    }

    pub(crate) fn answer_next(&self, replies: Vec<Vec<u8>>) {
        self.state.lock().unwrap().next = replies;
    }
}

fn answer(state: &Mutex<State>, seen: &Seen, connection: &mut dyn Connection) -> io::Result<()> {
    if seen.target == "/token" || seen.target == "/login" {
        let delay = state.lock().unwrap().delay;
        std::thread::sleep(delay);
        return connection.write_all(&give_token(&mut state.lock().unwrap(), seen));
    }
    connection.write_all(&hand_out(&mut state.lock().unwrap(), seen))
}

fn give_token(state: &mut State, seen: &Seen) -> Vec<u8> {
    if let Some(denial) = &state.denial {
        return denial.clone();
    }
    state.issued += 1;
    let token = format!("issued-token-{}", state.issued);
    state.tokens.insert(token.clone(), state.lifetime.map(|lifetime| Instant::now() + lifetime));
    if seen.target == "/login" {
        return reply("302 Found", &["location: /", &format!("set-cookie: sid={token}; Path=/; HttpOnly")], "");
    }
    let expires = state.lifetime.map(|lifetime| format!(r#", "expires_in": {}"#, lifetime.as_secs_f64()));
    json(&format!(r#"{{"access_token": "{token}", "token_type": "bearer"{}}}"#, expires.unwrap_or_default()))
}

fn hand_out(state: &mut State, seen: &Seen) -> Vec<u8> {
    let bearer = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let cookie = seen.header("cookie").and_then(|value| value.strip_prefix("sid="));
    let token = bearer.or(cookie).unwrap_or_default();
    let is_good = state.tokens.get(token).is_some_and(|until| until.is_none_or(|until| until > Instant::now()));
    if !is_good || state.forbidden.iter().any(|path| *path == seen.target || path == "*") {
        state.refused += 1;
        return state.refusal.clone();
    }
    if !state.next.is_empty() {
        return state.next.remove(0);
    }
    state.served += 1;
    json(&format!(r#"{{"path": "{}", "token": "{token}"}}"#, seen.target))
}

/// A client called `api` that gets its tokens from this server.
pub(crate) fn client(api: &Api, more: &str) -> String {
    format!(
        r#"
        [http.api]
        base = "{}"
        auth = {{ oauth2 = {{ token_url = "/token", id = "me", secret = "secret-of-me" }} }}
        {more}
        "#,
        api.url("")
    )
}

/// A client called `api` that logs in for a cookie.
pub(crate) fn login_client(api: &Api) -> String {
    format!(
        r#"
        [http.api]
        base = "{}"
        auth = {{ login = {{ url = "/login", form = {{ user = "me", password = "password-of-me" }}, cookie = true }} }}
        "#,
        api.url("")
    )
}

/// A pipeline that gets `/items/1` to `/items/COUNT`.
pub(crate) fn items(count: usize, step_more: &str) -> String {
    format!(
        r#"
        [pipeline.items]
        from  = {{ items = {{ range = [1, {count}] }} }}
        steps = [{{ get = {{ via = "api", url = "/items/{{.}}" }}{step_more} }}, {{ map = ".path" }}]
        to    = [{{ file = "out.ndjson" }}]
        "#
    )
}
