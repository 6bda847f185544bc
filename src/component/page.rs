//! Pages: what a step that goes to the network hands on piece by piece.

use std::any::Any;
use std::sync::Arc;

use super::Outputs;
use crate::model::{Fault, Item, Value};
use crate::store::{Change, Digest};

/// What came of a call.
pub enum Fetched {
    /// All there is.
    Whole(Outputs),
    /// A page of it.
    Page(Box<Page>),
}

impl From<Outputs> for Fetched {
    fn from(outputs: Outputs) -> Self {
        Fetched::Whole(outputs)
    }
}

/// One page of what an item asked for.
pub struct Page {
    /// The item, with the labels of the page's reply. Its children take them on.
    pub item: Item,
    /// They go on as children of the item, in order.
    pub children: Vec<Child>,
    /// The number of the first child, counted over all pages of the item, so that no two without a name have the same
    /// id.
    pub first_child: u64,
    /// How many more the page had that were passed on before.
    pub seen: usize,
    /// What the store is given in a commit of its own, once this page has settled; and every page before it, if the
    /// item is one of those that [`super::Fetch::partition`] tells apart.
    pub changes: Vec<Change>,
    /// Where the item goes on once these children have been handed on. Each page has its own tries.
    pub next: Option<Continuation>,
}

/// A child of an item.
pub struct Child {
    pub value: Value,
    /// What tells it from all others that the step finds, if anything does: it has the same id then whenever it comes
    /// again, whichever item asked for it.
    pub name: Option<Digest>,
    /// Why it is no good item: it becomes a dead letter then.
    pub fault: Option<Fault>,
}

/// Where an item goes on with its next page: what only the step understands, kept in memory.
#[derive(Clone)]
pub struct Continuation(Arc<dyn Any + Send + Sync>);

impl Continuation {
    pub fn new(page: impl Any + Send + Sync) -> Self {
        Self(Arc::new(page))
    }

    /// What [`Continuation::new`] was given; nothing if that was of another type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}
