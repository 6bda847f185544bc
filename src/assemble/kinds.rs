//! Every kind of component with its settings, for `gatherd kinds`.

use super::{common, pipeline, sink};
use crate::component::Kind;
use crate::settings::{Read, Record, Section, describe};

/// What a component can be.
pub struct RoleDescription {
    pub name: &'static str,
    /// Where one stands in a config.
    pub heading: &'static str,
}

pub const ROLES: [RoleDescription; 3] = [
    RoleDescription { name: pipeline::SOURCE.name, heading: "Sources, the `from` of a pipeline:" },
    RoleDescription { name: pipeline::STEP.name, heading: "Steps, in the `steps` of a pipeline:" },
    RoleDescription { name: sink::ROLE.name, heading: "Sinks, as `[sink.NAME]` or in the `to` of a pipeline:" },
];

/// A source, step or sink.
pub struct KindDescription {
    pub role: &'static str,
    pub name: &'static str,
    pub summary: &'static str,
    /// A whole config that shows it at work.
    pub sample: &'static str,
    /// The setting that may stand in place of its table.
    pub short: Option<&'static str>,
    /// Its own settings; those that stand beside the component key say so.
    pub settings: Vec<Record>,
    /// The settings that its whole role has beside the component key.
    pub beside: Vec<Record>,
}

/// Every kind, role by role.
pub fn describe_kinds() -> Vec<KindDescription> {
    let sources = crate::sources::KINDS
        .iter()
        .map(|kind| describe_kind(pipeline::SOURCE.name, kind, |section, _| Some(common::read_source(section))));
    let steps = crate::steps::KINDS
        .iter()
        .map(|kind| describe_kind(pipeline::STEP.name, kind, |section, step| Some(common::read_step(section, step))));
    let sinks = crate::sinks::KINDS
        .iter()
        .map(|kind| describe_kind(sink::ROLE.name, kind, |section, sink| Some(common::read_sink(section, sink))));
    sources.chain(steps).chain(sinks).collect()
}

fn describe_kind<S: ?Sized, C>(
    role: &'static str,
    kind: &Kind<S>,
    common: impl FnOnce(&mut Section<'_>, Option<&S>) -> Option<C>,
) -> KindDescription {
    let Read { value, records, short } = describe(kind.read);
    let beside = describe(|section| common(section, value.as_deref())).records;
    KindDescription {
        role,
        name: kind.name,
        summary: kind.summary,
        sample: kind.sample,
        short,
        settings: records,
        beside,
    }
}
