//! What is expected of a pipeline, and the alerts that open when it is not so, and close when it is again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

use super::counters::Counters;
use super::plan::{PipelinePlan, Plan, SourcePlan};
use super::replay::OpenSources;
use super::running::Running;
use super::status::Pause;
use crate::component::{Opened, Produced, Promise, Source, SourceContext, SourceSettings};
use crate::model::{Fault, Fingerprint, Object, Text, Value, show_duration};
use crate::runtime::{self, Clock};
use crate::store::Store;

/// What is expected of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Something new comes through all steps at least so often.
    pub new_within: Option<Duration>,
    /// At least so many do in that time.
    pub min_items: u64,
    /// It has at most so many dead letters.
    pub max_dead: Option<u64>,
    /// What comes through all steps is an object with these keys, and none of them null.
    pub fields: Vec<Text>,
}

impl Expect {
    fn is_nothing(&self) -> bool {
        self.new_within.is_none() && self.max_dead.is_none() && self.fields.is_empty()
    }
}

/// One of the keys of `expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    NewWithin,
    MinItems,
    MaxDead,
    Fields,
}

impl Expectation {
    fn name(self) -> &'static str {
        match self {
            Expectation::NewWithin => "new_within",
            Expectation::MinItems => "min_items",
            Expectation::MaxDead => "max_dead",
            Expectation::Fields => "fields",
        }
    }
}

/// An expectation that is not met.
#[derive(Clone, Debug)]
pub struct Alert {
    pub pipeline: Text,
    /// The key of `expect`.
    pub expects: &'static str,
    pub message: String,
    pub since: Timestamp,
}

/// The alerts that are open, and what is watched.
#[derive(Debug, Default)]
pub(super) struct Alerts {
    open: Mutex<Vec<Alert>>,
    watched: Mutex<Vec<Watched>>,
}

impl Alerts {
    /// The oldest first.
    pub(super) fn open(&self) -> Vec<Alert> {
        lock(&self.open).clone()
    }

    /// From now on the pipeline is watched as it runs now, if anything is expected of it.
    pub(super) fn watch(&self, expect: &Expect, running: &Arc<Running>) {
        let mut watched = lock(&self.watched);
        watched.retain(|other| other.pipeline != running.name);
        if expect.is_nothing() {
            lock(&self.open).retain(|alert| alert.pipeline != running.name);
        } else {
            watched.push(Watched::new(expect, running));
        }
    }

    /// Forgets all pipelines but these.
    pub(super) fn keep(&self, is_there: impl Fn(&Text) -> bool) {
        lock(&self.watched).retain(|watched| is_there(&watched.pipeline));
        lock(&self.open).retain(|alert| is_there(&alert.pipeline));
    }

    /// Looks at everything, and answers what has changed as items for the sinks of alerts.
    fn look(&self, store: &Store, clock: &Clock) -> VecDeque<Value> {
        let (mut watched, mut open) = (lock(&self.watched), lock(&self.open));
        watched.iter_mut().flat_map(|watched| watched.look(&mut open, store, clock)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pipeline that is watched.
#[derive(Debug)]
struct Watched {
    pipeline: Text,
    expect: Expect,
    counters: Arc<Counters>,
    /// Gone once it has come to its end.
    running: Weak<Running>,
    /// How many items had come through at which time, as far back as is looked.
    samples: VecDeque<(Instant, u64)>,
    /// Items that had lacked a field at the last look, and that had come through.
    last_lacking: u64,
    last_through: u64,
}

/// An expectation that is met or not: nothing if it cannot be told at the moment.
type Finding = (Expectation, Option<Result<(), String>>);

impl Watched {
    fn new(expect: &Expect, running: &Arc<Running>) -> Self {
        Self {
            pipeline: running.name.clone(),
            expect: expect.clone(),
            counters: running.counters.clone(),
            running: Arc::downgrade(running),
            samples: VecDeque::new(),
            last_lacking: 0,
            last_through: 0,
        }
    }

    /// Looks at the pipeline, and notes in `open` what has changed. Answers that as items for the sinks of alerts.
    fn look(&mut self, open: &mut Vec<Alert>, store: &Store, clock: &Clock) -> Vec<Value> {
        let now = clock.timestamp();
        let mut changes = Vec::new();
        for (expectation, finding) in self.findings(store, clock) {
            let (pipeline, expects) = (&*self.pipeline, expectation.name());
            let place = open.iter().position(|alert| *alert.pipeline == *pipeline && alert.expects == expects);
            match (finding, place) {
                (Some(Err(message)), Some(place)) => open[place].message = message,
                (Some(Err(message)), None) => {
                    log::warn!(pipeline, expects, message = &*message; "expectation is not met");
                    let alert = Alert { pipeline: self.pipeline.clone(), expects, message, since: now };
                    changes.push(item(&alert, "open", now));
                    open.push(alert);
                }
                (Some(Ok(())), Some(place)) => {
                    log::info!(pipeline, expects; "expectation is met again");
                    changes.push(item(&open.remove(place), "closed", now));
                }
                (Some(Ok(())) | None, None) | (None, Some(_)) => {}
            }
        }
        changes
    }

    fn findings(&mut self, store: &Store, clock: &Clock) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(most) = self.expect.max_dead {
            let dead = store.dead_size(&self.pipeline).items;
            let message = || format!("it has {dead} dead letters, and at most {most} are expected");
            findings.push((Expectation::MaxDead, Some(if dead <= most { Ok(()) } else { Err(message()) })));
        }
        let (through, lacking) = (self.counters.through(), self.counters.lacking());
        if !self.expect.fields.is_empty() {
            let finding = match self.counters.lacks() {
                Some(field) if lacking > self.last_lacking => Some(Err(format!("an item has no `{field}`"))),
                _ => (through > self.last_through).then_some(Ok(())),
            };
            findings.push((Expectation::Fields, finding));
        }
        (self.last_through, self.last_lacking) = (through, lacking);
        if let Some(within) = self.expect.new_within {
            findings.extend(self.newness(within, through, clock));
        }
        findings
    }

    fn newness(&mut self, within: Duration, through: u64, clock: &Clock) -> Vec<Finding> {
        // Nothing new is expected of what has come to its end, or was paused by a person.
        let is_over = self.running.upgrade().is_none_or(|running| running.pause() == Some(Pause::ByHand));
        let newest = self.counters.newest_age(clock);
        let age = newest.unwrap_or_else(|| self.counters.age(clock));
        let shown = show_duration(within);
        let is_new = if is_over || age <= within {
            Ok(())
        } else if newest.is_some() {
            Err(format!("nothing new has come through for {shown}"))
        } else {
            Err(format!("nothing has come through since the start, and something is expected within {shown}"))
        };
        let least = self.expect.min_items;
        let now = clock.instant();
        self.samples.push_back((now, through));
        // The newest of those that are old enough says where the time began.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= within) {
            self.samples.pop_front();
        }
        let since = self.samples.front().map_or(through, |(_, count)| *count);
        let came = through - since;
        let is_enough = if is_over || came >= least {
            Some(Ok(()))
        } else {
            let message =
                || format!("{came} items have come through within {shown}, and at least {least} are expected");
            (self.counters.age(clock) >= within).then(|| Err(message()))
        };
        let more = (least > 1).then_some((Expectation::MinItems, is_enough));
        [(Expectation::NewWithin, Some(is_new))].into_iter().chain(more).collect()
    }
}

/// `{pipeline, expects, state, message, since, at}`
fn item(alert: &Alert, state: &str, at: Timestamp) -> Value {
    let entries = [
        ("pipeline", Value::Text(alert.pipeline.clone())),
        ("expects", Value::from(alert.expects)),
        ("state", Value::from(state)),
        ("message", Value::from(alert.message.as_str())),
        ("since", Value::from(alert.since.to_string())),
        ("at", Value::from(at.to_string())),
    ];
    Value::object(entries.into_iter().map(|(key, value)| (Text::from(key), value)).collect::<Object>())
}

/// How often expectations are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What a pipeline is that brings alerts to sinks.
pub(super) const TELLING: &str = "alerts";

/// The pipeline whose source looks at what is expected of the others, and which brings alerts to the sinks that are to be
/// told. Nothing if nothing is expected.
pub(super) fn telling(plan: &Plan, alerts: &Arc<Alerts>, sources: &Arc<OpenSources>) -> Option<PipelinePlan> {
    if plan.pipelines.iter().all(|pipeline| pipeline.expect.is_nothing()) {
        return None;
    }
    let named = plan.sinks.iter().filter(|sink| plan.alerts.contains(&sink.name));
    let settings = Arc::new(Looking { alerts: alerts.clone(), sources: sources.clone() });
    Some(PipelinePlan {
        name: "service.alerts".into(),
        part: Some(TELLING),
        uses_window: true,
        expect: Expect::default(),
        source: SourcePlan { durable: None, id: "expect".into(), settings },
        steps: Vec::new(),
        sinks: plan.alerts.clone(),
        fingerprint: Fingerprint::of(named.map(|sink| sink.fingerprint)),
    })
}

/// The source of alerts.
struct Looking {
    alerts: Arc<Alerts>,
    sources: Arc<OpenSources>,
}

impl SourceSettings for Looking {
    fn promise(&self) -> Promise {
        Promise::UntilTheProcessDies
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        let (alerts, sources) = (self.alerts.clone(), self.sources.clone());
        Ok(Box::new(Looks { alerts, sources, context, changes: VecDeque::new() }))
    }
}

struct Looks {
    alerts: Arc<Alerts>,
    sources: Arc<OpenSources>,
    context: SourceContext,
    /// What was found, and not yet asked for.
    changes: VecDeque<Value>,
}

#[async_trait]
impl Source for Looks {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        let SourceContext { store, clock, .. } = &self.context;
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(Some(Produced::new(change, fastrand::u128(..).to_le_bytes().to_vec())));
            }
            self.changes = self.alerts.look(store, clock);
            if self.changes.is_empty() {
                let changed = self.sources.changed();
                if self.sources.is_last() {
                    return Ok(None);
                }
                runtime::race(clock.sleep(EVERY), changed).await;
            }
        }
    }
}
