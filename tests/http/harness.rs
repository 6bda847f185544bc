//! Steps and sinks as a config would make them.

use std::collections::HashMap;
use std::sync::Arc;

use gatherd::component::{
    Call, Fetch, Fetched, Onward, Outputs, Sink, SinkContext, SinkSettings, Step, StepContext, StepSettings, find,
};
use gatherd::expr::Vars;
use gatherd::http::{Allow, ClientSettings, Clients, Grow, Meter};
use gatherd::model::{Fault, Item, ItemIds, Labels, Origin, Value, json};
use gatherd::runtime::{Clock, block_on};
use gatherd::settings::{Fill, Reading, Section, SourceFile, Unread, parse};
use gatherd::store::Store;

/// A component's settings and the clients beside it, read from a document such as
/// `get = "…"`, followed by `[http.NAME]` tables.
fn read<S: ?Sized>(
    text: &str,
    kind: impl Fn(&str) -> fn(&mut Section<'_>) -> Option<Box<S>>,
) -> Result<(Box<S>, Clients), String> {
    let file = Arc::new(SourceFile { name: "test.toml".to_owned(), text: text.to_owned() });
    let mut reading = Reading::new(Fill::new(|_| None, None));
    let document = parse(&file, &reading.mistakes);
    let clients =
        document.get("http").filter(|_| document.keys().next() != Some("http")).and_then(|node| node.as_table());
    reading.clients = clients.iter().flat_map(|clients| clients.keys()).map(str::to_owned).collect();
    let vars = Vars::default();
    let mut named = HashMap::new();
    for (name, entry) in clients.iter().flat_map(|clients| clients.iter()) {
        let unread = Unread { name, place: &entry.key_place, node: &entry.node, beside: None, keys_beside: &[] };
        if let Some(client) = reading.read(unread, &vars, ClientSettings::read).value {
            named.insert(name.to_owned(), client);
        }
    }
    let (name, entry) = document.iter().next().expect("the document has a component");
    let unread = Unread { name, place: &entry.key_place, node: &entry.node, beside: Some(&document), keys_beside: &[] };
    let settings = reading.read(unread, &vars, kind(name)).value;
    let mistakes = reading.mistakes.into_sorted();
    if !mistakes.is_empty() {
        return Err(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    let clients = Clients::open(named, Allow::default(), &Clock::system()).map_err(|fault| fault.message)?;
    Ok((settings.expect("no mistake was found"), clients))
}

fn read_step(text: &str) -> Result<(Box<dyn StepSettings>, Clients), String> {
    read(text, |name| find(gatherd::steps::KINDS, name).expect("there is such a step").read)
}

/// What is wrong with a step's settings.
pub(crate) fn mistakes(text: &str) -> String {
    read_step(text).map(|_| ()).unwrap_err()
}

/// A network step that is ready.
pub(crate) fn step(text: &str) -> Arc<dyn Fetch> {
    steps(&[text]).remove(0)
}

/// Steps that share the clients of the first one's document.
pub(crate) fn steps(texts: &[&str]) -> Vec<Arc<dyn Fetch>> {
    let read: Vec<_> =
        texts.iter().map(|text| read_step(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))).collect();
    let clients = read[0].1.clone();
    read.iter().map(|(settings, _)| open(&**settings, clients.clone())).collect()
}

fn open(settings: &dyn StepSettings, clients: Clients) -> Arc<dyn Fetch> {
    assert!(settings.is_network());
    let folder = tempfile::tempdir().unwrap();
    let context = StepContext {
        pipeline: "test".into(),
        id: "get".into(),
        clock: Clock::system(),
        clients,
        store: Store::open(folder.path()).unwrap(),
        onward: Onward::default(),
    };
    match settings.open(&context, 0).unwrap() {
        Step::Fetch(fetch) => fetch,
        Step::Transform(_) => panic!("it is no network step"),
    }
}

pub(crate) fn sink(text: &str) -> Box<dyn Sink> {
    let (settings, clients): (Box<dyn SinkSettings>, _) =
        read(text, |name| find(gatherd::sinks::KINDS, name).expect("there is such a sink").read)
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    settings.open(SinkContext { name: "hook".into(), clock: Clock::system(), clients, store }).unwrap()
}

pub(crate) fn item(value: &str) -> Item {
    let value = json::parse(value.as_bytes()).unwrap();
    let place = value.to_string();
    let id = ItemIds::of("test", "items").at(place.as_bytes());
    Item::new(Arc::new(Origin::new("test".into(), None, 0)), id, value, Labels::default())
}

pub(crate) fn unmetered() -> Meter {
    struct Unmetered;
    #[async_trait::async_trait]
    impl Grow for Unmetered {
        async fn grow(&self, _: usize) {}
    }
    Meter::new(Arc::new(Unmetered))
}

/// What a step makes of one item with this value.
pub(crate) fn run(step: &Arc<dyn Fetch>, value: &str) -> Result<Item, Fault> {
    let (item, meter) = (item(value), unmetered());
    let url = step.aim(&item, None).url;
    match block_on(step.fetch(Call { item: &item, page: None, url, meter: &meter }))? {
        Fetched::Whole(Outputs::One(item)) => Ok(item),
        _ => panic!("a step that fetches hands one item on"),
    }
}

pub(crate) fn fetch(text: &str) -> Result<Item, Fault> {
    run(&step(text), "null")
}

pub(crate) fn label(item: &Item, name: &str) -> Value {
    item.labels.get(name).unwrap_or_default()
}
