//! Sinks, one a file, and the table of them.

mod file;
mod http;
mod log;
mod sqlite;
mod stdout;

mod line;

use crate::component::{Kind, SinkSettings};

/// Every sink, by the name of its component key.
pub const KINDS: &[Kind<dyn SinkSettings>] = &[file::KIND, log::KIND, stdout::KIND, sqlite::KIND, http::KIND];
