//! What is said over the control socket about the store as a whole, for both sides of it.

use crate::model::{Object, Text, Value};
use crate::store::Compacted;

pub(super) fn compacted_body(compacted: Compacted) -> Value {
    let bytes = |bytes: u64| Value::from(i64::try_from(bytes).unwrap_or(i64::MAX));
    let Compacted { bytes_before, bytes_after } = compacted;
    let body = [("bytes_before", bytes(bytes_before)), ("bytes_after", bytes(bytes_after))];
    Value::object(body.into_iter().map(|(name, value)| (Text::from(name), value)).collect::<Object>())
}

/// Reads what [`compacted_body`] wrote.
pub(super) fn read_compacted(body: &Value) -> Option<Compacted> {
    let bytes = |name| u64::try_from(body.get(name)?.as_i64()?).ok();
    Some(Compacted { bytes_before: bytes("bytes_before")?, bytes_after: bytes("bytes_after")? })
}
