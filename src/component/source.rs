//! Sources make items.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_channel::Sender;
use async_trait::async_trait;
use event_listener::Event;
use jiff::Timestamp;

use super::{Opened, SourceContext};
use crate::model::{Fault, Findings, Item, ItemId, ItemIds, Labels, Outcome, Text, Value, Window};
use crate::store::{Lease, Tried};

/// Makes items when the engine asks for them.
#[async_trait]
pub trait Source: Send {
    /// The next item, or nothing at the end. Waits as long as it must; the engine may drop the future at any await
    /// and ask again, and nothing may be lost by that.
    ///
    /// A [`crate::model::Verdict::Retry`] fault is waited out by the engine, which then asks again.
    async fn next(&mut self) -> Result<Option<Produced>, Fault>;

    /// Makes the item after the last one in the place of `item`, if it needs no waiting for and there is nothing to say of
    /// it but its value, its labels and its id: the engine takes what is at hand without asking for each whether it shall
    /// go on. It asks [`next`](Self::next) for what is not.
    ///
    /// `position` becomes that of the item, as in [`Produced`]; what stands there before may be that of an earlier item,
    /// so that it can be moved on.
    fn at_hand(&mut self, _ids: ItemIds, _item: &mut Item, _position: &mut Option<Position>) -> bool {
        false
    }
}

/// An item as a source makes it.
#[derive(Debug)]
pub struct Produced {
    pub value: Value,
    pub labels: Labels,
    pub window: Option<Window>,
    /// Where the source is once this item *and all before it* have settled; stored in the commit that settles it.
    pub position: Option<Position>,
    /// The entry of a queue that the item is: settled with it, and given back if it is abandoned.
    pub lease: Option<Lease>,
    /// Who waits to hear how the item ended; told after the commit.
    pub told: Option<Sender<Outcome>>,
    /// The pipeline and the id that the item had before it was stored on its way; without it, it begins here.
    pub again: Option<(Text, ItemId)>,
    /// What tells this item from all others of the source, such as a file and an offset; it gives the item its id.
    pub place: Vec<u8>,
    /// Why this is no good item, such as a line that is not JSON: the engine makes it a dead letter of the source,
    /// with the value as it was read, and that settles it.
    pub fault: Option<Fault>,
    /// Where what is found of the item and its descendants is noted, for a source that asks for it.
    pub findings: Option<Arc<Findings>>,
    /// What was tried with it before it was stored on its way.
    pub tried: Option<Tried>,
    /// Nothing else of its source comes before it has ended, so no sink shall wait for more to write with it.
    pub alone: bool,
}

impl Produced {
    /// A plain item; `place` is what tells it from all others of its source.
    pub fn new(value: Value, place: Vec<u8>) -> Self {
        Self {
            value,
            labels: Labels::default(),
            window: None,
            position: None,
            lease: None,
            told: None,
            again: None,
            place,
            fault: None,
            findings: None,
            tried: None,
            alone: false,
        }
    }
}

/// A source's place in what it reads; only the source knows what it means.
#[derive(Clone, Debug)]
pub struct Position(Place);

#[derive(Clone, Debug)]
enum Place {
    Value(Value),
    Counted(Arc<dyn Places>, u64),
}

/// Places that a number tells apart. Of many positions only the last one before a commit is written, so the others need
/// not become values.
pub trait Places: fmt::Debug + Send + Sync {
    fn position(&self, number: u64) -> Value;
}

impl Position {
    pub fn new(value: Value) -> Self {
        Self(Place::Value(value))
    }

    pub fn counted(places: Arc<dyn Places>, number: u64) -> Self {
        Self(Place::Counted(places, number))
    }

    /// Moves a position to another number of the same places: nothing is shared anew for that.
    #[inline]
    pub fn count_on<P: Places + 'static>(position: &mut Option<Self>, places: &Arc<P>, number: u64) {
        match position {
            Some(Self(Place::Counted(of, at))) if Arc::as_ptr(of).cast() == Arc::as_ptr(places) => *at = number,
            _ => *position = Some(Self::counted(places.clone(), number)),
        }
    }

    /// What is stored.
    pub fn into_value(self) -> Value {
        match self.0 {
            Place::Value(value) => value,
            Place::Counted(places, number) => places.position(number),
        }
    }
}

/// What a source may know of the items it made: shared with the engine, which keeps it up to date.
#[derive(Debug, Default)]
pub struct Progress {
    in_flight: AtomicUsize,
    has_made: AtomicBool,
    settled: Mutex<Option<Value>>,
    changed: Event,
}

impl Progress {
    pub fn starting_at(settled: Option<Value>) -> Self {
        Self { settled: Mutex::new(settled), ..Self::default() }
    }

    /// How many items the source has made that have not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether the source has made an item since the process began; it may have been opened anew since.
    pub fn has_made(&self) -> bool {
        self.has_made.load(Ordering::Relaxed)
    }

    /// The position of the last commit.
    pub fn settled(&self) -> Option<Value> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until no item is in flight.
    pub async fn idle(&self) {
        loop {
            let changed = self.changed.listen();
            if self.in_flight() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// For the engine: `count` more items are in flight.
    pub fn produced(&self, count: usize) {
        self.has_made.store(true, Ordering::Relaxed);
        self.in_flight.fetch_add(count, Ordering::AcqRel);
    }

    /// For the engine: `count` items have ended, and the source has come to `position`, if it moved.
    pub fn ended(&self, count: usize, position: Option<Value>) {
        if position.is_some() {
            *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = position;
        }
        self.in_flight.fetch_sub(count, Ordering::AcqRel);
        self.changed.notify(usize::MAX);
    }
}

/// Which promise a source can keep, for `gatherd explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It can be asked again, so nothing is lost.
    AtLeastOnce,
    /// What it gave cannot be asked for again: items in flight are lost when the process dies.
    UntilTheProcessDies,
}

/// A source's settings: describes it, and opens it.
pub trait SourceSettings: Send + Sync {
    fn promise(&self) -> Promise;

    /// The next ticks after `now`, for sources that are schedules.
    fn ticks_after(&self, _now: Timestamp, _count: usize) -> Vec<Timestamp> {
        Vec::new()
    }

    /// Whether it ticks at once when its [`Trigger`](super::Trigger) asks for it.
    fn can_be_triggered(&self) -> bool {
        false
    }

    /// Whether its items come again and again, as ticks do, so that what is fetched for one is likely to be fetched again.
    fn recurs(&self) -> bool {
        false
    }

    /// The queue that it reads, if it reads one.
    fn queue(&self) -> Option<&str> {
        None
    }

    /// What it takes for itself, in words, if no other source may take the same: `POST 127.0.0.1:8080/hook`.
    fn takes(&self) -> Option<String> {
        None
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>>;
}
