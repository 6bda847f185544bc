//! Goes over to the config as its files are now: all of it is read and checked first, and one that is broken changes
//! nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::service_manager;
use crate::assemble::{self, Outline, Service};
use crate::http::Clients;
use crate::pipeline::{Changed, Engine, Plan};
use crate::runtime;

/// What a running process can be told of its config.
pub(super) struct Reloader {
    paths: Vec<PathBuf>,
    engine: Arc<Engine>,
    current: Mutex<Current>,
    one_at_a_time: async_lock::Mutex<()>,
}

/// What of the config of the moment the next one is compared with.
struct Current {
    clients: Clients,
    service: Service,
    /// With what `[service]` said when the process started.
    outline: Outline,
    drain: Duration,
}

/// What a reload came to.
#[derive(Debug)]
pub(super) struct Reloaded {
    pub(super) changed: Changed,
    /// The settings of `[service]` that are not as they were, and which only the next start reads.
    pub(super) need_restart: Vec<String>,
}

impl Reloader {
    /// For a process that was started with this plan, service and outline.
    pub(super) fn new(
        paths: Vec<PathBuf>,
        engine: Arc<Engine>,
        plan: &Plan,
        service: Service,
        outline: Outline,
    ) -> Self {
        let current = Current { clients: plan.clients.clone(), service, outline, drain: plan.drain };
        Self { paths, engine, current: Mutex::new(current), one_at_a_time: async_lock::Mutex::new(()) }
    }

    /// How long a stop lets the channels run dry, by the config of the moment.
    pub(super) fn drain(&self) -> Duration {
        self.current().drain
    }

    /// Those of the config of the moment.
    pub(super) fn clients(&self) -> Clients {
        self.current().clients.clone()
    }

    /// The config of the moment.
    pub(super) fn outline(&self) -> Outline {
        self.current().outline.clone()
    }

    /// Reads the config and goes over to it, and tells the log and the service manager. The error is what is wrong with
    /// the new config, for a person: nothing has changed then.
    pub(super) async fn reload(&self) -> Result<Reloaded, String> {
        let _one = self.one_at_a_time.lock().await;
        service_manager::reloading();
        let reloaded = self.change().await;
        service_manager::ready();
        match &reloaded {
            Ok(Reloaded { changed, need_restart }) => {
                let Changed { started, restarted, stopped, unchanged, failed } = changed;
                log::info!(started = started.len(), restarted = restarted.len(), stopped = stopped.len(),
                    unchanged = *unchanged, failed = failed.len(); "config reloaded");
                if !need_restart.is_empty() {
                    log::warn!(settings:% = need_restart.join(", "); "settings of [service] changed that only the next \
                        start reads");
                }
            }
            Err(mistakes) => {
                log::error!(mistakes = &**mistakes; "the config is broken; nothing has changed");
                let first = mistakes.lines().next().unwrap_or_default();
                service_manager::status(&format!("the config is broken, and nothing has changed: {first}"));
            }
        }
        reloaded
    }

    async fn change(&self) -> Result<Reloaded, String> {
        let paths = self.paths.clone();
        let loaded = runtime::blocking(move || assemble::load_for_process(&paths)).await;
        let assembled = loaded.map_err(|panic| format!("the config's reader panicked: {}", panic.0))??;
        let outline = assembled.outline();
        let (clients, service, before) = {
            let current = self.current();
            let clients = current.clients.changed(assembled.clients).map_err(|fault| fault.to_string())?;
            (clients, current.service.clone(), current.outline.clone())
        };
        clients.reload_files().await;
        let need_restart = outline.difference(&before).need_restart;
        let outline = Outline { service: before.service, ..outline };
        let plan = Plan {
            pipelines: assembled.pipelines,
            sinks: assembled.sinks,
            clients,
            drain: assembled.service.drain,
            alerts: assembled.service.alerts.iter().map(|sink| sink.as_str().into()).collect(),
            // As they were until the next start.
            memory: service.memory,
            dead_letters: service.dead_letters,
        };
        let changed = self.engine.change(&plan).await;
        let Plan { clients, drain, .. } = plan;
        *self.current() = Current { clients, service, outline, drain };
        Ok(Reloaded { changed, need_restart })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
