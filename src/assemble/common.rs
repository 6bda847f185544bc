//! The settings that stand beside a component key, the same for every component of a role.

use crate::component::{BatchLimits, Full, Retry, SinkSettings, StepSettings};
use crate::expr::Filter;
use crate::model::{Size, Text};
use crate::pipeline::BufferPlan;
use crate::settings::{Rule, Section};

pub(super) const SOURCE: &[&str] = &["durable", "id"];
pub(super) const STEP: &[&str] = &["when", "retry", "on", "workers", "id"];
pub(super) const SINK: &[&str] = &["when", "batch", "retry", "buffer", "workers"];

const DEFAULT_FETCH_WORKERS: usize = 16;

/// How much a sink's buffer may take on disk.
const BUFFER: Size = Size(1 << 30);

/// Beside a source.
pub(super) struct SourceCommon {
    pub id: Option<String>,
    pub durable: bool,
}

/// Beside a step.
pub(super) struct StepCommon {
    pub id: Option<String>,
    pub when: Option<Filter>,
    pub retry: Retry,
    pub workers: usize,
}

/// Beside a sink.
pub(super) struct SinkCommon {
    pub when: Option<Filter>,
    pub batch: BatchLimits,
    pub retry: Retry,
    pub workers: usize,
    pub buffer: BufferCommon,
}

/// What a config says of a sink's buffer.
#[derive(Clone, Copy)]
pub(super) struct BufferCommon {
    disk: Size,
    full: Full,
    is_asked_for: bool,
}

impl SinkCommon {
    /// What holds beside a sink of which nothing is said.
    pub(super) fn plain(settings: Option<&(dyn SinkSettings + 'static)>) -> Self {
        let batch = settings.map_or(BatchLimits::SINGLE, |sink| sink.batch());
        let buffer = BufferCommon { disk: BUFFER, full: Full::Block, is_asked_for: false };
        Self { when: None, batch, retry: Retry::SINK, workers: 1, buffer }
    }
}

impl BufferCommon {
    /// The buffer of the sink `name`: it takes items if it is asked for, or if others would have to wait for this sink
    /// otherwise.
    pub(super) fn plan(self, name: &str, is_shared: bool) -> BufferPlan {
        let Self { disk, full, is_asked_for } = self;
        let queue: Text = format!("sink.{name}").into();
        let source = crate::sources::buffer(queue.clone());
        let disk = if is_asked_for || is_shared { disk } else { Size(0) };
        BufferPlan { queue, source, disk, full }
    }
}

pub(super) fn read_source(section: &mut Section<'_>) -> SourceCommon {
    let durable = section.or("durable", false, "whether a queue on disk keeps what the source has made");
    SourceCommon { id: read_id(section), durable }
}

/// `settings` is nothing if the step's own settings are wrong, or only described.
pub(super) fn read_step(section: &mut Section<'_>, settings: Option<&(dyn StepSettings + 'static)>) -> StepCommon {
    let when = section.optional("when", "an item for which this is false passes the step by unchanged");
    let id = read_id(section);
    let (retry, workers) = if settings.is_none_or(|step| step.is_network()) {
        let workers = section.or(
            "workers",
            DEFAULT_FETCH_WORKERS,
            "how many items are worked on at once; with 1 they keep their order",
        );
        check_workers(section, workers);
        (read_retry(section, Retry::FETCH), workers)
    } else {
        for (key, why) in [
            ("workers", "this step only computes, and runs on the workers of the step before it"),
            ("retry", "this step only computes, and would fail again"),
            ("on", "this step only computes, and gets no reply"),
        ] {
            if section.has(key) {
                let message = format!("`{key}` has no use here: {why}");
                section.broken(Rule::NotANetworkStep, key, message, "remove it");
            }
        }
        (Retry::FETCH, 1)
    };
    StepCommon { id, when, retry, workers }
}

/// `settings` is nothing if the sink's own settings are wrong, or only described.
pub(super) fn read_sink(section: &mut Section<'_>, settings: Option<&(dyn SinkSettings + 'static)>) -> SinkCommon {
    let when = section.optional("when", "an item for which this is false is left to the other sinks");
    let batch = read_batch(section, settings.map_or(BatchLimits::SINGLE, |sink| sink.batch()));
    let retry = read_retry(section, settings.map_or(Retry::SINK, |sink| sink.retry()));
    let workers = section.or("workers", 1, "how many batches are written at once; with 1 they keep their order");
    check_workers(section, workers);
    let buffer = read_buffer(section);
    SinkCommon { when, batch, retry, workers, buffer }
}

fn read_buffer(section: &mut Section<'_>) -> BufferCommon {
    let is_asked_for = section.has("buffer");
    let about = "where items wait on disk once the sink's channel is full; used by default when the sink has \
                 neighbours, or several pipelines";
    let buffer = section.group("buffer", about, |section| {
        section.shorthand("disk");
        let disk = section.or("disk", BUFFER, "how much they may take; with \"0B\" there is no buffer");
        let full = section.choice("full", Full::WORDS, "what happens to an item for which there is no room");
        Some((disk, full))
    });
    let (disk, full) = buffer.unwrap_or((BUFFER, Full::Block));
    BufferCommon { disk, full, is_asked_for }
}

fn read_id(section: &mut Section<'_>) -> Option<String> {
    let about = "what its state is kept under; by default its kind, and KIND-2 for the second of that kind";
    let id = section.optional("id", about);
    section.is_name();
    id
}

fn check_workers(section: &mut Section<'_>, workers: usize) {
    section.at_least(workers, 1, "without workers nothing gets done");
    section.at_most(workers, 10_000, format!("{workers} workers would take more memory than they are worth"));
}

fn read_retry(section: &mut Section<'_>, default: Retry) -> Retry {
    let about = "how often, and how long, a failed item is tried again";
    let retry = section.group("retry", about, |section| {
        section.shorthand("tries");
        let retry = Retry {
            tries: read_tries(section, default.tries),
            within: section.or("within", default.within, "it is given up this long after the first try"),
            base: section.or(
                "base",
                default.base,
                "the longest wait before the second try; doubled with every try after it",
            ),
            cap: section.or("cap", default.cap, "the longest wait before any try"),
            ..default
        };
        if retry.cap < retry.base {
            let message = "`cap`, the longest wait, is shorter than `base`, the first one";
            let key = if section.has("cap") { "cap" } else { "base" };
            section.broken(Rule::BadRetry, key, message, "write a longer `cap` or a shorter `base`");
        }
        Some(retry)
    });
    retry.unwrap_or(default)
}

fn read_tries(section: &mut Section<'_>, default: u32) -> u32 {
    let tries = section.or("tries", default, "how many tries an item gets in all");
    section.at_least(tries, 1, "without a try nothing gets done");
    tries
}

fn read_batch(section: &mut Section<'_>, default: BatchLimits) -> BatchLimits {
    let about = "a batch is written as soon as it reaches one of these limits";
    let batch = section.group("batch", about, |section| {
        section.shorthand("items");
        let items = section.or("items", default.items, "how many items");
        section.at_least(items, 1, "a batch of no items is never written");
        let bytes = section.or("bytes", default.bytes, "how large they are together");
        let message = "a batch of no bytes is never written";
        section.at_least_of_size(bytes, Size(1), message, "write a size such as \"1MiB\"");
        let age = if items > 1 && default.age.is_zero() { BatchLimits::AGE } else { default.age };
        let age = section.or("age", age, "how long the first of them has waited");
        Some(BatchLimits { items, bytes, age })
    });
    batch.unwrap_or(default)
}
