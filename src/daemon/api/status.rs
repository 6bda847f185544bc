//! How all is doing, as `GET /status` answers it: for `gatherd status`, `gatherd top` and the admin page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Api;
use crate::http::{Condition, HostState as State};
use crate::model::secret;
use crate::pipeline::{Alert, ComponentStatus, PipelineStatus, RecentFault, SinkHealth, SinkStatus};
use crate::telemetry::{Distribution, ProcessUse};

/// A daemon and everything that it runs. Times are RFC 3339, counts are since its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub started: String,
    pub now: String,
    /// `running` or `stopping`.
    pub state: String,
    /// Why the whole of it cannot go on.
    pub fault: Option<String>,
    /// Whether commits wait because the disk is full.
    pub waits_for_space: bool,
    pub damaged_rows: u64,
    pub memory: MemoryShown,
    pub process: ProcessShown,
    pub pipelines: Vec<PipelineShown>,
    pub sinks: Vec<SinkShown>,
    pub queues: Vec<QueueShown>,
    /// Expectations that are not met, the oldest first.
    pub alerts: Vec<AlertShown>,
    /// The named clients.
    pub clients: Vec<ClientShown>,
    /// The hosts that take nothing at the moment.
    pub hosts: Vec<HostShown>,
    /// The newest first.
    pub faults: Vec<FaultShown>,
}

/// The budget for items in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemoryShown {
    pub limit_bytes: usize,
    pub used_bytes: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessShown {
    pub cpu_seconds: f64,
    pub resident_bytes: Option<u64>,
    pub open_descriptors: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineShown {
    pub name: String,
    /// What it does for the pipeline or sink of its name, if it is only a part: `intake`, `buffer`.
    pub part: Option<String>,
    /// `running`, `paused`, `stopped` or `ended`.
    pub state: String,
    pub fault: Option<String>,
    pub produced: u64,
    pub settled: u64,
    pub delivered: u64,
    pub filtered: BTreeMap<String, u64>,
    pub rejected: u64,
    pub abandoned: u64,
    pub retried: u64,
    pub in_flight: usize,
    pub waiting: usize,
    pub memory_bytes: usize,
    /// Since the newest item that came through all steps; nothing if none has since the start.
    pub newest_seconds: Option<f64>,
    pub dead_letters: u64,
    pub dead_letter_bytes: u64,
    /// The queue that its source reads.
    pub reads: Option<String>,
    /// In the order in which items pass them.
    pub components: Vec<ComponentShown>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentShown {
    /// As dead letters call it.
    pub id: String,
    /// `source`, `step` or `sink`.
    pub role: String,
    #[serde(rename = "in")]
    pub entered: u64,
    #[serde(rename = "out")]
    pub left: u64,
    pub filtered: BTreeMap<String, u64>,
    pub rejected: u64,
    pub retried: u64,
    pub saved_bytes: u64,
    /// Items that wait before a network step.
    pub waiting: Option<usize>,
    /// How long the calls of a network step took.
    pub calls: Option<TimesShown>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkShown {
    pub name: String,
    /// `works`, `fails` or `refuses`.
    pub health: String,
    /// Since when it does not work.
    pub since: Option<String>,
    pub waiting: usize,
    pub room: usize,
    pub writes: TimesShown,
    /// What waits in its buffer, if it has one.
    pub buffer: Option<BufferShown>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BufferShown {
    pub items: u64,
    pub bytes: u64,
}

/// How long something took, in seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TimesShown {
    pub count: u64,
    pub total: f64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueShown {
    pub name: String,
    pub items: u64,
    pub bytes: u64,
    /// Since when the oldest entry has been there.
    pub oldest: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultShown {
    /// Nothing for a sink that several pipelines may share.
    pub pipeline: Option<String>,
    pub component: String,
    pub kind: String,
    /// `retried`, `rejected` or `stopped`.
    pub consequence: String,
    pub message: String,
    pub first: String,
    pub last: String,
    pub count: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlertShown {
    pub pipeline: String,
    /// The key of `expect`.
    pub expects: String,
    pub message: String,
    pub since: String,
}

/// An `[http.NAME]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientShown {
    pub name: String,
    /// What keeps it from working that only a person can change.
    pub condition: Option<String>,
}

/// A host that takes nothing at the moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostShown {
    /// The `[http.NAME]`; nothing for the default client.
    pub client: Option<String>,
    pub host: String,
    pub port: u16,
    /// `down` (the breaker is open), `asked` for a pause, or `paused` by a rule of `on`.
    pub state: String,
    /// How long it will take nothing.
    pub wait_seconds: f64,
    /// Of its last failure, if it is down.
    pub cause: Option<String>,
}

impl Api {
    pub(super) fn status(&self) -> Status {
        let memory = self.engine.memory();
        let ProcessUse { cpu_seconds, resident_bytes, open_descriptors, .. } = ProcessUse::now();
        let queues = self.store.queues().unwrap_or_else(|fault| {
            log::warn!(fault:% = fault; "the queues cannot be shown");
            Vec::new()
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started.to_string(),
            now: self.clock.timestamp().to_string(),
            state: if self.engine.is_stopping() { "stopping" } else { "running" }.to_owned(),
            fault: self.engine.fault().map(|fault| masked(&fault.message)),
            waits_for_space: self.store.is_waiting_for_space(),
            damaged_rows: self.store.damaged_rows(),
            memory: MemoryShown { limit_bytes: memory.limit, used_bytes: memory.used },
            process: ProcessShown { cpu_seconds, resident_bytes, open_descriptors },
            pipelines: self.engine.status().into_iter().map(PipelineShown::from).collect(),
            sinks: self.engine.sinks().into_iter().map(SinkShown::from).collect(),
            queues: queues
                .into_iter()
                .map(|(name, size, oldest)| QueueShown {
                    name: name.to_string(),
                    items: size.items,
                    bytes: size.bytes,
                    oldest: oldest.map(|oldest| oldest.to_string()),
                })
                .collect(),
            alerts: self.engine.alerts().into_iter().map(AlertShown::from).collect(),
            clients: self
                .reloader
                .clients()
                .states()
                .into_iter()
                .map(|(name, condition)| ClientShown { name, condition: condition.as_deref().map(masked) })
                .collect(),
            hosts: self.reloader.clients().host_conditions().into_iter().map(HostShown::from).collect(),
            faults: self.engine.recent_faults().into_iter().map(FaultShown::from).collect(),
        }
    }
}

impl From<PipelineStatus> for PipelineShown {
    fn from(status: PipelineStatus) -> Self {
        Self {
            name: status.name.to_string(),
            part: status.part.map(str::to_owned),
            state: status.state.name().to_owned(),
            fault: status.fault.map(|fault| masked(&fault.message)),
            produced: status.counts.produced,
            settled: status.counts.settled,
            delivered: status.counts.delivered,
            filtered: by_name(status.filtered),
            rejected: status.counts.rejected,
            abandoned: status.counts.abandoned,
            retried: status.counts.retried,
            in_flight: status.in_flight,
            waiting: status.waiting,
            memory_bytes: status.memory,
            newest_seconds: status.newest_age.map(|age| age.as_secs_f64()),
            dead_letters: status.dead.items,
            dead_letter_bytes: status.dead.bytes,
            reads: status.reads.map(|queue| queue.to_string()),
            components: status.components.into_iter().map(ComponentShown::from).collect(),
        }
    }
}

impl From<ComponentStatus> for ComponentShown {
    fn from(status: ComponentStatus) -> Self {
        let counts = status.counts;
        Self {
            id: status.id.to_string(),
            role: status.role.name().to_owned(),
            entered: counts.entered,
            left: counts.left,
            filtered: by_name(counts.filtered.into_iter().map(|(reason, count)| (reason.name(), count))),
            rejected: counts.rejected,
            retried: counts.retried,
            saved_bytes: counts.saved,
            waiting: status.waiting,
            calls: counts.calls.as_ref().map(TimesShown::from),
        }
    }
}

impl From<SinkStatus> for SinkShown {
    fn from(status: SinkStatus) -> Self {
        let (health, since) = match status.health {
            SinkHealth::Works => ("works", None),
            SinkHealth::Fails(since) => ("fails", Some(since)),
            SinkHealth::Refuses(since) => ("refuses", Some(since)),
        };
        Self {
            name: status.name.to_string(),
            health: health.to_owned(),
            since: since.map(|since| since.to_string()),
            waiting: status.waiting,
            room: status.room,
            writes: TimesShown::from(&status.writes),
            buffer: status.buffer.map(|size| BufferShown { items: size.items, bytes: size.bytes }),
        }
    }
}

impl From<&Distribution> for TimesShown {
    fn from(times: &Distribution) -> Self {
        let quantile = |share| times.quantile(share);
        Self { count: times.count(), total: times.total.as_secs_f64(), p50: quantile(0.5), p95: quantile(0.95) }
    }
}

impl From<RecentFault> for FaultShown {
    fn from(fault: RecentFault) -> Self {
        Self {
            pipeline: fault.pipeline.map(|pipeline| pipeline.to_string()),
            component: fault.component.to_string(),
            kind: fault.kind.to_owned(),
            consequence: fault.consequence.name().to_owned(),
            message: fault.message,
            first: fault.first.to_string(),
            last: fault.last.to_string(),
            count: fault.count,
        }
    }
}

impl From<Condition> for HostShown {
    fn from(condition: Condition) -> Self {
        let state = condition_name(&condition.state).to_owned();
        let cause = match condition.state {
            State::Down { cause, .. } => Some(masked(&cause)),
            State::Asked | State::Paused => None,
        };
        let Condition { client, host, port, wait, .. } = condition;
        Self { client, host, port, state, wait_seconds: wait.as_secs_f64(), cause }
    }
}

pub(super) fn condition_name(state: &State) -> &'static str {
    match state {
        State::Down { .. } => "down",
        State::Asked => "asked",
        State::Paused => "paused",
    }
}

impl From<Alert> for AlertShown {
    fn from(alert: Alert) -> Self {
        let Alert { pipeline, expects, message, since } = alert;
        Self { pipeline: pipeline.to_string(), expects: expects.to_owned(), message, since: since.to_string() }
    }
}

fn masked(text: &str) -> String {
    secret::mask(text).into_owned()
}

fn by_name(counts: impl IntoIterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
