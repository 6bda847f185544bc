//! What travels through gatherd, and the words for how it ends.
//!
//! Plain data without I/O: the lowest layer, imported by everything above it.

mod array;
mod columns;
mod digest;
mod fault;
mod findings;
mod fingerprint;
mod item;
pub mod json;
mod labels;
mod later;
mod object;
mod outcome;
mod planted;
mod quantity;
pub mod secret;
mod value;

pub use array::Array;
pub use columns::Columns;
pub use digest::digest;
pub use fault::{Fault, FaultKind, Verdict};
pub use findings::Findings;
pub use fingerprint::Fingerprint;
pub use item::{Item, ItemId, ItemIds, Origin, TraceId, Window};
pub use labels::{Labels, Reply, headers_value};
pub use object::Object;
pub use outcome::Outcome;
pub use planted::Planted;
pub use quantity::{Rate, Size, parse_duration, show_duration};
pub use value::{Number, Text, Value};
