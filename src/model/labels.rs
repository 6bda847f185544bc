//! What is known of an item beside its value.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use super::{Number, Object, Text, Value};

/// The labels of an item: those of the reply it came from, and those that its author set.
///
/// A clone shares its contents. A label that was set hides the one of the same name from the reply.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    reply: Option<Arc<Reply>>,
    set: Option<Arc<Object>>,
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
    /// These labels with those of a new reply; labels that were set stay.
    pub fn with_reply(&self, reply: Arc<Reply>) -> Self {
        Self { reply: Some(reply), set: self.set.clone() }
    }

    pub fn set(&mut self, name: Text, value: Value) {
        Arc::make_mut(self.set.get_or_insert_default()).insert(name, value);
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let set = self.set.as_ref().and_then(|set| set.get(name).cloned());
        set.or_else(|| self.reply.as_ref().and_then(|reply| reply.get(name)))
    }

    /// All labels as one object, as `labels` gives them to a filter.
    pub fn to_value(&self) -> Value {
        let mut object = Object::default();
        if let Some(reply) = &self.reply {
            for name in Reply::NAMES {
                if let Some(value) = reply.get(name) {
                    object.insert(name.into(), value);
                }
            }
        }
        for (name, value) in self.set.iter().flat_map(|set| set.iter()) {
            object.insert(name.clone(), value.clone());
        }
        Value::object(object)
    }
}

/// Labels as [`Labels::to_value`] showed them, read back.
impl From<Object> for Labels {
    fn from(object: Object) -> Self {
        Self { reply: None, set: (!object.is_empty()).then(|| Arc::new(object)) }
    }
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
            "headers" => self.headers_value(),
            "fetched_at" => Value::from(self.fetched_at.to_string()),
            "elapsed" => Value::Number(Number::Float(self.elapsed.as_secs_f64())),
            "fault" => Value::from(self.fault?),
            _ => return None,
        })
    }

    fn headers_value(&self) -> Value {
        let joined = |name| {
            let lines: Vec<_> =
                self.headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
            lines.join(", ")
        };
        self.headers.keys().map(|name| (Text::from(name.as_str()), Value::from(joined(name)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_was_set_hides_the_one_of_the_reply() {
        let reply = Reply {
            url: "http://a/".into(),
            host: "a".into(),
            status: Some(200),
            headers: HeaderMap::new(),
            fetched_at: Timestamp::UNIX_EPOCH,
            elapsed: Duration::from_millis(1500),
            fault: None,
        };
        let mut labels = Labels::default().with_reply(Arc::new(reply));
        labels.set("host".into(), Value::from("b"));
        assert_eq!(labels.get("host"), Some(Value::from("b")));
        assert_eq!(labels.get("elapsed"), Some(Value::from(1.5)));
        assert_eq!(labels.to_value().get("host"), Some(&Value::from("b")));
        assert_eq!(labels.to_value().get("fault"), None);
    }
}
