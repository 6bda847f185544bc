//! A process's life, from its start to its exit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::admin::Admin;
use super::api::Api;
use super::control::Control;
use super::reload::Reloader;
use super::service_manager;
use crate::assemble::{AdminSettings, Outline, Service};
use crate::model::{Fault, FaultKind, Verdict};
use crate::pipeline::{Counts, Engine, Options, PipelineStatus, Plan};
use crate::runtime::{self, Clock, Signal, Signals};
use crate::store::Store;

/// How often a full disk is tried again.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);

/// What asks to stop within this time asks once: timeout(1) signals the process, and then the group that it is in.
const ONE_WISH: Duration = Duration::from_millis(100);

/// What a process is to do.
pub struct Order {
    pub plan: Plan,
    /// Where the plan comes from: read again when the process is asked to reload.
    pub paths: Vec<PathBuf>,
    pub service: Service,
    pub outline: Outline,
    pub state: PathBuf,
    /// Run every source to its end, then exit.
    pub once: bool,
    /// Abandon the items of a sink that has failed for so long.
    pub give_up: Option<Duration>,
    /// Where people and programs may look at it.
    pub admin: Option<AdminSettings>,
}

/// How a process came to its end.
#[derive(Debug)]
pub struct Ending {
    pub pipelines: Vec<PipelineStatus>,
    /// Dead letters in the store.
    pub dead_letters: u64,
    /// Why the engine could not go on.
    pub fault: Option<Fault>,
    /// Whether it was asked to stop.
    pub stopped: bool,
}

impl Ending {
    /// Over all pipelines.
    pub fn counts(&self) -> Counts {
        total(&self.pipelines)
    }

    /// Whether everything that was accepted ended well, and nothing stopped by itself.
    pub fn is_clean(&self) -> bool {
        let Counts { rejected, abandoned, .. } = self.counts();
        let had_enough = self.faults().any(|fault| fault.kind == FaultKind::ClosedPipe);
        rejected == 0 && (abandoned == 0 || had_enough) && !self.stopped_by_itself()
    }

    /// Whether a fault stopped a pipeline. A closed standard output is none: that is how a reader such as `head`
    /// says that it has enough.
    pub fn stopped_by_itself(&self) -> bool {
        self.faults().any(|fault| fault.kind != FaultKind::ClosedPipe)
    }

    fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.pipelines.iter().filter_map(|pipeline| pipeline.fault.as_ref()).chain(&self.fault)
    }
}

/// Runs a plan until it has come to its end, or the process is asked to stop. `watch` is given the engine to show its
/// progress; what it answers is kept until the end.
pub fn run<W>(order: &Order, watch: impl FnOnce(&Arc<Engine>) -> W) -> Result<Ending, Fault> {
    let store = open_store(&order.state)?;
    order.plan.clients.use_store(&store);
    let clock = Clock::system();
    let options = Options { clock: clock.clone(), once: order.once, give_up: order.give_up };
    let mut signals = Signals::listen()
        .map_err(|error| Fault::stop(FaultKind::Read, format!("cannot listen for signals: {error}")))?;
    let engine = Arc::new(Engine::start(&order.plan, &store, &options)?);
    let (paths, service, outline) = (order.paths.clone(), order.service.clone(), order.outline.clone());
    let reloader = Arc::new(Reloader::new(paths, engine.clone(), &order.plan, service, outline));
    let api = Arc::new(Api {
        store: store.clone(),
        engine: engine.clone(),
        reloader: reloader.clone(),
        clock: clock.clone(),
        started: clock.timestamp(),
    });
    let admin = order.admin.as_ref().map(|settings| Admin::listen(settings, &api)).transpose()?;
    let control = Control::listen(&order.state, &api);
    service_manager::ready();
    if !order.once {
        log::info!(pipelines = order.plan.pipelines.len(), state:% = order.state.display(); "ready");
    }
    let _watchdog = service_manager::feed_watchdog(clock.clone());
    let _watch = watch(&engine);
    // It holds the store, which is closed in good order only by the last one who does.
    let status = status_line(engine.clone(), store.clone(), reloader.clone(), clock.clone());
    let stopped = service_manager::block_on_telling(
        async {
            let stopped = runtime::race(
                async {
                    engine.finished().await;
                    false
                },
                async {
                    asked_to_stop(&mut signals, Some(&reloader)).await;
                    true
                },
            )
            .await;
            if stopped {
                log::info!("asked to stop; running dry");
                service_manager::stopping();
                let _more_time = service_manager::ask_for_time(clock.clone());
                let again = clock.instant() + ONE_WISH;
                runtime::race(engine.stop(&clock, reloader.drain()), async {
                    asked_to_stop(&mut signals, None).await;
                    while clock.instant() < again {
                        asked_to_stop(&mut signals, None).await;
                    }
                    log::info!("asked again; stopping at once");
                    engine.abandon().await;
                })
                .await;
            }
            if let Some(admin) = admin {
                admin.close().await;
            }
            if let Some(control) = control {
                control.close().await;
            }
            stopped
        },
        status,
    );
    let dead_letters = store.dead_letter_count()?;
    Ok(Ending { pipelines: engine.status(), dead_letters, fault: engine.fault(), stopped })
}

/// Opens the store, and waits for space where the disk is too full for that: after a crash, say.
fn open_store(folder: &Path) -> Result<Store, Fault> {
    let mut is_waiting = false;
    loop {
        match Store::open(folder) {
            Err(fault) if matches!(fault.verdict, Verdict::Retry { .. }) => {
                if !std::mem::replace(&mut is_waiting, true) {
                    log::warn!(fault:% = fault; "the disk of the state folder is full; waiting for space");
                }
                service_manager::starting("waiting for space on disk");
                std::thread::sleep(SPACE_INTERVAL);
            }
            opened => {
                if is_waiting && opened.is_ok() {
                    log::info!("there is space for the state again; going on");
                }
                return opened;
            }
        }
    }
}

/// Waits until the process is asked to stop. Until then it may be asked to reload, which goes on by itself.
async fn asked_to_stop(signals: &mut Signals, reloader: Option<&Arc<Reloader>>) {
    loop {
        match signals.next().await {
            Ok(Signal::Stop) => return,
            Ok(Signal::Reload) => {
                if let Some(reloader) = reloader.cloned() {
                    // What it comes to has been logged by the time it ends.
                    runtime::spawn(async move { reloader.reload().await.is_ok() });
                }
            }
            Err(error) => log::error!(cause:% = error; "a signal could not be read"),
        }
    }
}

/// `3 pipelines, 120 items/s, 2 dead letters`, told anew at every call.
fn status_line(
    engine: Arc<Engine>,
    store: Store,
    reloader: Arc<Reloader>,
    clock: Clock,
) -> impl FnMut() -> String + Send {
    let mut before = (clock.instant(), 0);
    move || {
        let pipelines = engine.status();
        let (now, settled) = (clock.instant(), total(&pipelines).settled);
        let seconds = now.duration_since(before.0).as_secs_f64().max(0.001);
        let rate = settled.saturating_sub(before.1) as f64 / seconds;
        before = (now, settled);
        let stopped = pipelines.iter().filter(|pipeline| pipeline.fault.is_some()).count();
        let dead = store.dead_letter_count().unwrap_or_default();
        let mut line = format!("{} pipelines, {rate:.0} items/s, {dead} dead letters", pipelines.len());
        if stopped > 0 {
            line.push_str(&format!(", {stopped} stopped by a fault"));
        }
        for (name, pause) in pipelines.iter().filter_map(|pipeline| Some((&pipeline.name, pipeline.pause?))) {
            line.push_str(&format!(", {name} paused: {}", pause.reason()));
        }
        for condition in reloader.clients().conditions() {
            line.push_str(&format!(", {condition}"));
        }
        if store.is_waiting_for_space() {
            line.push_str(", waiting for space on disk");
        }
        line
    }
}

fn total(pipelines: &[PipelineStatus]) -> Counts {
    pipelines.iter().map(|pipeline| pipeline.counts).fold(Counts::default(), std::ops::Add::add)
}
