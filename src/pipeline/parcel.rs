//! An item on its way, with what the engine carries for it. It is boxed, since it passes through many hands and channels.

use std::sync::Arc;

use super::ack::Ack;
use super::backoff::Tries;
use super::budget::Charge;
use super::runs::Run;
use crate::component::{Continuation, Url};
use crate::model::Item;

/// An item on its way: what must not be lost (the ack), and what it holds (the charge).
pub(super) struct Parcel {
    pub(super) item: Item,
    pub(super) ack: Ack,
    pub(super) charge: Charge,
    /// What its value takes in memory, for batches.
    pub(super) size: usize,
    /// The tries at the component that has the item now.
    pub(super) tries: Tries,
    /// Whether it was set aside at this component before.
    pub(super) was_aside: bool,
    /// The page that it goes on with at this component.
    pub(super) page: Option<Continuation>,
    /// Where its next call leads, if that was found out already.
    pub(super) url: Option<Url>,
    /// Its hold on the partition that it belongs to at this component.
    pub(super) run: Option<Arc<Run>>,
}

impl Parcel {
    /// A parcel that holds what its charge says.
    pub(super) fn new(item: Item, ack: Ack, charge: Charge) -> Box<Self> {
        let size = charge.bytes();
        Box::new(Self {
            item,
            ack,
            charge,
            size,
            tries: Tries::default(),
            was_aside: false,
            page: None,
            url: None,
            run: None,
        })
    }

    /// Puts what a component made of the item in its place.
    pub(super) fn replace(&mut self, item: Item) {
        let is_other = !item.value.is_same(&self.item.value);
        self.item = item;
        if is_other {
            self.recount();
        }
    }

    /// The item has another value now.
    pub(super) fn recount(&mut self) {
        self.size = self.item.value.size_in_memory();
        self.charge.set(self.size);
    }

    /// Another parcel with the same item, for one more sink. Its memory is counted once, for as long as any has it.
    pub(super) fn share(&mut self) -> Box<Self> {
        let (item, ack, charge) = (self.item.clone(), self.ack.share(), self.charge.share());
        let mut share = Self::new(item, ack, charge);
        share.size = self.size;
        share
    }
}
