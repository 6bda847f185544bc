//! How far everything has come, as it is asked for over HTTP, for both sides of it.

use http::StatusCode;

use super::{Answer, Api, refused, shown, with_type};
use crate::http::Asked;
use crate::model::{Object, Text, Value, json};
use crate::store::KeptPlace;

/// What is taken of a body.
const MAX_BODY: usize = 1 << 20;

impl Api {
    pub(super) fn kept(&self) -> Answer {
        let kept = self.store.kept().map_err(refused)?;
        let lines: String = kept.iter().map(|kept| format!("{}\n", kept.to_json())).collect();
        Ok(with_type(lines, "application/x-ndjson"))
    }

    /// Sets a cursor, or resets cursors if no value is given.
    pub(super) async fn change_kept(&self, asked: Asked) -> Answer {
        let wrong_body = |_| (StatusCode::BAD_REQUEST, "the body is not what this takes".to_owned());
        let body = asked.body.read(MAX_BODY).await.map_err(|_| wrong_body(()))?;
        let body = json::parse(&body).map_err(|_| wrong_body(()))?;
        let place = read_place(&body).ok_or_else(|| wrong_body(()))?;
        let count = match body.get("value") {
            Some(value) => self.store.set_kept(&place, value.clone(), true).await.map(|()| 1),
            None => self.store.reset_kept(&place, true).await,
        };
        let count = count.map_err(refused)?;
        Ok(shown(&Value::from(i64::try_from(count).unwrap_or(i64::MAX))))
    }
}

/// The body of a request to set what is at a place, or to reset it.
pub(in crate::daemon) fn change_body(place: &KeptPlace, value: Option<&Value>) -> Value {
    let KeptPlace { pipeline, component, partition } = place;
    let mut entries = vec![("pipeline", Value::Text(pipeline.clone())), ("component", Value::Text(component.clone()))];
    entries.extend(partition.clone().map(|partition| ("partition", Value::Text(partition))));
    entries.extend(value.map(|value| ("value", value.clone())));
    Value::object(entries.into_iter().map(|(key, value)| (Text::from(key), value)).collect::<Object>())
}

fn read_place(body: &Value) -> Option<KeptPlace> {
    let text = |key| body.get(key).and_then(Value::as_text).map(Text::from);
    Some(KeptPlace { pipeline: text("pipeline")?, component: text("component")?, partition: text("partition") })
}
