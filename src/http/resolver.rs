//! Host names to addresses, with a short memory.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::runtime::{Clock, ToSocketAddrs};

/// How long an answer is used again. Short, since the system's resolver does not tell how long it holds.
const KEPT: Duration = Duration::from_secs(30);

/// How many answers are kept at most.
const CAPACITY: usize = 10_000;

/// The system's resolver behind a cache.
pub(super) struct Resolver {
    clock: Clock,
    answers: Mutex<HashMap<String, Answer>>,
}

#[derive(Clone)]
struct Answer {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Resolver {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, answers: Mutex::default() }
    }

    /// The addresses of `host`, which may be an address itself, in the order in which the system gives them.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let addresses = match self.remembered(host) {
            Some(addresses) => addresses,
            None => {
                let found = (host, port).to_socket_addrs().await?;
                let addresses: Vec<IpAddr> = found.map(|socket| socket.ip()).collect();
                self.remember(host, addresses.clone());
                addresses
            }
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    fn remembered(&self, host: &str) -> Option<Vec<IpAddr>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.get(host)?;
        (answer.until > self.clock.instant()).then(|| answer.addresses.clone())
    }

    pub(super) fn remember(&self, host: &str, addresses: Vec<IpAddr>) {
        let now = self.clock.instant();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= CAPACITY {
            answers.retain(|_, answer| answer.until > now);
        }
        if answers.len() < CAPACITY {
            answers.insert(host.to_owned(), Answer { addresses, until: now + KEPT });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;

    #[test]
    fn an_answer_is_used_again_for_a_short_while() {
        let clock = Clock::turned_by_hand(jiff::Timestamp::UNIX_EPOCH);
        let resolver = Resolver::new(clock.clone());
        resolver.remember("nowhere.invalid", vec!["192.0.2.7".parse().unwrap()]);
        let addresses = || block_on(resolver.resolve("nowhere.invalid", 81));
        assert_eq!(addresses().unwrap(), ["192.0.2.7:81".parse().unwrap()]);
        clock.advance(KEPT);
        assert_eq!(resolver.remembered("nowhere.invalid"), None);
    }

    #[test]
    fn an_address_is_its_own_answer() {
        let resolver = Resolver::new(Clock::system());
        assert_eq!(block_on(resolver.resolve("::1", 80)).unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(resolver.answers.lock().unwrap().is_empty());
    }
}
