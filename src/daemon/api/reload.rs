//! Reading the config again, as it is asked for over HTTP, for both sides of it.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Answer, Api, answer};
use crate::daemon::reload::Reloaded;
use crate::pipeline::Changed;

/// The status of a config that is broken: nothing has changed by it.
pub(in crate::daemon) const BROKEN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// What a reload has changed, by the names of pipelines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    pub started: Vec<String>,
    pub restarted: Vec<String>,
    pub stopped: Vec<String>,
    /// How many go on as they were.
    pub unchanged: u64,
    /// Those that could not start, each with its reason.
    pub failed: Vec<(String, String)>,
    /// Settings of `[service]` that the next start will read.
    pub need_restart: Vec<String>,
}

impl Api {
    pub(super) async fn reload(&self) -> Answer {
        let reloaded = self.reloader.reload().await.map_err(|why| (BROKEN, why))?;
        Ok(answer(&ReloadReport::from(reloaded)))
    }
}

impl From<Reloaded> for ReloadReport {
    fn from(Reloaded { changed, need_restart }: Reloaded) -> Self {
        let Changed { started, restarted, stopped, unchanged, failed } = changed;
        let names = |names: Vec<crate::model::Text>| names.iter().map(ToString::to_string).collect();
        Self {
            started: names(started),
            restarted: names(restarted),
            stopped: names(stopped),
            unchanged: unchanged as u64,
            failed: failed.into_iter().map(|(name, why)| (name.to_string(), why)).collect(),
            need_restart,
        }
    }
}
