//! A dead letter as one JSON object: what commands print, and what goes over the control socket.
//!
//! Bytes in its value and labels are `{"$bytes": "<base64>"}`, as in the store, so that nothing is lost.

use super::super::payload;
use super::{DeadLetter, FaultRecord};
use crate::model::{ItemId, Object, Text, Value, Window};

impl DeadLetter {
    pub fn to_json(&self) -> Value {
        let window = self.window.map_or(Value::Null, |window| {
            object([("start", Value::from(window.start.to_string())), ("end", Value::from(window.end.to_string()))])
        });
        object([
            ("id", Value::from(self.id)),
            ("pipeline", Value::Text(self.pipeline.clone())),
            ("component", Value::Text(self.component.clone())),
            ("item", Value::from(self.item.to_string())),
            ("trace", Value::from(self.trace.as_str())),
            ("value", payload::marked(&self.value)),
            ("labels", payload::marked(&self.labels)),
            ("window", window),
            ("fault", self.fault.to_json()),
            ("history", Value::array(self.history.iter().map(FaultRecord::to_json).collect())),
            ("first", Value::from(self.first.to_string())),
            ("last", Value::from(self.last.to_string())),
            ("count", Value::from(i64::try_from(self.count).unwrap_or(i64::MAX))),
            ("replay_asked", Value::Bool(self.is_replay_asked)),
        ])
    }

    /// Reads what [`DeadLetter::to_json`] wrote.
    pub fn from_json(json: &Value) -> Option<Self> {
        let text = |name: &str| json.get(name)?.as_text();
        let window = match json.get("window")? {
            Value::Null => None,
            window => {
                let time = |name: &str| window.get(name)?.as_text()?.parse().ok();
                Some(Window { start: time("start")?, end: time("end")? })
            }
        };
        let Value::Array(history) = json.get("history")? else { return None };
        Some(Self {
            id: json.get("id")?.as_i64()?,
            pipeline: text("pipeline")?.into(),
            component: text("component")?.into(),
            item: ItemId(u64::from_str_radix(text("item")?, 16).ok()?),
            trace: text("trace")?.to_owned(),
            value: payload::unmarked(json.get("value")?.clone())?,
            labels: payload::unmarked(json.get("labels")?.clone())?,
            window,
            fault: FaultRecord::from_json(json.get("fault")?)?,
            history: history.iter().map(FaultRecord::from_json).collect::<Option<_>>()?,
            first: text("first")?.parse().ok()?,
            last: text("last")?.parse().ok()?,
            count: u64::try_from(json.get("count")?.as_i64()?).ok()?,
            is_replay_asked: json.get("replay_asked") == Some(&Value::Bool(true)),
        })
    }

    /// Its value as JSON that keeps everything, for a person to edit.
    pub fn value_to_json(&self) -> Value {
        payload::marked(&self.value)
    }

    /// The value that such JSON stands for. The error says what is wrong with it.
    pub fn value_from_json(json: Value) -> Result<Value, String> {
        let wrong = "an object with the one key `$bytes` stands for bytes, and holds them as base64 text; to write such \
                     an object itself, put it into `{\"$object\": …}`";
        payload::unmarked(json).ok_or_else(|| wrong.to_owned())
    }
}

impl FaultRecord {
    fn to_json(&self) -> Value {
        object([
            ("at", Value::from(self.at.to_string())),
            ("kind", Value::from(self.kind.as_str())),
            ("message", Value::from(self.message.as_str())),
            ("attempts", Value::from(i64::from(self.attempts))),
        ])
    }

    fn from_json(json: &Value) -> Option<Self> {
        let text = |name: &str| json.get(name)?.as_text().map(str::to_owned);
        Some(Self {
            at: text("at")?.parse().ok()?,
            kind: text("kind")?,
            message: text("message")?,
            attempts: u32::try_from(json.get("attempts")?.as_i64()?).ok()?,
        })
    }
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::object(entries.into_iter().map(|(key, value)| (Text::from(key), value)).collect::<Object>())
}
