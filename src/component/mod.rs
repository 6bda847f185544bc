//! The roles that components play, and what the engine and the config know of each.
//!
//! A component is known by its [`Kind`]: its name, its sample, and how its settings are read. Settings that were
//! read describe the component without touching anything; opening them makes the working part.

#[cfg(test)]
pub mod contract;

mod context;
mod fuel;
mod full;
mod kind;
mod onward;
mod page;
mod quiescence;
mod retry;
mod sink;
mod source;
mod step;
mod trigger;

pub use crate::http::{Clients, Grow, Listeners, Meter, Url};
pub use context::{Opened, SinkContext, SourceContext, StepContext};
pub use fuel::{with_fuel, with_fuel_over};
pub use full::Full;
pub use kind::{Kind, find};
pub use onward::{Onward, Repeats};
pub use page::{Child, Continuation, Fetched, Page};
pub use quiescence::{Paused, Quiescence, Reading};
pub use retry::Retry;
pub use sink::{BatchLimits, Sink, SinkSettings, WriteFault};
pub use source::{Places, Position, Produced, Progress, Promise, Source, SourceSettings};
pub use step::{
    Aim, Call, Fetch, FilterFault, Mark, MarkKind, Outputs, Reason, Step, StepSettings, Transform, TransformScope,
};
pub use trigger::Trigger;
