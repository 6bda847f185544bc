//! An API that lists orders, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::support::gatherd::Workplace;
use super::support::server::{Seen, Server, reply};

/// How an API leads to the next page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Paging {
    /// All on one page.
    None,
    Link,
    NextUrl,
    Token,
    Number,
    Offset,
}

/// In which order the orders come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sorted {
    Ascending,
    Descending,
    /// In no order, but always the same.
    Not,
    /// As they were put in.
    Kept,
}

/// What an API has, and how it behaves.
pub(crate) struct Behaviour {
    pub(crate) paging: Paging,
    pub(crate) sorted: Sorted,
    pub(crate) page_size: usize,
    pub(crate) orders: Vec<Value>,
    /// Looked at before each page, which may change the orders: given the number of the page's first item.
    pub(crate) before_page: Option<fn(&mut Vec<Value>, usize)>,
    /// What replaces the next URL or token of a page that begins with this item.
    pub(crate) misleads: Option<(usize, String)>,
    /// The page that begins with this item is not given.
    pub(crate) refuses: Option<(usize, &'static str)>,
    /// The page number or offset that is asked for makes no difference.
    pub(crate) is_deaf: bool,
    /// Fields that each page has beside its own.
    pub(crate) beside: Value,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            paging: Paging::None,
            sorted: Sorted::Ascending,
            page_size: 10,
            orders: Vec::new(),
            before_page: None,
            misleads: None,
            refuses: None,
            is_deaf: false,
            beside: json!({}),
        }
    }
}

pub(crate) struct Api {
    pub(crate) server: Server,
    behaviour: Arc<Mutex<Behaviour>>,
}

/// An order of this number, last changed at this minute.
pub(crate) fn order(id: usize, minute: usize) -> Value {
    json!({ "id": id, "at": time(minute), "version": minute })
}

/// So many minutes into a certain day.
pub(crate) fn time(minute: usize) -> String {
    format!("2026-03-01T{:02}:{:02}:00Z", minute / 60, minute % 60)
}

/// Orders from 1 on, each changed at its own minute.
pub(crate) fn orders(count: usize) -> Vec<Value> {
    (1..=count).map(|id| order(id, id)).collect()
}

impl Api {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let behaviour = Arc::new(Mutex::new(behaviour));
        let own = behaviour.clone();
        let server = Server::start(move |seen, connection| {
            let host = seen.header("host").unwrap_or_default();
            let reply = page(&mut own.lock().unwrap(), seen, host);
            connection.write_all(&reply)
        });
        Self { server, behaviour }
    }

    pub(crate) fn behave(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }

    /// The first item of each page that was asked for, since the request number `from`.
    pub(crate) fn pages(&self, from: usize) -> Vec<usize> {
        let behaviour = self.behave();
        self.server.seen()[from..].iter().map(|seen| begins_at(&behaviour, &parameters(seen))).collect()
    }

    /// What was asked for in this parameter, request by request; empty where it was not there.
    pub(crate) fn asked(&self, name: &str) -> Vec<String> {
        self.server.seen().iter().map(|seen| parameters(seen).get(name).cloned().unwrap_or_default()).collect()
    }
}

/// The parameters of a URL, a JSON body and a header `x-since`.
fn parameters(seen: &Seen) -> BTreeMap<String, String> {
    let query = seen.target.split_once('?').map_or("", |(_, query)| query);
    let mut parameters: BTreeMap<String, String> =
        url::form_urlencoded::parse(query.as_bytes()).map(|(key, value)| (key.into(), value.into())).collect();
    parameters.extend(seen.header("x-since").map(|since| ("since".to_owned(), since.to_owned())));
    if let Ok(Value::Object(body)) = serde_json::from_str(&seen.body) {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        parameters.extend(body.into_iter().map(|(key, value)| (key, text(value))));
    } else {
        let form = url::form_urlencoded::parse(seen.body.as_bytes());
        parameters.extend(form.map(|(key, value)| (key.into(), value.into())));
    }
    parameters
}

fn begins_at(behaviour: &Behaviour, parameters: &BTreeMap<String, String>) -> usize {
    let number =
        |name: &str| parameters.get(name).and_then(|value| value.trim_start_matches('t').parse::<usize>().ok());
    match behaviour.paging {
        Paging::None => 0,
        Paging::Number => (number("page").unwrap_or(1).max(1) - 1) * behaviour.page_size,
        Paging::Link | Paging::NextUrl | Paging::Token | Paging::Offset => {
            number("cursor").or(number("offset")).unwrap_or(0)
        }
    }
}

fn page(behaviour: &mut Behaviour, seen: &Seen, host: &str) -> Vec<u8> {
    let parameters = parameters(seen);
    let from = begins_at(behaviour, &parameters);
    if let Some((page, status)) = behaviour.refuses
        && page == from
    {
        return reply(status, &[], "no");
    }
    if let Some(before_page) = behaviour.before_page {
        before_page(&mut behaviour.orders, from);
    }
    let from = if behaviour.is_deaf { 0 } else { from };
    let mut orders = behaviour.orders.clone();
    orders.retain(|order| {
        let is_new = parameters.get("since").is_none_or(|since| order["at"].is_null() || text(&order["at"]) >= *since);
        is_new && parameters.get("account").is_none_or(|account| order["account"] == **account)
    });
    match behaviour.sorted {
        Sorted::Ascending => orders.sort_by_key(|order| text(&order["at"])),
        Sorted::Descending => orders.sort_by_key(|order| std::cmp::Reverse(text(&order["at"]))),
        Sorted::Kept => {}
        Sorted::Not => orders.sort_by_key(|order| order["id"].as_u64().unwrap_or(0).wrapping_mul(7919) % 101),
    }
    let total = orders.len();
    let size = if behaviour.paging == Paging::None { usize::MAX } else { behaviour.page_size };
    let data: Vec<Value> = orders.into_iter().skip(from).take(size).collect();
    let next = from + data.len();
    let mut body = json!({ "data": data });
    let mut headers = vec!["content-type: application/json".to_owned()];
    if next < total || behaviour.misleads.as_ref().is_some_and(|(page, _)| *page == from) {
        let mut query: Vec<String> = parameters
            .iter()
            .filter(|(name, _)| *name != "cursor")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        query.push(format!("cursor=t{next}"));
        let misled = behaviour.misleads.as_ref().filter(|(page, _)| *page == from).map(|(_, to)| to.clone());
        let url = misled.clone().unwrap_or_else(|| format!("http://{host}/orders?{}", query.join("&")));
        match behaviour.paging {
            Paging::Link => headers.push(format!("link: <{url}>; rel=\"next\"")),
            Paging::NextUrl => body["paging"] = json!({ "next": url }),
            Paging::Token => body["next_cursor"] = json!(misled.unwrap_or_else(|| format!("t{next}"))),
            Paging::None | Paging::Number | Paging::Offset => {}
        }
    }
    for (name, value) in behaviour.beside.as_object().unwrap() {
        body[name] = value.clone();
    }
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    reply("200 OK", &headers, body.to_string())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("{:0>20}", value.to_string()), str::to_owned)
}

/// A pipeline of one tick that gets the orders with these settings, and puts them into a file.
pub(crate) fn config(api: &Api, settings: &str) -> String {
    format!(
        r#"
        [pipeline.orders]
        from  = {{ every = "24h" }}
        steps = [{{ get = {{ url = "{}", items = ".data[]", {settings} }}, retry = {{ base = "5ms", cap = "5ms" }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        api.server.url("/orders")
    )
}

/// What stands in the file by number and version, each as often as it came.
pub(crate) fn arrived(workplace: &Workplace) -> Vec<(u64, u64)> {
    let values = workplace.values("out.ndjson");
    let mut arrived: Vec<_> =
        values.iter().map(|order| (order["id"].as_u64().unwrap(), order["version"].as_u64().unwrap_or(0))).collect();
    arrived.sort_unstable();
    arrived
}

/// The numbers of the orders in the file, each once.
pub(crate) fn arrived_ids(workplace: &Workplace) -> BTreeSet<u64> {
    arrived(workplace).into_iter().map(|(id, _)| id).collect()
}

pub(crate) fn refuse(connection: &mut dyn io::Write) -> io::Result<()> {
    connection.write_all(&reply("503 Service Unavailable", &[], ""))
}
