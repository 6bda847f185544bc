//! A durable source: what it makes goes through a queue on disk before anything else happens to it.
//!
//! Such a pipeline is run as two: one that only brings items from the source into the queue, whose commit settles
//! them for the source, and one that takes them from there.

use super::expect::Expect;
use super::plan::{DurablePlan, PipelinePlan, Plan, SinkPlan, SourcePlan};
use crate::component::Retry;

/// The part that brings items from a durable source into its queue.
pub(super) const INTAKE: &str = "intake";

/// The plan with each pipeline that has a durable source split in two.
pub(super) fn split(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for pipeline in std::mem::take(&mut plan.pipelines) {
        match pipeline.source.durable.clone() {
            None => plan.pipelines.push(pipeline),
            Some(durable) => {
                let (sink, intake, rest) = split_pipeline(pipeline, durable);
                plan.sinks.push(sink);
                plan.pipelines.extend([intake, rest]);
            }
        }
    }
    plan
}

fn split_pipeline(pipeline: PipelinePlan, durable: DurablePlan) -> (SinkPlan, PipelinePlan, PipelinePlan) {
    let DurablePlan { queue, input, output } = durable;
    let sink = SinkPlan {
        name: queue.clone(),
        batch: input.batch(),
        settings: input,
        when: None,
        retry: Retry::SINK,
        workers: 1,
        buffer: None,
        fingerprint: pipeline.fingerprint,
    };
    let intake = PipelinePlan {
        name: pipeline.name.clone(),
        part: Some(INTAKE),
        uses_window: pipeline.uses_window,
        expect: Expect::default(),
        source: SourcePlan { durable: None, ..pipeline.source.clone() },
        steps: Vec::new(),
        sinks: vec![queue],
        fingerprint: pipeline.fingerprint,
    };
    let source = SourcePlan { id: "durable".into(), settings: output, durable: None };
    (sink, intake, PipelinePlan { source, ..pipeline })
}
