//! How a run shows its progress: bars on a terminal, a summary elsewhere.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::counted;
use crate::daemon::{Ending, state_folder};
use crate::model::{Size, show_duration};
use crate::pipeline::{Counts, Engine, PipelineStatus};
use crate::runtime::{self, Clock, Task};

/// How often the bars move.
const EVERY: Duration = Duration::from_millis(100);

/// Bars on a terminal, one a pipeline, for as long as this lives.
pub(super) struct Progress {
    bars: MultiProgress,
    task: Option<Task<()>>,
}

impl Progress {
    /// Shows the progress of `engine`, if standard error is a terminal.
    pub(super) fn show(engine: &Arc<Engine>) -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let bars = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:16} {bar:16} {pos}/{len} items, {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let lines: Vec<ProgressBar> = engine
            .status()
            .iter()
            .map(|pipeline| {
                let bar = bars.add(ProgressBar::new(0).with_style(style.clone()));
                bar.with_prefix(pipeline.name.to_string())
            })
            .collect();
        let engine = engine.clone();
        let clock = Clock::system();
        let started = clock.instant();
        let task = runtime::spawn(async move {
            loop {
                let elapsed = clock.instant().duration_since(started);
                for (line, pipeline) in lines.iter().zip(engine.status()) {
                    line.set_length(pipeline.counts.produced);
                    line.set_position(pipeline.counts.settled);
                    line.set_message(describe(pipeline.counts, elapsed));
                }
                clock.sleep(EVERY).await;
            }
        });
        Some(Self { bars, task: Some(task) })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            runtime::block_on(task.cancel());
        }
        // The bars are only decoration: a terminal that has gone is no fault.
        let _ = self.bars.clear();
    }
}

/// What the bar does not say. The time left is for the items that the source has made so far.
fn describe(counts: Counts, elapsed: Duration) -> String {
    let rate = counts.settled as f64 / elapsed.as_secs_f64().max(0.001);
    let in_flight = counts.produced - counts.settled.min(counts.produced);
    let mut text = format!("{rate:.0}/s");
    if counts.rejected > 0 {
        text.push_str(&format!(", {} failed", counts.rejected));
    }
    if in_flight > 0 && rate > 0.0 {
        let left = Duration::from_secs((in_flight as f64 / rate).ceil() as u64);
        text.push_str(&format!(", {} left", show_duration(left)));
    }
    text
}

/// One line a pipeline on standard error: what became of its items. Its state is in `folder`.
pub(super) fn summarize(ending: &Ending, folder: &Path) {
    let mut text = String::new();
    // A part of a pipeline that had nothing to do says nothing.
    let is_told = |pipeline: &&PipelineStatus| {
        pipeline.part.is_none()
            || pipeline.counts.produced > 0
            || pipeline.counts.settled > 0
            || pipeline.fault.is_some()
    };
    for pipeline in ending.pipelines.iter().filter(is_told) {
        let Counts { produced, delivered, filtered, rejected, abandoned, retried, saved, .. } = pipeline.counts;
        let produced = counted(produced, "item", "items");
        text.push_str(&format!("{}: {produced} from the source, {delivered} delivered", pipeline.name));
        if filtered > 0 {
            let reasons: Vec<_> = pipeline.filtered.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            text.push_str(&format!(", {filtered} filtered ({})", reasons.join(", ")));
        }
        if saved > 0 {
            text.push_str(&format!(", {} not fetched again", Size(saved)));
        }
        let retries = counted(retried, "retry", "retries");
        let dead_letters = counted(rejected, "dead letter", "dead letters");
        let abandoned_items = format!("{abandoned} abandoned");
        for (count, what) in [(retried, retries), (rejected, dead_letters), (abandoned, abandoned_items)] {
            if count > 0 {
                text.push_str(&format!(", {what}"));
            }
        }
        if let Some(fault) = &pipeline.fault {
            text.push_str(&format!("; stopped: {fault}"));
        }
        text.push('\n');
    }
    if ending.counts().rejected > 0 {
        let is_default = folder == state_folder(None, None);
        let state = if is_default { String::new() } else { format!(" --state {}", folder.display()) };
        text.push_str(&format!("See `gatherd dead list{state}` for what was given up.\n"));
    }
    // Nobody is left to be told if this fails.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
