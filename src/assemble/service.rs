//! `[service]`: what belongs to the process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::admin::{self, AdminSettings};
use crate::http::{Allow, ClientSettings, read_allow};
use crate::model::{Fingerprint, Size};
use crate::pipeline::DeadLimits;
use crate::settings::Section;

/// The settings of `[service]`.
#[derive(Clone)]
pub struct Service {
    /// The folder of the store, unless the command line names one.
    pub state: Option<PathBuf>,
    pub memory: Size,
    pub drain: Duration,
    /// How many dead letters a pipeline may have.
    pub dead_letters: DeadLimits,
    /// How many threads run the tasks.
    pub threads: usize,
    /// What data may lead to, beside public addresses.
    pub allow: Allow,
    /// The client of requests that name none.
    pub client: ClientSettings,
    /// Where people and programs may look at it.
    pub admin: Option<AdminSettings>,
    /// The sinks that are told of alerts.
    pub alerts: Vec<String>,
    /// Of each setting that is given.
    pub fingerprints: BTreeMap<String, Fingerprint>,
}

/// Read by a reload too.
const READ_ANEW: [&str; 2] = ["drain", "alerts"];

impl Service {
    /// The settings that are given, of those that are read only when a process starts.
    pub fn read_at_start(&self) -> impl Iterator<Item = (&String, &Fingerprint)> {
        self.fingerprints.iter().filter(|(key, _)| !READ_ANEW.contains(&key.as_str()))
    }
}

const STATE: &str = "the folder of what must outlive the process; `--state` goes before it, and without both it is \
                     $STATE_DIRECTORY, else ./gatherd-state";
const HTTP: &str = "the client of requests without `via`, with the settings of an `[http.NAME]`";
const MEMORY: &str = "how much memory the items in flight may take; when it is full, sources wait";

const NEVER_BEGINS: &str = "a pipeline that may have no dead letter never begins";

/// Below this there is no room for a single reply of the usual size.
const LEAST_MEMORY: Size = Size::mib(16);

pub(super) fn read(section: &mut Section<'_>) -> Option<Service> {
    let service = Service {
        state: section.optional("state", STATE),
        memory: read_memory(section),
        drain: section.or("drain", Duration::from_secs(30), "how long a stop waits for items in flight"),
        dead_letters: read_dead_letters(section),
        threads: read_threads(section),
        allow: read_allow(section),
        client: section.table("http", HTTP, ClientSettings::read).unwrap_or_default(),
        admin: admin::read(section),
        alerts: section.or("alerts", Vec::new(), "the sinks that are told when an `expect` of a pipeline is not met"),
        fingerprints: BTreeMap::new(),
    };
    // Read once before all else, since `${secret:NAME}` needs it.
    let _: Option<PathBuf> =
        section.optional("secrets", "a folder of files, each of which holds the secret of its name");
    Some(service)
}

fn read_memory(section: &mut Section<'_>) -> Size {
    let memory = section.or("memory", Size::mib(256), MEMORY);
    let message = format!("{memory} leaves no room for a reply");
    section.at_least_of_size(memory, LEAST_MEMORY, message, &format!("write at least \"{LEAST_MEMORY}\""));
    memory
}

fn read_threads(section: &mut Section<'_>) -> usize {
    let threads = section.or("threads", 1, "how many threads run the tasks");
    section.at_least(threads, 1, "without threads no task runs");
    section.at_most(threads, 256, format!("{threads} threads would only stand in each other's way"));
    threads
}

fn read_dead_letters(section: &mut Section<'_>) -> DeadLimits {
    let about = "how many dead letters a pipeline may have; at one of these limits it pauses until there are fewer";
    let default = DeadLimits::DEFAULT;
    let limits = section.group("dead_letters", about, |section| {
        section.shorthand("items");
        let items = section.or("items", default.items, "how many");
        section.at_least(items, 1, NEVER_BEGINS);
        let bytes = section.or("bytes", default.bytes, "how much they take on disk");
        section.at_least_of_size(bytes, Size(1), NEVER_BEGINS, "write a size such as \"1GiB\"");
        Some(DeadLimits { items, bytes })
    });
    limits.unwrap_or(default)
}
