//! Plays a test, and compares what came of it with what it expects.

use std::sync::Arc;
use std::time::Duration;

use super::compare::{compare, compare_requests};
use super::read::{Case, Suite};
use super::script::TestServers;
use crate::assemble;
use crate::cli::rehearsal::{self, Elapsed, Seen};
use crate::http::{NO_REPLY, Wire};
use crate::model::{Fault, FaultKind, Value, show_duration};
use crate::pipeline::PipelineStatus;
use crate::runtime::Clock;
use crate::settings::{Fill, Mistake, Place, way_out};
use crate::store::{DeadLetter, DeadLetterFilter, Store};

/// How long a test may last, by its own clock, beyond the time that it asks for.
const MOST: Duration = Duration::from_secs(24 * 3600);

/// What came of a test: how it differs from what was expected, each difference a text of a few lines.
pub(super) struct Played {
    pub differences: Vec<String>,
}

/// Plays a test; or answers what is wrong with its config.
pub(super) fn play(suite: &Suite, case: &Case) -> Result<Played, Vec<Mistake>> {
    let environment = case.environment.clone();
    let fill = Fill::of_test(move |name| environment.get(name).cloned());
    let loaded = assemble::load(&suite.config, fill, false);
    let Some(mut assembled) = loaded.assembled else { return Err(loaded.mistakes) };
    if let Some(pipeline) = &case.pipeline {
        if !assembled.pipelines.iter().any(|plan| *plan.name == **pipeline) {
            let names = assembled.pipelines.iter().map(|plan| &*plan.name);
            let message = format!("there is no pipeline `{pipeline}`; {}", way_out(pipeline, names));
            return Ok(differs(vec![at(&case.place, &message)]));
        }
        rehearsal::keep_only(&mut assembled, pipeline);
    }
    if let Some(differences) = unknown_sinks(case, &assembled) {
        return Ok(differs(differences));
    }
    if let Some(values) = &case.source {
        rehearsal::stand_in_for_sources(&mut assembled, values);
    }
    if let Some(listening) = assembled.pipelines.iter().find(|plan| plan.source.settings.takes().is_some()) {
        let message = format!(
            "the source of `{}` waits for requests, and in a test none come; give its items as `source = […]`",
            listening.name
        );
        return Ok(differs(vec![at(&case.place, &message)]));
    }
    let seen = rehearsal::stand_in_for_sinks(&mut assembled, &case.send);
    let clock = Clock::turned_by_hand(case.start);
    let servers = Arc::new(TestServers::new(case.replies.clone(), clock.clone()));
    let played = run(assembled, case, &clock, &servers);
    let differences = match played {
        Ok(run) => differences(case, &run, &servers, &seen),
        Err(fault) => vec![at(&case.place, &format!("it could not be run: {fault}"))],
    };
    Ok(differs(differences))
}

fn differs(differences: Vec<String>) -> Played {
    Played { differences }
}

fn unknown_sinks(case: &Case, assembled: &assemble::Assembled) -> Option<Vec<String>> {
    let known = || assembled.sinks.iter().map(|sink| &*sink.name);
    let expected = case.items.iter().map(|(sink, place, _)| (sink, place));
    let named = expected.chain(case.send.iter().map(|sink| (sink, &case.place)));
    let unknown: Vec<String> = named
        .filter(|(sink, _)| !known().any(|known| known == *sink))
        .map(|(sink, place)| at(place, &format!("no items go to a sink `{sink}`; {}", way_out(sink, known()))))
        .collect();
    (!unknown.is_empty()).then_some(unknown)
}

struct Run {
    elapsed: Elapsed,
    status: Vec<PipelineStatus>,
    dead: Vec<DeadLetter>,
}

fn run(assembled: assemble::Assembled, case: &Case, clock: &Clock, servers: &Arc<TestServers>) -> Result<Run, Fault> {
    let folder = tempfile::tempdir()
        .map_err(|error| Fault::stop(FaultKind::Write, format!("cannot make a folder for the state: {error}")))?;
    let store = Store::open_with(folder.path(), clock.clone())?;
    let plan = assembled.into_plan_over(&Wire::Scripted(servers.clone()), clock)?;
    let most = case.run.unwrap_or_default() + MOST;
    let (engine, elapsed) = rehearsal::run_through(&plan, &store, clock, case.run, most)?;
    if let Some(fault) = engine.fault() {
        return Err(fault);
    }
    let dead = store.dead_letters(&DeadLetterFilter::default())?;
    Ok(Run { elapsed, status: engine.status(), dead })
}

fn differences(case: &Case, run: &Run, servers: &TestServers, seen: &Seen) -> Vec<String> {
    let mut differences = Vec::new();
    for line in servers.unexpected() {
        let message = format!("there is no reply to `{line}`; add one: {{ to = \"{line}\", json = … }}");
        differences.push(at(&case.place, &message));
    }
    for pipeline in &run.status {
        if let Some(fault) = &pipeline.fault {
            differences.push(at(&case.place, &format!("the pipeline `{}` stopped: {fault}", pipeline.name)));
        }
    }
    match run.elapsed {
        Elapsed::Ended | Elapsed::Stopped => {}
        Elapsed::TooLate => {
            let message = format!("it was not at its end after {}", show_duration(MOST));
            differences.push(at(&case.place, &message));
        }
        Elapsed::Stuck => {
            differences
                .push(at(&case.place, "it waits for something that never comes in a test; give it a `run` time"));
        }
    }
    for (sink, place, expected) in &case.items {
        let values: Vec<Value> = seen.by(sink).into_iter().map(|item| item.value).collect();
        if let Some(diff) = compare(expected, &values) {
            differences.push(differs_at(place, &format!("the items of `{sink}` are others"), &diff));
        }
    }
    if let Some((place, expected)) = &case.requests
        && let Some(diff) = compare_requests(expected, &servers.requests())
    {
        differences.push(differs_at(place, "the requests are others", &diff));
    }
    differences.extend(dead(case, run));
    differences
}

/// The dead letters, if they are not those that are expected.
fn dead(case: &Case, run: &Run) -> Option<String> {
    let mut left: Vec<&str> = case.dead.iter().map(String::as_str).collect();
    let mut lines = String::new();
    // What no reply was given to has been told.
    for letter in run.dead.iter().filter(|letter| !letter.fault.message.ends_with(NO_REPLY)) {
        match left.iter().position(|expected| *expected == &*letter.component) {
            Some(found) => {
                left.remove(found);
            }
            None => lines.push_str(&format!("+ {}: {}\n", letter.component, letter.fault.message)),
        }
    }
    left.iter().for_each(|expected| lines.push_str(&format!("- {expected}\n")));
    (!lines.is_empty()).then(|| differs_at(&case.dead_place, "the items that were given up are others", &lines))
}

fn at(place: &Place, message: &str) -> String {
    format!("{place}: {message}\n")
}

fn differs_at(place: &Place, message: &str, diff: &str) -> String {
    let indented: String = diff.lines().map(|line| format!("    {line}\n")).collect();
    format!("{place}: {message} (- expected, + came)\n{indented}")
}
