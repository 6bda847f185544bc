//! Compacting the store, as it is asked for over HTTP, for both sides of it.

use super::{Answer, Api, refused, shown};
use crate::model::{Object, Text, Value};
use crate::store::Compacted;

impl Api {
    pub(super) async fn compact(&self) -> Answer {
        let compacted = self.store.compact().await.map_err(refused)?;
        Ok(shown(&compacted_body(compacted)))
    }
}

fn compacted_body(compacted: Compacted) -> Value {
    let bytes = |bytes: u64| Value::from(i64::try_from(bytes).unwrap_or(i64::MAX));
    let Compacted { bytes_before, bytes_after } = compacted;
    let body = [("bytes_before", bytes(bytes_before)), ("bytes_after", bytes(bytes_after))];
    Value::object(body.into_iter().map(|(name, value)| (Text::from(name), value)).collect::<Object>())
}

/// Reads what [`compacted_body`] wrote.
pub(in crate::daemon) fn read_compacted(body: &Value) -> Option<Compacted> {
    let bytes = |name| u64::try_from(body.get(name)?.as_i64()?).ok();
    Some(Compacted { bytes_before: bytes("bytes_before")?, bytes_after: bytes("bytes_after")? })
}
