//! The engine: produce, work, deliver, retry, park, drain.
//!
//! An item's way: [`produce`] asks the source and starts it; [`walk`] takes it through the steps, up to a [`stage`],
//! whose workers call the network and walk on; [`deliver`] writes it to its sinks; [`ack`] carries the outcome back,
//! and [`settle`] commits it and moves the source's position.

mod ack;
mod aside;
mod at_hand;
mod backoff;
mod budget;
mod buffer;
mod compute;
mod counters;
mod deliver;
mod durable;
mod ends;
mod engine;
mod expect;
mod flights;
mod hosts;
mod life;
mod opening;
mod parcel;
mod part;
mod plan;
mod produce;
mod recent;
mod replay;
mod retries;
mod running;
mod runs;
mod settle;
mod sink_state;
mod stage;
mod status;
mod switch;
mod tap;
mod walk;

pub use counters::{ComponentCounts, Counts};
pub use engine::{Changed, Engine, Options};
pub use expect::{Alert, Expect};
pub use plan::{AsidePlan, BufferPlan, DeadLimits, DurablePlan, PipelinePlan, Plan, SinkPlan, SourcePlan, StepPlan};
pub use recent::{Consequence, RecentFault};
pub use sink_state::SinkHealth;
pub use stage::CHANNEL as STAGE_CHANNEL;
pub use status::{ComponentStatus, MemoryStatus, Pause, PipelineState, PipelineStatus, Role, SinkStatus};
pub use tap::Sample;
