//! Looking at items as they pass, as it is asked for over HTTP, for both sides of it.

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use http::StatusCode;
use url::form_urlencoded;

use super::{Answer, Api, refused, with_type};
use crate::http::{Asked, Streamed};
use crate::model::{Object, Rate, Text, Value, secret};
use crate::pipeline::Sample;
use crate::runtime;

/// What is to be seen of the items that pass.
#[derive(Clone, Debug, PartialEq)]
pub struct TapOrder {
    pub pipeline: String,
    /// The component after which it looks, as dead letters call it; nothing is after all steps.
    pub component: Option<String>,
    /// How many items are shown at most.
    pub rate: Rate,
    /// After how many it ends.
    pub limit: Option<u64>,
}

impl TapOrder {
    /// As the query of a request.
    pub(in crate::daemon) fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("pipeline", &self.pipeline).append_pair("rate", &self.rate.to_string());
        if let Some(component) = &self.component {
            query.append_pair("component", component);
        }
        if let Some(limit) = self.limit {
            query.append_pair("limit", &limit.to_string());
        }
        query.finish()
    }

    /// Reads what [`TapOrder::to_query`] wrote. The error names what is wrong.
    fn of_query(query: &str) -> Result<Self, String> {
        let (mut pipeline, mut component, mut rate, mut limit) = (None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "pipeline" => pipeline = Some(value.into_owned()),
                "component" => component = Some(value.into_owned()),
                "rate" => rate = Some(value.parse()?),
                "limit" => limit = Some(value.parse().map_err(|_| format!("`limit` cannot be `{value}`"))?),
                _ => return Err(format!("there is no parameter `{name}`")),
            }
        }
        let pipeline = pipeline.ok_or("the parameter `pipeline` is missing")?;
        Ok(Self { pipeline, component, rate: rate.unwrap_or(Self::RATE), limit })
    }

    /// What a person can read along with.
    pub const RATE: Rate = Rate { count: 5, per: std::time::Duration::from_secs(1) };
}

impl Api {
    /// Answers samples, one a line, until the pipeline ends or whoever asked has gone.
    pub(super) fn tap(&self, asked: &Asked) -> Answer {
        let query = asked.head.uri.query().unwrap_or_default();
        let order = TapOrder::of_query(query).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let TapOrder { pipeline, component, rate, limit } = order;
        let samples = self.engine.tap(&pipeline, component.as_deref(), rate.interval()).map_err(refused)?;
        // No more wait here than one: the samples wait where they can be lost.
        let (lines, streamed) = async_channel::bounded(1);
        drop(runtime::spawn(show(samples, lines, limit.unwrap_or(u64::MAX))));
        let mut response = with_type(String::new(), "application/x-ndjson");
        response.extensions_mut().insert(Streamed(streamed));
        Ok(response)
    }
}

async fn show(samples: Receiver<Sample>, lines: Sender<Bytes>, limit: u64) {
    for _ in 0..limit {
        let gone = async {
            lines.closed().await;
            None
        };
        let Some(sample) = runtime::race(async { samples.recv().await.ok() }, gone).await else { return };
        if lines.send(Bytes::from(format!("{}\n", shown(sample)))).await.is_err() {
            return;
        }
    }
}

/// Its secrets masked, as it leaves the process.
fn shown(sample: Sample) -> Value {
    let Sample { at, trace, value, labels, passed, lost } = sample;
    let count = |count: u64| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    let mut members = vec![("at", Value::from(at.to_string())), ("item", Value::from(trace))];
    members.extend(value.map(|value| ("value", secret::mask_in(value))));
    members.extend([("labels", secret::mask_in(labels.to_value())), ("passed", count(passed)), ("lost", count(lost))]);
    Value::object(members.into_iter().map(|(name, value)| (Text::from(name), value)).collect::<Object>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_comes_back_as_it_was_written() {
        let order = TapOrder {
            pipeline: "a&b".to_owned(),
            component: Some("sink.x".to_owned()),
            rate: "90/m".parse().unwrap(),
            limit: Some(7),
        };
        assert_eq!(TapOrder::of_query(&order.to_query()), Ok(order));
        assert_eq!(TapOrder::of_query("pipeline=a&limit=x"), Err("`limit` cannot be `x`".to_owned()));
        assert_eq!(TapOrder::of_query("rate=1/s"), Err("the parameter `pipeline` is missing".to_owned()));
    }
}
