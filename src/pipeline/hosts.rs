//! Which item a stage works on next: fair to hosts, and never held up by one that is slow or dead.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::parcel::Parcel;
use crate::model::{Fault, Text};

/// Retries to a host are at most this share of its other traffic …
const RETRY_SHARE: f64 = 0.2;
/// … but this many a minute are always allowed.
const RETRY_FLOOR_PER_MINUTE: f64 = 10.0;
/// The shortest wait for a retry, so that what rounding leaves missing of one never means now.
const SOONEST: Duration = Duration::from_millis(1);
/// How many unused retries a busy host can save up.
const RETRIES_SAVED: f64 = 100.0;
/// How many hosts without items are remembered, with what they have earned.
const HOSTS_REMEMBERED: usize = 4096;

/// The items of a stage that no worker has yet, by host.
///
/// A host starts with one call at a time, which doubles with every good answer, falls back to one when a call fails,
/// and stays about where the host asked to wait: a host that never answers holds up one worker, not all.
pub(super) struct Hosts {
    hosts: HashMap<Text, Host>,
    /// Hosts that may have an item to hand out, in the order in which their turn comes.
    turns: VecDeque<Text>,
    /// Hosts that take nothing before a time.
    held_back: BinaryHeap<Reverse<(Instant, Text)>>,
    /// Items that wait for their next try.
    parked: BinaryHeap<Reverse<Parked>>,
    /// Items that no retry came for in time.
    expired: Vec<(Parcel, Fault)>,
    next_number: u64,
    /// All items here, waiting and parked.
    held: usize,
    /// The most calls to one host at a time.
    limit: usize,
}

struct Host {
    waiting: VecDeque<Parcel>,
    calls: usize,
    /// How many calls at a time it has earned; whole calls count.
    allowed: f64,
    /// Whether `allowed` still doubles. Once the host has asked to wait, it grows by one a round (as TCP does it,
    /// RFC 5681).
    is_doubling: bool,
    /// Whether its last call succeeded.
    proven: bool,
    /// Until when no call is worth it: a rate or a slot is used up on our side.
    not_before: Option<Instant>,
    /// Until when the host asked to be left in peace.
    pause_until: Option<Instant>,
    in_turns: bool,
    retries: f64,
    retries_at: Instant,
}

struct Parked {
    until: Instant,
    number: u64,
    host: Text,
    parcel: Parcel,
    /// When it is given up if its host has no retry for it by then.
    limit: Option<Instant>,
    /// Of its last try.
    fault: Fault,
}

/// What a worker was handed.
pub(super) struct Job {
    pub(super) host: Text,
    pub(super) parcel: Parcel,
    /// Whether the host answered well the last time.
    pub(super) proven: bool,
}

impl Hosts {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            hosts: HashMap::new(),
            turns: VecDeque::new(),
            held_back: BinaryHeap::new(),
            parked: BinaryHeap::new(),
            expired: Vec::new(),
            next_number: 0,
            held: 0,
            limit,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// How many items are here.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes in an item that leads to `host`.
    pub(super) fn add(&mut self, host: &Text, parcel: Parcel, now: Instant) {
        self.held += 1;
        self.host(host, now).waiting.push_back(parcel);
        self.give_turn(host);
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
            self.held -= 1;
            self.give_turn(&name);
            return Some(Job { host: name, parcel, proven });
        }
        None
    }

    /// When the time of a parked item or of a host comes.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let parked = self.parked.peek().map(|Reverse(parked)| parked.until);
        let held_back = self.held_back.peek().map(|Reverse((until, _))| *until);
        parked.into_iter().chain(held_back).min()
    }

    /// A call to the host has ended well.
    pub(super) fn succeeded(&mut self, name: &Text, now: Instant) {
        let limit = self.limit;
        let host = self.host(name, now);
        let more = if host.is_doubling { host.allowed } else { 1.0 / host.allowed };
        host.allowed = (host.allowed + more).min(limit as f64);
        host.proven = true;
        host.retries = (host.retries + RETRY_SHARE).min(RETRIES_SAVED);
        self.ended(name, now);
    }

    /// A call has ended with a fault that the host is to blame for.
    pub(super) fn failed(&mut self, name: &Text, now: Instant) {
        let host = self.host(name, now);
        host.allowed = 1.0;
        host.is_doubling = true;
        host.proven = false;
        self.ended(name, now);
    }

    /// A call has ended in a way that says nothing about the host.
    pub(super) fn ended(&mut self, name: &Text, now: Instant) {
        let host = self.host(name, now);
        host.calls = host.calls.saturating_sub(1);
        // Perhaps it only waited for this call to end; if not, it will say so again.
        host.not_before = None;
        if host.is_idle() && self.hosts.len() > HOSTS_REMEMBERED {
            self.hosts.remove(name);
        } else {
            self.give_turn(name);
        }
    }

    /// The host takes nothing before this time; its item goes back to the front, or by turns to the
    /// back.
    pub(super) fn hold_back(&mut self, name: &Text, parcel: Parcel, until: Instant, by_turns: bool, now: Instant) {
        self.held += 1;
        self.held_back.push(Reverse((until, name.clone())));
        let host = self.host(name, now);
        host.calls = host.calls.saturating_sub(1);
        host.allowed = (host.calls as f64).max(1.0);
        host.is_doubling = false;
        host.not_before = Some(until);
        if by_turns {
            host.waiting.push_back(parcel);
        } else {
            host.waiting.push_front(parcel);
        }
    }

    /// The host asks to be left in peace until this time, by all items.
    pub(super) fn pause(&mut self, name: &Text, until: Instant, now: Instant) {
        self.held_back.push(Reverse((until, name.clone())));
        let host = self.host(name, now);
        host.pause_until = host.pause_until.max(Some(until));
    }

    /// The item, whose last try ended with `fault`, is tried again at this time, or later if the host's retries are
    /// used up: until `limit`, then it is [expired](Self::take_expired).
    pub(super) fn park(&mut self, host: Text, parcel: Parcel, until: Instant, limit: Option<Instant>, fault: Fault) {
        self.held += 1;
        self.next_number += 1;
        self.parked.push(Reverse(Parked { until, number: self.next_number, host, parcel, limit, fault }));
    }

    /// The items to give up, because no retry came for them in time, each with the fault of its last try.
    pub(super) fn take_expired(&mut self) -> Vec<(Parcel, Fault)> {
        std::mem::take(&mut self.expired)
    }

    /// Everything that waits for a time, for an engine that stops. What waits for a worker stays.
    pub(super) fn take_waiting_for_time(&mut self) -> Vec<Parcel> {
        let parked = std::mem::take(&mut self.parked).into_iter().map(|Reverse(parked)| parked.parcel);
        let held_back = self.hosts.values_mut().filter(|host| host.not_before.is_some());
        let waiting: Vec<Parcel> = parked.chain(held_back.flat_map(|host| std::mem::take(&mut host.waiting))).collect();
        self.held -= waiting.len();
        waiting
    }

    /// Moves items whose time has come back to their hosts, before those that were never tried.
    fn unpark(&mut self, now: Instant) {
        while self.parked.peek().is_some_and(|Reverse(parked)| parked.until <= now) {
            let Some(Reverse(parked)) = self.parked.pop() else { return };
            let host = self.host(&parked.host, now);
            match host.spend_retry(now) {
                Ok(()) => {
                    host.waiting.push_front(parked.parcel);
                    self.give_turn(&parked.host);
                }
                Err(_) if parked.limit.is_some_and(|limit| limit <= now) => {
                    self.held -= 1;
                    self.expired.push((parked.parcel, parked.fault));
                }
                Err(until) => {
                    let until = parked.limit.map_or(until, |limit| limit.min(until));
                    self.parked.push(Reverse(Parked { until, ..parked }));
                }
            }
        }
        while self.held_back.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            let Some(Reverse((_, name))) = self.held_back.pop() else { return };
            let host = self.host(&name, now);
            // A later time may have come in the meantime; it has an entry of its own.
            host.not_before = host.not_before.filter(|time| *time > now);
            host.pause_until = host.pause_until.filter(|time| *time > now);
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

    fn host(&mut self, name: &Text, now: Instant) -> &mut Host {
        self.hosts.entry(name.clone()).or_insert_with(|| Host {
            waiting: VecDeque::new(),
            calls: 0,
            allowed: 1.0,
            is_doubling: true,
            proven: false,
            not_before: None,
            pause_until: None,
            in_turns: false,
            retries: RETRY_FLOOR_PER_MINUTE,
            retries_at: now,
        })
    }
}

impl Host {
    fn may_call(&self) -> bool {
        self.calls < self.allowed as usize && !self.is_held_back()
    }

    fn is_held_back(&self) -> bool {
        self.not_before.is_some() || self.pause_until.is_some()
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.calls == 0 && !self.is_held_back()
    }

    /// Spends one retry, or answers when there will be one to spend.
    fn spend_retry(&mut self, now: Instant) -> Result<(), Instant> {
        let earned = now.duration_since(self.retries_at).as_secs_f64() * RETRY_FLOOR_PER_MINUTE / 60.0;
        if self.retries < RETRY_FLOOR_PER_MINUTE {
            self.retries = (self.retries + earned).min(RETRY_FLOOR_PER_MINUTE);
        }
        self.retries_at = now;
        if self.retries >= 1.0 {
            self.retries -= 1.0;
            return Ok(());
        }
        let missing = Duration::from_secs_f64((1.0 - self.retries) * 60.0 / RETRY_FLOOR_PER_MINUTE);
        Err(now + missing.max(SOONEST))
    }
}

impl PartialEq for Parked {
    fn eq(&self, other: &Self) -> bool {
        (self.until, self.number) == (other.until, other.number)
    }
}

impl Eq for Parked {}

impl PartialOrd for Parked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.until, self.number).cmp(&(other.until, other.number))
    }
}
