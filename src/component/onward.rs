//! What stands behind a step in its pipeline, as far as it may matter to the step.

use crate::store::Digest;

/// What a step does with an item whose value is one that it had before, and that settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeats {
    /// The same as before, and at most one item comes of it.
    Alike,
    /// The same as before; any number of items may come of it.
    AlikeEach,
    /// It ends as filtered.
    End,
    /// It ends as filtered if no other value came between.
    EndInARow,
    /// Nobody can tell: the step asks others, or counts.
    #[default]
    Unknown,
}

/// What becomes of the items that a step hands on, and where they come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Onward {
    /// A digest of all that this hangs on, as it is written in the config: the step, its client, what stands behind it
    /// up to the sinks, and the pipeline's variables.
    pub digest: Digest,
    /// What the steps behind it do, taken together, with an item that comes again: [`Repeats::End`] or
    /// [`Repeats::EndInARow`] if nothing can pass them, else [`Repeats::Unknown`].
    pub repeats: Repeats,
    /// Whether the source's items [recur](crate::component::SourceSettings::recurs).
    pub recurs: bool,
}
