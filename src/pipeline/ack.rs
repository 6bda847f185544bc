//! The promise to tell a source how its item ended.
//!
//! As long as an item has no descendants beside it, its ack says so itself; with the first of them they share a node.
//! When the last of them has ended, the worst of their outcomes is the node's, and goes to the pipeline's settler. A
//! descendant that leaves something in the store gets a node of its own, which settles first, and holds its parent's
//! ack until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::buffer::Coming;
use super::ends::Settler;
use super::flights::Flight;
use super::runs::Run;
use crate::model::{Outcome, Planted};
use crate::store::Change;

/// One item's share in an end. Dropped unsettled, it says that the item was abandoned.
pub(super) struct Ack(Hold);

enum Hold {
    Alone { end: End, settler: Settler },
    Shared(Arc<Node>),
    Settled,
}

struct Node {
    worst: AtomicU8,
    end: Option<End>,
    settler: Settler,
}

/// What an ack stands for.
pub(super) enum End {
    /// The source's item of this number.
    Root(u64),
    /// The dead letter of this id, on its way once more.
    Replay(i64),
    /// A descendant that leaves something behind.
    Branch(Box<Branch>),
    /// A page of a run.
    Page(Box<PageEnd>),
}

/// A descendant that leaves `changes` in the store once it has settled.
pub(super) struct Branch {
    pub(super) parent: Ack,
    pub(super) changes: Vec<Change>,
    pub(super) flight: Option<Flight>,
    /// Kept until the changes are committed, if they put the item into buffers.
    pub(super) coming: Vec<Coming>,
}

/// A page whose children have all ended: what it leaves behind waits for the pages before it.
pub(super) struct PageEnd {
    pub(super) parent: Ack,
    pub(super) run: Arc<Run>,
    /// Its number in the run.
    pub(super) number: u64,
}

/// What has ended, and how.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) end: End,
}

impl Ack {
    /// The ack of the source's item number `sequence`.
    pub(super) fn root(sequence: u64, settler: Settler) -> Self {
        Self::new(End::Root(sequence), settler)
    }

    /// The ack of the dead letter `letter`, which is replayed.
    pub(super) fn replay(letter: i64, settler: Settler) -> Self {
        Self::new(End::Replay(letter), settler)
    }

    fn new(end: End, settler: Settler) -> Self {
        Self(Hold::Alone { end, settler })
    }

    /// An ack for one more descendant.
    pub(super) fn share(&mut self) -> Self {
        let node = match std::mem::replace(&mut self.0, Hold::Settled) {
            Hold::Alone { end, settler } => {
                Arc::new(Node { worst: AtomicU8::new(Outcome::Filtered as u8), end: Some(end), settler })
            }
            Hold::Shared(node) => node,
            Hold::Settled => unreachable!("settling takes the ack"),
        };
        self.0 = Hold::Shared(node.clone());
        Self(Hold::Shared(node))
    }

    /// The item ended like this.
    pub(super) fn settle(mut self, outcome: Outcome) {
        self.record(outcome);
    }

    /// The ack of the same item, which from here on leaves `changes` behind when it settles.
    pub(super) fn branch(self, changes: Vec<Change>, flight: Option<Flight>) -> Self {
        self.branch_of(changes, flight, Vec::new())
    }

    /// The ack of the same item, which goes into buffers by `changes`.
    pub(super) fn branch_into_buffers(self, changes: Vec<Change>, coming: Vec<Coming>) -> Self {
        self.branch_of(changes, None, coming)
    }

    fn branch_of(self, changes: Vec<Change>, flight: Option<Flight>, coming: Vec<Coming>) -> Self {
        let settler = self.settler().clone();
        Self::new(End::Branch(Box::new(Branch { parent: self, changes, flight, coming })), settler)
    }

    /// An ack for the next page of `run`, which is made of descendants of this item.
    pub(super) fn page(&mut self, run: &Arc<Run>, changes: Vec<Change>) -> Self {
        let (parent, run) = (self.share(), run.clone());
        let number = run.add_page(changes);
        let page = Self::new(End::Page(Box::new(PageEnd { parent, run, number })), self.settler().clone());
        if Planted::CursorBeforeAck.is_on() {
            page.settle(Outcome::Filtered);
            return self.share();
        }
        page
    }

    fn settler(&self) -> &Settler {
        match &self.0 {
            Hold::Alone { settler, .. } => settler,
            Hold::Shared(node) => &node.settler,
            Hold::Settled => unreachable!("settling takes the ack"),
        }
    }

    fn record(&mut self, outcome: Outcome) {
        match std::mem::replace(&mut self.0, Hold::Settled) {
            Hold::Alone { end, settler } => settler.end(Ended { outcome, end }),
            Hold::Shared(node) => {
                node.worst.fetch_max(outcome as u8, Ordering::AcqRel);
            }
            Hold::Settled => {}
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !matches!(self.0, Hold::Settled) {
            let is_planted = Planted::DroppedAckDelivered.is_on();
            self.record(if is_planted { Outcome::Delivered } else { Outcome::Abandoned });
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let worst = *self.worst.get_mut();
        let outcome = [Outcome::Filtered, Outcome::Delivered, Outcome::Rejected]
            .into_iter()
            .find(|outcome| *outcome as u8 == worst)
            .unwrap_or(Outcome::Abandoned);
        if let Some(end) = self.end.take() {
            self.settler.end(Ended { outcome, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::poll_once;

    use super::super::ends::Ends;
    use super::*;
    use crate::runtime::block_on;

    fn check(outcomes: &[Option<Outcome>], expected: Outcome) {
        let ends = Arc::<Ends>::default();
        let mut root = Ack::replay(7, ends.settler());
        let shares: Vec<_> = outcomes.iter().map(|_| root.share()).collect();
        root.settle(Outcome::Filtered);
        for (share, outcome) in shares.into_iter().zip(outcomes) {
            assert!(block_on(poll_once(ends.news())).is_none());
            match outcome {
                Some(outcome) => share.settle(*outcome),
                None => drop(share),
            }
        }
        let ended = block_on(ends.news()).unwrap().others.pop_front().unwrap();
        assert_eq!(ended.outcome, expected);
        assert!(matches!(ended.end, End::Replay(7)));
    }

    #[test]
    fn an_item_ends_as_the_worst_of_its_descendants() {
        use Outcome::{Abandoned, Delivered, Filtered, Rejected};
        check(&[], Filtered);
        check(&[Some(Filtered)], Filtered);
        check(&[Some(Filtered), Some(Delivered)], Delivered);
        check(&[Some(Delivered), Some(Rejected), Some(Filtered)], Rejected);
        check(&[Some(Abandoned), Some(Rejected)], Abandoned);
        check(&[Some(Delivered), None], Abandoned);
    }
}
