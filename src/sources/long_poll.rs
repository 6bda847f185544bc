//! `long_poll`: asks a server for what comes after a cursor, and again as soon as the answer is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::component::{
    FilterFault, Kind, Meter, Opened, Position, Produced, Promise, Source, SourceContext, SourceSettings, with_fuel,
};
use crate::expr::{Filter, Scope};
use crate::http::{
    Endpoint, EndpointSettings, Method, Payload, ReadAs, Request, RequestTemplate, Response, answered, attempt,
    is_success, retry_after, shown, value_of,
};
use crate::model::{Fault, FaultKind, Labels, Object, Value, Verdict, json};
use crate::runtime;
use crate::settings::Section;
use crate::store::Change;

pub(super) const KIND: Kind<dyn SourceSettings> = Kind {
    name: "long_poll",
    summary: "Asks a server for what comes after a cursor, and again as soon as the answer is there. The server may hold \
              its answer back until something happens: it has five minutes, unless `timeouts` says otherwise. The \
              cursor moves once every item of its answer has settled. An answer without items is asked for again at \
              once; if such answers come at once too, with pauses of up to 10 s. A single run ends with it.",
    sample: r#"
[pipeline.events]
from = { long_poll = {
  url    = "https://api.example/events?since={.cursor}&wait=60",
  cursor = ".next",
  items  = ".events[]",
  initial = 0,
} }
"#,
    read: |section| Some(Box::new(LongPoll::read(section)?)),
};

/// How long a server may hold its answer back.
const PATIENCE: Duration = Duration::from_secs(300);

/// An answer that brings nothing new and comes sooner was not held back.
const HELD_BACK: Duration = Duration::from_secs(1);

/// The pause after the first of several answers in a row that bring nothing new and were not held back; doubled with
/// each of them.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Larger answers are parsed on a blocking thread.
const LARGE: usize = 256 << 10;

#[derive(Clone)]
struct LongPoll {
    template: RequestTemplate,
    endpoint: EndpointSettings,
    cursor: Filter,
    items: Filter,
    initial: Option<Value>,
    read_as: ReadAs,
}

impl LongPoll {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let template = RequestTemplate::read(section, Method::Get);
        let cursor = section.required(
            "cursor",
            "the next cursor in an answer, such as \".next\"; where it gives nothing or null, the cursor stays. \
             Templates of the request see it as `.cursor`, null before there is one",
        );
        let items = section.required("items", "the items in an answer, such as \".events[]\"");
        let initial = section.optional("initial", "the cursor before the first answer");
        let words = [("auto", ReadAs::Auto), ("json", ReadAs::Json), ("text", ReadAs::Text), ("bytes", ReadAs::Bytes)];
        let read_as = section.choice("as", &words, "what an answer is read as; with \"auto\" its content type says");
        let endpoint = EndpointSettings::read(section).with_patience(PATIENCE);
        Some(Self { template: template?, endpoint, cursor: cursor?, items: items?, initial, read_as })
    }
}

impl SourceSettings for LongPoll {
    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn open(&self, context: SourceContext) -> Opened<Box<dyn Source>> {
        let endpoint = context.clients.endpoint(&self.endpoint, &self.template.url);
        let cursor = context.position.clone().or_else(|| self.initial.clone()).unwrap_or_default();
        let settings = Arc::new(self.clone());
        Ok(Box::new(Polling { settings, endpoint, context, cursor, ready: VecDeque::new(), vain: 0, ended: false }))
    }
}

struct Polling {
    settings: Arc<LongPoll>,
    endpoint: Endpoint,
    context: SourceContext,
    /// What the next question asks for.
    cursor: Value,
    /// What has come and is not handed on yet.
    ready: VecDeque<Produced>,
    /// How many answers in a row brought nothing new and were not held back.
    vain: u32,
    ended: bool,
}

#[async_trait]
impl Source for Polling {
    async fn next(&mut self) -> Result<Option<Produced>, Fault> {
        loop {
            if let Some(produced) = self.ready.pop_front() {
                return Ok(Some(produced));
            }
            if self.ended {
                return Ok(None);
            }
            self.context.clock.sleep(pause(self.vain)).await;
            self.ask().await?;
        }
    }
}

impl Polling {
    /// Asks once, and takes on what comes.
    async fn ask(&mut self) -> Result<(), Fault> {
        let response = self.response().await?;
        let was_held_back = response.elapsed >= HELD_BACK;
        let answer = Arc::new(Answer {
            labels: Labels::default().with_reply(Arc::new(response.to_reply())),
            response: *response,
        });
        let (values, cursor) = self.read(&answer).await?;
        let has_moved = cursor.as_ref().is_some_and(|cursor| *cursor != self.cursor);
        self.vain = if has_moved || was_held_back { 0 } else { self.vain.saturating_add(1) };
        self.ended = self.context.once && (values.is_empty() || !has_moved);
        let is_empty = values.is_empty();
        let cursor = cursor.unwrap_or_else(|| self.cursor.clone());
        self.take(values, &cursor, &answer.labels);
        self.cursor = cursor;
        if is_empty && has_moved {
            self.note().await?;
        }
        Ok(())
    }

    /// The answer of the server, whatever it says, if its status is a good one.
    async fn response(&self) -> Result<Box<Response>, Fault> {
        let request = self.request().await?;
        let (method, url) = (request.method, request.url.clone());
        let response = loop {
            match self.endpoint.send(Box::new(request.clone()), &Meter::uncounted()).await {
                Err(Fault { verdict: Verdict::NotBefore(time), .. }) => self.context.clock.sleep_until(time).await,
                // Whatever is wrong with the server now, it may be mended.
                Err(fault) => return Err(again(fault)),
                Ok(response) => break response,
            }
        };
        if is_success(response.status) || response.status == 304 {
            return Ok(response);
        }
        let said = response.body.as_ref().ok();
        let said =
            said.and_then(|body| value_of(body.clone(), &response.headers, ReadAs::Auto).ok()).unwrap_or_default();
        let message = answered(method, &url, response.status, "", &said);
        let not_before = retry_after(&response.headers, &self.context.clock);
        Err(Fault::new(FaultKind::Status, Verdict::Retry { not_before }, message))
    }

    async fn request(&self) -> Result<Request, Fault> {
        let (settings, endpoint, clock) = (self.settings.clone(), self.endpoint.clone(), self.context.clock.clone());
        let input = Value::object([("cursor".into(), self.cursor.clone())].into_iter().collect::<Object>());
        let rendered = with_fuel(move |fuel| {
            let scope = Scope { labels: &Labels::default(), window: None, now: clock.timestamp(), fuel };
            let rendered = settings.template.render(&Payload::None, &endpoint, &input, &scope);
            rendered.map_err(|unrendered| FilterFault::of_request(unrendered, fuel))
        });
        rendered.await.map_err(again)
    }

    /// The items of an answer, and its cursor if it has one.
    async fn read(&self, answer: &Arc<Answer>) -> Result<(Vec<Value>, Option<Value>), Fault> {
        let value = self.value(answer).await?;
        // Nothing came: the server has held its answer back for as long as it does.
        if value == Value::Null {
            return Ok((Vec::new(), None));
        }
        let (settings, answer, clock) = (self.settings.clone(), answer.clone(), self.context.clock.clone());
        let read = with_fuel(move |fuel| {
            let scope = Scope { labels: &answer.labels, window: None, now: clock.timestamp(), fuel };
            let items = settings.items.run(&value, &scope);
            let items = items.map_err(|error| FilterFault::new("items", error, fuel))?;
            let cursor = settings.cursor.first(&value, &scope);
            let cursor = cursor.map_err(|error| FilterFault::new("cursor", error, fuel))?;
            Ok((items, cursor.filter(|cursor| *cursor != Value::Null)))
        });
        read.await.map_err(again)
    }

    async fn value(&self, answer: &Answer) -> Result<Value, Fault> {
        let response = &answer.response;
        let body = response.body.clone().map_err(again)?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        let (headers, read_as) = (response.headers.clone(), self.settings.read_as);
        let is_large = body.len() > LARGE;
        let parse = move || value_of(body, &headers, read_as);
        let parsed = if is_large {
            let parsed = runtime::blocking(parse).await;
            parsed.unwrap_or_else(|panic| Err(format!("its parser panicked: {}", panic.0)))
        } else {
            parse()
        };
        parsed.map_err(|cause| {
            let message = format!("cannot {} `{}`: {cause}", attempt(Method::Get), shown(&response.url));
            Fault::retry(FaultKind::Body, message)
        })
    }

    /// Makes items of what came; the last of them takes the cursor along.
    fn take(&mut self, values: Vec<Value>, cursor: &Value, labels: &Labels) {
        let asked = json::to_vec(&self.cursor);
        let last = values.len().saturating_sub(1);
        for (number, value) in values.into_iter().enumerate() {
            // A server may give other items after the same cursor.
            let place = [asked.as_slice(), &number.to_le_bytes(), &json::to_vec(&value)].concat();
            let position = (number == last).then(|| Position::new(cursor.clone()));
            self.ready.push_back(Produced { labels: labels.clone(), position, ..Produced::new(value, place) });
        }
    }

    /// Keeps a cursor that no item takes along, if nothing that came before is on its way.
    async fn note(&self) -> Result<(), Fault> {
        let SourceContext { pipeline, id, store, progress, .. } = &self.context;
        if progress.in_flight() > 0 {
            return Ok(());
        }
        let (pipeline, component, position) = (pipeline.clone(), id.clone(), self.cursor.clone());
        store.commit(vec![Change::Position { pipeline, component, position }]).await
    }
}

/// What a server said.
struct Answer {
    labels: Labels,
    response: Response,
}

/// The fault of an attempt that may be made again, whatever kind of fault it was.
fn again(fault: Fault) -> Fault {
    match fault.verdict {
        Verdict::Reject => Fault { verdict: Verdict::Retry { not_before: None }, ..fault },
        _ => fault,
    }
}

/// How long to wait before asking again after so many answers that brought nothing and were not held back. The first is
/// asked for again at once.
fn pause(vain: u32) -> Duration {
    match vain.checked_sub(2) {
        None => Duration::ZERO,
        Some(doubled) => FIRST_PAUSE.saturating_mul(1 << doubled.min(16)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_bring_nothing_and_come_at_once_are_asked_for_ever_more_slowly() {
        let milliseconds = |vain| pause(vain).as_millis();
        assert_eq!([0, 1, 2, 3, 4].map(milliseconds), [0, 0, 100, 200, 400]);
        assert_eq!([9, 20, u32::MAX].map(milliseconds), [10_000; 3]);
    }
}
