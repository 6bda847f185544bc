//! `http`: each item, or each batch of them, is a request.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use ring::digest::{Context, SHA256};

use crate::component::{
    BatchLimits, FilterFault, Kind, Opened, Sink, SinkContext, SinkSettings, TransformScope, WriteFault, with_fuel,
};
use crate::expr::{Filter, Fuel};
use crate::http::{
    Endpoint, EndpointSettings, IDEMPOTENCY_KEY, Meter, Method, Payload, ReadAs, Request, RequestTemplate, Response,
    answered, is_success, is_transient, retry_after, value_of,
};
use crate::model::{Fault, FaultKind, Item, ItemId, Size, Text, Value, Verdict, json};
use crate::runtime::Clock;
use crate::settings::Section;

pub(super) const KIND: Kind<dyn SinkSettings> = Kind {
    name: "http",
    summary: "Sends each item, or each batch of items, to an HTTP server; a reply of 2xx means that it has them. Each \
              request has an `Idempotency-Key` that stays the same over retries and restarts: that of a batch for as \
              long as it holds the same items.",
    sample: r#"
[pipeline.readings]
from = { every = "1m" }
to   = ["archive", "alerts"]

[sink.archive]
http = { url = "https://archive.example/readings", format = "ndjson" }

[sink.alerts]
when = ".value > 100"
http = { url = "https://hooks.example/T123", json = '{text: "value \(.value)"}' }
"#,
    read: |section| Some(Box::new(HttpSettings::read(section)?)),
};

/// How much of a reply is read: enough to see what the server has to complain about.
const REPLY: Size = Size(64 << 10);

/// How items become requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A request an item.
    Item,
    /// A request a batch: a JSON array of what the items send.
    Array,
    /// A request a batch: what each item sends on a line of its own.
    Lines,
}

#[derive(Clone)]
struct HttpSettings {
    template: RequestTemplate,
    payload: Payload,
    endpoint: EndpointSettings,
    format: Format,
}

impl HttpSettings {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("url");
        let methods = [("post", Method::Post), ("put", Method::Put), ("patch", Method::Patch)];
        let method = section.choice("method", &methods, "the requests' method");
        let template = RequestTemplate::read(section, method);
        let formats = [("json", Format::Item), ("array", Format::Array), ("ndjson", Format::Lines)];
        let format = section.choice(
            "format",
            &formats,
            "a request for each item (json), or one for a batch: as a JSON array or as lines (ndjson)",
        );
        // Without a payload of its own an item is sent as it is.
        let payload = Payload::read(section);
        let endpoint = EndpointSettings::read_for_sink(section).with_max_body(REPLY);
        let template = template?;
        if format != Format::Item {
            if matches!(payload, Payload::Form(_) | Payload::Text(_)) {
                let key = if section.has("form") { "form" } else { "body" };
                section.mistake(
                    key,
                    "a batch is sent as JSON",
                    "use `json`, or send each item with `format = \"json\"`",
                );
            }
            if !template.is_constant() {
                section.mistake(
                    "url",
                    "a batch of different items goes to one URL, with the same headers for all",
                    "use a `url`, `headers` and `query` without filters, or send each item with `format = \"json\"`",
                );
            }
        }
        Some(Self { template, payload, endpoint, format })
    }
}

impl SinkSettings for HttpSettings {
    fn batch(&self) -> BatchLimits {
        match self.format {
            Format::Item => BatchLimits::SINGLE,
            Format::Array | Format::Lines => BatchLimits { items: 100, bytes: Size::mib(1), age: BatchLimits::AGE },
        }
    }

    fn open(&self, context: SinkContext) -> Opened<Box<dyn Sink>> {
        let endpoint = context.clients.endpoint(&self.endpoint, &self.template.url);
        let shared = Shared { settings: self.clone(), endpoint, name: context.name, clock: context.clock };
        Ok(Box::new(HttpSink { shared: Arc::new(shared), ahead: Mutex::default() }))
    }
}

struct HttpSink {
    shared: Arc<Shared>,
    /// Items that were delivered in a batch of single requests that did not come to its end. The batch will come
    /// again, and they are passed over then.
    ahead: Mutex<HashSet<ItemId>>,
}

/// What makes requests of items, also on a blocking thread.
struct Shared {
    settings: HttpSettings,
    endpoint: Endpoint,
    name: Text,
    clock: Clock,
}

#[async_trait]
impl Sink for HttpSink {
    async fn write(&self, batch: &[Item]) -> Result<(), WriteFault> {
        match self.shared.settings.format {
            Format::Item => self.write_one_by_one(batch).await,
            Format::Array | Format::Lines => self.write_together(batch).await,
        }
    }

    fn host(&self) -> Option<&Text> {
        self.shared.endpoint.host()
    }
}

impl HttpSink {
    async fn write_one_by_one(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let mut refused = Vec::new();
        let mut delivered = Vec::new();
        for (place, item) in batch.iter().enumerate() {
            if batch.len() > 1 && self.ahead().contains(&item.id) {
                continue;
            }
            match self.write_one(item).await {
                Ok(()) => delivered.push(item.id),
                Err(fault) if fault.verdict == Verdict::Reject => refused.push((place, fault)),
                Err(fault) => {
                    self.ahead().extend(delivered);
                    return Err(WriteFault::Batch(fault));
                }
            }
        }
        let mut ahead = self.ahead();
        batch.iter().for_each(|item| {
            ahead.remove(&item.id);
        });
        match refused.pop() {
            None => Ok(()),
            Some((_, fault)) if batch.len() == 1 => Err(WriteFault::Batch(fault)),
            Some(last) => {
                refused.push(last);
                Err(WriteFault::Items(refused))
            }
        }
    }

    async fn write_one(&self, item: &Item) -> Result<(), Fault> {
        let (shared, item) = (self.shared.clone(), item.clone());
        let request = with_fuel(move |fuel| shared.request(&item, fuel)).await?;
        self.send(request).await
    }

    async fn write_together(&self, batch: &[Item]) -> Result<(), WriteFault> {
        let mut refused = Vec::new();
        let mut sent = Vec::new();
        let mut parts = Vec::new();
        for (place, item) in batch.iter().enumerate() {
            let (shared, own) = (self.shared.clone(), item.clone());
            match with_fuel(move |fuel| shared.part(&own, fuel)).await {
                Ok(part) => {
                    parts.push(part);
                    sent.push(item);
                }
                Err(fault) => refused.push((place, fault)),
            }
        }
        if let Some(first) = sent.first() {
            let (shared, first) = (self.shared.clone(), Item::clone(first));
            let request = with_fuel(move |fuel| shared.frame(&first, fuel)).await?;
            let request = self.shared.filled(request, &parts, &sent);
            self.send(request).await.map_err(|fault| match fault.verdict {
                // Which of the items it is that the server refuses, it does not say.
                Verdict::Reject => WriteFault::Mixed(fault),
                _ => WriteFault::Batch(fault),
            })?;
        }
        if refused.is_empty() { Ok(()) } else { Err(WriteFault::Items(refused)) }
    }

    async fn send(&self, request: Request) -> Result<(), Fault> {
        let (method, url) = (request.method, request.url.clone());
        // A redirect that drops the body would end in a success that delivered nothing.
        let request = request.keeping_body();
        let response = self.shared.endpoint.send(Box::new(request), &Meter::uncounted()).await?;
        if is_success(response.status) {
            return Ok(());
        }
        let verdict = if is_transient(response.status, &response.headers) {
            Verdict::Retry { not_before: retry_after(&response.headers, &self.shared.clock) }
        } else {
            Verdict::Reject
        };
        let message = answered(method, &url, response.status, "", &said(&response));
        Err(Fault::new(FaultKind::Status, verdict, message))
    }

    /// Whole even if a holder panicked: each change is one call.
    fn ahead(&self) -> MutexGuard<'_, HashSet<ItemId>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn scope(&self, fuel: Fuel) -> TransformScope {
        TransformScope { now: self.clock.timestamp(), fuel }
    }

    /// The request that delivers one item.
    fn request(&self, item: &Item, fuel: Fuel) -> Result<Request, FilterFault> {
        let mut request = self.rendered(&self.settings.payload, item, fuel)?;
        if matches!(self.settings.payload, Payload::None) {
            request.body = json::to_vec(&item.value).into();
            set_content_type(&mut request, "application/json");
        }
        self.identify(&mut request, std::iter::once(item.id));
        Ok(request)
    }

    /// The request for a batch, without its body.
    fn frame(&self, first: &Item, fuel: Fuel) -> Result<Request, FilterFault> {
        self.rendered(&Payload::None, first, fuel)
    }

    fn rendered(&self, payload: &Payload, item: &Item, fuel: Fuel) -> Result<Request, FilterFault> {
        let scope = self.scope(fuel);
        let rendered = self.settings.template.render(payload, &self.endpoint, &item.value, &scope.of(item));
        rendered.map_err(|unrendered| FilterFault::of_request(unrendered, fuel))
    }

    /// What an item adds to a batch, as JSON.
    fn part(&self, item: &Item, fuel: Fuel) -> Result<Vec<u8>, FilterFault> {
        let Payload::Json(filter) = &self.settings.payload else { return Ok(json::to_vec(&item.value)) };
        let nothing = || Fault::reject(FaultKind::Request, "`json` gave nothing to send");
        let output = first_output(filter, item, &self.scope(fuel))?;
        Ok(json::to_vec(&output.ok_or_else(nothing)?))
    }

    /// A batch's request with its body.
    fn filled(&self, mut request: Request, parts: &[Vec<u8>], items: &[&Item]) -> Request {
        let (content_type, [before, between, after]) = match self.settings.format {
            Format::Lines => ("application/x-ndjson", ["", "\n", "\n"]),
            Format::Item | Format::Array => ("application/json", ["[", ",", "]"]),
        };
        let body = [before.as_bytes(), &parts.join(between.as_bytes()), after.as_bytes()].concat();
        request.body = Bytes::from(body);
        set_content_type(&mut request, content_type);
        self.identify(&mut request, items.iter().map(|item| item.id));
        request
    }

    /// Adds the key by which a server knows a request that it has seen: made of the sink's name and the items' ids,
    /// which come again after a restart.
    fn identify(&self, request: &mut Request, ids: impl Iterator<Item = ItemId>) {
        let mut hash = Context::new(&SHA256);
        hash.update(self.name.as_bytes());
        ids.for_each(|id| hash.update(&id.0.to_be_bytes()));
        let key = HEXLOWER.encode(&hash.finish().as_ref()[..16]);
        let key = HeaderValue::from_str(&key).expect("hexadecimal digits can stand in a header");
        request.headers.entry(IDEMPOTENCY_KEY).or_insert(key);
    }
}

fn first_output(filter: &Filter, item: &Item, scope: &TransformScope) -> Result<Option<Value>, FilterFault> {
    filter.first(&item.value, &scope.of(item)).map_err(|error| FilterFault::new("json", error, scope.fuel))
}

/// Sets the content type unless the author has.
fn set_content_type(request: &mut Request, content_type: &'static str) {
    request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
}

/// What a server says about its refusal.
fn said(response: &Response) -> Value {
    let body = response.body.as_ref().ok();
    body.and_then(|body| value_of(body.clone(), &response.headers, ReadAs::Text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::component::contract::check_sink;
    use crate::settings::read_text;

    /// Keeps the bodies of all requests and answers 204.
    fn serve(stream: TcpStream, bodies: &Mutex<Vec<String>>) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line)? <= 2 {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body)?;
            if length > 0 {
                bodies.lock().unwrap().push(String::from_utf8(body).unwrap());
            }
            stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
    }

    #[test]
    fn it_does_what_every_sink_must_in_every_format() {
        for format in ["json", "array", "ndjson"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let bodies = Arc::new(Mutex::new(Vec::new()));
            let kept = bodies.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let kept = kept.clone();
                    std::thread::spawn(move || serve(stream.unwrap(), &kept));
                }
            });
            let text = format!("http = {{ url = '{url}', format = '{format}' }}");
            let settings = read_text(&text, HttpSettings::read).unwrap();
            check_sink(&settings, || {
                let bodies = bodies.lock().unwrap();
                let values =
                    bodies.iter().flat_map(|body| body.lines()).map(|line| json::parse(line.as_bytes()).unwrap());
                let items = values.flat_map(|value| match value {
                    Value::Array(items) => items.to_vec(),
                    item => vec![item],
                });
                items.map(|item| item.get("id").and_then(Value::as_i64).unwrap()).collect()
            });
        }
    }
}
