//! Components that stand in for others while a pipeline is rehearsed.

use std::sync::Arc;

use async_trait::async_trait;

use super::Seen;
use crate::component::{
    BatchLimits, FilterFault, Opened, Outputs, Produced, Promise, Retry, Sink, SinkContext, SinkSettings, Source,
    SourceContext, SourceSettings, Step, StepContext, StepSettings, Transform, TransformScope, WriteFault,
};
use crate::model::{Fault, Item, Text, Value};

/// Makes these items, and ends.
pub(super) struct GivenItems(Arc<[Value]>);

impl GivenItems {
    pub(super) fn new(values: &[Value]) -> Self {
        Self(values.into())
    }
}

impl SourceSettings for GivenItems {
    fn promise(&self) -> Promise {
        Promise::UntilTheProcessDies
    }

    fn open(&self, _context: SourceContext) -> Opened<Box<dyn Source>> {
        Ok(Box::new(GivenItemsSource { values: self.0.clone(), next: 0 }))
    }
}

struct GivenItemsSource {
    values: Arc<[Value]>,
    next: usize,
}

#[async_trait]
impl Source for GivenItemsSource {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        let Some(value) = self.values.get(self.next).cloned() else { return Ok(None) };
        let place = self.next.to_be_bytes().to_vec();
        self.next += 1;
        Ok(Some(Produced::new(value, place)))
    }
}

/// Hands every item on as it is.
pub(super) struct Tap {
    pub id: Text,
    pub seen: Seen,
}

impl StepSettings for Tap {
    fn open(&self, _context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(Tap { id: self.id.clone(), seen: self.seen.clone() })))
    }
}

impl Transform for Tap {
    fn apply(&self, item: &Item, _scope: &TransformScope) -> Result<Outputs, FilterFault> {
        self.seen.add(&self.id, std::slice::from_ref(item));
        Ok(Outputs::One(item.clone()))
    }
}

/// Takes every item, after the sink in whose place it stands has delivered it, if that shall be.
pub(super) struct Taking {
    pub inner: Option<Arc<dyn SinkSettings>>,
    pub batch: BatchLimits,
    pub retry: Retry,
    pub seen: Seen,
}

impl SinkSettings for Taking {
    fn batch(&self) -> BatchLimits {
        self.batch
    }

    fn retry(&self) -> Retry {
        self.retry
    }

    fn open(&self, context: SinkContext) -> Opened<Box<dyn Sink>> {
        let name = context.name.clone();
        let inner = self.inner.as_ref().map(|inner| inner.open(context)).transpose()?;
        Ok(Box::new(TakingSink { name, inner, seen: self.seen.clone() }))
    }
}

struct TakingSink {
    name: Text,
    inner: Option<Box<dyn Sink>>,
    seen: Seen,
}

#[async_trait]
impl Sink for TakingSink {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let Some(inner) = &self.inner else {
            self.seen.add(&self.name, batch);
            return Ok(());
        };
        let written = inner.write(batch).await;
        match &written {
            Ok(()) => self.seen.add(&self.name, batch),
            Err(WriteFault::Items(faults)) => {
                let delivered = batch.iter().enumerate().filter(|(at, _)| !faults.iter().any(|(bad, _)| bad == at));
                delivered.for_each(|(_, item)| self.seen.add(&self.name, std::slice::from_ref(item)));
            }
            Err(WriteFault::Batch(_) | WriteFault::Mixed(_)) => {}
        }
        written
    }

    async fn close(&self) -> Result<(), Fault> {
        match &self.inner {
            Some(inner) => inner.close().await,
            None => Ok(()),
        }
    }
}
