//! One host as a client knows it: what is on its way there, and what it has been learned to take.

use std::time::{Duration, Instant};

use super::breaker::{Breaker, FAILURES_TO_OPEN, Turn};
use super::budget::{Allowance, Budget, Spending};
use super::pace::Pace;
use super::throttle::Throttle;
use super::window::Window;
use super::{BUSY, Caller, Courtesy};
use crate::model::{Fault, FaultKind, Verdict, show_duration};

pub(super) struct Host {
    name: String,
    /// How many requests are on their way.
    taken: usize,
    /// `per_host_rate`.
    pace: Option<Pace>,
    /// The `Crawl-delay` of its robots.txt.
    crawl: Option<Pace>,
    pause: Option<Pause>,
    breaker: Breaker,
    throttle: Throttle,
    spending: Option<Spending>,
    window: Option<Window>,
}

/// All requests to the host wait.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    by: PausedBy,
}

/// Who asks for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum PausedBy {
    /// The host, by 429 (RFC 6585, section 4).
    Host,
    /// A rule of the config.
    Rule,
}

/// How an exchange ended.
pub(in crate::http) enum Ending<'a> {
    /// The host has answered.
    Answered {
        status: u16,
        /// Until when the reply asks not to be called again.
        retry_after: Option<Instant>,
        budget: Option<Budget>,
        /// From the request to the reply's head.
        latency: Duration,
    },
    /// The host has not answered, or not to the end.
    Failed(&'a str),
}

impl Host {
    pub(super) fn new(name: &str, courtesy: &Courtesy) -> Self {
        Self {
            name: name.to_owned(),
            taken: 0,
            pace: courtesy.per_host_rate.map(|rate| Pace::of(rate, courtesy.burst)),
            crawl: None,
            pause: None,
            breaker: Breaker::default(),
            throttle: Throttle::default(),
            spending: None,
            window: None,
        }
    }

    /// Lets a request pass, and answers whether it is a probe; or says when to come again. `shared` is the pace of the
    /// whole client.
    pub(super) fn admit(
        &mut self,
        courtesy: &Courtesy,
        caller: Caller,
        shared: Option<&mut Pace>,
        now: Instant,
    ) -> Result<bool, Fault> {
        let is_probe = self.breaker.admit(caller == Caller::Sink, now).map_err(|until| self.down(until, now))?;
        if let Some(pause) = self.pause {
            if pause.until > now {
                return Err(self.paused(pause, now));
            }
            self.pause = None;
        }
        let mut slots = courtesy.per_host;
        if courtesy.adapts(caller) {
            slots = slots.min(self.window.get_or_insert_default().allowed());
        }
        if self.taken >= slots {
            let busy = format!("`{}` has {} requests on their way, as many as it may", self.name, self.taken);
            return Err(Fault::not_before(now + BUSY, busy));
        }
        self.wait(courtesy, shared.as_deref(), now).map_or(Ok(()), Err)?;

        let own = [self.pace.as_mut(), self.crawl.as_mut(), self.throttle.pace()];
        own.into_iter().flatten().chain(shared).for_each(|pace| pace.take(now));
        if let Some(spending) = &mut self.spending {
            spending.take(now);
        }
        if is_probe {
            self.breaker.probe();
        }
        self.taken += 1;
        Ok(is_probe)
    }

    /// Whether a rate, a pace or a budget is used up.
    fn wait(&self, courtesy: &Courtesy, shared: Option<&Pace>, now: Instant) -> Option<Fault> {
        let name = &self.name;
        if let (Some(until), Some(rate)) = (shared.and_then(|pace| pace.wait(now)), courtesy.rate) {
            return Some(Fault::not_before(until, format!("the rate of {rate} is used up")));
        }
        if let (Some(until), Some(rate)) = (self.pace.as_ref().and_then(|pace| pace.wait(now)), courtesy.per_host_rate)
        {
            return Some(Fault::not_before(until, format!("the rate of {rate} for `{name}` is used up")));
        }
        if let Some(until) = self.crawl.as_ref().and_then(|pace| pace.wait(now)) {
            return Some(Fault::not_before(until, format!("the robots.txt of `{name}` asks for a slower pace")));
        }
        if let Some(until) = self.throttle.wait(now) {
            return Some(Fault::not_before(until, format!("`{name}` has shown by 429 that it takes no more")));
        }
        match self.spending?.allowance(self.taken, now) {
            Allowance::Now => None,
            Allowance::Spread(until) => {
                Some(Fault::not_before(until, format!("little is left of what `{name}` allows")))
            }
            Allowance::Used(until) => {
                let verdict = Verdict::NotBefore(until);
                let wait = show_rounded(until - now);
                let message = format!("`{name}` allows no more requests for {wait}");
                Some(Fault::new(FaultKind::Paused, verdict, message))
            }
        }
    }

    /// A request has ended that was sent at `sent`. Answers what that has changed for the whole host.
    pub(super) fn ended(
        &mut self,
        courtesy: &Courtesy,
        caller: Caller,
        was_probe: bool,
        sent: Instant,
        ending: &Ending<'_>,
        now: Instant,
    ) -> Turn {
        let taken = self.taken;
        let window = self.window.as_mut().filter(|_| courtesy.adapts(caller));
        match ending {
            Ending::Failed(cause) => {
                if let Some(window) = window {
                    window.failed(sent, now);
                }
                self.breaker.failed(was_probe, cause, now)
            }
            Ending::Answered { status, retry_after, budget, latency } => {
                let is_overloaded = matches!(status, 429 | 503);
                match window {
                    Some(window) if is_overloaded => window.failed(sent, now),
                    Some(window) => window.answered(*latency, taken, courtesy.per_host, sent, now),
                    None => {}
                }
                if budget.is_none() && self.spending.is_some_and(|spending| spending.is_over(now)) {
                    // The host says no more what is left.
                    self.spending = None;
                }
                if let Some(budget) = budget {
                    self.spending = Some(Spending::of(*budget, taken.saturating_sub(1), now));
                }
                if *status == 429 {
                    let least = self.throttle.refused(sent, now).map(|pause| now + pause);
                    if let Some(until) = retry_after.or(least) {
                        self.pause(until, PausedBy::Host);
                    }
                } else if *status < 500 {
                    self.throttle.accepted(now);
                }
                if is_broken(*status) {
                    let cause = format!("it answered {status}");
                    return self.breaker.failed(was_probe, &cause, now);
                }
                self.breaker.succeeded()
            }
        }
    }

    /// A request is no longer on its way; `was_lost` says that a probe's result is not known.
    pub(super) fn left(&mut self, was_lost: bool, now: Instant) {
        self.taken = self.taken.saturating_sub(1);
        if was_lost {
            self.breaker.probe_was_lost(now);
        }
    }

    /// All requests wait until this time, if they do not wait for a later one.
    pub(super) fn pause(&mut self, until: Instant, by: PausedBy) {
        if self.pause.is_none_or(|pause| pause.until < until) {
            self.pause = Some(Pause { until, by });
        }
    }

    /// One request at a time, so far apart.
    pub(super) fn keep_crawl_delay(&mut self, delay: Option<Duration>) {
        self.crawl = delay.map(Pace::every);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Until when all requests wait, and who asked for that.
    pub(super) fn paused_until(&self, now: Instant) -> Option<(Instant, PausedBy)> {
        let pause = self.pause.map(|pause| (pause.until, pause.by));
        let used = self.spending.and_then(|spending| match spending.allowance(0, now) {
            Allowance::Used(until) => Some((until, PausedBy::Host)),
            _ => None,
        });
        pause.into_iter().chain(used).filter(|(until, _)| *until > now).max_by_key(|(until, _)| *until)
    }

    /// Whether it can be forgotten: a host that is met for the first time is treated the same.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.taken == 0
            && self.pace.as_ref().is_none_or(|pace| pace.is_fresh(now))
            && self.crawl.is_none()
            && self.pause.is_none_or(|pause| pause.until <= now)
            && self.breaker.is_fresh()
            && self.throttle.is_fresh()
            && self.spending.is_none_or(|spending| spending.is_over(now))
    }

    fn down(&self, until: Instant, now: Instant) -> Fault {
        let breaker = &self.breaker;
        let since = breaker.since().map_or(Duration::ZERO, |since| now.duration_since(since));
        let message = format!(
            "`{}` is left alone for now: it has failed {} times in a row, for {}, last since {}",
            self.name,
            breaker.failures(),
            show_rounded(since),
            breaker.cause()
        );
        Fault::new(FaultKind::Down, Verdict::NotBefore(until), message)
    }

    fn paused(&self, pause: Pause, now: Instant) -> Fault {
        let wait = show_rounded(pause.until - now);
        match pause.by {
            PausedBy::Host => {
                let message = format!("`{}` asks for a pause of {wait}", self.name);
                Fault::new(FaultKind::Paused, Verdict::NotBefore(pause.until), message)
            }
            PausedBy::Rule => {
                let message = format!("a rule of `on` pauses the requests to `{}` for {wait}", self.name);
                Fault::not_before(pause.until, message)
            }
        }
    }
}

/// Whether a status says that the host as a whole does not work. 501 and 505 are about the request.
fn is_broken(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 505)
}

/// A duration in whole seconds, upwards.
fn show_rounded(duration: Duration) -> String {
    show_duration(Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0)))
}

const _: () = assert!(FAILURES_TO_OPEN > 5, "one item's tries must not open the breaker");
