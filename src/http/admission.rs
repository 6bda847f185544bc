//! Who may send now: a rate for the client, and a number of slots for each host.
//!
//! Nobody waits here. A request that may not go yet learns when to come again, and the engine parks its item.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::trust::Pair;
use crate::model::{Fault, Rate};

/// How soon a request comes again that found all slots of its host taken. The engine also tries again when one of
/// its own requests to the host ends.
const BUSY: Duration = Duration::from_millis(20);

/// The burst that a rate lets pass after a pause: what it allows in this time, at least one.
const BURST: Duration = Duration::from_secs(1);

pub(super) struct Admission {
    per_host: usize,
    rate: Option<Rate>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many requests of each host are on their way.
    taken: HashMap<Pair, usize>,
    /// When the requests sent so far would have gone at an even pace (the theoretical arrival time of the generic
    /// cell rate algorithm, ITU-T I.371).
    paced_until: Option<Instant>,
}

/// The right to one request, given back when it is dropped.
pub(super) struct Permit {
    admission: Arc<Admission>,
    pair: Pair,
}

impl Admission {
    pub(super) fn new(per_host: usize, rate: Option<Rate>) -> Self {
        Self { per_host, rate, state: Mutex::default() }
    }

    /// Lets a request to this host pass, or answers a fault whose verdict says when to come again.
    pub(super) fn admit(self: &Arc<Self>, pair: &Pair, now: Instant) -> Result<Permit, Fault> {
        let mut state = self.lock();
        if state.taken.get(pair).is_some_and(|taken| *taken >= self.per_host) {
            let busy =
                format!("`{}` has {} requests on their way, as many as `per_host` allows", pair.host, self.per_host);
            return Err(Fault::not_before(now + BUSY, busy));
        }
        if let Some(rate) = self.rate {
            let interval = rate.interval();
            let burst = (interval * rate.count).min(BURST).saturating_sub(interval);
            let paced_until = state.paced_until.map_or(now, |until| until.max(now));
            if paced_until > now + burst {
                return Err(Fault::not_before(paced_until - burst, format!("the rate of {rate} is used up")));
            }
            state.paced_until = Some(paced_until + interval);
        }
        *state.taken.entry(pair.clone()).or_default() += 1;
        Ok(Permit { admission: self.clone(), pair: pair.clone() })
    }

    /// The state stays whole even if a holder panicked: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if let Some(taken) = state.taken.get_mut(&self.pair) {
            *taken -= 1;
            if *taken == 0 {
                state.taken.remove(&self.pair);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Verdict;

    fn pair(host: &str) -> Pair {
        Pair { host: host.to_owned(), port: 80 }
    }

    fn refused_until(answer: Result<Permit, Fault>) -> Instant {
        match answer.map(|_| ()).unwrap_err().verdict {
            Verdict::NotBefore(when) => when,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_busy_host_holds_up_only_itself_and_until_a_request_ends() {
        let admission = Arc::new(Admission::new(2, None));
        let now = Instant::now();
        let first = admission.admit(&pair("a"), now).unwrap();
        let _second = admission.admit(&pair("a"), now).unwrap();
        assert!(refused_until(admission.admit(&pair("a"), now)) > now);
        assert!(admission.admit(&pair("b"), now).is_ok());
        drop(first);
        assert!(admission.admit(&pair("a"), now).is_ok());
        assert_eq!(admission.lock().taken.len(), 1, "a host without requests is forgotten");
    }

    #[test]
    fn a_rate_lets_a_burst_pass_and_then_keeps_the_pace() {
        let admission = Arc::new(Admission::new(100, Some("10/s".parse().unwrap())));
        let start = Instant::now();
        let mut now = start;
        let mut passed = 0;
        while now < start + Duration::from_secs(3) {
            match admission.admit(&pair("a"), now) {
                Ok(_) => passed += 1,
                answer => now = refused_until(answer),
            }
        }
        assert_eq!(passed, 10 + 29, "one second's worth at once, then one every 100 ms");
    }

    #[test]
    fn a_slow_rate_lets_one_pass_at_a_time() {
        let admission = Arc::new(Admission::new(100, Some("2/m".parse().unwrap())));
        let now = Instant::now();
        assert!(admission.admit(&pair("a"), now).is_ok());
        assert_eq!(refused_until(admission.admit(&pair("a"), now)), now + Duration::from_secs(30));
    }
}
