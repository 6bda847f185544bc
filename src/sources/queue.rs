//! `queue`: what other pipelines, or an earlier run, put into a `[queue.NAME]`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::component::{Kind, Opened, Produced, Promise, Reading, Source, SourceContext, SourceSettings};
use crate::model::{Fault, Labels, Text, Value};
use crate::runtime;
use crate::settings::Section;
use crate::store::{Change, Leased};

/// How many entries are taken at a time.
const LEASE: usize = 256;

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "queue",
    summary: "What other pipelines put into a `[queue.NAME]` by naming it in their `to`. An item leaves the queue in the commit that settles it here.",
    sample: r#"[pipeline.numbers]
from = { items = { range = [1, 5] } }
to   = ["work"]

[queue.work]
key = "."                         # what was there before is left out

[pipeline.squares]
from  = { queue = "work" }
steps = [ { map = ". * ." } ]
to    = [ { stdout = {} } ]
"#,
    read,
};

fn read(section: &mut Section<'_>) -> Option<Box<dyn SourceSettings>> {
    section.shorthand("name");
    let name = section.queue("name", "the `[queue.NAME]` to read");
    Some(Box::new(Queue { queue: name?.into(), keeps_origin: false }))
}

/// What reads back a buffer of the engine: items come as they were put in, with the pipeline that they came from.
pub fn buffer(queue: Text) -> Arc<dyn SourceSettings> {
    Arc::new(Queue { queue, keeps_origin: true })
}

struct Queue {
    queue: Text,
    /// Whether an item keeps the pipeline that it came from, instead of beginning anew in this one.
    keeps_origin: bool,
}

impl SourceSettings for Queue {
    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn queue(&self) -> Option<&str> {
        Some(&self.queue)
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        let (queue, waiting) = (self.queue.clone(), VecDeque::new());
        let reading = context.quiescence.as_ref().map(|quiescence| quiescence.read(queue.clone()));
        Ok(Box::new(QueueSource { queue, keeps_origin: self.keeps_origin, context, waiting, _reading: reading }))
    }
}

struct QueueSource {
    queue: Text,
    keeps_origin: bool,
    context: SourceContext,
    /// Entries that were leased, and not yet asked for.
    waiting: VecDeque<Leased>,
    /// In a single run.
    _reading: Option<Reading>,
}

/// What was taken and not asked for is there for whoever reads the queue next.
impl Drop for QueueSource {
    fn drop(&mut self) {
        self.context.store.give_back(&self.queue, self.waiting.drain(..).map(|leased| leased.lease));
    }
}

#[async_trait]
impl Source for QueueSource {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        loop {
            if let Some(leased) = self.waiting.pop_front() {
                if !self.is_too_old(&leased) {
                    return Ok(Some(self.produce(leased)));
                }
                log::warn!(queue = &*self.queue; "an item waited too long and is dropped");
                self.context.store.commit(vec![Change::Settle(leased.lease)]).await?;
                continue;
            }
            let pushed = self.context.store.pushed(&self.queue);
            let now = self.context.clock.timestamp();
            self.waiting = self.context.store.lease(&self.queue, LEASE, now).await?.into();
            if self.waiting.is_empty() && !self.wait(pushed).await? {
                return Ok(None);
            }
        }
    }
}

impl QueueSource {
    /// Waits until there may be something in the queue; false once there never will be again.
    async fn wait(&self, pushed: event_listener::EventListener) -> Result<bool, Fault> {
        let SourceContext { clock, store, quiescence, .. } = &self.context;
        let due = store.next_due(&self.queue)?;
        let until_due = async {
            match due.map(|due| due.duration_since(clock.timestamp())) {
                Some(wait) => clock.sleep(Duration::try_from(wait).unwrap_or_default()).await,
                None => std::future::pending().await,
            }
        };
        let Some(quiescence) = quiescence else {
            runtime::race(pushed, until_due).await;
            return Ok(true);
        };
        let _paused = quiescence.pause();
        let mut woken = std::pin::pin!(runtime::race(pushed, until_due));
        loop {
            let changed = quiescence.changed();
            // What is not due yet is waited for too. What is out was abandoned: it stays for the next run.
            let has_more = |queue: &Text| store.queue_size(queue).is_ok_and(|size| size.items > size.out);
            if quiescence.is_quiet() && !quiescence.is_any_read(has_more) {
                return Ok(false);
            }
            let is_woken = async {
                woken.as_mut().await;
                true
            };
            let is_changed = async {
                changed.await;
                false
            };
            if runtime::race(is_woken, is_changed).await {
                return Ok(true);
            }
        }
    }

    fn is_too_old(&self, leased: &Leased) -> bool {
        leased.expires.is_some_and(|expires| expires <= self.context.clock.timestamp())
    }

    fn produce(&self, leased: Leased) -> Produced {
        let Leased { lease, entry, suspect, .. } = leased;
        let labels = match entry.labels {
            Value::Object(labels) => Labels::from(labels),
            _ => Labels::default(),
        };
        Produced {
            labels,
            window: entry.window,
            lease: Some(lease),
            again: self.keeps_origin.then_some((entry.pipeline, entry.item)),
            tried: entry.tried,
            alone: suspect,
            ..Produced::new(entry.value, entry.item.0.to_le_bytes().to_vec())
        }
    }
}
