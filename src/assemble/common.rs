//! The settings that stand beside a component key, the same for every component of a role.

use std::time::Duration;

use crate::component::{BatchLimits, Retry, SinkSettings, StepSettings};
use crate::expr::Filter;
use crate::model::Size;
use crate::settings::{Rule, Section};

pub(super) const SOURCE: &[&str] = &["durable", "id"];
pub(super) const STEP: &[&str] = &["when", "retry", "on", "workers", "id"];
pub(super) const SINK: &[&str] = &["when", "batch", "retry", "buffer", "workers"];

const DEFAULT_FETCH_WORKERS: usize = 16;

/// Beside a source.
pub(super) struct SourceCommon {
    pub id: Option<String>,
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
}

pub(super) fn read_source(section: &mut Section<'_>) -> SourceCommon {
    let durable = section.or("durable", false, "whether a queue on disk keeps what the source has made");
    if durable {
        let message = "`durable` cannot be used yet: it comes with the queues, in a later version";
        section.broken(Rule::NotYet, "durable", message, "leave it out until then");
    }
    SourceCommon { id: read_id(section) }
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
    if section.has("buffer") {
        let message = "`buffer` cannot be used yet: buffers on disk come in a later version";
        section.broken(Rule::NotYet, "buffer", message, "leave it out until then");
    }
    SinkCommon { when, batch, retry, workers }
}

fn read_id(section: &mut Section<'_>) -> Option<String> {
    section.optional("id", "what its state is kept under; by default its kind, and KIND-2 for the second of that kind")
}

fn check_workers(section: &mut Section<'_>, workers: usize) {
    const MOST: usize = 10_000;
    if workers == 0 {
        section.broken(Rule::TooSmall, "workers", "without workers nothing gets done", "write at least 1");
    } else if workers > MOST {
        let message = format!("{workers} workers would take more memory than they are worth");
        section.broken(Rule::NumberOutOfRange, "workers", message, format!("write at most {MOST}"));
    }
}

fn read_retry(section: &mut Section<'_>, default: Retry) -> Retry {
    let about = "how often, and how long, a failed item is tried again";
    let retry = section.group("retry", about, |section| {
        section.shorthand("tries");
        let retry = Retry {
            tries: section.or("tries", default.tries, "how many tries an item gets in all"),
            within: section.or("within", default.within, "it is given up this long after the first try"),
            base: section.or(
                "base",
                default.base,
                "the longest wait before the second try; doubled with every try after it",
            ),
            cap: section.or("cap", default.cap, "the longest wait before any try"),
            ..default
        };
        if retry.tries == 0 {
            section.broken(Rule::TooSmall, "tries", "without a try nothing gets done", "write at least 1");
        }
        if retry.cap < retry.base {
            let message = "`cap`, the longest wait, is shorter than `base`, the first one";
            let key = if section.has("cap") { "cap" } else { "base" };
            section.broken(Rule::BadRetry, key, message, "write a longer `cap` or a shorter `base`");
        }
        Some(retry)
    });
    retry.unwrap_or(default)
}

fn read_batch(section: &mut Section<'_>, default: BatchLimits) -> BatchLimits {
    let about = "a batch is written as soon as it reaches one of these limits";
    let batch = section.group("batch", about, |section| {
        section.shorthand("items");
        let items = section.or("items", default.items, "how many items");
        let bytes = section.or("bytes", default.bytes, "how large they are together");
        let age = if items > 1 && default.age.is_zero() { DEFAULT_AGE } else { default.age };
        let age = section.or("age", age, "how long the first of them has waited");
        if items == 0 {
            section.broken(Rule::TooSmall, "items", "a batch of no items is never written", "write at least 1");
        }
        if bytes == Size(0) {
            let message = "a batch of no bytes is never written";
            section.broken(Rule::TooSmall, "bytes", message, "write a size such as \"1MiB\"");
        }
        Some(BatchLimits { items, bytes, age })
    });
    batch.unwrap_or(default)
}

/// For a sink that does not batch by itself, when its author asks for batches.
const DEFAULT_AGE: Duration = Duration::from_secs(1);
