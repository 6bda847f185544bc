//! A pipeline of a config: its source, its steps, and where its items go.

use std::sync::Arc;

use super::component::{self, Component, OtherRole, Role};
use super::fingerprints::Fingerprints;
use super::onward::onward;
use super::sink::{self, Sinks};
use super::{ComponentDescription, Description, PipelineDescription, common, expect};
use crate::component::{Onward, SourceSettings, StepSettings, find};
use crate::config::{Pipeline, Target, To, is_name};
use crate::model::Text;
use crate::pipeline::{AsidePlan, DurablePlan, Expect, PipelinePlan, SourcePlan, StepPlan};
use crate::queues::QueueSettings;
use crate::settings::{Data, Entry, Node, Place, Reading, Rule, Table, Unread, way_out};

pub(super) const SOURCE: Role<dyn SourceSettings> = Role {
    name: "source",
    kinds: crate::sources::KINDS,
    example: "{ every = \"1m\" }",
    common: common::SOURCE,
    others: &[STEP_ELSEWHERE, sink::ELSEWHERE],
};

pub(super) const STEP: Role<dyn StepSettings> = Role {
    name: "step",
    kinds: crate::steps::KINDS,
    example: "{ get = \"https://…\" }",
    common: common::STEP,
    others: &[SOURCE_ELSEWHERE, sink::ELSEWHERE],
};

pub(super) const SOURCE_ELSEWHERE: OtherRole =
    OtherRole { name: "source", has_kind: is_source, way_out: "write it as the pipeline's `from`" };
pub(super) const STEP_ELSEWHERE: OtherRole =
    OtherRole { name: "step", has_kind: is_step, way_out: "write it among the pipeline's `steps`" };

/// What filters call the stretch of time that a tick stands for.
const WINDOW: &str = "window";

fn is_source(name: &str) -> bool {
    find(SOURCE.kinds, name).is_some()
}

fn is_step(name: &str) -> bool {
    find(STEP.kinds, name).is_some()
}

/// Reads a pipeline and its inline sinks. Nothing if there is a mistake in it: that has been reported then.
pub(super) fn read(
    pipeline: &Pipeline,
    sinks: &mut Sinks,
    reading: &Reading,
    fingerprints: &Fingerprints<'_>,
    description: &mut Description,
) -> Option<PipelinePlan> {
    let vars = &pipeline.vars;
    let source = pipeline
        .from
        .as_ref()
        .and_then(|from| component::read(&SOURCE, from, vars, reading, |section, _| common::read_source(section)));
    let steps: Vec<Option<Component<dyn StepSettings, common::StepCommon>>> =
        pipeline.steps.iter().map(|step| component::read(&STEP, step, vars, reading, common::read_step)).collect();
    let to = read_targets(pipeline, sinks, reading);
    let (expect, expect_records) = match &pipeline.expect {
        None => (Expect::default(), None),
        Some(Entry { key_place, node }) => {
            let unread = Unread { name: "expect", place: key_place, node, beside: None, keys_beside: &[] };
            let read = reading.read(unread, vars, expect::read);
            (read.value.unwrap_or_default(), Some(read.records))
        }
    };
    sinks.are_neighbours(&to);

    // An id hangs on all components before it, so none can be given while one is unknown.
    let (source, steps) = (source?, steps.into_iter().collect::<Option<Vec<_>>>()?);
    let mut ids = Ids { taken: Vec::new(), pipeline, reading };
    let source_id = ids.of(source.kind, source.common.id.as_deref(), pipeline.from.as_ref());
    let step_ids: Vec<Text> = steps
        .iter()
        .zip(&pipeline.steps)
        .map(|(step, node)| ids.of(step.kind, step.common.id.as_deref(), Some(node)))
        .collect();

    let durable = source.common.durable.then(|| durable(&pipeline.name));
    let source_plan = source.settings.clone().map(|settings| SourcePlan { id: source_id.clone(), settings, durable });
    let sink_nodes = sinks.nodes(&to);
    let recurs = source.settings.as_ref().is_some_and(|settings| settings.recurs());
    let onward = |place| onward(place, recurs, &steps, pipeline, &sink_nodes, fingerprints);
    let step_plans: Option<Vec<StepPlan>> = steps
        .iter()
        .zip(&step_ids)
        .enumerate()
        .map(|(place, (step, id))| step_plan(&pipeline.name, step, id.clone(), onward(place)))
        .collect();
    description.pipelines.push(PipelineDescription {
        name: pipeline.name.clone(),
        vars: pipeline.vars_written.as_ref().map(Node::to_toml),
        expect: expect_records,
        source: describe(source, &source_id),
        steps: steps.into_iter().zip(&step_ids).map(|(step, id)| describe(step, id)).collect(),
        to: to.clone(),
        is_logged: matches!(pipeline.to, To::Log),
    });
    Some(PipelinePlan {
        name: pipeline.name.as_str().into(),
        part: None,
        uses_window: pipeline.steps.iter().any(|step| step.mentions(WINDOW)) || sinks.mention(&to, WINDOW),
        expect,
        source: source_plan?,
        steps: step_plans?,
        sinks: to.iter().map(|name| name.as_str().into()).collect(),
        fingerprint: fingerprints.of_pipeline(pipeline),
    })
}

/// The queue that keeps what a pipeline's source has made.
fn durable(pipeline: &str) -> DurablePlan {
    let queue: Text = format!("pipeline.{pipeline}").into();
    DurablePlan { output: crate::sources::buffer(queue.clone()), input: Arc::new(QueueSettings::default()), queue }
}

/// The queue for what waits at the stage of a step.
fn aside(pipeline: &str, step: &str) -> AsidePlan {
    let queue: Text = format!("stage.{pipeline}.{step}").into();
    AsidePlan { source: crate::sources::buffer(queue.clone()), queue }
}

fn step_plan(
    pipeline: &str,
    step: &Component<dyn StepSettings, common::StepCommon>,
    id: Text,
    onward: Onward,
) -> Option<StepPlan> {
    let settings = step.settings.clone()?;
    Some(StepPlan {
        aside: settings.is_network().then(|| aside(pipeline, &id)),
        id,
        settings,
        when: step.common.when.clone(),
        retry: step.common.retry,
        workers: step.common.workers,
        onward,
    })
}

fn describe<S: ?Sized, C>(component: Component<S, C>, id: &str) -> ComponentDescription {
    let Component { kind, inner, beside, .. } = component;
    ComponentDescription { id: id.to_owned(), is_inline: false, kind, inner, beside }
}

/// The names of the sinks that a pipeline's items go to.
fn read_targets(pipeline: &Pipeline, sinks: &mut Sinks, reading: &Reading) -> Vec<String> {
    let To::Targets(targets) = &pipeline.to else {
        let nothing = Node { place: pipeline.place.clone(), data: Data::Table(log_table(&pipeline.place)) };
        return vec![sinks.add_inline(&pipeline.name, &nothing, &pipeline.vars, reading)];
    };
    let mut names: Vec<String> = Vec::new();
    for target in targets {
        match target {
            Target::Inline(node) => names.push(sinks.add_inline(&pipeline.name, node, &pipeline.vars, reading)),
            Target::Name(name, place) if names.contains(name) => {
                let message = format!("`{name}` is named twice");
                reading.mistakes.report(Rule::NamedTwice, place.clone(), message, "name it once");
            }
            Target::Name(name, _) if sinks.use_named(name) => names.push(name.clone()),
            Target::Name(name, place) => {
                let way_out = if !is_name(name) {
                    "name a `[sink.NAME]`, or write a sink right here, such as `{ file = \"out.ndjson\" }`".to_owned()
                } else if sink::is_sink(name) {
                    format!("write `{{ {name} = … }}` for a sink right here, or add a section `[sink.{name}]`")
                } else if sinks.names().next().is_none() {
                    format!("add a section `[sink.{name}]`, or `[queue.{name}]` for a queue")
                } else {
                    way_out(name, sinks.names())
                };
                let mask = |text: &str| reading.fill.mask(text);
                let message = mask(&format!("there is no sink `{name}`"));
                reading.mistakes.report(Rule::UnknownSink, place.clone(), message, mask(&way_out));
            }
        }
    }
    names
}

/// `{ log = {} }`, where a pipeline's items go if it does not say.
fn log_table(place: &Place) -> Table {
    let node = Node { place: place.clone(), data: Data::Table(Table::default()) };
    let mut table = Table::default();
    table.insert("log".to_owned(), Entry { key_place: place.clone(), node });
    table
}

/// Gives each component of a pipeline its id.
struct Ids<'a> {
    /// The id of each component so far, and its kind.
    taken: Vec<(Text, &'static str)>,
    pipeline: &'a Pipeline,
    reading: &'a Reading,
}

impl Ids<'_> {
    /// The id that its author gave it, or else its kind, `-2` for the second of that kind.
    fn of(&mut self, kind: &'static str, given: Option<&str>, node: Option<&Node>) -> Text {
        let nth = 1 + self.taken.iter().filter(|(_, taken)| *taken == kind).count();
        let default = if nth == 1 { kind.to_owned() } else { format!("{kind}-{nth}") };
        let id: Text = given.unwrap_or(&default).into();
        let place = || {
            let given = node.and_then(Node::as_table).and_then(|table| table.get("id"));
            given.or(node).map_or(&self.pipeline.place, |node| &node.place).clone()
        };
        if !is_name(&id) {
            let way_out = "take letters, digits, `_` and `-`, and begin with a letter or digit";
            let message = self.reading.fill.mask(&format!("`{id}` cannot be an id"));
            self.reading.mistakes.report(Rule::BadId, place(), message, way_out);
        } else if self.taken.iter().any(|(taken, _)| *taken == id) {
            let message = format!("`{id}` is the id of another component of this pipeline");
            self.reading.mistakes.report(Rule::BadId, place(), message, "give this one another `id`");
        }
        self.taken.push((id.clone(), kind));
        id
    }
}
