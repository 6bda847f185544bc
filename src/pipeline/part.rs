//! The parts of an engine that run: each pipeline and each sink is one, with tasks and an end of its own.

use std::convert::Infallible;
use std::sync::{Arc, Weak};

use async_channel::{Receiver, Sender};

use super::aside::bring_back;
use super::deliver::deliver;
use super::engine::Shared;
use super::life::Life;
use super::opening::{OpenedPipeline, OpenedSink, SinkDoor, counters};
use super::plan::{PipelinePlan, SinkPlan};
use super::produce::produce;
use super::replay::{OpenSource, OpenSources, replay};
use super::settle::settle;
use super::stage::work;
use super::status::{PipelineHandle, SinkHandle};
use crate::model::{Fault, Fingerprint, Text};
use crate::runtime::{self, Task};

/// A pipeline of an engine, for as long as the plan names it.
pub(super) struct PipelinePart {
    pub(super) fingerprint: Fingerprint,
    pub(super) sinks: Vec<Text>,
    pub(super) handle: PipelineHandle,
    end: End,
}

/// A sink of an engine.
pub(super) struct SinkPart {
    pub(super) handle: SinkHandle,
    pub(super) fingerprint: Fingerprint,
    pub(super) door: SinkDoor,
    pub(super) life: Life,
    end: End,
}

/// Tells when a part's last task has ended, which it is then by closing.
#[derive(Clone)]
pub(super) struct End(Receiver<Infallible>);

/// Held by a part's tasks; for the engine, too, something goes on as long as one of these is there.
pub(super) type Busy = Sender<Infallible>;

impl End {
    pub(super) fn of(receiver: Receiver<Infallible>) -> Self {
        Self(receiver)
    }

    /// Waits for it.
    pub(super) async fn reached(&self) {
        // Nothing is ever sent.
        let _ = self.0.recv().await;
    }

    pub(super) fn is_reached(&self) -> bool {
        self.0.is_closed()
    }
}

impl PipelinePart {
    /// Starts a pipeline that is open.
    pub(super) fn start(plan: &PipelinePlan, opened: OpenedPipeline, shared: &Shared, busy: Busy) -> Self {
        let handle = opened.handle.clone();
        Self {
            fingerprint: plan.fingerprint,
            sinks: plan.sinks.clone(),
            handle,
            end: run_pipeline(opened, shared, busy),
        }
    }

    /// A pipeline that could not be opened.
    pub(super) fn failed(plan: &PipelinePlan, fault: Fault, shared: &Shared) -> Self {
        let life = shared.life.part();
        life.fail(fault);
        let (_, end) = async_channel::bounded(1);
        let counters = counters(plan, &shared.options.clock);
        let handle = PipelineHandle::new(plan, counters, life, Weak::new());
        Self { fingerprint: plan.fingerprint, sinks: plan.sinks.clone(), handle, end: End(end) }
    }

    /// What tells it from all other pipelines of the engine.
    pub(super) fn key(&self) -> (Text, Option<&'static str>) {
        (self.handle.pipeline.clone(), self.handle.part)
    }

    pub(super) fn end(&self) -> &End {
        &self.end
    }
}

impl SinkPart {
    /// Starts a sink that is open. It ends when every pipeline that feeds it is done.
    pub(super) fn start(plan: &SinkPlan, opened: OpenedSink, busy: Busy) -> Self {
        let OpenedSink { sink, output, workers, door, handle, .. } = opened;
        let life = sink.life.clone();
        let (ending, end) = async_channel::bounded(1);
        runtime::spawn(async move {
            let life = sink.life.clone();
            let start_worker = |_| {
                let (life, sink, output) = (life.clone(), sink.clone(), output.clone());
                runtime::spawn(async move {
                    life.unless_over(Box::pin(deliver(sink, output))).await;
                })
            };
            let workers: Vec<_> = (0..workers).map(start_worker).collect();
            for worker in workers {
                join(worker, &sink.name).await;
            }
            // The way in, which the engine keeps, keeps what is in the channel too: after an early end nobody takes it.
            output.close();
            while output.try_recv().is_ok() {}
            if let Some(Err(fault)) = life.unless_over(sink.sink.close()).await {
                log::error!(sink = &*sink.name, fault:% = fault; "sink not closed well");
            }
            drop((ending, busy));
        });
        Self { handle, fingerprint: plan.fingerprint, door, life, end: End(end) }
    }

    pub(super) fn end(&self) -> &End {
        &self.end
    }
}

/// Starts a pipeline's tasks.
fn run_pipeline(opened: OpenedPipeline, shared: &Shared, busy: Busy) -> End {
    let (ending, end) = async_channel::bounded(1);
    let (sources, open) = (shared.sources.clone(), shared.sources.open());
    let ledger = opened.running.ledger.clone();
    let counters = opened.running.counters.clone();
    let life = opened.running.life.clone();
    let clock = shared.options.clock.clone();
    let settler = runtime::spawn(settle(ledger, shared.life.clone(), life.clone(), clock));
    runtime::spawn(async move {
        let name = opened.running.name.clone();
        let task = runtime::spawn(async move {
            // Boxed, since a task is moved a few times on its way to the executor, each time through a thread's stack.
            life.unless_over(Box::pin(run(opened, &sources, open))).await;
        });
        join(task, &name).await;
        join(settler, &name).await;
        counters.components().for_each(|component| component.tap.close());
        drop((ending, busy));
    });
    End(end)
}

/// Runs a pipeline to its end: the source first, then one stage after the other.
async fn run(opened: OpenedPipeline, sources: &OpenSources, open: OpenSource) {
    let OpenedPipeline { running, settings, source, context, limits, .. } = opened;
    let (open, quiescence) = (Arc::new(open), context.quiescence.clone());
    let (source_ending, source_ended) = async_channel::bounded(1);
    let bring_back_to = |stage: usize| {
        let (running, open, context, source_ended) =
            (running.clone(), open.clone(), context.clone(), source_ended.clone());
        runtime::spawn(async move {
            let (life, quiescence) = (running.life.clone(), context.quiescence.clone());
            life.unless_over(Box::pin(bring_back(&running, stage, context, limits, source_ended))).await;
            drop(open);
            if let Some(quiescence) = &quiescence {
                quiescence.end(1);
            }
        })
    };
    let brought_back: Vec<_> = (0..running.stages.len()).map(bring_back_to).collect();
    let start_worker = |stage: usize| {
        let running = running.clone();
        runtime::spawn(async move {
            let life = running.life.clone();
            life.unless_over(Box::pin(work(running, stage))).await;
        })
    };
    let stages = running.stages.iter().enumerate();
    let workers: Vec<Vec<_>> =
        stages.map(|(place, stage)| (0..stage.workers()).map(|_| start_worker(place)).collect()).collect();
    let produced = async {
        // Queues take turns by themselves.
        if settings.queue().is_none() {
            running.recovered().await;
        }
        produce(&running, settings.as_ref(), source, context, limits).await;
        drop((open, source_ending));
        if let Some(quiescence) = &quiescence {
            quiescence.end(1);
        }
    };
    // Boxed for the same reason as the whole.
    let replayed = Box::pin(async {
        running.recovered().await;
        replay(&running, sources, limits, quiescence.clone()).await;
    });
    runtime::both(Box::pin(produced), replayed).await;
    for task in brought_back {
        join(task, &running.name).await;
    }
    for (stage, workers) in running.stages.iter().zip(workers) {
        stage.close();
        for worker in workers {
            join(worker, &running.name).await;
        }
    }
}

/// Waits for a task. Components' panics are caught where they are called, so one that comes here is a bug of the
/// engine; the items that the task held are abandoned.
async fn join(task: Task<()>, name: &str) {
    if let Err(panic) = task.join().await {
        log::error!(task = name, panic = &*panic.0; "a task of the engine panicked; its items come again");
    }
}
