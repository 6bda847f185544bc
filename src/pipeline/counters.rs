//! What is counted of a pipeline while it runs. Status, metrics and the summary at the end are all read off these
//! counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::tap::TapPoint;
use super::walk::ITEMS_OF;
use crate::component::Reason;
use crate::model::{Text, Value};
use crate::runtime::Clock;
use crate::telemetry::{Distribution, Histogram};

/// One pipeline's counters, all since the start of the process.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) source: Arc<ComponentCounters>,
    pub(super) steps: Vec<Arc<ComponentCounters>>,
    pub(super) sinks: Vec<Arc<ComponentCounters>>,
    settled: AtomicU64,
    abandoned: AtomicU64,
    /// Items that no sink wanted.
    unwanted: AtomicU64,
    /// Items that came through all steps, and those of them that lacked a field.
    through: AtomicU64,
    lacking: AtomicU64,
    /// The fields that they are expected to have, and the place of the one that was lacking last.
    fields: Vec<Text>,
    lacks: AtomicUsize,
    started: Instant,
    /// When the newest item came through all steps: milliseconds since the start, and one; nothing is 0.
    newest: AtomicU64,
}

/// What is counted of a source, a step, or the way from a pipeline into a sink.
#[derive(Debug)]
pub(super) struct ComponentCounters {
    /// As dead letters call it.
    id: Text,
    entered: AtomicU64,
    left: AtomicU64,
    filtered: [AtomicU64; Reason::ALL.len()],
    rejected: AtomicU64,
    retried: AtomicU64,
    saved: AtomicU64,
    /// How long the calls of a network step took.
    pub(super) calls: Option<Histogram>,
    /// When its cursor moved last, or the pipeline started if it has not: milliseconds since the start, and one; 0 if it
    /// has no cursor.
    cursor: AtomicU64,
    /// Where people look at what passes.
    pub(super) tap: TapPoint,
}

/// The counters of a pipeline at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that the source made.
    pub produced: u64,
    /// Items of the source that have ended, with all their descendants.
    pub settled: u64,
    /// Items that a sink took, one for each sink.
    pub delivered: u64,
    /// Items that ended on purpose before a sink.
    pub filtered: u64,
    /// Items that became dead letters.
    pub rejected: u64,
    /// Items of the source that will come again.
    pub abandoned: u64,
    /// Tries after the first.
    pub retried: u64,
    /// Bytes of replies that did not have to come again, since they had not changed.
    pub saved: u64,
}

/// The counters of a component at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComponentCounts {
    pub entered: u64,
    /// Items that a source made, that a step handed on, or that a sink took.
    pub left: u64,
    /// By reason; reasons that never occurred are left out.
    pub filtered: Vec<(Reason, u64)>,
    pub rejected: u64,
    pub retried: u64,
    /// Bytes of replies that did not have to come again, since they had not changed.
    pub saved: u64,
    /// How long the calls of a network step took.
    pub calls: Option<Distribution>,
}

impl Counters {
    /// For a pipeline with these components, as dead letters call them. Of steps it says which go to the network.
    pub(super) fn new(
        source: Text,
        steps: impl IntoIterator<Item = (Text, bool)>,
        sinks: impl IntoIterator<Item = Text>,
        fields: &[Text],
        clock: &Clock,
    ) -> Self {
        let of = |id, is_network| Arc::new(ComponentCounters::new(id, is_network));
        Self {
            source: of(source, false),
            steps: steps.into_iter().map(|(id, is_network)| of(id, is_network)).collect(),
            sinks: sinks.into_iter().map(|id| of(id, false)).collect(),
            settled: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            unwanted: AtomicU64::new(0),
            through: AtomicU64::new(0),
            lacking: AtomicU64::new(0),
            fields: fields.to_vec(),
            lacks: AtomicUsize::new(0),
            started: clock.instant(),
            newest: AtomicU64::new(0),
        }
    }

    /// The counters of a component, or of the items in its replies, by what dead letters call it; those of the source
    /// if there is no such component.
    pub(super) fn of(&self, component: &str) -> &Arc<ComponentCounters> {
        let component = component.strip_prefix(ITEMS_OF).unwrap_or(component);
        let mut others = self.steps.iter().chain(&self.sinks);
        others.find(|counters| *counters.id == *component).unwrap_or(&self.source)
    }

    /// A step keeps how far it has come in a remote's data.
    pub(super) fn has_cursor(&self, step: usize) {
        self.steps[step].cursor.store(1, Ordering::Relaxed);
    }

    /// A cursor of this component has moved.
    pub(super) fn cursor_moved(&self, component: &str, clock: &Clock) {
        self.of(component).cursor.store(self.millis(clock.instant()).saturating_add(1), Ordering::Relaxed);
    }

    /// How long ago a cursor of this component moved, or the pipeline started if none has; nothing if it has none.
    pub(super) fn cursor_age(&self, component: &ComponentCounters, clock: &Clock) -> Option<Duration> {
        let moved = Duration::from_millis(component.cursor.load(Ordering::Relaxed).checked_sub(1)?);
        Some(self.age(clock).saturating_sub(moved))
    }

    /// From the start to `now`.
    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn settled(&self, count: usize) {
        add(&self.settled, count);
    }

    pub(super) fn abandoned(&self, count: usize) {
        add(&self.abandoned, count);
    }

    pub(super) fn unwanted(&self, count: usize) {
        add(&self.unwanted, count);
    }

    pub(super) fn unwanted_count(&self) -> u64 {
        read(&self.unwanted)
    }

    /// New items have come through all steps by `now`.
    pub(super) fn came_through(&self, count: usize, now: Instant) {
        add(&self.through, count);
        self.newest.store(self.millis(now).saturating_add(1), Ordering::Relaxed);
    }

    /// Whether fields are expected of items that come through.
    pub(super) fn expects_fields(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Notes which of the fields that are expected an item lacks.
    pub(super) fn look_at(&self, item: &Value) {
        let is_lacking = |field: &Text| matches!(item.get(field), None | Some(Value::Null));
        if let Some(place) = self.fields.iter().position(is_lacking) {
            self.lacks.store(place, Ordering::Relaxed);
            add(&self.lacking, 1);
        }
    }

    pub(super) fn through(&self) -> u64 {
        read(&self.through)
    }

    pub(super) fn lacking(&self) -> u64 {
        read(&self.lacking)
    }

    /// The field that an item was lacking last.
    pub(super) fn lacks(&self) -> Option<&Text> {
        self.fields.get(self.lacks.load(Ordering::Relaxed))
    }

    /// How long ago the newest item came through all steps; nothing if none has.
    pub(super) fn newest_age(&self, clock: &Clock) -> Option<Duration> {
        let newest = Duration::from_millis(self.newest.load(Ordering::Relaxed).checked_sub(1)?);
        Some(self.age(clock).saturating_sub(newest))
    }

    /// How long the pipeline has been counted.
    pub(super) fn age(&self, clock: &Clock) -> Duration {
        clock.instant().saturating_duration_since(self.started)
    }

    pub(super) fn read(&self) -> Counts {
        let mut counts = Counts {
            produced: read(&self.source.left),
            settled: read(&self.settled),
            delivered: self.sinks.iter().map(|sink| read(&sink.left)).sum(),
            filtered: read(&self.unwanted),
            abandoned: read(&self.abandoned),
            ..Counts::default()
        };
        for component in self.components() {
            counts.filtered += component.filtered.iter().map(read).sum::<u64>();
            counts.rejected += read(&component.rejected);
            counts.retried += read(&component.retried);
            counts.saved += read(&component.saved);
        }
        counts
    }

    /// How many items were filtered for each reason; reasons that never occurred are left out.
    pub(super) fn filtered_by_reason(&self) -> Vec<(Reason, u64)> {
        let count = |reason: Reason| {
            let unwanted = if reason == Reason::NoSink { read(&self.unwanted) } else { 0 };
            self.components().map(|component| read(&component.filtered[reason as usize])).sum::<u64>() + unwanted
        };
        Reason::ALL.into_iter().map(|reason| (reason, count(reason))).filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn components(&self) -> impl Iterator<Item = &ComponentCounters> {
        [&self.source].into_iter().chain(&self.steps).chain(&self.sinks).map(|component| &**component)
    }
}

impl ComponentCounters {
    fn new(id: Text, is_network: bool) -> Self {
        Self {
            id,
            entered: AtomicU64::new(0),
            left: AtomicU64::new(0),
            filtered: Default::default(),
            rejected: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            saved: AtomicU64::new(0),
            calls: is_network.then(Histogram::default),
            cursor: AtomicU64::new(0),
            tap: TapPoint::default(),
        }
    }

    pub(super) fn id(&self) -> &Text {
        &self.id
    }

    pub(super) fn entered(&self, count: usize) {
        add(&self.entered, count);
    }

    pub(super) fn left(&self, count: usize) {
        add(&self.left, count);
    }

    pub(super) fn filtered(&self, reason: Reason, count: usize) {
        add(&self.filtered[reason as usize], count);
    }

    pub(super) fn rejected(&self) {
        add(&self.rejected, 1);
    }

    pub(super) fn retried(&self, count: usize) {
        add(&self.retried, count);
    }

    pub(super) fn saved(&self, bytes: u64) {
        self.saved.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ComponentCounts {
        let filtered = Reason::ALL.into_iter().map(|reason| (reason, read(&self.filtered[reason as usize])));
        ComponentCounts {
            entered: read(&self.entered),
            left: read(&self.left),
            filtered: filtered.filter(|(_, count)| *count > 0).collect(),
            rejected: read(&self.rejected),
            retried: read(&self.retried),
            saved: read(&self.saved),
            calls: self.calls.as_ref().map(Histogram::read),
        }
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            produced: self.produced + other.produced,
            settled: self.settled + other.settled,
            delivered: self.delivered + other.delivered,
            filtered: self.filtered + other.filtered,
            rejected: self.rejected + other.rejected,
            abandoned: self.abandoned + other.abandoned,
            retried: self.retried + other.retried,
            saved: self.saved + other.saved,
        }
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
