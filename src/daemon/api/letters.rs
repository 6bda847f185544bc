//! What of dead letters goes over HTTP, as both sides write and read it.

use std::time::Duration;

use url::form_urlencoded;

use crate::model::{Object, Text, Value};
use crate::store::{DeadLetterFilter, Replay};

/// A filter as the query of a request: `pipeline`, `component`, `fault`, `since`, `until`, `limit`, and `after` as
/// `TIME,ID`.
pub(in crate::daemon) fn list_query(filter: &DeadLetterFilter) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let after = filter.after.map(|(last, id)| format!("{last},{id}"));
    for (name, value) in [
        ("pipeline", filter.pipeline.clone()),
        ("component", filter.component.clone()),
        ("fault", filter.fault.clone()),
        ("since", filter.since.map(|time| time.to_string())),
        ("until", filter.until.map(|time| time.to_string())),
        ("limit", filter.limit.map(|limit| limit.to_string())),
        ("after", after),
    ] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    query.finish()
}

/// Reads what [`list_query`] wrote. The error names what is wrong.
pub(in crate::daemon) fn read_list_query(query: &str) -> Result<DeadLetterFilter, String> {
    let mut filter = DeadLetterFilter::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = || format!("`{name}` cannot be `{value}`");
        let text = || Some(value.clone().into_owned());
        match &*name {
            "pipeline" => filter.pipeline = text(),
            "component" => filter.component = text(),
            "fault" => filter.fault = text(),
            "since" => filter.since = Some(value.parse().map_err(|_| wrong())?),
            "until" => filter.until = Some(value.parse().map_err(|_| wrong())?),
            "limit" => filter.limit = Some(value.parse().map_err(|_| wrong())?),
            "after" => {
                let read = || {
                    let (last, id) = value.split_once(',')?;
                    Some((last.parse().ok()?, id.parse().ok()?))
                };
                filter.after = Some(read().ok_or_else(wrong)?);
            }
            _ => return Err(format!("there is no parameter `{name}`")),
        }
    }
    Ok(filter)
}

/// The body of a request that is about these letters.
pub(in crate::daemon) fn ids_body(ids: &[i64], more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let ids = Value::array(ids.iter().map(|id| Value::from(*id)).collect());
    let entries = [("ids", ids)].into_iter().chain(more);
    Value::object(entries.map(|(name, value)| (Text::from(name), value)).collect::<Object>())
}

/// Reads what [`ids_body`] wrote.
pub(in crate::daemon) fn read_ids(body: &Value) -> Option<Vec<i64>> {
    let Value::Array(ids) = body.get("ids")? else { return None };
    ids.iter().map(Value::as_i64).collect()
}

/// The body of a request to replay letters that all enter at the same step, at the same pace.
pub(in crate::daemon) fn replay_body(replays: &[Replay]) -> Value {
    let ids: Vec<i64> = replays.iter().map(|replay| replay.letter).collect();
    let first = replays.first();
    let from = first.and_then(|replay| replay.from.clone()).map_or(Value::Null, Value::Text);
    let interval = first.map_or(0, |replay| i64::try_from(replay.interval.as_micros()).unwrap_or(i64::MAX));
    ids_body(&ids, [("from", from), ("interval_us", Value::from(interval))])
}

/// Reads what [`replay_body`] wrote.
pub(in crate::daemon) fn read_replays(body: &Value) -> Option<Vec<Replay>> {
    let from = match body.get("from") {
        None | Some(Value::Null) => None,
        Some(from) => Some(Text::from(from.as_text()?)),
    };
    let interval = match body.get("interval_us") {
        None | Some(Value::Null) => Duration::ZERO,
        Some(micros) => Duration::from_micros(u64::try_from(micros.as_i64()?).ok()?),
    };
    let replay = |letter| Replay { letter, from: from.clone(), interval };
    Some(read_ids(body)?.into_iter().map(replay).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json;

    #[test]
    fn a_filter_and_a_request_to_replay_come_back_as_they_were() {
        let filter = DeadLetterFilter {
            pipeline: Some("a b&c".to_owned()),
            since: Some("2026-11-21T09:00:00.5Z".parse().unwrap()),
            limit: Some(7),
            after: Some(("2026-11-21T09:00:00.123456789Z".parse().unwrap(), 12)),
            ..DeadLetterFilter::default()
        };
        let back = read_list_query(&list_query(&filter)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{filter:?}"));
        assert_eq!(read_list_query("limit=x").unwrap_err(), "`limit` cannot be `x`");

        let replay = |letter| Replay { letter, from: Some("get".into()), interval: Duration::from_millis(250) };
        let replays = vec![replay(3), replay(9)];
        let body = replay_body(&replays).to_string();
        assert_eq!(read_replays(&json::parse(body.as_bytes()).unwrap()), Some(replays));
    }
}
