//! `gatherd plan`: what another config would change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::{self, Table, counted};
use super::{ConfiguredStateArgument, EXIT_CONFIG, mistakes};
use crate::assemble::{self, Assembled, Difference, HostLoad, Load, QUEUE};
use crate::daemon::{ControlClient, PlanReport, state_folder};
use crate::model::{Fault, secret};
use crate::settings::Fill;
use crate::store::{Holding, Store};

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// The files and folders of the new config.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The config of now, where no gatherd runs that could tell; repeat it for several files.
    #[arg(long, value_name = "PATH")]
    against: Vec<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: ConfiguredStateArgument,
}

/// What the new config was compared with.
#[derive(Clone, Copy)]
enum Against {
    Daemon,
    Config,
    Nothing,
}

/// What would change.
struct Planned {
    against: Against,
    difference: Difference,
    state: Vec<Fate>,
    loads: Vec<Change>,
}

/// What becomes of something in the store.
struct Fate {
    /// `quakes.get`, or the name of a queue.
    owner: String,
    /// `1,200 seen keys`
    holds: String,
    is_kept: bool,
}

/// The load of a host before and after; nothing if it is not asked.
struct Change {
    host: Option<String>,
    before: Option<Load>,
    after: Option<HostLoad>,
}

pub(super) fn plan(arguments: PlanArguments) -> ExitCode {
    let Some(new) = load(&arguments.paths) else { return ExitCode::from(EXIT_CONFIG) };
    let folder = state_folder(arguments.state.state, new.service.state.clone());
    let outline = new.outline();
    let compared = || -> Result<Option<(Against, PlanReport)>, Fault> {
        if !arguments.against.is_empty() {
            let Some(now) = load(&arguments.against) else { return Ok(None) };
            let before = now.outline();
            let report = PlanReport { difference: outline.difference(&before), loads: before.loads };
            return Ok(Some((Against::Config, report)));
        }
        match ControlClient::find(&folder) {
            Some(daemon) => Ok(Some((Against::Daemon, daemon.plan(&outline)?))),
            None => Ok(Some((Against::Nothing, PlanReport::default()))),
        }
    };
    let planned = compared().and_then(|compared| {
        let Some((against, PlanReport { difference, loads })) = compared else { return Ok(None) };
        let state = fates(&folder, &new)?;
        Ok(Some(Planned { against, difference, state, loads: changes(loads, outline.loads) }))
    });
    let text = match planned {
        Ok(Some(planned)) if arguments.json => format!("{}\n", planned.to_json()),
        Ok(Some(planned)) => planned.to_text(&folder),
        Ok(None) => return ExitCode::from(EXIT_CONFIG),
        Err(fault) => return output::fail(&fault),
    };
    output::print(secret::mask(&text).as_bytes())
}

/// What is not set here may be set for the daemon: it is only warned of.
fn load(paths: &[PathBuf]) -> Option<Assembled> {
    let loaded = assemble::load(paths, Fill::of_process(), true);
    mistakes::report(&loaded.mistakes);
    loaded.assembled
}

/// What the new config makes of the state in a folder. Nothing is there before the first start.
fn fates(folder: &Path, new: &Assembled) -> Result<Vec<Fate>, Fault> {
    if !Store::is_in(folder) {
        return Ok(Vec::new());
    }
    let store = Store::open_to_read(folder)?;
    let (components, queues) = owners(new);
    let mut fates: Vec<Fate> = Vec::new();
    for Holding { pipeline, component, what, count } in store.holdings()? {
        let place = component.strip_prefix("items.").unwrap_or(&component);
        let is_kept = components.contains(&(pipeline.clone(), place.to_owned()));
        let [one, many] = what.names();
        fates.push(Fate { owner: format!("{pipeline}.{component}"), holds: counted(count, one, many), is_kept });
    }
    for (name, size, _) in store.queues()? {
        if size.items > 0 {
            let holds = counted(size.items, "item", "items");
            fates.push(Fate { owner: name.to_string(), holds, is_kept: queues.contains(&*name) });
        }
    }
    Ok(fates)
}

/// The components of a config, each with its pipeline, and its queues, as the store calls them.
fn owners(new: &Assembled) -> (BTreeSet<(String, String)>, BTreeSet<String>) {
    let mut components = BTreeSet::new();
    let declared = new.description.sinks.iter().filter(|sink| sink.kind == QUEUE).map(|sink| sink.id.clone());
    let mut queues: BTreeSet<String> = declared.collect();
    for sink in &new.sinks {
        if let Some(buffer) = &sink.buffer {
            queues.insert(buffer.queue.to_string());
            // A buffer is emptied by a pipeline of its own.
            components.insert((buffer.queue.to_string(), format!("sink.{}", sink.name)));
            components.insert((buffer.queue.to_string(), "buffer".to_owned()));
        }
    }
    for plan in &new.pipelines {
        let mut add = |id: &str| components.insert((plan.name.to_string(), id.to_owned()));
        add(&plan.source.id);
        plan.steps.iter().for_each(|step| {
            add(&step.id);
        });
        plan.sinks.iter().for_each(|sink| {
            add(&format!("sink.{sink}"));
        });
        if let Some(durable) = &plan.source.durable {
            add("durable");
            add(&format!("sink.{}", durable.queue));
            queues.insert(durable.queue.to_string());
        }
    }
    (components, queues)
}

/// Host by host.
fn changes(before: Vec<HostLoad>, after: Vec<HostLoad>) -> Vec<Change> {
    let key = |load: &HostLoad| (load.host.is_none(), load.host.clone());
    let mut hosts: BTreeMap<_, (Option<Load>, Option<HostLoad>)> = BTreeMap::new();
    for load in before {
        hosts.entry(key(&load)).or_default().0 = Some(load.load);
    }
    for load in after {
        let key = key(&load);
        hosts.entry(key).or_default().1 = Some(load);
    }
    hosts.into_iter().map(|((_, host), (before, after))| Change { host, before, after }).collect()
}

impl Planned {
    fn to_text(&self, folder: &Path) -> String {
        let mut out = Vec::new();
        self.write(&mut out, folder).expect("a Vec takes every write");
        String::from_utf8_lossy(&out).into_owned()
    }

    fn write(&self, out: &mut Vec<u8>, folder: &Path) -> io::Result<()> {
        self.write_pipelines(out, folder)?;
        self.write_state(out)?;
        self.write_loads(out)
    }

    fn write_pipelines(&self, out: &mut Vec<u8>, folder: &Path) -> io::Result<()> {
        let Difference { starts, restarts, stops, unchanged, need_restart } = &self.difference;
        if matches!(self.against, Against::Nothing) {
            writeln!(
                out,
                "no gatherd runs with the state folder `{}`, so what starts and stops cannot be told;\n\
                 name the config of now with `--against`, or another folder with `--state`",
                folder.display()
            )?;
            return Ok(());
        }
        for (what, names) in [("starts", starts), ("restarts", restarts), ("stops", stops)] {
            for name in names {
                writeln!(out, "{what:8}  {name}")?;
            }
        }
        let count = unchanged.len() as u64;
        writeln!(out, "{} as before", counted(count, "pipeline goes on", "pipelines go on"))?;
        if !need_restart.is_empty() {
            writeln!(out, "`[service]` is read at the next start: {} changed", need_restart.join(", "))?;
        }
        Ok(())
    }

    fn write_state(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.state.is_empty() {
            return writeln!(out, "\nthere is no state yet");
        }
        writeln!(out)?;
        let mut table = Table::new(["STATE OF", "HOLDS", "IS"]);
        // What is lost sight of comes first.
        let (kept, orphaned): (Vec<_>, Vec<_>) = self.state.iter().partition(|fate| fate.is_kept);
        for fate in orphaned.into_iter().chain(kept) {
            let is = if fate.is_kept { "kept" } else { "orphaned: no component of the new config has this name" };
            table.row([fate.owner.clone(), fate.holds.clone(), is.to_owned()]);
        }
        table.write(out)
    }

    fn write_loads(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.loads.is_empty() {
            return writeln!(out, "\nno host is asked for anything");
        }
        writeln!(out)?;
        let mut table = Table::new(["HOST", "REQUESTS BEFORE", "AFTER", "BY"]);
        for Change { host, before, after } in &self.loads {
            let before = match (before, self.against) {
                (Some(load), _) => shown(*load),
                (None, Against::Nothing) => "?".to_owned(),
                (None, _) => "none".to_owned(),
            };
            table.row([
                host.clone().unwrap_or_else(|| "(named by data)".to_owned()),
                before,
                after.as_ref().map_or("none".to_owned(), |after| shown(after.load)),
                after.as_ref().map_or(String::new(), |after| after.by.join(", ")),
            ]);
        }
        table.write(out)
    }

    fn to_json(&self) -> serde_json::Value {
        let against = match self.against {
            Against::Daemon => Some("daemon"),
            Against::Config => Some("config"),
            Against::Nothing => None,
        };
        let state = |fate: &Fate| json!({ "of": fate.owner, "holds": fate.holds, "kept": fate.is_kept });
        let load = |change: &Change| {
            let after = change.after.as_ref();
            json!({
                "host": change.host,
                "before": change.before,
                "after": after.map(|after| after.load),
                "by": after.map_or(&[][..], |after| &after.by),
            })
        };
        json!({
            "against": against,
            "pipelines": against.map(|_| &self.difference),
            "state": self.state.iter().map(state).collect::<Vec<_>>(),
            "requests_an_hour": self.loads.iter().map(load).collect::<Vec<_>>(),
        })
    }
}

/// `60/h`, `up to 60/h`, `60/h or more`, or that it depends on data.
fn shown(load: Load) -> String {
    match load {
        Load { low, high: Some(high) } if low == high => an_hour(high),
        Load { high: Some(high), .. } => format!("up to {}", an_hour(high)),
        Load { low, high: None } if low > 0.0 => format!("{} or more", an_hour(low)),
        Load { .. } => "unknown: data decides".to_owned(),
    }
}

/// With as many digits as tell something; by the day where that is clearer.
fn an_hour(count: f64) -> String {
    let (count, unit) = if count < 1.0 { (count * 24.0, "d") } else { (count, "h") };
    let digits = if count >= 10.0 || count.fract() < 0.05 || count.fract() > 0.95 { 0 } else { 1 };
    format!("{count:.digits$}/{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_shown_as_far_as_it_is_known() {
        let cases = [
            (Load { low: 60.0, high: Some(60.0) }, "60/h"),
            (Load { low: 0.0, high: Some(12.5) }, "up to 12/h"),
            (Load { low: 1.5, high: None }, "1.5/h or more"),
            (Load { low: 0.0, high: None }, "unknown: data decides"),
            (Load { low: 1.0 / 24.0, high: Some(1.0 / 24.0) }, "1/d"),
        ];
        for (load, expected) in cases {
            assert_eq!(shown(load), expected);
        }
    }
}
