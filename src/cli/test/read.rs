//! A file of tests as its author wrote it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::expr::Vars;
use crate::http::{NoReply, ScriptedReply, Url};
use crate::model::{Value, json};
use crate::settings::{Data, Fill, Mistake, Node, Place, Reading, Rule, Section, SourceFile, Unread, parse};

/// When a test begins unless it says so.
const START: &str = "2026-01-01T00:00:00Z";

/// A file of tests.
pub(super) struct Suite {
    /// The config under test.
    pub config: Vec<PathBuf>,
    pub cases: Vec<Case>,
}

pub(super) struct Case {
    pub name: String,
    pub place: Place,
    pub pipeline: Option<String>,
    pub start: Timestamp,
    pub run: Option<Duration>,
    pub environment: HashMap<String, String>,
    pub source: Option<Vec<Value>>,
    pub send: Vec<String>,
    pub replies: Vec<Answer>,
    /// What each sink takes, and where that is written.
    pub items: Vec<(String, Place, Vec<Value>)>,
    pub requests: Option<(Place, Vec<Expected>)>,
    /// The components that give items up.
    pub dead: Vec<String>,
    pub dead_place: Place,
}

/// A request that is expected.
pub(super) struct Expected {
    pub to: String,
    pub json: Option<Value>,
    pub body: Option<String>,
    pub headers: Vec<(String, String)>,
}

/// What comes of a request.
#[derive(Clone)]
pub(super) struct Answer {
    /// `GET https://a.example/x`.
    pub to: String,
    pub after: Duration,
    pub outcome: AnswerOutcome,
}

#[derive(Clone)]
pub(super) enum AnswerOutcome {
    Reply(ScriptedReply),
    None(NoReply),
    /// The server takes the request, and says nothing.
    Silent,
}

/// Reads a file of tests; or answers what is wrong with it.
pub(super) fn suite(path: &Path) -> Result<Suite, Vec<Mistake>> {
    let name = path.display().to_string();
    let reading = Reading::new(Fill::new(|_| None, None));
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        let message = format!("cannot read `{name}`: {error}");
        reading.mistakes.report(Rule::UnreadableFile, None, message, "check the path");
        String::new()
    });
    let file = Arc::new(SourceFile { name, text });
    let document = parse(&file, &reading.mistakes);
    let place = Place::new(file, 0..0);
    let node = Node { place: place.clone(), data: Data::Table(document) };
    let unread = Unread { name: "a file of tests", place: &place, node: &node, beside: None, keys_beside: &[] };
    let read = reading.read(unread, &Vars::default(), |section| read_suite(section, path, &node));
    let mistakes = reading.mistakes.into_sorted();
    match read.value {
        Some(suite) if mistakes.is_empty() => Ok(suite),
        _ => Err(mistakes),
    }
}

fn read_suite(section: &mut Section<'_>, path: &Path, node: &Node) -> Option<Suite> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let config: Option<Vec<PathBuf>> =
        section.optional("config", "the files of the config; by default the file of the same name without `.test`");
    let config = config.unwrap_or_else(|| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        vec![PathBuf::from(name.replace(".test.toml", ".toml"))]
    });
    // The readers see one test after the other, in the order in which they are written.
    let tables = match node.as_table().and_then(|table| table.get("test")).map(|node| &node.data) {
        Some(Data::List(nodes)) => nodes.as_slice(),
        _ => &[],
    };
    let mut nodes = tables.iter();
    let read = section.tables("test", "a test", |section| {
        let node = nodes.next().unwrap_or(node);
        read_case(section, folder, node)
    });
    let is_whole = read.len() == tables.len();
    if tables.is_empty() {
        section.mistake("test", "this file holds no test", "add a table `[[test]]`; `gatherd test --help` shows one");
    }
    is_whole.then(|| Suite { config: config.iter().map(|file| folder.join(file)).collect(), cases: read })
}

fn read_case(section: &mut Section<'_>, folder: &Path, node: &Node) -> Option<Case> {
    let name: Option<String> = section.required("name", "what the test shows");
    let pipeline = section.optional("pipeline", "the pipeline to run; without it all of them");
    let start: Option<Value> = section.optional("start", "when it begins (RFC 3339)");
    let run = section.optional("run", "how long it runs; without it every source runs once to its end");
    let environment = section.table("environment", "what `${NAME}` is filled with", |section| {
        Some(section.entries::<String>("the variable or secret of this name"))
    });
    let source = section.optional("source", "items in place of those that the source would make");
    let send = section.or("send", Vec::new(), "the HTTP sinks that really send their requests");
    let replies = section.tables("replies", "what comes back", |section| read_answer(section, folder));
    let expect = section.table("expect", "what is expected", |section| read_expect(section, folder, node));
    let start = start.as_ref().map_or(Some(START), Value::as_text).and_then(|text| text.parse().ok());
    let Some(start) = start else {
        section.mistake("start", "this is no time", format!("write one such as \"{START}\""));
        return None;
    };
    let expect = expect.unwrap_or_else(|| Expect { dead_place: node.place.clone(), ..Expect::new(&node.place) });
    let Expect { items, requests, dead, dead_place } = expect;
    let environment = environment.unwrap_or_default().into_iter().collect();
    let (name, place) = (name?, node.place.clone());
    Some(Case {
        name,
        place,
        pipeline,
        start,
        run,
        environment,
        source,
        send,
        replies,
        items,
        requests,
        dead,
        dead_place,
    })
}

struct Expect {
    items: Vec<(String, Place, Vec<Value>)>,
    requests: Option<(Place, Vec<Expected>)>,
    dead: Vec<String>,
    dead_place: Place,
}

impl Expect {
    fn new(place: &Place) -> Self {
        Self { items: Vec::new(), requests: None, dead: Vec::new(), dead_place: place.clone() }
    }
}

fn read_expect(section: &mut Section<'_>, folder: &Path, case: &Node) -> Option<Expect> {
    let table = case.as_table().and_then(|table| table.get("expect")).and_then(Node::as_table);
    let place = |key: &str| {
        let entry = table.and_then(|table| table.entry(key));
        entry.map_or(&case.place, |entry| &entry.key_place).clone()
    };
    let sinks = table.and_then(|table| table.get("items")).and_then(Node::as_table);
    let items = section.table("items", "what each sink takes, in any order", |section| {
        let lists = section.entries::<Value>("a list of items, a text of JSON, or `{ file = … }`");
        let mut items = Vec::new();
        for (sink, list) in lists {
            let place = sinks.and_then(|sinks| sinks.entry(&sink)).map_or(&case.place, |entry| &entry.key_place);
            match list_of(list, folder) {
                Ok(values) => items.push((sink, place.clone(), values)),
                Err(why) => section.mistake(&sink, why, "write a list of items"),
            }
        }
        Some(items)
    });
    let requests: Option<Vec<Value>> = section.optional("requests", "all requests that are made, in any order");
    let mut expected = Vec::new();
    for request in requests.iter().flatten() {
        match request_of(request) {
            Ok(request) => expected.push(request),
            Err(why) => {
                section.mistake("requests", why, "write \"GET https://…\" or { to = \"POST https://…\", json = … }");
            }
        }
    }
    let dead = section.or("dead", Vec::new(), "the components that give items up, one for each dead letter");
    Some(Expect {
        items: items.unwrap_or_default(),
        requests: requests.map(|_| (place("requests"), expected)),
        dead,
        dead_place: place("dead"),
    })
}

/// The items of a list, of a text that is a JSON array, or of a file.
fn list_of(list: Value, folder: &Path) -> Result<Vec<Value>, String> {
    match list {
        Value::Array(values) => Ok(values.to_vec()),
        Value::Text(text) => match json::parse(text.as_bytes()).map_err(|error| error.to_string())? {
            Value::Array(values) => Ok(values.to_vec()),
            _ => Err("this JSON is no list".to_owned()),
        },
        other => {
            let file = other.get("file").and_then(Value::as_text).ok_or("this is no list of items")?;
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            list_of(Value::from(text), folder)
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read `{}`: {error}", path.display())
}

fn request_of(value: &Value) -> Result<Expected, String> {
    if let Some(to) = value.as_text() {
        return Ok(Expected { to: line_of(to)?, json: None, body: None, headers: Vec::new() });
    }
    let Value::Object(object) = value else { return Err("this is no request".to_owned()) };
    if let Some(unknown) = object.keys().find(|key| !["to", "json", "body", "headers"].contains(key)) {
        return Err(format!("a request has no `{unknown}`"));
    }
    let to = value.get("to").and_then(Value::as_text).ok_or("this request does not say where it goes")?;
    let headers = match value.get("headers") {
        Some(Value::Object(headers)) => headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.as_text().unwrap_or_default().to_owned()))
            .collect(),
        _ => Vec::new(),
    };
    let body = value.get("body").and_then(Value::as_text).map(str::to_owned);
    Ok(Expected { to: line_of(to)?, json: value.get("json").cloned(), body, headers })
}

/// `GET https://a.example/` as it is compared: the URL in its normal form.
fn line_of(text: &str) -> Result<String, String> {
    let (method, url) = text.split_once(' ').ok_or_else(|| format!("`{text}` is no method and URL"))?;
    let url = Url::parse(url.trim()).map_err(|error| format!("`{url}` is no URL: {error}"))?;
    Ok(super::script::line(method, &url))
}

fn read_answer(section: &mut Section<'_>, folder: &Path) -> Option<Answer> {
    let to: Option<String> = section.required("to", "the request: its method and URL");
    let status: u16 = section.or("status", 200, "the status of the reply");
    let headers = section.table("headers", "headers of the reply, by name", |section| {
        Some(section.entries::<String>("the value of the header"))
    });
    let after = section.or("after", Duration::ZERO, "how long the reply takes");
    let json: Option<Value> = section.optional("json", "the body, as JSON");
    let text: Option<String> = section.optional("body", "the body, as text");
    let file: Option<PathBuf> = section.optional("file", "the body, in a file beside the tests");
    let words = [
        ("refused", AnswerOutcome::None(NoReply::Refused)),
        ("disconnected", AnswerOutcome::None(NoReply::Disconnected)),
        ("silent", AnswerOutcome::Silent),
    ];
    let numbered: Vec<(&'static str, usize)> =
        words.iter().zip(0..).map(|((word, _), number)| (*word, number)).collect();
    let fault = section.optional_choice("fault", &numbered, "why no reply comes");
    let to = match line_of(&to?) {
        Ok(to) => to,
        Err(why) => {
            section.mistake("to", why, "write one such as \"GET https://api.example/items\"");
            return None;
        }
    };
    if let Some(number) = fault {
        return Some(Answer { to, after, outcome: words[number].1.clone() });
    }
    let mut sent = HeaderMap::new();
    let body = match (json, text, file) {
        (Some(json), None, None) => {
            sent.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Bytes::from(json::to_vec(&json))
        }
        (None, Some(text), None) => Bytes::from(text),
        (None, None, Some(file)) => {
            sent.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type(&file)));
            match std::fs::read(folder.join(&file)) {
                Ok(bytes) => Bytes::from(bytes),
                Err(error) => {
                    section.mistake("file", unreadable(&folder.join(&file), &error), "check the path");
                    return None;
                }
            }
        }
        (None, None, None) => Bytes::new(),
        _ => {
            section.mistake("to", "a reply has one body", "keep one of `json`, `body` and `file`");
            return None;
        }
    };
    for (name, value) in headers.unwrap_or_default() {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            (Ok(known), Ok(value)) => {
                sent.insert(known, value);
            }
            _ => section.mistake("headers", format!("`{name}` cannot be sent"), "use visible ASCII characters"),
        }
    }
    let reply = ScriptedReply { status, headers: sent, body };
    Some(Answer { to, after, outcome: AnswerOutcome::Reply(reply) })
}

/// By the name of the file.
fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "geojson") => "application/json",
        Some("ndjson") => "application/x-ndjson",
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("xml" | "rss" | "atom") => "application/xml",
        Some("csv") => "text/csv; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
