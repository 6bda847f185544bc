//! `[queue.NAME]`, embedded: entries in the store of this process. This is the way in; the source `queue` is the way
//! out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::component::{BatchLimits, Full, Opened, Sink, SinkContext, SinkSettings, WriteFault};
use crate::expr::{Filter, FilterError, Fuel, Scope};
use crate::model::{Fault, FaultKind, Item, Size, Text, Value, Verdict};
use crate::runtime::Clock;
use crate::settings::Section;
use crate::store::{Change, Entry, Push, QueueGauge, QueueSize, Store};

/// How many items a queue holds, and how much they may take on disk.
const ITEMS: u64 = 10_000_000;
const BYTES: Size = Size(10 << 30);

/// How often a full queue is looked at again, whatever it tells of itself.
const FULL_INTERVAL: Duration = Duration::from_secs(5);

/// The settings of a `[queue.NAME]`: the way in.
#[derive(Clone)]
pub struct QueueSettings {
    key: Option<Key>,
    priority: Option<Filter>,
    due: Option<Filter>,
    items: u64,
    bytes: Size,
    full: Full,
    age: Option<Duration>,
}

/// What makes two items the same to a queue, and for how long.
#[derive(Clone)]
struct Key {
    of: Filter,
    keep: Option<Duration>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { key: None, priority: None, due: None, items: ITEMS, bytes: BYTES, full: Full::Block, age: None }
    }
}

impl QueueSettings {
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let key = section.table("key", "an item whose key the queue has had is a duplicate, and left out", |section| {
            section.shorthand("of");
            let of = section.required("of", "what makes two items the same, such as \".url\"");
            let keep = section.optional("keep", "how long a key is known; without it, for ever");
            Some(Key { of: of?, keep })
        });
        Some(Self {
            key,
            priority: section.optional("priority", "a filter that gives a whole number; higher comes first"),
            due: section.optional("due", "a filter that gives the time (RFC 3339) before which an item is not taken"),
            items: section.or("items", ITEMS, "how many items it holds"),
            bytes: section.or("bytes", BYTES, "how much its items may take on disk"),
            full: section.choice("full", Full::WORDS, "what happens to an item for which there is no room"),
            age: section.optional("age", "items that have waited longer are dropped"),
        })
    }
}

impl SinkSettings for QueueSettings {
    fn batch(&self) -> BatchLimits {
        BatchLimits { items: 256, bytes: Size::mib(4), age: Duration::ZERO }
    }

    fn open(&self, context: SinkContext) -> Opened<Box<dyn Sink>> {
        let SinkContext { name, clock, store, .. } = context;
        let gauge = store.queue_gauge(&name);
        Ok(Box::new(QueueSink { settings: self.clone(), queue: name, gauge, clock, store }))
    }
}

struct QueueSink {
    settings: QueueSettings,
    queue: Text,
    gauge: Arc<QueueGauge>,
    clock: Clock,
    store: Store,
}

/// What there is room for.
struct Room {
    /// How many items of the batch, from its beginning.
    items: usize,
    /// What has to go for them.
    dropped: Option<Change>,
    /// What becomes of the others.
    fault: Option<Fault>,
}

/// Entries that go in with one push, since they have these in common.
#[derive(PartialEq)]
struct Terms {
    priority: i32,
    due: Option<Timestamp>,
}

#[async_trait]
impl Sink for QueueSink {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let Room { items, dropped, fault } = self.room(batch.len());
        if let Some(fault) = fault.as_ref().filter(|_| items == 0) {
            return Err(match fault.verdict {
                Verdict::Reject => WriteFault::Items((0..batch.len()).map(|place| (place, fault.clone())).collect()),
                _ => WriteFault::Batch(fault.clone()),
            });
        }
        let mut faults = Vec::new();
        if let Some(fault) = fault {
            faults.extend((items..batch.len()).map(|place| (place, fault.clone())));
        }
        let mut changes = Vec::from_iter(dropped);
        let mut pushes: Vec<(Terms, Push)> = Vec::new();
        for (place, item) in batch[..items].iter().enumerate() {
            match self.terms(item) {
                Ok((terms, key)) => self.add(&mut pushes, terms, key, item),
                Err(fault) => faults.push((place, fault)),
            }
        }
        changes.extend(pushes.into_iter().map(|(_, push)| Change::Push(push)));
        self.store.commit(changes).await?;
        if faults.is_empty() { Ok(()) } else { Err(WriteFault::Items(faults)) }
    }

    async fn wait_for_room(&self) {
        loop {
            let shrunk = self.gauge.shrunk();
            if self.free() > 0 {
                return;
            }
            shrunk.await;
        }
    }
}

impl QueueSink {
    /// How many items it has room for. One that is not at its limit of bytes takes an item however large it is.
    fn free(&self) -> u64 {
        let QueueSize { items, bytes, .. } = self.gauge.size();
        if bytes < self.settings.bytes.0 { self.settings.items.saturating_sub(items) } else { 0 }
    }

    fn room(&self, count: usize) -> Room {
        let free = usize::try_from(self.free()).unwrap_or(usize::MAX).min(count);
        if free == count {
            return Room { items: count, dropped: None, fault: None };
        }
        let fault = || {
            let QueueSize { items, bytes, .. } = self.gauge.size();
            format!("the queue `{}` is full: it holds {items} items, {}", self.queue, Size(bytes))
        };
        match self.settings.full {
            Full::Block => {
                let fault = Fault::not_before(self.clock.instant() + FULL_INTERVAL, fault());
                Room { items: free, dropped: None, fault: Some(fault) }
            }
            Full::DeadLetter => {
                Room { items: free, dropped: None, fault: Some(Fault::reject(FaultKind::Refused, fault())) }
            }
            Full::DropOldest => {
                let over = (count - free) as u64;
                log::warn!(queue = &*self.queue, items = over; "queue is full; its oldest items are dropped");
                let dropped = Some(Change::DropOldest { queue: self.queue.clone(), items: over });
                Room { items: count, dropped, fault: None }
            }
        }
    }

    fn add(&self, pushes: &mut Vec<(Terms, Push)>, terms: Terms, key: Option<Text>, item: &Item) {
        let place = pushes.iter().position(|(others, _)| *others == terms).unwrap_or_else(|| {
            let Terms { priority, due } = terms;
            let keys = self.settings.key.as_ref().map(|_| Vec::new());
            let queues = vec![self.queue.clone()];
            let push =
                Push { queues, entries: Vec::new(), priority, due, expires: self.later(self.settings.age), keys };
            pushes.push((terms, push));
            pushes.len() - 1
        });
        let push = &mut pushes[place].1;
        push.entries.push(Entry::of(item));
        if let (Some(keys), Some(key), Some(Key { keep, .. })) = (&mut push.keys, key, &self.settings.key) {
            keys.push((key, self.later(*keep)));
        }
    }

    /// The time that lies so far ahead.
    fn later(&self, by: Option<Duration>) -> Option<Timestamp> {
        by.and_then(|by| self.clock.timestamp().checked_add(by).ok())
    }

    /// What the queue's filters say of an item: its terms, and its key.
    fn terms(&self, item: &Item) -> Result<(Terms, Option<Text>), Fault> {
        let priority = match self.first("priority", self.settings.priority.as_ref(), item)? {
            None | Some(Value::Null) => 0,
            Some(value) => whole(&value).ok_or_else(|| {
                wrong("priority", &format!("{value} is not a whole number from -2147483648 to 2147483647"))
            })?,
        };
        let due = match self.first("due", self.settings.due.as_ref(), item)? {
            None | Some(Value::Null) => None,
            Some(value) => {
                let time = value.as_text().and_then(|text| text.parse().ok());
                Some(time.ok_or_else(|| wrong("due", &format!("{value} is not a time such as 2026-11-21T09:00:00Z")))?)
            }
        };
        let key = match self.first("key", self.settings.key.as_ref().map(|key| &key.of), item)? {
            None if self.settings.key.is_none() => None,
            Some(Value::Text(text)) => Some(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string().into()),
            other => {
                let found = other.map_or("nothing", |value| value.type_name());
                return Err(wrong("key", &format!("a key is a text, a number or a boolean, not {found}")));
            }
        };
        Ok((Terms { priority, due }, key))
    }

    fn first(&self, setting: &str, filter: Option<&Filter>, item: &Item) -> Result<Option<Value>, Fault> {
        let Some(filter) = filter else { return Ok(None) };
        let scope = Scope::of(item, self.clock.timestamp(), Fuel::Inline);
        filter.first(&item.value, &scope).map_err(|error| match error {
            FilterError::Failed(message) | FilterError::TooMuch(message) => wrong(setting, &message),
            FilterError::OutOfFuel => wrong(setting, "it ran longer than a queue waits for it"),
        })
    }
}

/// A number that is whole, however it is written: `7` and `7.0`.
fn whole(value: &Value) -> Option<i32> {
    let Value::Number(number) = value else { return None };
    let number = number.as_f64();
    let is_whole = number.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    is_whole.then_some(number as i32)
}

fn wrong(setting: &str, message: &str) -> Fault {
    Fault::reject(FaultKind::Filter, format!("`{setting}` failed: {message}"))
}
