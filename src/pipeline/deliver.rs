//! A sink's task: collects batches, writes them, and stands by them until each item has ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::TrySendError;

use super::ack::Ack;
use super::backoff::Tries;
use super::buffer::Buffer;
use super::compute::panicked;
use super::counters::ComponentCounters;
use super::ends::Settler;
use super::life::Life;
use super::parcel::Parcel;
use super::recent::{Consequence, RecentFaults};
use super::retries::RetryBudget;
use super::running::reject;
use super::sink_state::SinkState;
use crate::component::{BatchLimits, Retry, Sink, WriteFault};
use crate::expr::Filter;
use crate::model::{Fault, FaultKind, Item, Outcome, Planted, Text, Verdict};
use crate::runtime::{self, Clock, Receiver, Sender, WeakReceiver};
use crate::store::{Change, Push};
use crate::telemetry::Histogram;

/// So many different items refused in a row, with none accepted, are no longer the items' fault.
const REFUSALS_TO_OPEN: usize = 20;

/// How long a refused item is held back, to see whether others are accepted.
const HOLD: Duration = Duration::from_secs(5);

/// A sink whose client signs in anew for no longer than this does not fail.
const SHORT: Duration = Duration::from_millis(100);

/// A write that takes longer than this, while items already wait in the sink's buffer, no longer holds up their
/// sources: what it was to write goes into the buffer too, and is written from there.
const LAG: Duration = Duration::from_secs(5);

/// One pipeline's way into a sink.
pub(super) struct SinkInput {
    feeder: Arc<Feeder>,
    gate: Arc<Option<Filter>>,
    input: Sender<Delivery>,
    buffer: Option<Arc<Buffer>>,
}

/// The pipeline that an item comes from.
pub(super) struct Feeder {
    pub(super) pipeline: Text,
    /// Of the way into the sink; its id is the sink's, as dead letters call it.
    pub(super) counters: Arc<ComponentCounters>,
    pub(super) recent: Arc<RecentFaults>,
    pub(super) clock: Clock,
    pub(super) life: Life,
    /// Its items have a source that can wait: they are in the sink's buffer already.
    pub(super) is_buffer: bool,
}

/// An item for a sink.
pub(super) struct Delivery {
    parcel: Box<Parcel>,
    from: Arc<Feeder>,
}

impl SinkInput {
    pub(super) fn new(
        feeder: Feeder,
        gate: Arc<Option<Filter>>,
        input: Sender<Delivery>,
        buffer: Option<Arc<Buffer>>,
    ) -> Self {
        Self { feeder: Arc::new(feeder), gate, input, buffer }
    }

    pub(super) fn component(&self) -> &str {
        self.feeder.counters.id()
    }

    pub(super) fn counters(&self) -> &ComponentCounters {
        &self.feeder.counters
    }

    /// The sink's `when`.
    pub(super) fn gate(&self) -> &Arc<Option<Filter>> {
        &self.gate
    }

    /// Where the sink's items wait if it lags.
    pub(super) fn buffer(&self) -> Option<&Arc<Buffer>> {
        self.buffer.as_ref()
    }

    /// Puts an item into the sink's channel. Waits for room, or with a buffer gives the item back that has to go
    /// there.
    pub(super) async fn put(&self, parcel: Box<Parcel>) -> Option<Box<Parcel>> {
        let Some(buffer) = &self.buffer else {
            self.put_in_channel(parcel).await;
            return None;
        };
        if buffer.is_empty() { self.put_now(parcel) } else { Some(parcel) }
    }

    /// Puts an item into the sink's channel, or answers it if there is no room.
    pub(super) fn put_now(&self, parcel: Box<Parcel>) -> Option<Box<Parcel>> {
        match self.input.try_send(self.delivery(parcel)) {
            Err(TrySendError::Full(delivery)) => Some(delivery.parcel),
            // The channel closes only at the end of an engine: then dropping the item abandons it.
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    /// Puts an item into the sink's channel, and waits for room there.
    pub(super) async fn put_in_channel(&self, parcel: Box<Parcel>) {
        if let Some(parcel) = self.put_now(parcel) {
            let _ = self.input.send(self.delivery(parcel)).await;
        }
    }

    /// Whether it takes whatever comes: there is neither a `when` nor a buffer.
    pub(super) fn is_plain(&self) -> bool {
        self.gate.is_none() && self.buffer.is_none()
    }

    fn delivery(&self, mut parcel: Box<Parcel>) -> Delivery {
        if self.feeder.is_buffer && Planted::BufferBeforeDelivery.is_on() {
            let nobody = Ack::root(0, Settler::nobody());
            std::mem::replace(&mut parcel.ack, nobody).settle(Outcome::Delivered);
        }
        Delivery { parcel, from: self.feeder.clone() }
    }
}

impl Feeder {
    /// The sink cannot go on until a person has acted.
    fn stop(&self, fault: &Fault) {
        if !self.life.is_stopping() && fault.kind != FaultKind::ClosedPipe {
            let component = &**self.counters.id();
            log::error!(component = component, fault:% = fault; "pipeline stopped");
            self.recent.add(Some(&self.pipeline), component, Consequence::Stopped, fault, self.clock.timestamp());
        }
        self.life.fail(fault.clone());
    }
}

impl Delivery {
    fn delivered(self) {
        self.from.counters.left(1);
        if let Some(findings) = &self.parcel.item.origin.findings {
            findings.found_new();
        }
        self.parcel.ack.settle(Outcome::Delivered);
    }

    fn reject(self, fault: &Fault) {
        let Feeder { counters, recent, clock, .. } = &*self.from;
        reject(self.parcel, counters.id(), fault, counters, recent, clock);
    }
}

/// A sink that runs.
pub(super) struct RunningSink {
    pub(super) name: String,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) limits: BatchLimits,
    pub(super) retry: Retry,
    /// What the retries of its host have in common, if it goes to one.
    pub(super) retries: Option<Arc<RetryBudget>>,
    /// After failing for so long, the sink's items are abandoned instead of waited for.
    pub(super) give_up: Option<Duration>,
    pub(super) buffer: Option<Arc<Buffer>>,
    pub(super) clock: Clock,
    pub(super) life: Life,
    pub(super) recent: Arc<RecentFaults>,
    pub(super) record: Arc<SinkRecord>,
    /// Weak, since what is left in the channel at the end is abandoned by letting go of it.
    pub(super) input: WeakReceiver<Delivery>,
}

/// What is recorded of a sink, and outlives it.
#[derive(Debug, Default)]
pub(super) struct SinkRecord {
    pub(super) writes: Histogram,
    pub(super) state: SinkState,
}

impl RunningSink {
    /// Items in its channel.
    pub(super) fn waiting(&self) -> usize {
        self.input.upgrade().map_or(0, |input| input.len())
    }

    /// Nothing that counts as a try, such as a full queue, is left out.
    fn note_retry(&self, fault: &Fault) {
        if !matches!(fault.verdict, Verdict::NotBefore(_)) {
            let component = format!("sink.{}", self.name);
            self.recent.add(None, &component, Consequence::Retried, fault, self.clock.timestamp());
        }
    }
}

/// Delivers until every pipeline that feeds the sink is done. One of the sink's workers.
pub(super) async fn deliver(sink: Arc<RunningSink>, input: Receiver<Delivery>) {
    let mut worker =
        Worker { sink: &sink, refused: Vec::new(), refused_since: None, failing_since: None, is_lagging: false };
    loop {
        match worker.collect(&input).await {
            Collected::Batch(batch) => worker.write_all(batch).await,
            Collected::Nothing => worker.let_go_of_refused(),
            Collected::End => break,
        }
    }
    worker.let_go_of_refused();
}

enum Collected {
    Batch(Vec<Delivery>),
    /// Nothing came while refused items were held back.
    Nothing,
    End,
}

struct Worker<'a> {
    sink: &'a RunningSink,
    /// Items refused since the last one that was accepted, and why.
    refused: Vec<(Delivery, Fault)>,
    refused_since: Option<Instant>,
    /// Since when the destination fails as a whole.
    failing_since: Option<Instant>,
    /// Nothing has been accepted since a write failed or took too long.
    is_lagging: bool,
}

impl Worker<'_> {
    /// The next batch: as soon as one of its limits is reached, or nothing more can come.
    async fn collect(&self, input: &Receiver<Delivery>) -> Collected {
        let RunningSink { clock, limits, .. } = self.sink;
        let first = match self.refused_since {
            None => input.recv().await,
            Some(since) => {
                let left = (since + HOLD).saturating_duration_since(clock.instant());
                match clock.timeout(left, input.recv()).await {
                    Some(received) => received,
                    None => return Collected::Nothing,
                }
            }
        };
        let Ok(first) = first else { return Collected::End };
        let is_alone = first.parcel.item.origin.alone;
        let mut bytes = first.parcel.size;
        let mut batch = vec![first];
        let until = clock.instant() + limits.age;
        // Without a wait, a batch takes what is there.
        let age = if is_alone { Duration::ZERO } else { limits.age };
        while batch.len() < limits.items && bytes < limits.bytes.bytes() {
            let next = match input.try_recv() {
                Ok(next) => next,
                Err(_) if age.is_zero() => break,
                Err(_) => {
                    let timeout = async {
                        clock.sleep_until(until).await;
                        None
                    };
                    match runtime::race(async { input.recv().await.ok() }, timeout).await {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
            bytes += next.parcel.size;
            batch.push(next);
        }
        Collected::Batch(batch)
    }

    /// Writes a batch, cut in halves where it holds bad items, until each of its items has ended or is held back.
    async fn write_all(&mut self, batch: Vec<Delivery>) {
        let mut parts = vec![(batch, Tries::default())];
        loop {
            if self.refused.len() >= REFUSALS_TO_OPEN {
                let kept = self.wait_for_acceptance().await;
                parts.push((kept, Tries::default()));
            }
            let Some((mut part, mut tries)) = parts.pop() else { return };
            // A pipeline that is over has its items again, from its source.
            part.retain(|item| !item.from.life.is_over());
            if self.is_lagging {
                part = self.put_into_buffer(part);
            }
            if part.is_empty() {
                continue;
            }
            let Some(written) = self.write_or_lag(&part).await else {
                self.is_lagging = true;
                parts.push((part, tries));
                continue;
            };
            let (fault, decision) = match written {
                Ok(()) => {
                    self.accepted(part);
                    continue;
                }
                Err(WriteFault::Items(faults)) => {
                    let faulty = self.take_faulty(&mut part, faults).into_iter();
                    let (refused, again): (Vec<_>, Vec<_>) =
                        faulty.partition(|(_, fault)| fault.verdict == Verdict::Reject);
                    for (item, fault) in refused {
                        self.refused(item, fault);
                    }
                    self.accepted(part);
                    // What may pass later is a batch of its own.
                    let Some((_, fault)) = again.first() else { continue };
                    let fault = fault.clone();
                    part = again.into_iter().map(|(item, _)| item).collect();
                    let decision = self.decide(&fault, &mut tries);
                    (fault, decision)
                }
                Err(WriteFault::Mixed(fault)) => (fault, Decision::Apart),
                Err(WriteFault::Batch(fault)) => {
                    let decision = self.decide(&fault, &mut tries);
                    (fault, decision)
                }
            };
            match decision {
                Decision::Again { .. } if self.is_lagging && part.iter().any(|item| !item.from.is_buffer) => {
                    parts.push((part, tries));
                }
                Decision::Again { when, was_tried } => {
                    if was_tried {
                        part.iter().for_each(|delivery| delivery.from.counters.retried(1));
                        self.sink.note_retry(&fault);
                    }
                    if self.wait_until(when).await {
                        parts.push((part, tries));
                    }
                }
                Decision::Apart if part.len() > 1 => {
                    let second = part.split_off(part.len() / 2);
                    parts.push((second, Tries::default()));
                    parts.push((part, Tries::default()));
                }
                Decision::Apart => {
                    for mut item in part {
                        item.parcel.tries = tries;
                        self.refused(item, fault.clone());
                    }
                }
                Decision::Abandon => drop(part),
                Decision::Stop => part.iter().for_each(|item| item.from.stop(&fault)),
            }
        }
    }

    /// Waits until a batch may be written again; false if a stop came before.
    async fn wait_until(&self, when: Instant) -> bool {
        let RunningSink { sink, life, clock, .. } = self.sink;
        let has_room = async {
            sink.wait_for_room().await;
            true
        };
        runtime::race(life.sleep_until(clock, when), has_room).await
    }

    /// One write; nothing if it takes so long that sources would have to wait for it.
    async fn write_or_lag(&self, part: &[Delivery]) -> Option<Result<(), WriteFault>> {
        let Some(buffer) = self.sink.buffer.as_ref().filter(|_| part.iter().any(|item| !item.from.is_buffer)) else {
            return Some(self.write(part).await);
        };
        let lag = async {
            loop {
                self.sink.clock.sleep(LAG).await;
                if !buffer.is_empty() {
                    return None;
                }
            }
        };
        runtime::race(async { Some(self.write(part).await) }, lag).await
    }

    /// Puts what is not there yet into the sink's buffer, which settles it for its source. Answers the rest.
    fn put_into_buffer(&self, part: Vec<Delivery>) -> Vec<Delivery> {
        let Some(buffer) = &self.sink.buffer else { return part };
        let (there, direct): (Vec<_>, Vec<_>) = part.into_iter().partition(|item| item.from.is_buffer);
        for Delivery { parcel, .. } in direct {
            let coming = buffer.put(parcel.size);
            let push = Change::Push(Push::of(vec![buffer.plan.queue.clone()], &parcel.item));
            parcel.ack.branch_into_buffers(vec![push], vec![coming]).settle(Outcome::Delivered);
        }
        there
    }

    /// One write. A panic is a fault of something in the batch.
    async fn write(&self, part: &[Delivery]) -> Result<(), WriteFault> {
        let items: Vec<Item> = part.iter().map(|delivery| delivery.parcel.item.clone()).collect();
        let started = self.sink.clock.instant();
        let written = runtime::catch_panic(self.sink.sink.write(&items)).await;
        let written = written.unwrap_or_else(|panic| Err(WriteFault::Mixed(panicked(&panic))));
        let was_written = !matches!(&written, Err(WriteFault::Batch(Fault { verdict: Verdict::NotBefore(_), .. })));
        if was_written {
            self.sink.record.writes.observe(self.sink.clock.instant().saturating_duration_since(started));
        }
        written
    }

    /// What to do about a batch of which nothing was delivered.
    fn decide(&mut self, fault: &Fault, tries: &mut Tries) -> Decision {
        let RunningSink { retry, clock, .. } = self.sink;
        let now = clock.instant();
        match fault.verdict {
            // Others have found out that nothing gets through.
            Verdict::NotBefore(when)
                if fault.kind == FaultKind::Down || (fault.kind == FaultKind::Auth && when > now + SHORT) =>
            {
                if self.has_failed_too_long(fault, now) {
                    return Decision::Abandon;
                }
                Decision::Again { when, was_tried: false }
            }
            Verdict::NotBefore(when) => Decision::Again { when, was_tried: false },
            Verdict::Retry { not_before } => {
                tries.tried(now);
                if self.has_failed_too_long(fault, now) {
                    return Decision::Abandon;
                }
                self.again(tries.next_forever(retry, now, not_before))
            }
            Verdict::RetryItem { not_before } => {
                tries.tried(now);
                tries.next(retry, now, not_before).map_or(Decision::Apart, |when| self.again(when))
            }
            Verdict::Reject => {
                tries.tried(now);
                Decision::Apart
            }
            Verdict::Stop => Decision::Stop,
        }
    }

    /// Tries again at this time, or as soon as the host has a retry for it.
    fn again(&self, when: Instant) -> Decision {
        let when = self.sink.retries.as_ref().map_or(when, |retries| retries.book(when));
        Decision::Again { when, was_tried: true }
    }

    /// Notes that the destination fails as a whole, and answers whether it has done so for too long.
    fn has_failed_too_long(&mut self, fault: &Fault, now: Instant) -> bool {
        if self.failing_since.is_none() {
            self.sink.record.state.fails(self.sink.clock.timestamp());
            log::warn!(sink = &*self.sink.name, fault:% = fault; "sink fails; its items wait");
        }
        self.is_lagging = self.sink.buffer.is_some();
        let since = *self.failing_since.get_or_insert(now);
        self.sink.give_up.is_some_and(|limit| now.duration_since(since) >= limit)
    }

    fn accepted(&mut self, part: Vec<Delivery>) {
        if part.is_empty() {
            return;
        }
        self.is_lagging = false;
        if let Some(retries) = &self.sink.retries {
            retries.earn();
        }
        if self.failing_since.take().is_some() {
            self.sink.record.state.works();
            log::info!(sink = &*self.sink.name; "sink works again");
        }
        part.into_iter().for_each(Delivery::delivered);
        // The destination takes items, so those that it refused are to blame themselves.
        self.let_go_of_refused();
    }

    /// Takes out of a batch the items that were not delivered, each with its fault.
    fn take_faulty(&self, part: &mut Vec<Delivery>, mut faults: Vec<(usize, Fault)>) -> Vec<(Delivery, Fault)> {
        faults.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
        faults.dedup_by_key(|(place, _)| *place);
        let in_range = faults.into_iter().filter(|(place, _)| *place < part.len()).collect::<Vec<_>>();
        let now = self.sink.clock.instant();
        let mut faulty: Vec<_> = in_range
            .into_iter()
            .map(|(place, fault)| {
                let mut item = part.remove(place);
                item.parcel.tries.tried(now);
                (item, fault)
            })
            .collect();
        faulty.reverse();
        faulty
    }

    /// Holds back an item that was refused, until it is clear whose fault that is.
    fn refused(&mut self, item: Delivery, fault: Fault) {
        self.refused_since.get_or_insert(self.sink.clock.instant());
        self.refused.push((item, fault));
    }

    /// The refused items become dead letters.
    fn let_go_of_refused(&mut self) {
        self.refused_since = None;
        for (item, fault) in self.refused.drain(..) {
            item.reject(&fault);
        }
    }

    /// The breaker is open: nothing is written but one item at a time, another each time, until one is accepted.
    /// Answers the items that were refused and kept: they are to be tried again. None are left after a stop.
    async fn wait_for_acceptance(&mut self) -> Vec<Delivery> {
        let RunningSink { name, clock, retry, give_up, life, .. } = self.sink;
        let refused = std::mem::take(&mut self.refused);
        self.refused_since = None;
        if let Some((_, fault)) = refused.last() {
            log::error!(sink = &**name, refused = refused.len(), fault:% = fault;
                "sink refuses everything; its items are kept, and one is tried now and then");
        }
        let _open = self.sink.record.state.open_breaker(clock.timestamp());
        let opened = clock.instant();
        let mut kept: VecDeque<Delivery> = refused.into_iter().map(|(item, _)| item).collect();
        let mut tries = Tries::default();
        while let Some(probe) = kept.pop_front() {
            let now = clock.instant();
            tries.tried(now);
            let given_up = give_up.is_some_and(|limit| now.duration_since(opened) >= limit);
            if given_up || !life.sleep_until(clock, tries.next_forever(retry, now, None)).await {
                break;
            }
            let probe = vec![probe];
            match self.write(&probe).await {
                Ok(()) => {
                    log::info!(sink = &**name; "sink takes items again");
                    self.accepted(probe);
                    return kept.into();
                }
                Err(_) => kept.extend(probe),
            }
        }
        Vec::new()
    }
}

/// What to do about a batch of which nothing was delivered.
enum Decision {
    Again {
        when: Instant,
        was_tried: bool,
    },
    /// Something in it is bad: its halves are tried apart, and an item that is alone is refused.
    Apart,
    Abandon,
    Stop,
}
