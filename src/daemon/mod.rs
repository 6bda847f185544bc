//! A process's life: start, drain, stop, and what the service manager is told of it.

mod admin;
mod api;
mod control;
mod life;
mod reload;
mod service_manager;
mod state_folder;

pub use api::{
    AlertShown, ClientShown, ComponentShown, FaultShown, HostShown, MemoryShown, PipelineShown, PlanReport,
    ProcessShown, QueueShown, ReloadReport, SinkShown, Status, TapOrder, TimesShown,
};
pub use control::{ControlClient, TappedItems};
pub use life::{Ending, Order, run};
pub use state_folder::state_folder;
