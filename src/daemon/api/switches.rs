//! Pausing, resuming and triggering pipelines, as it is asked for over HTTP.

use http::StatusCode;

use super::{Answer, Api, refused, shown};
use crate::http::Asked;
use crate::model::Value;

impl Api {
    pub(super) async fn switch(&self, asked: Asked) -> Answer {
        let nothing = || (StatusCode::NOT_FOUND, "there is nothing here".to_owned());
        let path = asked.head.uri.path().strip_prefix("/pipeline/").ok_or_else(nothing)?;
        let (name, act) = path.rsplit_once('/').ok_or_else(nothing)?;
        let done = match act {
            "pause" => self.engine.pause(name, true).await,
            "resume" => self.engine.pause(name, false).await,
            "trigger" => self.engine.trigger(name),
            _ => return Err(nothing()),
        };
        done.map_err(refused)?;
        Ok(shown(&Value::Null))
    }
}
