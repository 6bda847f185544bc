//! Steps take an item and give any number on.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Continuation, Fetched, Onward, Opened, Repeats, StepContext};
use crate::expr::{FilterError, Fuel, Scope};
use crate::http::{Meter, Url};
use crate::model::{Fault, FaultKind, Item, Text, Value};
use crate::store::{Change, Validator};

/// A step that is ready to work.
#[derive(Clone)]
pub enum Step {
    /// Only computes; runs inline on the worker that has the item.
    Transform(Arc<dyn Transform>),
    /// Goes to the network; starts a stage.
    Fetch(Arc<dyn Fetch>),
}

/// A step that only computes.
pub trait Transform: Send + Sync {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault>;
}

/// What a transform may use beside its item.
#[derive(Clone, Copy, Debug)]
pub struct TransformScope {
    pub now: Timestamp,
    pub fuel: Fuel,
}

impl TransformScope {
    pub fn of<'a>(&self, item: &'a Item) -> Scope<'a> {
        Scope::of(item, self.now, self.fuel)
    }
}

/// A step that goes to the network.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Where the item's next call leads, so that a stage can be fair to hosts.
    fn aim(&self, item: &Item, page: Option<&Continuation>) -> Aim;

    /// Whether items have a [`partition`](Self::partition).
    fn has_partitions(&self) -> bool {
        false
    }

    /// What the item shares its state in the store with. Of items with the same answer one is on its way at a time:
    /// the next is begun once what the one before leaves behind is committed.
    async fn partition(&self, _item: &Item) -> Result<Text, Fault> {
        Ok(Text::default())
    }

    /// Makes the item's next call.
    async fn fetch(&self, call: Call<'_>) -> Result<Fetched, Fault>;
}

/// Where an item's next call leads.
#[derive(Clone, Debug)]
pub struct Aim {
    /// Empty if that cannot be told.
    pub host: Text,
    /// The URL, where the host could not be told without it.
    pub url: Option<Url>,
}

/// One call of a [`Fetch`].
pub struct Call<'a> {
    /// It fetches what this item asks for.
    pub item: &'a Item,
    /// It goes on with the item there.
    pub page: Option<&'a Continuation>,
    /// The URL that its [`Aim`] had found, if it is called for the first time since.
    pub url: Option<Url>,
    /// Counts what the reply takes in memory as it grows.
    pub meter: &'a Meter,
}

/// What became of an item in a step.
pub enum Outputs {
    /// Nothing came of it, on purpose.
    Filtered(Reason),
    /// It goes on as it came.
    Same,
    /// It goes on with this value.
    Value(Value),
    /// It goes on as this.
    One(Item),
    /// It goes on, as this if there is something here, unless the mark is known, and leaves the mark behind when it settles.
    Marked(Option<Item>, Box<Mark>),
    /// The reply is the one whose items settled before; the item ends.
    Unchanged {
        /// How many bytes of body did not have to come again.
        saved: u64,
        /// How the reply is told from later ones, if that has changed.
        mark: Option<Box<Mark>>,
    },
    /// Each of these values goes on as a child of the item, in order.
    Many(Vec<Value>),
}

/// Why an item was filtered: the `reason` in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A `where` said no, or a filter gave no output.
    NoMatch,
    /// `new` has seen its key.
    Seen,
    /// `changed` found the value that was there before, or a server the reply.
    Unchanged,
    /// Another item with the same key was in flight, and ended well.
    Duplicate,
    /// More than a `limit` lets through.
    Limit,
    /// The error policy says so.
    Policy,
    /// No sink wanted it.
    NoSink,
    /// A queue was full, or the item too old.
    Dropped,
    /// The site's robots.txt asks not to fetch it.
    Robots,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Reason::NoMatch,
        Reason::Seen,
        Reason::Unchanged,
        Reason::Duplicate,
        Reason::Limit,
        Reason::Policy,
        Reason::NoSink,
        Reason::Dropped,
        Reason::Robots,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reason::NoMatch => "no_match",
            Reason::Seen => "seen",
            Reason::Unchanged => "unchanged",
            Reason::Duplicate => "duplicate",
            Reason::Limit => "limit",
            Reason::Policy => "policy",
            Reason::NoSink => "no_sink",
            Reason::Dropped => "dropped",
            Reason::Robots => "robots",
        }
    }
}

/// What an item leaves behind in the store in the commit that settles it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The component that looks for it again, by pipeline and id.
    pub pipeline: Text,
    pub component: Text,
    pub key: Text,
    pub kind: MarkKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MarkKind {
    /// The key was seen; forgotten at this time, if ever.
    Seen { until: Option<Timestamp> },
    /// The value last seen under the key, as a digest.
    Last { digest: [u8; 32] },
    /// What tells the reply to the request `key` from a later one; nothing, if nothing must. Filters nothing.
    Validator(Option<Box<Validator>>),
}

impl From<Mark> for Change {
    fn from(mark: Mark) -> Self {
        let Mark { pipeline, component, key, kind } = mark;
        match kind {
            MarkKind::Seen { until } => Change::Seen { pipeline, component, key, until },
            MarkKind::Last { digest } => Change::Last { pipeline, component, key, digest },
            MarkKind::Validator(validator) => Change::Validator { pipeline, component, request: key, validator },
        }
    }
}

/// Why a transform did not come to its end.
#[derive(Clone, Debug)]
pub enum FilterFault {
    Fault(Fault),
    /// Worth a second try on a blocking thread, with [`Fuel::Blocking`].
    OutOfFuel,
}

impl From<Fault> for FilterFault {
    fn from(fault: Fault) -> Self {
        FilterFault::Fault(fault)
    }
}

impl FilterFault {
    /// The fault of a filter that ran with `fuel`; `what` is the setting it stands in, such as `map`.
    pub fn new(what: impl fmt::Display, error: FilterError, fuel: Fuel) -> Self {
        let message = match error {
            FilterError::OutOfFuel if fuel == Fuel::Inline => return FilterFault::OutOfFuel,
            FilterError::OutOfFuel => "it ran longer than an item may take".to_owned(),
            FilterError::Failed(message) | FilterError::TooMuch(message) => message,
        };
        FilterFault::Fault(Fault::reject(FaultKind::Filter, format!("`{what}` failed: {message}")))
    }
}

/// A step's settings: describes it, and opens it.
pub trait StepSettings: Send + Sync {
    /// Whether it starts a stage.
    fn is_network(&self) -> bool {
        false
    }

    /// Whether it is a `limit`, which counts the descendants of each item of the source.
    fn is_limit(&self) -> bool {
        false
    }

    /// What it does with an item that comes again.
    fn repeats(&self) -> Repeats {
        Repeats::Unknown
    }

    /// Whether an item ends here if its reply has not changed.
    fn skips_unchanged(&self, _onward: &Onward) -> bool {
        false
    }

    /// What happens on each kind of failure, one row a rule, for `gatherd explain --errors`.
    fn error_policy(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// `limit` is how many `limit` steps stand before this one in its pipeline.
    fn open(&self, context: &StepContext, limit: usize) -> Opened<Step>;
}
