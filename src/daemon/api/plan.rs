//! What another config would change, as it is asked for over HTTP.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Answer, Api, answer};
use crate::assemble::{Difference, HostLoad, Outline};
use crate::http::Asked;

/// What is taken of a body.
const MAX_BODY: usize = 16 << 20;

/// What going over to a config would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    pub difference: Difference,
    /// The load of each host by what runs.
    pub loads: Vec<HostLoad>,
}

impl Api {
    /// Takes an outline rather than giving one: nothing that follows from a secret leaves the process.
    pub(super) async fn plan(&self, asked: Asked) -> Answer {
        let wrong_body = || (StatusCode::BAD_REQUEST, "the body is not the outline of a config".to_owned());
        let body = asked.body.read(MAX_BODY).await.map_err(|_| wrong_body())?;
        let after: Outline = serde_json::from_slice(&body).map_err(|_| wrong_body())?;
        let before = self.reloader.outline();
        let mut difference = after.difference(&before);
        // A reload starts those anew that a fault has stopped.
        for stopped in self.engine.status().into_iter().filter(|pipeline| pipeline.fault.is_some()) {
            if let Some(place) = difference.unchanged.iter().position(|name| **name == *stopped.pipeline) {
                let name = difference.unchanged.remove(place);
                difference.restarts.push(name);
            }
        }
        Ok(answer(&PlanReport { difference, loads: before.loads }))
    }
}
