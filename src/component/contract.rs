//! What every component of a role must do, as checks that its tests run.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::{Opened, Progress, Sink, SinkContext, SinkSettings, SourceContext, WriteFault};
use crate::http::{Allow, Clients, Listeners};
use crate::model::{Fault, Item, ItemIds, Labels, Object, Origin, Value, Verdict};
use crate::runtime::{Clock, block_on};
use crate::store::Store;

pub fn sink_context(name: &str, clock: Clock) -> SinkContext {
    SinkContext { name: name.into(), clients: clients(&clock), clock, store: store() }
}

/// No client but the default one.
fn clients(clock: &Clock) -> Clients {
    Clients::open(HashMap::new(), Allow::default(), clock).unwrap()
}

/// The context of a source that begins anew.
pub fn source_context(pipeline: &str, id: &str, clock: Clock) -> SourceContext {
    let listeners = Listeners::new(clock.clone());
    SourceContext {
        trigger: Arc::default(),
        pipeline: pipeline.into(),
        id: id.into(),
        clients: clients(&clock),
        clock,
        position: None,
        progress: Arc::new(Progress::default()),
        once: false,
        store: store(),
        listeners,
        quiescence: None,
    }
}

/// A store for components that want one and write nothing to it: one for the process, in a folder of its own.
fn store() -> Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    let open = || Store::open(&std::env::temp_dir().join(format!("gatherd-contract-{}", std::process::id()))).unwrap();
    STORE.get_or_init(open).clone()
}

/// Items with these values, each from a place of its own.
pub fn items(values: impl IntoIterator<Item = Value>) -> Vec<Item> {
    values.into_iter().enumerate().map(|(place, value)| item_at(place, value)).collect()
}

fn item_at(place: usize, value: Value) -> Item {
    let id = ItemIds::of("test", "items").at(&place.to_le_bytes());
    Item::new(Arc::new(Origin::new("test".into(), None, 0)), id, value, Labels::default())
}

fn numbered(numbers: std::ops::Range<i64>) -> Vec<Item> {
    let numbered = |number: i64| {
        let entries = [("id", Value::from(number)), ("name", Value::from(format!("the {number}th\n")))];
        let object = entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Object>();
        item_at(number as usize, Value::object(object))
    };
    numbers.map(numbered).collect()
}

/// Writes a batch, and comes again when the sink says that it is too early.
async fn write_in_time(sink: &dyn Sink, batch: &[Item]) -> Result<(), WriteFault> {
    loop {
        match sink.write(batch).await {
            Err(WriteFault::Batch(Fault { verdict: Verdict::NotBefore(when), .. })) => {
                Clock::system().sleep_until(when).await;
            }
            written => return written,
        }
    }
}

/// Writes objects such as `{"id":7,"name":"the 7th\n"}` in batches of several sizes, also at the same time, and
/// closes and opens in between. `delivered` answers the ids that the destination has.
pub fn check_sink(settings: &dyn SinkSettings, delivered: impl FnOnce() -> Vec<i64>) {
    let open = || -> Opened<Box<dyn Sink>> { settings.open(sink_context("test", Clock::system())) };
    block_on(async {
        let sink = open().unwrap();
        sink.write(&numbered(0..1)).await.unwrap();
        sink.write(&numbered(1..1000)).await.unwrap();
        sink.close().await.unwrap();
        let sink: Arc<dyn Sink> = open().unwrap().into();
        let together: Vec<_> = (10..20)
            .map(|hundred| {
                let sink = sink.clone();
                crate::runtime::spawn(async move {
                    write_in_time(&*sink, &numbered(hundred * 100..hundred * 100 + 100)).await
                })
            })
            .collect();
        for write in together {
            write.join().await.unwrap().unwrap();
        }
        drop(sink);
        open().unwrap().write(&numbered(2000..2001)).await.unwrap();
    });
    let mut ids = delivered();
    ids.sort_unstable();
    assert_eq!(ids, (0..2001).collect::<Vec<_>>());
}
