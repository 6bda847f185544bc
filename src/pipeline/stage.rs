//! A stage: the bounded queue before a network step, and the workers that take from it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, TrySendError};
use event_listener::Event;

use super::aside::Aside;
use super::backoff::Tries;
use super::budget::ReplyCharge;
use super::compute::panicked;
use super::hosts::{Hosts, Job};
use super::parcel::Parcel;
use super::recent::Consequence;
use super::retries::RetryBudgets;
use super::running::{Running, RunningStep};
use super::runs::Runs;
use crate::component::{Aim, Call, Fetch, Fetched, Meter, Retry};
use crate::model::{Fault, FaultKind, Outcome, Text, Verdict};
use crate::runtime;

/// How many items the channel before a stage holds.
pub const CHANNEL: usize = 256;

/// How far a stage looks ahead in its channel for items of other hosts, in items for each worker.
const LOOK_AHEAD: usize = 4;

/// The share of all memory that items may take here before those that wait are set aside.
const HELD_SHARE: usize = 8;

/// A worker that calls a host which did not answer well the last time waits this long with it, and then turns to
/// other items.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many calls that their workers have left to themselves a stage has at most, for each worker.
const OVERDUE: usize = 16;

pub(super) struct Stage {
    /// The number of its step in the pipeline.
    pub(super) step: usize,
    fetch: Arc<dyn Fetch>,
    retry: Retry,
    workers: usize,
    /// In a single run: items whose client has not been able to sign in for so long are abandoned.
    give_up: Option<Duration>,
    /// Since when no item could be sent because of that.
    locked_out_since: Mutex<Option<Instant>>,
    input: Sender<Box<Parcel>>,
    output: Receiver<Box<Parcel>>,
    hosts: Mutex<Hosts>,
    pub(super) aside: Option<Aside>,
    /// Only if the step tells items apart by partitions.
    runs: Option<Arc<Runs>>,
    /// An item may have become ready, or the last one may have ended.
    changed: Arc<Event>,
    /// Items that workers have in hand.
    in_hand: AtomicUsize,
    /// Calls that their workers have left to themselves.
    overdue: AtomicUsize,
}

impl Stage {
    pub(super) fn new(
        step: usize,
        fetch: Arc<dyn Fetch>,
        retry: Retry,
        workers: usize,
        budgets: Arc<RetryBudgets>,
        give_up: Option<Duration>,
        aside: Option<Aside>,
    ) -> Self {
        let (input, output) = async_channel::bounded(CHANNEL);
        let changed = Arc::<Event>::default();
        let runs = fetch.has_partitions().then(|| Runs::new(changed.clone()));
        Self {
            step,
            fetch,
            retry,
            workers,
            give_up,
            locked_out_since: Mutex::default(),
            input,
            output,
            hosts: Mutex::new(Hosts::new(workers, retry.within, budgets)),
            aside,
            runs,
            changed,
            in_hand: AtomicUsize::new(0),
            overdue: AtomicUsize::new(0),
        }
    }

    /// Puts an item into the stage's channel, once there is room.
    pub(super) async fn put(&self, parcel: Box<Parcel>) {
        if let Some(parcel) = self.put_now(parcel) {
            let _ = self.input.send(parcel).await;
        }
    }

    /// Puts an item into the stage's channel, or answers it if there is no room.
    pub(super) fn put_now(&self, parcel: Box<Parcel>) -> Option<Box<Parcel>> {
        match self.input.try_send(parcel) {
            Err(TrySendError::Full(parcel)) => Some(parcel),
            // It is closed only when nothing can be put any more, or at a stop: then dropping it abandons the item.
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    /// No more items will be put; the workers end once all are done.
    pub(super) fn close(&self) {
        self.input.close();
        self.changed.notify(usize::MAX);
    }

    /// The source waits for items to end: what waits here is set aside.
    pub(super) fn make_room(&self, pipeline: &Running) {
        self.set_aside(&mut self.hosts(), pipeline, pipeline.clock.instant());
    }

    /// Sets aside what waits for hosts or for its next try, if it is in the way of others.
    fn set_aside(&self, hosts: &mut Hosts, pipeline: &Running, now: Instant) {
        let Some(aside) = &self.aside else { return };
        for late in hosts.take_late() {
            aside.put(late, &pipeline.clock);
        }
        let is_in_the_way =
            pipeline.wants_room.load(Ordering::Relaxed) || hosts.held_bytes() > pipeline.budget.limit() / HELD_SHARE;
        if is_in_the_way && !pipeline.life.is_stopping() && aside.has_room() {
            for late in hosts.take_waiting(now) {
                aside.put(late, &pipeline.clock);
            }
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// Items that wait here, for the status.
    pub(super) fn depth(&self) -> usize {
        self.output.len() + self.hosts().held() + self.runs.as_ref().map_or(0, |runs| runs.held())
    }

    /// The next item to work on; nothing once the stage is closed and empty.
    async fn take(&self, pipeline: &Running) -> Option<Job> {
        loop {
            if let Some(job) = self.try_take(pipeline) {
                return Some(job);
            }
            let changed = self.changed.listen();
            if let Some(job) = self.try_take(pipeline) {
                return Some(job);
            }
            if self.is_over() {
                self.changed.notify(usize::MAX);
                return None;
            }
            self.wait(pipeline, changed).await;
        }
    }

    fn try_take(&self, pipeline: &Running) -> Option<Job> {
        let now = pipeline.clock.instant();
        let mut hosts = self.hosts();
        if pipeline.life.is_stopping() {
            // What would have to wait is not waited for.
            hosts.abandon_waiting_for_time();
        }
        if let Some(runs) = &self.runs {
            if pipeline.life.is_stopping() {
                runs.abandon();
            }
            for mut parcel in runs.take_begun() {
                hosts.add(&self.aim(&mut parcel), parcel, now);
            }
        }
        while hosts.held() < self.workers * LOOK_AHEAD
            && let Ok(mut parcel) = self.output.try_recv()
        {
            hosts.add(&self.aim(&mut parcel), parcel, now);
        }
        let mut job = hosts.take(now);
        for (parcel, fault) in hosts.take_expired() {
            pipeline.give_up(parcel, &pipeline.steps[self.step].id, &fault);
        }
        // Everything at hand waits for its host: look further for items of others.
        while job.is_none()
            && let Ok(mut parcel) = self.output.try_recv()
        {
            hosts.add(&self.aim(&mut parcel), parcel, now);
            job = hosts.take(now);
        }
        self.set_aside(&mut hosts, pipeline, now);
        if job.is_some() {
            self.in_hand.fetch_add(1, Ordering::AcqRel);
            if hosts.next_time().is_some() {
                // Whoever is idle shall look after it.
                self.changed.notify(1);
            } else {
                self.wake_for(&hosts);
            }
        }
        job
    }

    /// Wakes an idle worker if there is an item for it.
    fn wake_for(&self, hosts: &Hosts) {
        if hosts.may_have_ready() {
            self.changed.notify(1);
        }
    }

    fn is_over(&self) -> bool {
        self.input.is_closed()
            && self.output.is_empty()
            && self.hosts().is_empty()
            && self.runs.as_ref().is_none_or(|runs| runs.held() == 0)
            && self.in_hand.load(Ordering::Acquire) == 0
    }

    /// Waits until something may be ready.
    async fn wait(&self, pipeline: &Running, changed: event_listener::EventListener) {
        let next_time = self.hosts().next_time();
        let time = async {
            match next_time {
                Some(time) => pipeline.clock.sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        let arrival = async {
            match self.output.recv().await {
                Ok(mut parcel) => {
                    let host = self.aim(&mut parcel);
                    self.hosts().add(&host, parcel, pipeline.clock.instant());
                }
                Err(_) => std::future::pending().await,
            }
        };
        runtime::race(runtime::race(arrival, changed), time).await;
    }

    /// The host that the parcel's next call leads to.
    fn aim(&self, parcel: &mut Parcel) -> Text {
        let Aim { host, url } = self.fetch.aim(&parcel.item, parcel.page.as_ref());
        parcel.url = url;
        host
    }

    /// Notes something of the hosts by which items may have become ready.
    fn hosts_after(&self, note: impl FnOnce(&mut Hosts)) {
        let mut hosts = self.hosts();
        note(&mut hosts);
        self.wake_for(&hosts);
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works on the stage's items until it is closed and empty. One of [`Stage::workers`] such tasks.
pub(super) async fn work(pipeline: Arc<Running>, place: usize) {
    let stage = &pipeline.stages[place];
    if stage.workers == 1 {
        stage.work_in_order(&pipeline).await;
        return;
    }
    while let Some(job) = stage.take(&pipeline).await {
        if job.proven {
            stage.call(&pipeline, job).await;
        } else {
            call_unproven(&pipeline, place, job).await;
        }
    }
}

/// Calls a host that may be dead. Once that takes long, the call goes on in a task of its own, so that dead hosts
/// take no workers from the living.
async fn call_unproven(pipeline: &Arc<Running>, place: usize, job: Job) {
    let running = pipeline.clone();
    let mut call = Box::pin(async move { running.stages[place].call(&running, job).await });
    if pipeline.clock.timeout(PATIENCE, &mut call).await.is_some() {
        return;
    }
    let stage = &pipeline.stages[place];
    if stage.overdue.fetch_add(1, Ordering::AcqRel) >= stage.workers * OVERDUE {
        stage.overdue.fetch_sub(1, Ordering::AcqRel);
        call.await;
        return;
    }
    let running = pipeline.clone();
    // Nobody joins it: the stage is over only once no item is in hand.
    runtime::spawn(async move {
        let ended = running.life.unless_over(runtime::catch_panic(call)).await;
        running.stages[place].overdue.fetch_sub(1, Ordering::AcqRel);
        if let Some(Err(panic)) = ended {
            log::error!(pipeline = &*running.name, panic = &*panic.0;
                "a task of the engine panicked; its item comes again");
        }
    });
}

impl Stage {
    /// With one worker, order comes first: it waits with its item.
    async fn work_in_order(&self, pipeline: &Running) {
        while let Ok(mut parcel) = self.output.recv().await {
            let _in_hand = InHand::taken(self);
            loop {
                let again = match self.fetch(pipeline, parcel).await {
                    Called::Done(fetched, parcel) => self.hand_on(pipeline, fetched, parcel).await,
                    Called::Later { parcel, when, .. } | Called::Again { parcel, when, .. } => {
                        let is_due = pipeline.life.sleep_until(&pipeline.clock, when).await;
                        is_due.then_some(parcel)
                    }
                    Called::Waits(runs) => {
                        runtime::race(runs.begun(), async {
                            pipeline.life.stopping().await;
                            runs.abandon();
                            None
                        })
                        .await
                    }
                    Called::Over { .. } => None,
                };
                let Some(again) = again else { break };
                parcel = again;
            }
        }
    }

    async fn call(&self, pipeline: &Running, job: Job) {
        let _in_hand = InHand(self);
        let host = job.host;
        let called = self.fetch(pipeline, job.parcel).await;
        let now = pipeline.clock.instant();
        match called {
            Called::Done(fetched, parcel) => {
                self.hosts_after(|hosts| hosts.succeeded(&host));
                if let Some(mut parcel) = self.hand_on(pipeline, fetched, parcel).await {
                    let host = self.aim(&mut parcel);
                    self.hosts_after(|hosts| hosts.add(&host, parcel, pipeline.clock.instant()));
                }
            }
            Called::Waits(_) => {
                self.hosts_after(|hosts| hosts.ended(&host));
            }
            Called::Later { parcel, when, why } => {
                self.hosts().hold_back(&host, parcel, when, why, now);
                // This worker may have turned to other items: another one shall look after the time.
                self.changed.notify(1);
            }
            Called::Again { parcel, when, limit, fault } => {
                let mut hosts = self.hosts();
                hosts.failed(&host);
                hosts.park(host, parcel, when, limit, fault);
                self.changed.notify(1);
            }
            Called::Over { answered } => {
                self.hosts_after(|hosts| if answered { hosts.succeeded(&host) } else { hosts.failed(&host) });
            }
        }
    }

    /// Hands on what came of a call. Answers the item if it goes on with another page, which has tries of its own. An
    /// engine that stops begins no page that the next start can begin as well.
    async fn hand_on(&self, pipeline: &Running, fetched: Fetched, mut parcel: Box<Parcel>) -> Option<Box<Parcel>> {
        let page = match fetched {
            Fetched::Page(page) => page,
            Fetched::Whole(outputs) => {
                parcel.run = None;
                if let Some(rest) = pipeline.pass_on(parcel, outputs, self.step) {
                    Box::pin(pipeline.pass_rest(rest)).await;
                }
                return None;
            }
        };
        // In a box, so that workers hold no room for it where there are no pages.
        Box::pin(pipeline.pass_on_page(&mut parcel, *page, self.step)).await;
        if parcel.page.is_none() {
            parcel.ack.settle(Outcome::Filtered);
            return None;
        }
        let is_cut_short = parcel.run.is_some() && pipeline.life.is_stopping();
        (!is_cut_short).then_some(parcel)
    }

    /// Makes one call, and decides what comes of it.
    async fn fetch(&self, pipeline: &Running, mut parcel: Box<Parcel>) -> Called {
        if let Some(runs) = &self.runs
            && parcel.run.is_none()
        {
            let partition = runtime::catch_panic(self.fetch.partition(&parcel.item)).await;
            match partition.unwrap_or_else(|panic| Err(panicked(&panic))) {
                Ok(partition) => match runs.begin(partition, parcel) {
                    Some(begun) => parcel = begun,
                    None => return Called::Waits(runs.clone()),
                },
                Err(fault) => return self.failed(pipeline, parcel, fault),
            }
        }
        let reply = ReplyCharge::beside(&parcel.charge);
        let meter = Meter::new(reply.clone());
        let started = pipeline.clock.instant();
        let url = parcel.url.take();
        let call = Call { item: &parcel.item, page: parcel.page.as_ref(), url, meter: &meter };
        let fetched = runtime::catch_panic(self.fetch.fetch(call)).await;
        parcel.charge.absorb(reply.take());
        let was_called = !matches!(&fetched, Ok(Err(Fault { verdict: Verdict::NotBefore(_), .. })));
        if let Some(calls) = pipeline.steps[self.step].counters.calls.as_ref().filter(|_| was_called) {
            calls.observe(pipeline.clock.instant().saturating_duration_since(started));
        }
        match fetched {
            Ok(Ok(fetched)) => {
                parcel.tries = Tries::default();
                parcel.was_aside = false;
                *self.locked_out_since() = None;
                Called::Done(fetched, parcel)
            }
            Ok(Err(fault)) => self.failed(pipeline, parcel, fault),
            Err(panic) => self.failed(pipeline, parcel, panicked(&panic)),
        }
    }

    /// Whether the client has not been able to sign in for as long as `limit`; `fault` is what a call has ended with.
    fn has_been_locked_out(&self, fault: &Fault, limit: Duration, now: Instant) -> bool {
        let mut since = self.locked_out_since();
        match fault.kind {
            FaultKind::Auth => now.duration_since(*since.get_or_insert(now)) >= limit,
            // Nothing was tried.
            FaultKind::Wait => false,
            _ => {
                *since = None;
                false
            }
        }
    }

    fn locked_out_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.locked_out_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what comes of a call that failed.
    fn failed(&self, pipeline: &Running, mut parcel: Box<Parcel>, fault: Fault) -> Called {
        let now = pipeline.clock.instant();
        if self.give_up.is_some_and(|limit| self.has_been_locked_out(&fault, limit, now)) {
            return Called::Over { answered: false };
        }
        let RunningStep { counters, id: step, .. } = &*pipeline.steps[self.step];
        match fault.verdict {
            Verdict::NotBefore(when) if self.waits(&fault, when, &mut parcel.tries, now) => {
                return Called::Later { parcel, when, why: fault };
            }
            Verdict::NotBefore(_) => {}
            Verdict::Retry { not_before } | Verdict::RetryItem { not_before } => {
                parcel.tries.tried(now);
                if let Some(when) = parcel.tries.next(&self.retry, now, not_before) {
                    counters.retried(1);
                    let at = pipeline.clock.timestamp();
                    pipeline.recent.add(Some(&pipeline.name), step, Consequence::Retried, &fault, at);
                    log::debug!(pipeline = &*pipeline.name, component = &**step, trace:% = parcel.item.trace(),
                        tries = parcel.tries.count, fault:% = fault; "item will be tried again");
                    let limit =
                        parcel.tries.first.filter(|_| not_before.is_none()).map(|first| first + self.retry.within);
                    return Called::Again { parcel, when, limit, fault };
                }
            }
            Verdict::Reject | Verdict::Stop => parcel.tries.tried(now),
        }
        pipeline.give_up(parcel, step, &fault);
        Called::Over { answered: fault.kind == FaultKind::Status && fault.verdict == Verdict::Reject }
    }
}

impl Stage {
    /// Whether an item waits until `when` for a call that is not let through: for a host that is down as long as it
    /// may be tried.
    fn waits(&self, fault: &Fault, when: Instant, tries: &mut Tries, now: Instant) -> bool {
        match fault.kind {
            FaultKind::Down => now.duration_since(*tries.first.get_or_insert(now)) < self.retry.within,
            _ => {
                tries.waited(when.saturating_duration_since(now));
                true
            }
        }
    }
}

/// What came of one call.
enum Called {
    Done(Fetched, Box<Parcel>),
    /// Its partition has another item on its way; the runs keep this one until then.
    Waits(Arc<Runs>),
    /// The host was not called.
    Later {
        parcel: Box<Parcel>,
        when: Instant,
        why: Fault,
    },
    /// It failed, and is tried again.
    Again {
        parcel: Box<Parcel>,
        when: Instant,
        /// When it is given up, if the host has no retry to spend on it. None if the host itself named the time.
        limit: Option<Instant>,
        fault: Fault,
    },
    /// The item was given up.
    Over {
        /// Whether the host gave an answer, if not one to go on with.
        answered: bool,
    },
}

/// A worker's hold on its item: given back however the call ends.
struct InHand<'a>(&'a Stage);

impl<'a> InHand<'a> {
    /// For an item that did not come from [`Stage::take`], which counts it already.
    fn taken(stage: &'a Stage) -> Self {
        stage.in_hand.fetch_add(1, Ordering::AcqRel);
        Self(stage)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Ordering::AcqRel);
        if self.0.input.is_closed() {
            self.0.changed.notify(usize::MAX);
        }
    }
}
