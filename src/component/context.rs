//! What a component is given when it is opened.

use std::sync::Arc;

use super::{Onward, Progress, Quiescence, Trigger};
use crate::http::{Clients, Listeners};
use crate::model::{Fault, Text, Value};
use crate::runtime::Clock;
use crate::store::Store;

/// What opening a component answers. The fault says what was attempted, and stops the pipeline.
pub type Opened<T> = Result<T, Fault>;

/// For a source.
#[derive(Clone)]
pub struct SourceContext {
    pub pipeline: Text,
    /// The component's id within its pipeline: what its state belongs to.
    pub id: Text,
    pub clock: Clock,
    /// How far the source had come, as it said with the last [`super::Produced`] that settled.
    pub position: Option<Value>,
    /// How far it comes while it runs.
    pub progress: Arc<Progress>,
    /// For a schedule: asks for a tick at once.
    pub trigger: Arc<Trigger>,
    /// The source shall end: one tick a schedule, a list to its end.
    pub once: bool,
    pub store: Store,
    pub clients: Clients,
    /// For a source that others hand items to.
    pub listeners: Listeners,
    /// In a single run: what else goes on, for a source that cannot tell by itself that it is at its end.
    pub quiescence: Option<Arc<Quiescence>>,
}

/// For a step.
#[derive(Clone)]
pub struct StepContext {
    pub pipeline: Text,
    pub id: Text,
    pub clock: Clock,
    pub clients: Clients,
    pub store: Store,
    pub onward: Onward,
}

/// For a sink.
#[derive(Clone)]
pub struct SinkContext {
    /// The name that `to` uses.
    pub name: Text,
    pub clock: Clock,
    pub clients: Clients,
    pub store: Store,
}
