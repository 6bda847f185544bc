//! Every kind of component with its settings, for `gatherd kinds`.

use super::{common, pipeline, service, sink};
use crate::component::Kind;
use crate::http::ClientSettings;
use crate::queues::QueueSettings;
use crate::settings::{Read, Record, Section, describe};

/// What a component can be.
pub struct RoleDescription {
    pub name: &'static str,
    /// Where one stands in a config.
    pub heading: &'static str,
}

pub const ROLES: [RoleDescription; 4] = [
    RoleDescription { name: pipeline::SOURCE.name, heading: "Sources, the `from` of a pipeline:" },
    RoleDescription { name: pipeline::STEP.name, heading: "Steps, in the `steps` of a pipeline:" },
    RoleDescription { name: sink::ROLE.name, heading: "Sinks, as `[sink.NAME]` or in the `to` of a pipeline:" },
    RoleDescription { name: SECTION, heading: "Sections that pipelines share:" },
];

pub(super) const SECTION: &str = "section";

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

impl KindDescription {
    /// The noun of a section: `http` of `[http.NAME]`. Of a component, its name.
    pub fn noun(&self) -> &'static str {
        self.name.trim_start_matches('[').split(['.', ']']).next().unwrap_or(self.name)
    }
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
    sources.chain(steps).chain(sinks).chain(sections()).collect()
}

fn sections() -> [KindDescription; 3] {
    let section = |name, summary, sample, settings| KindDescription {
        role: SECTION,
        name,
        summary,
        sample,
        short: None,
        settings,
        beside: Vec::new(),
    };
    let client = describe(ClientSettings::read).records;
    let queue = describe(QueueSettings::read).records;
    let process = describe(service::read).records;
    [
        section(
            "[http.NAME]",
            "A client: what requests to one API have in common. Steps and sinks name it in `via`.",
            CLIENT,
            client,
        ),
        section(
            "[queue.NAME]",
            "A queue on disk between pipelines: one names it in `to`, another in `from = { queue = \"NAME\" }`.",
            QUEUE,
            queue,
        ),
        section("[service]", "What belongs to the process.", SERVICE, process),
    ]
}

const CLIENT: &str = r#"
[http.acme]
base = "https://api.acme.example/v1"
auth = { bearer = "${secret:acme}" }
rate = "10/s"

[pipeline.orders]
from  = { every = "5m" }
steps = [{ get = { via = "acme", url = "/orders" } }]
"#;

const QUEUE: &str = r#"
[queue.pages]
key = { of = ".url", keep = "30d" }

[pipeline.find]
from  = { every = "1h" }
steps = [
  { get = "https://www.example/" },
  { links = { same_host = true } },
  { map = "{url: .}" },
]
to    = ["pages"]

[pipeline.fetch]
from  = { queue = "pages" }
steps = [{ get = "{.url}" }]
"#;

const SERVICE: &str = r#"
[service]
memory = "512MiB"
drain  = "10s"

[pipeline.beat]
from = { every = "1m" }
"#;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn check<S: ?Sized>(kinds: &[Kind<S>]) {
        for kind in kinds {
            let described = describe(kind.read);
            assert!(described.value.is_some(), "`{}` gives up on placeholders", kind.name);
        }
    }

    /// What stands beside them, and its defaults, hang on their settings.
    #[test]
    fn every_step_and_sink_can_be_described() {
        check(crate::steps::KINDS);
        check(crate::sinks::KINDS);
    }
}
