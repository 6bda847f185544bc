//! What is known of an item beside its value.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use super::{Number, Object, Text, Value};

/// The labels of an item: those that it came with, those of the last reply, and those that its author set.
///
/// A clone shares its contents. A label that was set hides the one of the same name from the reply, and that hides the
/// one that the item came with.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    came_with: Option<Object>,
    reply: Option<Arc<Reply>>,
    set: Option<Object>,
}

/// What a request told of its reply, or of why there was none.
#[derive(Debug)]
pub struct Reply {
    /// Where the reply came from in the end, after redirects.
    pub url: Text,
    pub host: Text,
    /// Nothing if no reply came.
    pub status: Option<u16>,
    pub headers: HeaderMap,
    pub fetched_at: Timestamp,
    pub elapsed: Duration,
    /// Why there was no reply, as a [`super::FaultKind`] calls it.
    pub fault: Option<&'static str>,
}

impl Labels {
    /// These labels with those of a new reply in place of an earlier one; labels that were set stay.
    pub fn with_reply(&self, reply: Arc<Reply>) -> Self {
        // What an earlier reply told, such as a status, is not true of this one.
        let came_with =
            self.came_with.as_ref().map(|labels| match Reply::NAMES.iter().any(|name| labels.contains_key(name)) {
                false => labels.clone(),
                true => without_reply(labels),
            });
        Self { came_with, reply: Some(reply), set: self.set.clone() }
    }

    pub fn set(&mut self, name: Text, value: Value) {
        self.set.get_or_insert_default().insert(name, value);
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let set = self.set.as_ref().and_then(|set| set.get(name).cloned());
        let told = || self.reply.as_ref().and_then(|reply| reply.get(name));
        set.or_else(told).or_else(|| self.came_with.as_ref().and_then(|labels| labels.get(name).cloned()))
    }

    /// All labels as one object, as `labels` gives them to a filter.
    pub fn to_value(&self) -> Value {
        let mut object = self.came_with.clone().unwrap_or_default();
        if let Some(reply) = &self.reply {
            for name in Reply::NAMES {
                if let Some(value) = reply.get(name) {
                    object.insert(name.into(), value);
                }
            }
        }
        for (name, value) in self.set.iter().flat_map(Object::entries) {
            object.insert(name, value.clone());
        }
        Value::object(object)
    }
}

/// The labels that an item comes with: as its source gives them, or as [`Labels::to_value`] showed them before the item
/// was stored.
impl From<Object> for Labels {
    fn from(object: Object) -> Self {
        Self { came_with: (!object.is_empty()).then_some(object), ..Self::default() }
    }
}

fn without_reply(labels: &Object) -> Object {
    let others = labels.entries().filter(|(name, _)| !Reply::NAMES.contains(&&**name));
    others.map(|(name, value)| (name, value.clone())).collect()
}

impl Reply {
    /// The labels that a reply gives, in the order in which they are shown.
    pub const NAMES: [&str; 7] = ["url", "host", "status", "headers", "fetched_at", "elapsed", "fault"];

    /// `elapsed` is in seconds; `headers` maps names in lower case to text, repeated ones joined by `, `.
    fn get(&self, name: &str) -> Option<Value> {
        Some(match name {
            "url" => Value::Text(self.url.clone()),
            "host" => Value::Text(self.host.clone()),
            "status" => Value::from(i64::from(self.status?)),
            "headers" => headers_value(&self.headers),
            "fetched_at" => Value::from(self.fetched_at.to_string()),
            "elapsed" => Value::Number(Number::Float(self.elapsed.as_secs_f64())),
            "fault" => Value::from(self.fault?),
            _ => return None,
        })
    }
}

/// Headers by their names in lower case; repeated ones joined by `, `.
pub fn headers_value(headers: &HeaderMap) -> Value {
    let joined = |name| {
        let lines: Vec<_> = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        lines.join(", ")
    };
    headers.keys().map(|name| (Text::from(name.as_str()), Value::from(joined(name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: Option<u16>) -> Arc<Reply> {
        Arc::new(Reply {
            url: "http://a/".into(),
            host: "a".into(),
            status,
            headers: HeaderMap::new(),
            fetched_at: Timestamp::UNIX_EPOCH,
            elapsed: Duration::from_millis(1500),
            fault: None,
        })
    }

    #[test]
    fn a_label_that_was_set_hides_the_one_of_the_reply() {
        let mut labels = Labels::default().with_reply(reply(Some(200)));
        labels.set("host".into(), Value::from("b"));
        assert_eq!(labels.get("host"), Some(Value::from("b")));
        assert_eq!(labels.get("elapsed"), Some(Value::from(1.5)));
        assert_eq!(labels.to_value().get("host"), Some(&Value::from("b")));
        assert_eq!(labels.to_value().get("fault"), None);
    }

    #[test]
    fn labels_that_were_stored_are_those_of_an_earlier_reply() {
        let mut labels = Labels::default().with_reply(reply(Some(200)));
        labels.set("depth".into(), Value::from(2));
        let Value::Object(stored) = labels.to_value() else { unreachable!("labels are an object") };
        let labels = Labels::from(stored);
        assert_eq!(labels.get("status"), Some(Value::from(200)));
        for (status, expected) in [(Some(404), Some(Value::from(404))), (None, None)] {
            let labels = labels.with_reply(reply(status));
            assert_eq!(labels.get("status"), expected);
            assert_eq!(labels.to_value().get("status"), expected.as_ref());
            assert_eq!(labels.get("depth"), Some(Value::from(2)));
        }
    }
}
