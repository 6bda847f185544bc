//! Items set aside: what waits at a stage for hosts that are down, or for a next try that is far off, must not keep others
//! from coming. Once the source has to wait for it, or it takes much memory, it goes into a queue in the store, in the
//! commit that settles it for its source, and comes back to the stage when its time has come: to be tried, or to be given
//! up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::Receiver;

use super::ack::Ack;
use super::backoff::Tries;
use super::compute::panicked;
use super::parcel::Parcel;
use super::plan::AsidePlan;
use super::produce::next_order;
use super::running::Running;
use super::stage::Stage;
use crate::component::{Produced, Source, SourceContext};
use crate::model::{Fault, Item, Origin, Outcome, Size};
use crate::runtime::{self, Clock, catch_panic};
use crate::store::{Change, Push, QueueGauge, Store, Tried};

/// How long an item stays away at least: each time costs a few writes.
const AWAY: Duration = Duration::from_secs(30);

/// How much a stage sets aside.
const DISK: Size = Size::mib(1024);

/// Where a stage sets items aside.
pub(super) struct Aside {
    pub(super) plan: AsidePlan,
    gauge: Arc<QueueGauge>,
}

/// An item that waits at a stage, and is to be set aside.
pub(super) struct Late {
    pub(super) parcel: Box<Parcel>,
    /// It is not tried before.
    pub(super) until: Instant,
    /// When it is given up, if it could not be tried by then.
    pub(super) limit: Option<Instant>,
}

impl Aside {
    pub(super) fn open(plan: AsidePlan, store: &Store) -> Self {
        let gauge = store.queue_gauge(&plan.queue);
        Self { plan, gauge }
    }

    /// Whether it takes more; what waits stays in memory else.
    pub(super) fn has_room(&self) -> bool {
        self.gauge.size().bytes < DISK.0
    }

    /// Sets an item aside. It goes on from here as if it had come from a queue.
    pub(super) fn put(&self, late: Late, clock: &Clock) {
        let Late { parcel, until, limit } = late;
        let now = clock.instant();
        let away = until.max(now + AWAY);
        let due = limit.map_or(away, |limit| away.min(limit.max(now)));
        let mut push = Push::of(vec![self.plan.queue.clone()], &parcel.item);
        push.due = Some(clock.timestamp() + (due - now));
        for entry in &mut push.entries {
            entry.tried = Some(parcel.tries.tried_since(clock));
        }
        log::debug!(trace:% = parcel.item.trace(), queue = &*self.plan.queue; "item is set aside");
        parcel.ack.branch(vec![Change::Push(push)], None).settle(Outcome::Delivered);
    }
}

/// Whether an item can be stored on its way: not the middle of a list that comes page by page, nor a dead letter, which is
/// stored already, nor what is to be worked on alone.
pub(super) fn may_leave(parcel: &Parcel) -> bool {
    let Origin { replayed, tick, alone, .. } = &*parcel.item.origin;
    parcel.page.is_none() && parcel.run.is_none() && replayed.is_none() && tick.is_none() && !alone
}

/// Brings back what the stage number `place` has set aside, until the pipeline's source has come to its end and nothing
/// of it is left, or the pipeline stops. In a single run, until nothing goes on any more anywhere.
pub(super) async fn bring_back(
    pipeline: &Running,
    place: usize,
    context: SourceContext,
    limits: usize,
    source_ended: Receiver<Infallible>,
) {
    let stage = &pipeline.stages[place];
    let Some(AsidePlan { queue, source }) = stage.aside.as_ref().map(|aside| &aside.plan) else { return };
    let once = context.once;
    let result = async {
        let mut source = source.open(SourceContext { id: queue.clone(), position: None, ..context })?;
        while let Some(produced) = next(pipeline, &mut *source, once, &source_ended).await? {
            take_back(pipeline, stage, produced, limits).await;
        }
        Ok(())
    };
    if let Err(fault) = result.await {
        pipeline.stop(queue, &fault);
    }
}

async fn next(
    pipeline: &Running,
    source: &mut dyn Source,
    once: bool,
    source_ended: &Receiver<Infallible>,
) -> Result<Option<Produced>, Fault> {
    let asked = async {
        pipeline.budget.room().await;
        catch_panic(source.next()).await.unwrap_or_else(|panic| Err(panicked(&panic)))
    };
    let over = async {
        if once {
            std::future::pending::<()>().await;
        }
        nothing_is_left(pipeline, source_ended).await;
        Ok(None)
    };
    let stopping = async {
        pipeline.life.stopping().await;
        Ok(None)
    };
    runtime::race(stopping, runtime::race(asked, over)).await
}

/// Waits until no item of the pipeline is in flight or set aside, and none will come.
async fn nothing_is_left(pipeline: &Running, source_ended: &Receiver<Infallible>) {
    // Nothing is ever sent.
    let _ = source_ended.recv().await;
    loop {
        pipeline.ledger.progress.idle().await;
        let gauges = pipeline.stages.iter().filter_map(|stage| Some(&stage.aside.as_ref()?.gauge));
        let mut looked_at = gauges.map(|gauge| (gauge.shrunk(), gauge.size().items));
        match looked_at.find(|(_, items)| *items > 0) {
            Some((shrunk, _)) => shrunk.await,
            None if pipeline.ledger.progress.in_flight() == 0 => return,
            None => {}
        }
    }
}

async fn take_back(pipeline: &Running, stage: &Stage, produced: Produced, limits: usize) {
    let Produced { value, labels, window, lease, again, tried, alone, .. } = produced;
    let (name, id) = again.expect("what reads back an engine's own queue keeps where items come from");
    let sequence = pipeline.ledger.ends.begin(None, lease, None);
    pipeline.begin(1);
    let item = Item::new(Arc::new(Origin { alone, ..Origin::new(name, window, limits) }), id, value, labels);
    let charge = pipeline.budget.charge(next_order(), item.value.size_in_memory());
    let mut parcel = Parcel::new(item, Ack::root(sequence, pipeline.settler.clone()), charge);
    parcel.was_aside = true;
    parcel.tries = tried.map(|tried| Tries::since(tried, &pipeline.clock)).unwrap_or_default();
    stage.put(parcel).await;
}

impl Tries {
    /// As it is stored.
    fn tried_since(&self, clock: &Clock) -> Tried {
        let now = clock.timestamp();
        let ago = self.first.map(|first| clock.instant().saturating_duration_since(first)).unwrap_or_default();
        Tried { count: self.count, since: now - ago }
    }

    fn since(Tried { count, since }: Tried, clock: &Clock) -> Self {
        let ago = Duration::try_from(clock.timestamp().duration_since(since)).unwrap_or_default();
        Self { count, first: clock.instant().checked_sub(ago) }
    }
}
