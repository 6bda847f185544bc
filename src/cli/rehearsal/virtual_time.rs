//! A plan run on a clock that stands still while anything is to be done, and then leaps to what comes next.

use std::future::Future;
use std::time::Duration;

use crate::model::Fault;
use crate::pipeline::{Engine, Options, Plan};
use crate::runtime::{self, Clock};
use crate::store::Store;

/// How long a run was to last, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Elapsed {
    /// Every source came to its end, and every item too.
    Ended,
    /// It was stopped at its time, and ran dry.
    Stopped,
    /// It was not at its end when all its time had gone.
    TooLate,
    /// Something in it waits for what can never come.
    Stuck,
}

/// Runs a plan until all of it has ended. With `stop_after`, sources go on until that much time has gone, and what is
/// in flight then may come to its end. No run takes longer than `most`.
pub(in crate::cli) fn run_through(
    plan: &Plan,
    store: &Store,
    clock: &Clock,
    stop_after: Option<Duration>,
    most: Duration,
) -> Result<(Engine, Elapsed), Fault> {
    runtime::block_on(async {
        let options = Options { clock: clock.clone(), once: stop_after.is_none(), give_up: Some(most) };
        plan.clients.use_store(store);
        let engine = Engine::start(plan, store, &options)?;
        let first = stop_after.unwrap_or(most);
        let mut elapsed = match turn(clock, first, engine.finished()).await {
            Turned::Done => Elapsed::Ended,
            Turned::Late if stop_after.is_some() => {
                match turn(clock, most.saturating_sub(first), engine.stop(clock, plan.drain)).await {
                    Turned::Done => Elapsed::Stopped,
                    Turned::Late => Elapsed::TooLate,
                    Turned::Stuck => Elapsed::Stuck,
                }
            }
            Turned::Late => Elapsed::TooLate,
            Turned::Stuck if stop_after.is_some() => {
                // Nothing more happens by itself, as in a daemon whose sources wait for the world.
                engine.abandon().await;
                Elapsed::Stopped
            }
            Turned::Stuck => Elapsed::Stuck,
        };
        if matches!(elapsed, Elapsed::TooLate | Elapsed::Stuck) {
            engine.abandon().await;
        }
        if engine.status().iter().any(|pipeline| pipeline.counts.abandoned > 0) && elapsed == Elapsed::Ended {
            elapsed = Elapsed::TooLate;
        }
        Ok((engine, elapsed))
    })
}

/// How a future that was driven by a clock came to its end, or did not.
enum Turned {
    Done,
    Late,
    Stuck,
}

/// Drives `future` on: whenever nothing is to be done, the clock leaps to the next time that anything waits for, for at
/// most `limit`.
async fn turn(clock: &Clock, limit: Duration, future: impl Future<Output = ()>) -> Turned {
    let end = clock.instant() + limit;
    let done = async {
        future.await;
        Turned::Done
    };
    let turning = async {
        loop {
            runtime::idle().await;
            // What the last task has done may be what `future` waits for: it has its turn before the clock leaps.
            runtime::yield_now().await;
            if !runtime::is_idle() {
                continue;
            }
            let left = end.saturating_duration_since(clock.instant());
            match clock.next_sleeper() {
                Some(next) if next <= left => clock.advance(next),
                Some(_) => {
                    clock.advance(left);
                    return Turned::Late;
                }
                None => return Turned::Stuck,
            }
        }
    };
    runtime::race(done, turning).await
}
