//! What was assembled, with every default, for `gatherd explain`.

use crate::settings::Record;

/// A config with every default filled in.
#[derive(Debug, Default)]
pub struct Description {
    pub pipelines: Vec<PipelineDescription>,
    /// Every sink of the config.
    pub sinks: Vec<ComponentDescription>,
    /// `[http.NAME]` by name.
    pub clients: Vec<(String, Vec<Record>)>,
    pub service: Vec<Record>,
}

#[derive(Debug)]
pub struct PipelineDescription {
    pub name: String,
    /// The variables as they are written, in TOML.
    pub vars: Option<String>,
    /// What is expected of it, if anything is.
    pub expect: Option<Vec<Record>>,
    pub source: ComponentDescription,
    pub steps: Vec<ComponentDescription>,
    /// The sinks by name.
    pub to: Vec<String>,
    /// `to` is left out, so that the items are logged.
    pub is_logged: bool,
}

#[derive(Debug)]
pub struct ComponentDescription {
    /// The id of a source or step, the name of a sink.
    pub id: String,
    /// It is a sink that stands in a pipeline's `to`, and is called `PIPELINE.KIND`.
    pub is_inline: bool,
    pub kind: &'static str,
    /// Its own settings.
    pub inner: Vec<Record>,
    /// The settings that stand beside its component key.
    pub beside: Vec<Record>,
}
