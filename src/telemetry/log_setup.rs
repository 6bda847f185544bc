//! Sets up the log.

use std::io::IsTerminal;
use std::os::linux::fs::MetadataExt;

use env_logger::Env;
use log::LevelFilter;

use super::format::{write_json, write_text};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; with priorities before each line where the journal reads them.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log on standard error. `RUST_LOG` chooses what is logged, as env_logger documents it; without it,
/// `default_level` and above is.
pub fn start_log(format: LogFormat, default_level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    // It logs an error for each bad certificate, which is a fault of the item that led there and told with it.
    builder.filter_module("rustls_platform_verifier", LevelFilter::Off);
    builder.parse_env(Env::default().default_filter_or(default_level.as_str()));
    let journal = is_journal();
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match format {
        LogFormat::Json => builder.format(write_json),
        LogFormat::Text => builder.format(move |out, record| write_text(out, record, journal, color)),
    };
    builder.init();
}

/// Whether standard error leads to the journal: `$JOURNAL_STREAM` is then its device and inode (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino())
}
