//! What gatherd tells of itself while it runs: its log, and what its metrics are made of.

mod exposition;
mod format;
mod histogram;
mod log_setup;
mod process;

pub use exposition::{Exposition, Family, Format, Labels};
pub use histogram::{Distribution, Histogram};
pub use log_setup::{LogFormat, start_log};
pub use process::ProcessUse;
