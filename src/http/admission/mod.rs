//! Who may send now: rates, slots, pauses and breakers, for the client and for each of its hosts.
//!
//! Nobody waits here. A request that may not go yet learns when to come again, and the engine parks its item. What a
//! reply tells about the host is learned when its request ends.

mod breaker;
mod budget;
mod condition;
mod host;
mod pace;
mod throttle;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::breaker::Turn;
pub(super) use self::budget::{Budget, is_used_up};
pub use self::condition::{Condition, State as HostState};
use self::host::Host;
pub(super) use self::host::{Ending, PausedBy};
use self::pace::Pace;
use super::trust::Pair;
use crate::model::{Fault, Rate};

/// How soon a request comes again that found all slots of its host taken. The engine also tries again when one of
/// its own requests to the host ends.
const BUSY: Duration = Duration::from_millis(20);

/// With more hosts than this, those of which there is nothing to remember are forgotten.
const HOSTS_REMEMBERED: usize = 4096;

/// What a config says about how hard a client's hosts may be worked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Courtesy {
    /// How many requests to one host are on their way at once.
    pub per_host: usize,
    /// For all requests of the client.
    pub rate: Option<Rate>,
    /// For the requests to each host.
    pub per_host_rate: Option<Rate>,
    /// How many requests may go at once after a pause.
    pub burst: Option<u32>,
    /// Whether the number of requests on their way follows the host's answers; if nothing is said, for sinks.
    pub adapt: Option<bool>,
    /// Whether what replies say about what is left of a limit is kept to.
    pub rate_headers: bool,
}

impl Courtesy {
    fn adapts(&self, caller: Caller) -> bool {
        self.adapt.unwrap_or(caller == Caller::Sink)
    }
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Caller {
    #[default]
    Step,
    /// A sink never gives up, and spaces its tries by itself.
    Sink,
}

pub(super) struct Admission {
    courtesy: Courtesy,
    state: Mutex<State>,
}

struct State {
    /// For the client as a whole.
    pace: Option<Pace>,
    hosts: HashMap<Pair, Arc<Mutex<Host>>, foldhash::fast::RandomState>,
    /// At how many hosts it is looked for some to forget.
    crowded: usize,
}

/// The right to one request, given back when it is dropped.
pub(super) struct Permit {
    admission: Arc<Admission>,
    host: Arc<Mutex<Host>>,
    caller: Caller,
    is_probe: bool,
    sent: Instant,
}

impl Admission {
    pub(super) fn new(courtesy: Courtesy) -> Self {
        let pace = courtesy.rate.map(|rate| Pace::of(rate, courtesy.burst));
        Self { courtesy, state: Mutex::new(State { pace, hosts: HashMap::default(), crowded: HOSTS_REMEMBERED }) }
    }

    pub(super) fn courtesy(&self) -> &Courtesy {
        &self.courtesy
    }

    /// Lets a request to this host pass, or answers a fault whose verdict says when to come again.
    pub(super) fn admit(self: &Arc<Self>, pair: &Pair, caller: Caller, now: Instant) -> Result<Permit, Fault> {
        let mut state = lock(&self.state);
        let host = self.host(&mut state, pair, now);
        let is_probe = lock(&host).admit(&self.courtesy, caller, state.pace.as_mut(), now)?;
        drop(state);
        Ok(Permit { admission: self.clone(), host, caller, is_probe, sent: now })
    }

    /// All requests to this host wait until this time.
    pub(super) fn pause(&self, pair: &Pair, until: Instant, now: Instant) {
        let host = self.host(&mut lock(&self.state), pair, now);
        lock(&host).pause(until, PausedBy::Rule);
    }

    /// Requests to this host go one at a time, so far apart.
    pub(super) fn keep_crawl_delay(&self, pair: &Pair, delay: Option<Duration>, now: Instant) {
        let host = self.host(&mut lock(&self.state), pair, now);
        lock(&host).keep_crawl_delay(delay);
    }

    /// The hosts that take nothing at the moment.
    pub(super) fn conditions(&self, client: Option<&str>, now: Instant) -> Vec<Condition> {
        let hosts: Vec<_> = lock(&self.state).hosts.iter().map(|(pair, host)| (pair.clone(), host.clone())).collect();
        hosts.into_iter().filter_map(|(pair, host)| Condition::of(client, &pair, &lock(&host), now)).collect()
    }

    fn host(&self, state: &mut State, pair: &Pair, now: Instant) -> Arc<Mutex<Host>> {
        if let Some(host) = state.hosts.get(pair) {
            return host.clone();
        }
        if state.hosts.len() >= state.crowded {
            state.hosts.retain(|_, host| Arc::strong_count(host) > 1 || !lock(host).is_fresh(now));
            state.crowded = HOSTS_REMEMBERED.max(2 * state.hosts.len());
        }
        let host = Arc::new(Mutex::new(Host::new(&pair.host, &self.courtesy)));
        state.hosts.insert(pair.clone(), host.clone());
        host
    }
}

impl Permit {
    /// The request has ended. What that says about the host is learned.
    pub(super) fn ended(mut self, ending: &Ending<'_>, now: Instant) {
        let mut host = lock(&self.host);
        let turn = host.ended(&self.admission.courtesy, self.caller, self.is_probe, self.sent, ending, now);
        match turn {
            Turn::None => {}
            Turn::Opened => {
                let breaker = host.breaker();
                log::warn!(host = host.name(), failures = breaker.failures(), cause = breaker.cause();
                    "host fails again and again; it is asked now and then whether it is back");
            }
            Turn::Closed => log::info!(host = host.name(); "host answers again"),
        }
        drop(host);
        // Its result is known.
        self.is_probe = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = self.sent;
        lock(&self.host).left(self.is_probe, now);
    }
}

/// Each change leaves the state whole, even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FaultKind, Verdict};

    const COURTESY: Courtesy =
        Courtesy { per_host: 100, rate: None, per_host_rate: None, burst: None, adapt: None, rate_headers: true };

    fn pair(host: &str) -> Pair {
        Pair { host: host.into(), port: 80 }
    }

    fn refused_until(answer: Result<Permit, Fault>) -> Instant {
        match answer.map(|_| ()).unwrap_err().verdict {
            Verdict::NotBefore(when) => when,
            other => panic!("{other:?}"),
        }
    }

    fn answered(status: u16) -> Ending<'static> {
        Ending::Answered { status, retry_after: None, budget: None, latency: Duration::ZERO }
    }

    #[test]
    fn a_busy_host_holds_up_only_itself_and_until_a_request_ends() {
        let admission = Arc::new(Admission::new(Courtesy { per_host: 2, ..COURTESY }));
        let now = Instant::now();
        let first = admission.admit(&pair("a"), Caller::Step, now).unwrap();
        let _second = admission.admit(&pair("a"), Caller::Step, now).unwrap();
        assert!(refused_until(admission.admit(&pair("a"), Caller::Step, now)) > now);
        assert!(admission.admit(&pair("b"), Caller::Step, now).is_ok());
        drop(first);
        assert!(admission.admit(&pair("a"), Caller::Step, now).is_ok());
    }

    #[test]
    fn a_rate_holds_for_all_hosts_together_and_a_rate_per_host_for_each() {
        let now = Instant::now();
        let passed = |courtesy: Courtesy| {
            let admission = Arc::new(Admission::new(courtesy));
            let hosts = (0..10).map(|n| pair(&format!("host-{}", n % 2)));
            hosts.filter(|pair| admission.admit(pair, Caller::Step, now).is_ok()).count()
        };
        let rate = Some("3/s".parse().unwrap());
        assert_eq!(passed(Courtesy { rate, ..COURTESY }), 3);
        assert_eq!(passed(Courtesy { per_host_rate: rate, ..COURTESY }), 6);
        assert_eq!(passed(Courtesy { per_host_rate: rate, burst: Some(1), ..COURTESY }), 2);
        assert_eq!(passed(Courtesy { rate, per_host_rate: rate, burst: Some(4), ..COURTESY }), 4);
    }

    #[test]
    fn a_429_pauses_the_whole_host_and_a_503_does_not() {
        let now = Instant::now();
        for (status, is_paused) in [(429, true), (503, false), (200, false)] {
            let admission = Arc::new(Admission::new(COURTESY));
            let permit = admission.admit(&pair("a"), Caller::Step, now).unwrap();
            let until = now + Duration::from_secs(30);
            let ending = Ending::Answered { status, retry_after: Some(until), budget: None, latency: Duration::ZERO };
            permit.ended(&ending, now);
            let next = admission.admit(&pair("a"), Caller::Step, now);
            assert_eq!(next.is_err(), is_paused, "{status}");
            if is_paused {
                assert_eq!(refused_until(next), until);
                assert_eq!(admission.conditions(None, now).len(), 1);
            }
            assert!(admission.admit(&pair("b"), Caller::Step, now).is_ok());
        }
    }

    #[test]
    fn a_host_that_fails_is_left_alone_and_its_neighbour_is_not() {
        let admission = Arc::new(Admission::new(COURTESY));
        let now = Instant::now();
        while let Ok(permit) = admission.admit(&pair("a"), Caller::Step, now) {
            permit.ended(&Ending::Failed("connection refused"), now);
        }
        let fault = admission.admit(&pair("a"), Caller::Step, now).map(|_| ()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Down);
        assert!(fault.message.contains("connection refused"), "{fault}");
        assert!(admission.admit(&pair("b"), Caller::Step, now).is_ok());
        // A sink may ask at any time, one request at a time, and its success is everybody's.
        let probe = admission.admit(&pair("a"), Caller::Sink, now).unwrap();
        assert!(admission.admit(&pair("a"), Caller::Sink, now).is_err());
        probe.ended(&answered(204), now);
        assert!(admission.admit(&pair("a"), Caller::Step, now).is_ok());
    }

    #[test]
    fn sinks_begin_with_few_requests_at_once_and_steps_only_if_they_are_told_to() {
        let now = Instant::now();
        let passed = |adapt, caller| {
            let admission = Arc::new(Admission::new(Courtesy { adapt, ..COURTESY }));
            let permits: Vec<_> = (0..10).filter_map(|_| admission.admit(&pair("a"), caller, now).ok()).collect();
            permits.len()
        };
        assert_eq!(passed(None, Caller::Step), 10);
        assert_eq!(passed(None, Caller::Sink), 2);
        assert_eq!(passed(Some(true), Caller::Step), 2);
        assert_eq!(passed(Some(false), Caller::Sink), 10);
    }

    #[test]
    fn hosts_of_which_nothing_is_to_be_remembered_are_forgotten() {
        let admission = Arc::new(Admission::new(COURTESY));
        let now = Instant::now();
        let failing = pair("failing");
        admission.admit(&failing, Caller::Step, now).unwrap().ended(&Ending::Failed("reset"), now);
        for n in 0..3 * HOSTS_REMEMBERED {
            let permit = admission.admit(&pair(&format!("host-{n}")), Caller::Step, now).unwrap();
            permit.ended(&answered(200), now);
        }
        let state = lock(&admission.state);
        assert!(state.hosts.len() <= HOSTS_REMEMBERED && state.hosts.contains_key(&failing));
    }
}
