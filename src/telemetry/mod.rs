//! What gatherd tells of itself while it runs: its log.

mod format;
mod log_setup;

pub use log_setup::{LogFormat, start_log};
