//! Which item a stage works on next: fair to hosts, and never held up by one that is slow or dead.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexSet;

use super::aside::{Late, may_leave};
use super::parcel::Parcel;
use super::retries::{RetryBudget, RetryBudgets};
use crate::model::{Fault, FaultKind, Text};

/// How many hosts without items are remembered, with what they have earned.
const HOSTS_REMEMBERED: usize = 4096;

/// What may go on so soon is not set aside.
const SOON: Duration = Duration::from_secs(1);

/// The items of a stage that no worker has yet, by host.
///
/// A host starts with one call at a time, which doubles with every good answer, falls back to one when a call fails,
/// and stays about where the host asked to wait: a host that never answers holds up one worker, not all.
pub(super) struct Hosts {
    hosts: HashMap<Text, Host, foldhash::fast::RandomState>,
    /// Hosts that may have an item to hand out, in the order in which their turn comes.
    turns: VecDeque<Text>,
    /// Hosts that take nothing before a time.
    held_back: BinaryHeap<Reverse<(Instant, Text)>>,
    /// Items that wait for their next try, by its time and the order in which they came.
    parked: BTreeMap<(Instant, u64), Parked>,
    /// Items that no retry came for in time.
    expired: Vec<(Box<Parcel>, Fault)>,
    /// Hosts that took no calls when they got items that wait.
    held_up: IndexSet<Text>,
    /// Items that were set aside before, and leave again since their hosts are still down.
    late: Vec<Late>,
    next_number: u64,
    /// All items here, waiting and parked, and their bytes.
    held: usize,
    held_bytes: usize,
    /// The most calls to one host at a time.
    limit: usize,
    /// How long an item waits for a host that is down.
    patience: Duration,
    retries: Arc<RetryBudgets>,
}

struct Host {
    waiting: VecDeque<Box<Parcel>>,
    calls: usize,
    /// How many calls at a time it has earned; whole calls count.
    allowed: f64,
    /// Whether `allowed` still doubles. Once the host has asked to wait, it grows by one a round (as TCP does it,
    /// RFC 5681).
    is_doubling: bool,
    /// Whether its last call succeeded.
    proven: bool,
    /// Until when no call is worth it: it would not be let through.
    not_before: Option<Instant>,
    /// Why it is left alone as a whole, if it is.
    down: Option<Fault>,
    in_turns: bool,
    retries: Arc<RetryBudget>,
}

struct Parked {
    host: Text,
    parcel: Box<Parcel>,
    /// When it is given up if its host has no retry for it by then.
    limit: Option<Instant>,
    /// Of its last try.
    fault: Fault,
}

/// What a worker was handed.
pub(super) struct Job {
    pub(super) host: Text,
    pub(super) parcel: Box<Parcel>,
    /// Whether the host answered well the last time.
    pub(super) proven: bool,
}

impl Hosts {
    pub(super) fn new(limit: usize, patience: Duration, retries: Arc<RetryBudgets>) -> Self {
        Self {
            hosts: HashMap::default(),
            turns: VecDeque::new(),
            held_back: BinaryHeap::new(),
            parked: BTreeMap::new(),
            expired: Vec::new(),
            held_up: IndexSet::new(),
            late: Vec::new(),
            next_number: 0,
            held: 0,
            held_bytes: 0,
            limit,
            patience,
            retries,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// How many items are here.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// What they take in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes in an item that leads to `host`.
    pub(super) fn add(&mut self, name: &Text, mut parcel: Box<Parcel>, now: Instant) {
        let patience = self.patience;
        let host = self.host(name);
        if host.down.is_some() {
            parcel.tries.first.get_or_insert(now);
            if let Some(until) = host.sends_away(&parcel, patience, now) {
                self.late.push(late(parcel, until, Some(patience)));
                return;
            }
        }
        if host.down.is_some() || host.not_before.is_some() {
            self.held_up.insert(name.clone());
        }
        self.took_in(&parcel);
        self.host(name).waiting.push_back(parcel);
        self.give_turn(name);
    }

    /// The next item whose time has come, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> Option<Job> {
        self.unpark(now);
        for _ in 0..self.turns.len() {
            let name = self.turns.pop_front()?;
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            host.in_turns = false;
            if !host.may_call() {
                // Its turn comes again when its time or a call is over.
                continue;
            }
            let Some(parcel) = host.waiting.pop_front() else { continue };
            host.calls += 1;
            let proven = host.proven;
            self.let_out(&parcel);
            self.give_turn(&name);
            return Some(Job { host: name, parcel, proven });
        }
        None
    }

    /// Whether [`Hosts::take`] may find an item now, without any time having to come.
    pub(super) fn may_have_ready(&self) -> bool {
        !self.turns.is_empty()
    }

    /// When the time of a parked item or of a host comes.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let parked = self.parked.first_key_value().map(|((until, _), _)| *until);
        let held_back = self.held_back.peek().map(|Reverse((until, _))| *until);
        parked.into_iter().chain(held_back).min()
    }

    /// A call to the host has ended well.
    pub(super) fn succeeded(&mut self, name: &Text) {
        let limit = self.limit;
        let host = self.host(name);
        let more = if host.is_doubling { host.allowed } else { 1.0 / host.allowed };
        host.allowed = (host.allowed + more).min(limit as f64);
        host.proven = true;
        host.down = None;
        host.retries.earn();
        self.ended(name);
    }

    /// A call has ended with a fault that the host is to blame for.
    pub(super) fn failed(&mut self, name: &Text) {
        let host = self.host(name);
        host.allowed = 1.0;
        host.is_doubling = true;
        host.proven = false;
        self.ended(name);
    }

    /// A call has ended in a way that says nothing about the host.
    pub(super) fn ended(&mut self, name: &Text) {
        let host = self.host(name);
        host.calls = host.calls.saturating_sub(1);
        // Perhaps it only waited for this call to end; if not, it will say so again.
        host.not_before = None;
        if host.is_idle() && self.hosts.len() > HOSTS_REMEMBERED {
            self.hosts.remove(name);
        } else {
            self.give_turn(name);
        }
    }

    /// The host takes nothing before this time, for what `why` says; its item goes back to the front, or to the back if
    /// the item may be alone in what it met: credentials that were refused, or a pause that a rule asked for. If the host
    /// is down, its items wait for it as long as they may be tried, and then [expire](Self::take_expired).
    pub(super) fn hold_back(&mut self, name: &Text, parcel: Box<Parcel>, until: Instant, why: Fault, now: Instant) {
        self.took_in(&parcel);
        let patience = self.patience;
        let host = self.host(name);
        host.calls = host.calls.saturating_sub(1);
        host.allowed = (host.calls as f64).max(1.0);
        host.is_doubling = false;
        host.not_before = Some(until);
        if matches!(why.kind, FaultKind::Auth | FaultKind::Paused) {
            host.waiting.push_back(parcel);
        } else {
            host.waiting.push_front(parcel);
        }
        host.down = (why.kind == FaultKind::Down).then_some(why);
        if host.down.is_some() {
            for parcel in &mut host.waiting {
                parcel.tries.first.get_or_insert(now);
            }
        }
        let is_down = host.down.is_some();
        let wake = host.next_expiry(patience).map_or(until, |expiry| expiry.min(until));
        self.held_back.push(Reverse((wake, name.clone())));
        self.held_up.insert(name.clone());
        if is_down {
            self.send_away(name, now);
        }
    }

    /// The item, whose last try ended with `fault`, is tried again at this time, or later if the host's retries are
    /// used up: until `limit`, then it is [expired](Self::take_expired).
    pub(super) fn park(
        &mut self,
        host: Text,
        parcel: Box<Parcel>,
        until: Instant,
        limit: Option<Instant>,
        fault: Fault,
    ) {
        self.took_in(&parcel);
        self.keep_parked(until, Parked { host, parcel, limit, fault });
    }

    fn keep_parked(&mut self, until: Instant, parked: Parked) {
        self.next_number += 1;
        self.parked.insert((until, self.next_number), parked);
    }

    /// The items to give up, because no retry came for them in time, each with the fault of its last try.
    pub(super) fn take_expired(&mut self) -> Vec<(Box<Parcel>, Fault)> {
        std::mem::take(&mut self.expired)
    }

    /// Drops everything that waits for a time, which abandons it, for an engine that stops. What waits for a worker stays.
    pub(super) fn abandon_waiting_for_time(&mut self) {
        let parked = std::mem::take(&mut self.parked).into_values().map(|parked| parked.parcel);
        let held_back = self.hosts.values_mut().filter(|host| host.not_before.is_some());
        let waiting: Vec<_> = parked.chain(held_back.flat_map(|host| std::mem::take(&mut host.waiting))).collect();
        waiting.iter().for_each(|parcel| self.let_out(parcel));
    }

    /// Items that were set aside before and leave again, since their hosts are still down.
    pub(super) fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// Takes out all that may be set aside: what waits for hosts that are down or paused, and for tries that are not soon.
    pub(super) fn take_waiting(&mut self, now: Instant) -> Vec<Late> {
        let soon = now + SOON;
        let mut taken = Vec::new();
        for name in self.held_up.drain(..) {
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            let until = host.not_before.unwrap_or(now);
            if host.down.is_none() && until <= soon {
                continue;
            }
            let patience = host.down.as_ref().map(|_| self.patience);
            let waiting = std::mem::take(&mut host.waiting).into_iter();
            let (leaving, staying): (VecDeque<_>, _) = waiting.partition(|parcel| may_leave(parcel));
            host.waiting = staying;
            taken.extend(leaving.into_iter().map(|parcel| late(parcel, until, patience)));
        }
        let parked = self.parked.extract_if((soon, 0).., |_, parked| may_leave(&parked.parcel));
        taken.extend(parked.map(|((until, _), Parked { parcel, limit, .. })| Late { parcel, until, limit }));
        taken.iter().for_each(|late| self.let_out(&late.parcel));
        taken
    }

    /// What was set aside before leaves again, since its host is still down.
    fn send_away(&mut self, name: &Text, now: Instant) {
        let patience = self.patience;
        let host = self.host(name);
        let (mut staying, mut leaving) = (VecDeque::new(), Vec::new());
        for parcel in std::mem::take(&mut host.waiting) {
            match host.sends_away(&parcel, patience, now) {
                Some(until) => leaving.push(late(parcel, until, Some(patience))),
                None => staying.push_back(parcel),
            }
        }
        host.waiting = staying;
        leaving.iter().for_each(|late| self.let_out(&late.parcel));
        self.late.extend(leaving);
    }

    fn took_in(&mut self, parcel: &Parcel) {
        self.held += 1;
        self.held_bytes += parcel.size;
    }

    fn let_out(&mut self, parcel: &Parcel) {
        self.held -= 1;
        self.held_bytes -= parcel.size;
    }

    /// Moves items whose time has come back to their hosts, before those that were never tried.
    fn unpark(&mut self, now: Instant) {
        while let Some(entry) = self.parked.first_entry().filter(|entry| entry.key().0 <= now) {
            let parked = entry.remove();
            let host = self.host(&parked.host);
            match host.retries.spend(now) {
                Ok(()) => {
                    host.waiting.push_front(parked.parcel);
                    self.give_turn(&parked.host);
                }
                Err(_) if parked.limit.is_some_and(|limit| limit <= now) => {
                    self.let_out(&parked.parcel);
                    self.expired.push((parked.parcel, parked.fault));
                }
                Err(until) => {
                    let until = parked.limit.map_or(until, |limit| limit.min(until));
                    self.keep_parked(until, parked);
                }
            }
        }
        while self.held_back.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            let Some(Reverse((_, name))) = self.held_back.pop() else { return };
            let patience = self.patience;
            let host = self.host(&name);
            let expired = host.take_expired(patience, now);
            // A later time may have come in the meantime; it has an entry of its own.
            host.not_before = host.not_before.filter(|time| *time > now);
            if let Some(until) = host.not_before
                && !expired.is_empty()
            {
                let wake = host.next_expiry(patience).map_or(until, |expiry| expiry.min(until));
                self.held_back.push(Reverse((wake, name.clone())));
            }
            expired.iter().for_each(|(parcel, _)| self.let_out(parcel));
            self.expired.extend(expired);
            self.give_turn(&name);
        }
    }

    fn give_turn(&mut self, name: &Text) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let ready = !host.waiting.is_empty() && host.may_call();
        if ready && !host.in_turns {
            host.in_turns = true;
            self.turns.push_back(name.clone());
        }
    }

    fn host(&mut self, name: &Text) -> &mut Host {
        let retries = &self.retries;
        self.hosts.entry(name.clone()).or_insert_with(|| Host {
            waiting: VecDeque::new(),
            calls: 0,
            allowed: 1.0,
            is_doubling: true,
            proven: false,
            not_before: None,
            down: None,
            in_turns: false,
            retries: retries.of(name),
        })
    }
}

impl Host {
    fn may_call(&self) -> bool {
        self.calls < self.allowed as usize && self.not_before.is_none()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.calls == 0 && self.not_before.is_none()
    }

    /// Until when an item does not wait here that was set aside before: as long as the host is down, and the item may
    /// be tried once it is back.
    fn sends_away(&self, parcel: &Parcel, patience: Duration, now: Instant) -> Option<Instant> {
        let is_over = parcel.tries.first.is_some_and(|first| first + patience <= now);
        let leaves = self.down.is_some() && parcel.was_aside && may_leave(parcel) && !is_over;
        self.not_before.filter(|until| leaves && *until > now)
    }

    /// When the first of its items has waited long enough for a host that is down.
    fn next_expiry(&self, patience: Duration) -> Option<Instant> {
        self.down.as_ref()?;
        self.waiting.iter().filter_map(|parcel| parcel.tries.first).min().map(|first| first + patience)
    }

    /// The items that have waited long enough for a host that is down.
    fn take_expired(&mut self, patience: Duration, now: Instant) -> Vec<(Box<Parcel>, Fault)> {
        let Some(down) = &self.down else { return Vec::new() };
        let is_over = |parcel: &Parcel| parcel.tries.first.is_some_and(|first| first + patience <= now);
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (over, left): (VecDeque<_>, VecDeque<_>) = waiting.partition(|parcel| is_over(parcel));
        self.waiting = left;
        over.into_iter().map(|parcel| (parcel, down.clone())).collect()
    }
}

/// An item that waits until `until` for its host, `patience` at most from its first try on.
fn late(parcel: Box<Parcel>, until: Instant, patience: Option<Duration>) -> Late {
    let limit = parcel.tries.first.zip(patience).map(|(first, patience)| first + patience);
    Late { parcel, until, limit }
}
