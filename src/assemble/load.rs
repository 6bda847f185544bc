//! How many requests a config leads to, host by host, as far as it says so by itself.
//!
//! A schedule tells how many items it makes in an hour, and a step that neither adds items nor leaves some out hands on
//! as many. Behind one that does, the data decides; a `rate` is a bound even then. Retries are not counted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Assembled, ComponentDescription};
use crate::http::Url;
use crate::model::Rate;
use crate::pipeline::{PipelinePlan, StepPlan};
use crate::runtime::Clock;
use crate::settings::{Record, Shown};

/// How many requests go to a host in an hour: at least `low`, and at most `high` if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub low: f64,
    pub high: Option<f64>,
}

/// What a config asks of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostLoad {
    /// With its port, where that is not its scheme's own. Nothing if the data decides which host it is.
    pub host: Option<String>,
    pub load: Load,
    /// The components that ask it, such as `quakes.get` and `sink.hook`.
    pub by: Vec<String>,
}

impl Load {
    const NONE: Self = Self { low: 0.0, high: Some(0.0) };
    const UNKNOWN: Self = Self { low: 0.0, high: None };

    fn plus(self, other: Self) -> Self {
        let high = self.high.zip(other.high).map(|(one, other)| one + other);
        Self { low: self.low + other.low, high }
    }

    fn at_most(self, bound: Option<f64>) -> Self {
        let Some(bound) = bound else { return self };
        Self { low: self.low.min(bound), high: Some(self.high.map_or(bound, |high| high.min(bound))) }
    }
}

/// How many ticks are looked at: enough for the weeks of most cron expressions.
const TICKS: usize = 2000;

/// Steps after which there are no more items than before, but there may be fewer.
const LEAVING_OUT: [&str; 5] = ["where", "new", "changed", "set", "limit"];

/// The load of each host, by name; what the data decides is last.
pub(super) fn loads(assembled: &Assembled) -> Vec<HostLoad> {
    let mut hosts: BTreeMap<(bool, Option<String>), (Load, Vec<String>)> = BTreeMap::new();
    let mut add = |component: &ComponentDescription, load: Load, by: String| {
        let Some(host) = host(assembled, component) else { return };
        let load = load.at_most(rate(assembled, component));
        let entry = hosts.entry((host.is_none(), host)).or_insert((Load::NONE, Vec::new()));
        *entry = (entry.0.plus(load), std::mem::take(&mut entry.1));
        entry.1.push(by);
    };
    for (pipeline, plan) in assembled.description.pipelines.iter().zip(&assembled.pipelines) {
        let mut items = ticks(plan, &pipeline.source);
        add(&pipeline.source, Load::UNKNOWN, format!("{}.{}", pipeline.name, pipeline.source.id));
        for (step, plan) in pipeline.steps.iter().zip(&plan.steps) {
            let asked = if plan.when.is_some() { Load { low: 0.0, ..items } } else { items };
            let asked = if has(step, "pages") { Load { high: None, ..asked } } else { asked };
            add(step, asked, format!("{}.{}", pipeline.name, step.id));
            items = after(step, plan, items);
        }
    }
    for sink in &assembled.description.sinks {
        add(sink, Load::UNKNOWN, format!("sink.{}", sink.id));
    }
    hosts.into_iter().map(|((_, host), (load, by))| HostLoad { host, load, by }).collect()
}

/// How many items a pipeline's source makes in an hour.
fn ticks(plan: &PipelinePlan, source: &ComponentDescription) -> Load {
    let of_interval = |key| Some(3600.0 / duration(find(source, key)?)?);
    // One whose pace follows what it finds.
    if let (Some(most), Some(least)) = (of_interval("min"), of_interval("max")) {
        return Load { low: least, high: Some(most) };
    }
    let ticks: Vec<Timestamp> = plan.source.settings.ticks_after(Clock::system().timestamp(), TICKS);
    let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { return Load::UNKNOWN };
    let hours = last.duration_since(*first).as_secs_f64() / 3600.0;
    if hours <= 0.0 {
        return Load::UNKNOWN;
    }
    let an_hour = (ticks.len() - 1) as f64 / hours;
    Load { low: an_hour, high: Some(an_hour) }
}

/// How many items a step hands on of those that enter it.
fn after(step: &ComponentDescription, plan: &StepPlan, items: Load) -> Load {
    let makes_many = ["items", "pages", "new_by"].iter().any(|key| has(step, key));
    let leaves_out = LEAVING_OUT.contains(&step.kind) || (plan.settings.is_network() && !makes_many);
    Load { low: 0.0, high: items.high.filter(|_| leaves_out) }
}

/// The host that a component asks: the inner nothing if the data decides, the outer if it asks none.
fn host(assembled: &Assembled, component: &ComponentDescription) -> Option<Option<String>> {
    let url = text(find(component, "url")?)?;
    // What is written up to the first template; a host is whole only if something stands behind it.
    let (fixed, is_cut) = match first_template(&url) {
        Some(cut) => (&url[..cut], true),
        None => (&*url, false),
    };
    if fixed.contains("://") || fixed.starts_with("${") {
        let after = fixed.split_once("://").map_or(fixed, |(_, after)| after);
        let is_whole = !is_cut || after.contains(['/', '?', '#']);
        return Some(Some(fixed).filter(|_| is_whole).and_then(shown));
    }
    let is_relative = !is_cut || !fixed.is_empty();
    let base = client(assembled, component).and_then(|client| text(find_in(client, "base")?));
    Some(base.filter(|_| is_relative).and_then(|base| shown(&base)))
}

/// Where the first filter stands in a URL; the brace of a `${NAME}` holds none.
fn first_template(url: &str) -> Option<usize> {
    url.match_indices('{').map(|(at, _)| at).find(|&at| !url[..at].ends_with('$'))
}

/// The host of a URL. One that is filled in shows as the config has it, such as `${API}`.
fn shown(url: &str) -> Option<String> {
    let authority = url.split_once("://").map_or(url, |(_, after)| after).split(['/', '?', '#']).next()?;
    if authority.contains("${") {
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        return Some(host.to_owned());
    }
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The most requests that a component's client sends in an hour, if it says so.
fn rate(assembled: &Assembled, component: &ComponentDescription) -> Option<f64> {
    let rate: Rate = text(find_in(client(assembled, component)?, "rate")?)?.parse().ok()?;
    Some(3600.0 / rate.interval().as_secs_f64())
}

/// The settings of the client of a component's requests.
fn client<'a>(assembled: &'a Assembled, component: &ComponentDescription) -> Option<&'a [Record]> {
    let via = text(find(component, "via")?)?;
    assembled.description.clients.iter().find(|(name, _)| *name == via).map(|(_, records)| &**records)
}

fn has(component: &ComponentDescription, key: &str) -> bool {
    find(component, key).is_some()
}

fn find<'a>(component: &'a ComponentDescription, key: &str) -> Option<&'a Record> {
    find_in(&component.inner, key)
}

/// A setting that is given.
fn find_in<'a>(records: &'a [Record], key: &str) -> Option<&'a Record> {
    records.iter().find(|record| record.key == key && record.given.is_some())
}

/// What a setting says, if that is a text.
fn text(record: &Record) -> Option<String> {
    let Some(Shown::Plain(given)) = record.shown() else { return None };
    let document: toml::Table = format!("text = {given}").parse().ok()?;
    document.get("text")?.as_str().map(str::to_owned)
}

/// In seconds.
fn duration(record: &Record) -> Option<f64> {
    Some(crate::model::parse_duration(&text(record)?).ok()?.as_secs_f64())
}
