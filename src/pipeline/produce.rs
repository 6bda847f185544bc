//! The producer: asks the source for items as fast as there is room for them, and starts each on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ack::Ack;
use super::at_hand::AtHand;
use super::backoff::Tries;
use super::parcel::Parcel;
use super::recent::Consequence;
use super::running::Running;
use crate::component::{Produced, Retry, Source, SourceContext, SourceSettings};
use crate::model::{Fault, Item, ItemIds, Origin, Verdict};
use crate::runtime::{self, catch_panic};

use super::compute::panicked;

/// The order in which items come in, over all pipelines of the process.
static NEXT_ORDER: AtomicU64 = AtomicU64::new(0);

pub(super) fn next_order() -> u64 {
    NEXT_ORDER.fetch_add(1, Ordering::Relaxed)
}

/// How a source that fails is asked again: for ever.
const AGAIN: Retry = Retry { cap: Duration::from_secs(60), ..Retry::FETCH };

/// Makes items until the source is at its end, or the pipeline stops.
pub(super) async fn produce(
    pipeline: &Arc<Running>,
    settings: &dyn SourceSettings,
    mut source: Box<dyn Source>,
    mut context: SourceContext,
    limits: usize,
) {
    let mut tries = Tries::default();
    let mut at_hand = AtHand::new(pipeline, limits);
    loop {
        match next(pipeline, source.as_mut(), &mut at_hand, context.once).await {
            Next::Produced(produced) => {
                tries = Tries::default();
                start(pipeline, *produced, limits).await;
            }
            Next::Fault(fault) => {
                let not_before = match fault.verdict {
                    Verdict::NotBefore(time) => Some(time),
                    Verdict::Retry { not_before } | Verdict::RetryItem { not_before } => not_before,
                    Verdict::Reject | Verdict::Stop => {
                        pipeline.stop(&pipeline.ledger.source_id, &fault);
                        return;
                    }
                };
                let now = pipeline.clock.instant();
                tries.tried(now);
                let when = tries.next_forever(&AGAIN, now, not_before);
                pipeline.counters.source.retried(1);
                let source = pipeline.counters.source.id();
                pipeline.recent.add(
                    Some(&pipeline.name),
                    source,
                    Consequence::Retried,
                    &fault,
                    pipeline.clock.timestamp(),
                );
                log::warn!(pipeline = &*pipeline.name, component = &*pipeline.ledger.source_id, fault:% = fault;
                    "source will be asked again");
                if !pipeline.life.sleep_until(&pipeline.clock, when).await {
                    return;
                }
            }
            Next::Abandoned => {
                pipeline.ledger.progress.idle().await;
                pipeline.ledger.ends.reset();
                let now = pipeline.clock.instant();
                tries.tried(now);
                let when = tries.next_forever(&AGAIN, now, None);
                log::warn!(pipeline = &*pipeline.name; "an item was abandoned; it comes again from the last position");
                if !pipeline.life.sleep_until(&pipeline.clock, when).await {
                    return;
                }
                context.position = pipeline.ledger.progress.settled();
                match settings.open(context.clone()) {
                    Ok(opened) => source = opened,
                    Err(fault) => {
                        pipeline.stop(&pipeline.ledger.source_id, &fault);
                        return;
                    }
                }
            }
            Next::End => return,
        }
    }
}

enum Next {
    Produced(Box<Produced>),
    Fault(Fault),
    /// An item was abandoned while the pipeline runs.
    Abandoned,
    /// The source is at its end, or the pipeline stops.
    End,
}

async fn next(pipeline: &Running, source: &mut dyn Source, at_hand: &mut AtHand, once: bool) -> Next {
    let ledger = &pipeline.ledger;
    while !pipeline.life.is_stopping() && pipeline.switch.is_on() && (once || !ledger.ends.has_abandoned()) {
        match at_hand.take(pipeline, source).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(fault) => {
                at_hand.tell(pipeline);
                return Next::Fault(fault);
            }
        }
    }
    at_hand.tell(pipeline);
    if pipeline.life.is_stopping() {
        return Next::End;
    }
    let asked = async {
        loop {
            pipeline.switch.turned(true).await;
            let paused = async {
                pipeline.switch.turned(false).await;
                None
            };
            let asked = async { Some(ask(pipeline, source, once).await) };
            if let Some(next) = runtime::race(asked, paused).await {
                return next;
            }
        }
    };
    let stopping = async {
        pipeline.life.stopping().await;
        Next::End
    };
    let abandoned = async {
        if once {
            std::future::pending::<()>().await;
        }
        ledger.ends.abandoned().await;
        Next::Abandoned
    };
    runtime::race(asked, runtime::race(abandoned, stopping)).await
}

/// Asks the source for its next item, once there is room for it.
async fn ask(pipeline: &Running, source: &mut dyn Source, once: bool) -> Next {
    let ledger = &pipeline.ledger;
    if let Err(fault) = pipeline.room(once).await {
        return Next::Fault(fault);
    }
    pipeline.budget.room().await;
    match catch_panic(source.next()).await {
        Ok(Ok(Some(produced))) => Next::Produced(Box::new(produced)),
        Ok(Ok(None)) if once => Next::End,
        Ok(Ok(None)) => {
            // What is still in flight may be abandoned, and must come again then.
            ledger.progress.idle().await;
            if ledger.ends.has_abandoned() { Next::Abandoned } else { Next::End }
        }
        Ok(Err(fault)) => Next::Fault(fault),
        Err(panic) => Next::Fault(panicked(&panic)),
    }
}

/// Starts an item of the source on its way.
async fn start(pipeline: &Running, produced: Produced, limits: usize) {
    let Produced { value, labels, window, position, lease, told, again, place, fault, findings, tried: _, alone } =
        produced;
    let order = next_order();
    let sequence = pipeline.ledger.ends.begin(position, lease, told);
    pipeline.begin(1);
    pipeline.counters.source.left(1);
    let (origin, id) = match again {
        Some((pipeline, id)) => (Origin::new(pipeline, window, limits), id),
        None => {
            let id = ItemIds::of(&pipeline.name, &pipeline.ledger.source_id).at(&place);
            let tick = (window.is_some() && !pipeline.uses_window).then_some(id);
            let window = window.filter(|_| pipeline.uses_window);
            (Origin { tick, ..Origin::new(pipeline.name.clone(), window, limits) }, id)
        }
    };
    let item = Item::new(Arc::new(Origin { alone, findings, ..origin }), id, value, labels);
    let charge = pipeline.budget.charge(order, item.value.size_in_memory());
    let parcel = Parcel::new(item, Ack::root(sequence, pipeline.settler.clone()), charge);
    match fault {
        Some(fault) => pipeline.give_up(parcel, &pipeline.ledger.source_id, &fault),
        None => pipeline.advance(parcel, 0).await,
    }
}
