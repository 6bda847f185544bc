//! What is to be known from outside about a host that takes nothing at the moment.

use std::time::{Duration, Instant};

use super::host::{Host, PausedBy};
use crate::http::trust::Pair;

/// A host that takes nothing at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The `[http.NAME]`; nothing for the default client.
    pub client: Option<String>,
    pub host: String,
    pub port: u16,
    pub state: State,
    /// How long it will take nothing. Zero while a probe is under way.
    pub wait: Duration,
}

/// Why a host takes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It has failed so many times in a row: the breaker is open.
    Down { failures: u32, cause: String },
    /// It has asked for a pause, or nothing is left of what it allows.
    Asked,
    /// A rule of `on` has paused it.
    Paused,
}

impl Condition {
    pub(super) fn of(client: Option<&str>, pair: &Pair, host: &Host, now: Instant) -> Option<Self> {
        let breaker = host.breaker();
        let (state, until) = match (breaker.open_until(now), host.paused_until(now)) {
            (Some(until), _) => {
                (State::Down { failures: breaker.failures(), cause: breaker.cause().to_owned() }, until)
            }
            (None, Some((until, PausedBy::Host))) => (State::Asked, until),
            (None, Some((until, PausedBy::Rule))) => (State::Paused, until),
            (None, None) => return None,
        };
        let client = client.map(str::to_owned);
        let wait = until.saturating_duration_since(now);
        Some(Self { client, host: pair.host.to_string(), port: pair.port, state, wait })
    }
}
