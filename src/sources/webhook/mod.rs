//! `webhook`: what others send over HTTP.

mod answer;
mod credentials;
mod room;

use std::net::IpAddr;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use http::Method;

use crate::component::{Kind, Opened, Produced, Promise, Source, SourceContext, SourceSettings};
use crate::http::{ListenAddress, Listening, Route};
use crate::model::{Fault, FaultKind, Labels, Outcome, Size, Value};
use crate::settings::Section;

use answer::Answering;
use credentials::Credentials;
use room::{Held, Room};

/// How many requests wait for their answer at most.
const WAITING: usize = 256;

/// The largest body.
const MAX_BODY: Size = Size::mib(1);

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "webhook",
    summary: "Takes what others send over HTTP. A request is one item: JSON as data, NDJSON as a list of its values, \
              other text as text, anything else as bytes; its labels are method, path, query, headers, remote and \
              received_at. The sender is told 202 once the item has settled, with `durable = true` once it is on \
              disk, and 503 if it is to send it again. Several webhooks may share an address. For HTTPS, put a proxy \
              before it. With `run --once` it takes nothing.",
    sample: r#"
[pipeline.orders]
from  = { webhook = { listen = "127.0.0.1:8080", path = "/orders", token = "change me" }, durable = true }
steps = [
  { each = ".orders[]" },
  { map  = "{id, from: labels.remote, at: labels.received_at}" },
]
"#,
    read: |section| Some(Box::new(Webhook::read(section)?)),
};

/// The methods that a webhook can take; the first is the default.
const METHODS: [(&str, Method); 5] = [
    ("POST", Method::POST),
    ("PUT", Method::PUT),
    ("PATCH", Method::PATCH),
    ("GET", Method::GET),
    ("DELETE", Method::DELETE),
];

struct Webhook {
    listen: ListenAddress,
    path: String,
    method: Method,
    credentials: Credentials,
    max_body: Size,
    waiting: usize,
}

impl Webhook {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("listen");
        let listen = ListenAddress::read(section);
        let path = section.or("path", "/".to_owned(), "the path; with `/*` at its end, everything below it");
        let words: Vec<_> = METHODS.iter().enumerate().map(|(place, (word, _))| (*word, place)).collect();
        let method = METHODS[section.choice("method", &words, "the method")].1.clone();
        let credentials = Credentials::read(section);
        let open = section.or("open", false, "whether anyone who reaches the address may send");
        let max_body = section.or("max_body", MAX_BODY, "a larger body is refused (413)");
        let waiting = section.or(
            "waiting",
            WAITING,
            "how many requests wait for their answer; the next are told to come back (429)",
        );
        if !path.starts_with('/') || path.contains(['?', '#']) || path.trim_end_matches('*').contains('*') {
            section.mistake("path", format!("`{path}` is no path"), "write one such as \"/hook\" or \"/hooks/*\"");
        }
        if waiting == 0 {
            section.mistake("waiting", "with 0 no request could ever be taken", "write 1 or more");
        }
        let listen = listen?;
        if !listen.is_local() && !open && credentials.is_none() && !section.has("token") && !section.has("hmac") {
            section.mistake(
                "listen",
                format!("anyone who reaches `{listen}` could send"),
                "add `token` or `hmac`, listen at an address of this machine alone, or write `open = true`",
            );
        }
        Some(Self { listen, path, method, credentials, max_body, waiting })
    }
}

impl SourceSettings for Webhook {
    fn promise(&self) -> Promise {
        Promise::UntilTheProcessDies
    }

    fn takes(&self) -> Option<String> {
        Some(format!("{} {}{}", self.method, self.listen, self.path))
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        if context.once {
            return Ok(Box::new(NoSource));
        }
        let (requests, received) = async_channel::bounded(self.waiting);
        let answering = Arc::new(Answering {
            credentials: self.credentials.clone(),
            max_body: usize::try_from(self.max_body.0).unwrap_or(usize::MAX),
            room: Room::new(self.waiting),
            clock: context.clock.clone(),
            requests,
        });
        let handler = Arc::new(move |asked| -> futures_lite::future::Boxed<_> {
            let answering = answering.clone();
            Box::pin(async move { answering.answer(asked).await })
        });
        let route = Route { method: self.method.clone(), path: self.path.clone(), handler };
        let listening = context.listeners.listen(&self.listen, route).map_err(|error| {
            let (listen, pipeline) = (&self.listen, &context.pipeline);
            let message = format!("cannot listen at `{listen}`, the `webhook` of pipeline `{pipeline}`: {error}");
            Fault::stop(FaultKind::Read, message)
        })?;
        log::info!(pipeline = &*context.pipeline, address:% = listening.bound(), path = &*self.path; "webhook listens");
        Ok(Box::new(WebhookSource { received, _listening: listening }))
    }
}

/// An item that a request has brought.
struct Received {
    value: Value,
    labels: Labels,
    told: Sender<Outcome>,
    /// From here on the engine counts what the item takes in memory.
    _held: Held,
}

struct WebhookSource {
    received: Receiver<Received>,
    _listening: Listening,
}

#[async_trait]
impl Source for WebhookSource {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        // The other end is held by the route, for as long as this source listens.
        let Ok(Received { value, labels, told, .. }) = self.received.recv().await else { return Ok(None) };
        // Nothing tells two requests apart for certain, so each is an item of its own.
        let place = fastrand::u128(..).to_le_bytes().to_vec();
        Ok(Some(Produced { labels, told: Some(told), ..Produced::new(value, place) }))
    }
}

/// In a single run.
struct NoSource;

#[async_trait]
impl Source for NoSource {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        Ok(None)
    }
}

/// Who is at the other end of the connection, as the label `remote`.
fn remote(address: IpAddr) -> Value {
    Value::from(address.to_canonical().to_string())
}
