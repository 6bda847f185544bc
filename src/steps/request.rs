//! `get`, `post`, `put`, `patch`, `delete`, `head` and `request`: steps that go to an HTTP server.

mod into;
mod kinds;
mod listing;
mod policy;
mod unchanged;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

use self::into::Place;
pub(super) use self::kinds::{DELETE, GET, HEAD, PATCH, POST, PUT, REQUEST};
use self::listing::{Listing, ListingStep};
use self::policy::{Answer, Decision, Policy};
use self::unchanged::{Compared, Known, Skipping, Unchanged};
use crate::component::{
    Aim, Call, Continuation, Fetch, Fetched, FilterFault, Mark, Onward, Opened, Outputs, Reason, Repeats, Step,
    StepContext, StepSettings, TransformScope, with_fuel, with_fuel_over,
};
use crate::expr::{Fuel, Scope};
use crate::http::{
    Endpoint, EndpointSettings, Meter, Method, Payload, ReadAs, Request, RequestTemplate, Response, Url, attempt,
    fresh_until, host_of, is_json, is_success, retry_after, shown, value_of,
};
use crate::model::{Fault, FaultKind, Item, Labels, Reply, Value, Verdict};
use crate::runtime::{self, Clock};
use crate::settings::Section;

/// How much larger than its text a value usually is; large replies wait for so much room before they are parsed.
const EXPANSION: usize = 4;

/// Replies beyond this size are parsed on a blocking thread.
const LARGE: usize = 256 << 10;

/// Whether requests of a kind can have a body.
#[derive(Clone, Copy, PartialEq)]
enum Carries {
    Nothing,
    Payload,
}

#[derive(Clone)]
struct Settings {
    template: RequestTemplate,
    payload: Payload,
    endpoint: EndpointSettings,
    into: Option<Place>,
    /// Nothing if a reply is one item.
    listing: Option<Listing>,
    read_as: ReadAs,
    policy: Policy,
    /// What its author says; nothing leaves it to what follows.
    unchanged: Option<Unchanged>,
}

fn read(section: &mut Section<'_>, method: Method, carries: Carries) -> Option<Box<dyn StepSettings>> {
    section.shorthand("url");
    let template = RequestTemplate::read(section, method);
    let payload = if carries == Carries::Payload { Payload::read(section) } else { Payload::None };
    let into = Place::read(section);
    let listing = if method == Method::Head { None } else { Listing::read(section, &payload, into.as_ref()) };
    let words = [("auto", ReadAs::Auto), ("json", ReadAs::Json), ("text", ReadAs::Text), ("bytes", ReadAs::Bytes)];
    let read_as = section.choice("as", &words, "what the reply is read as; with \"auto\" its content type says");
    let unchanged = Unchanged::read(section, method);
    let endpoint = EndpointSettings::read(section);
    let policy = Policy::read(section);
    if listing.as_ref().is_some_and(Listing::has_pages) && section.has("unchanged") {
        let message = "a list with pages is always asked for, since the first may be the same though others are not";
        section.mistake("unchanged", message, "remove it");
    }
    Some(Box::new(Settings { template: template?, payload, endpoint, into, listing, read_as, policy, unchanged }))
}

impl StepSettings for Settings {
    fn is_network(&self) -> bool {
        true
    }

    fn skips_unchanged(&self, onward: &Onward) -> bool {
        // Of a list with pages, the first may be the same though others are not.
        if self.listing.as_ref().is_some_and(Listing::has_pages) {
            return false;
        }
        // What comes again at its cursor ends here.
        let onward = match &self.listing {
            Some(listing) if listing.has_cursor() => &Onward { repeats: Repeats::End, ..*onward },
            _ => onward,
        };
        Unchanged::is_skipped(self.unchanged, self.template.method, self.template.is_constant(), onward)
    }

    fn error_policy(&self) -> Vec<(String, String)> {
        self.policy.table()
    }

    fn open(&self, context: &StepContext, _limit: usize) -> Opened<Step> {
        let mut endpoint = context.clients.endpoint(&self.endpoint, &self.template.url);
        if self.policy.refreshes_auth() {
            endpoint = endpoint.judging().ok_or_else(|| {
                let message = "`do = \"refresh_auth\"` needs a client that signs in: name one with `auth` in `via`";
                Fault::stop(FaultKind::Request, message)
            })?;
        }
        let with_value = self.into.is_some() || self.listing.as_ref().is_some_and(Listing::has_partitions);
        let skipping = self.skips_unchanged(&context.onward).then(|| Skipping::new(context, with_value));
        let settings = Arc::new(self.clone());
        let step = RequestStep { settings, endpoint, skipping, clock: context.clock.clone() };
        Ok(Step::Fetch(match &self.listing {
            None => Arc::new(step),
            Some(listing) => Arc::new(ListingStep::new(step, listing.clone(), context)),
        }))
    }
}

impl Settings {
    /// Whether a body with these headers is parsed as JSON.
    fn is_json(&self, headers: &HeaderMap) -> bool {
        match self.read_as {
            ReadAs::Json => true,
            ReadAs::Auto => is_json(headers),
            ReadAs::Text | ReadAs::Bytes => false,
        }
    }

    /// The value of a body. One that comes with an error status is what it can be: the status says more than the
    /// body's faults.
    fn value(&self, body: Bytes, headers: &HeaderMap, status: u16, method: Method) -> Result<Value, String> {
        if method == Method::Head {
            return Ok(Value::Null);
        }
        if body.is_empty() && matches!(self.read_as, ReadAs::Auto | ReadAs::Json) {
            // Nothing is a good answer to most requests, but not where a document was asked for.
            let json_is_due = self.is_json(headers);
            if method == Method::Get && status == 200 && json_is_due {
                return Err("the body is empty where JSON should be".to_owned());
            }
            return Ok(Value::Null);
        }
        let again = (!is_success(status)).then(|| body.clone());
        let value = value_of(body, headers, self.read_as);
        match again {
            Some(body) if value.is_err() => value_of(body, headers, ReadAs::Text),
            _ => value,
        }
    }
}

/// A step that sends a request for each item.
#[derive(Clone)]
struct RequestStep {
    settings: Arc<Settings>,
    endpoint: Endpoint,
    /// If items end here whose reply has not changed.
    skipping: Option<Skipping>,
    clock: Clock,
}

/// What came of sending a request: the reply to it, or why there is none.
enum Exchange {
    Reply(Replied),
    NoReply(Arc<Answer>),
}

/// A request's reply.
struct Replied {
    method: Method,
    url: Url,
    response: Box<Response>,
}

impl Replied {
    /// Whether its body takes too long for an executor's thread.
    fn is_large(&self) -> bool {
        self.response.body.as_ref().is_ok_and(|body| body.len() > LARGE)
    }

    fn unreadable(&self, cause: &str) -> Fault {
        let message = format!("cannot {} `{}`: {cause}", attempt(self.method), shown(&self.url));
        Fault::reject(FaultKind::Body, message)
    }
}

/// What came of asking for what may not have changed.
enum Asked {
    /// It has not: the item ends.
    Unchanged(Outputs),
    /// With what is to be left behind once all that comes of it has settled.
    Answer(Arc<Answer>, Option<Mark>),
}

#[async_trait]
impl Fetch for RequestStep {
    fn aim(&self, item: &Item, _page: Option<&Continuation>) -> Aim {
        if let Some(host) = self.endpoint.host() {
            return Aim { host: host.clone(), url: None };
        }
        let scope = self.scope(Fuel::Inline);
        // What fails here fails again when the call is made, and is told of then.
        let url = self.settings.template.render_url(&self.endpoint, &item.value, &scope.of(item)).ok();
        Aim { host: url.as_ref().map(|url| self.endpoint.server_of(url)).unwrap_or_default(), url }
    }

    async fn fetch(&self, call: Call<'_>) -> Result<Fetched, Fault> {
        let Call { item, url, meter, .. } = call;
        if let Some(place) = &self.settings.into {
            place.check(&item.value)?;
        }
        let request = Box::new(self.request(item, url).await?);
        let (answer, mark) = match self.ask(item, request, meter).await? {
            Asked::Unchanged(outputs) => return Ok(outputs.into()),
            Asked::Answer(answer, mark) => (answer, mark),
        };
        let labels = item.labels.with_reply(answer.reply.clone());
        if let Some(reason) = self.decide(item, &answer, &labels).await? {
            return Ok(Outputs::Filtered(reason).into());
        }
        let reply = answer.value.clone();
        let value = match &self.settings.into {
            Some(place) => place.put(&item.value, reply),
            None => reply,
        };
        let item = Item { labels, ..item.with_value(value) };
        Ok(match mark {
            Some(mark) => Outputs::Marked(Some(item), Box::new(mark)),
            None => Outputs::One(item),
        }
        .into())
    }
}

impl RequestStep {
    fn scope(&self, fuel: Fuel) -> TransformScope {
        TransformScope { now: self.clock.timestamp(), fuel }
    }

    /// The request that an item makes; `url` is its URL if that was rendered before.
    async fn request(&self, item: &Item, url: Option<Url>) -> Result<Request, Fault> {
        let Settings { template, payload, .. } = &*self.settings;
        if let Some(url) = url
            && template.is_url_alone(payload)
        {
            return Ok(Request::new(template.method, url));
        }
        with_fuel_over(self, item, |step, item, fuel| {
            let Settings { template, payload, .. } = &*step.settings;
            let rendered = template.render(payload, &step.endpoint, &item.value, &step.scope(fuel).of(item));
            rendered.map_err(|unrendered| FilterFault::of_request(unrendered, fuel))
        })
        .await
    }

    /// Sends a request, if its reply may be skipped only to hear whether that has changed. What it came to is for the
    /// policy to decide, unless nothing was tried.
    async fn ask(&self, item: &Item, mut request: Box<Request>, meter: &Meter) -> Result<Asked, Fault> {
        let known = match &self.skipping {
            Some(skipping) => skipping.begin(&mut request, item)?.map(Box::new),
            None => None,
        };
        let looked = match self.exchange(item, request, meter).await? {
            Exchange::NoReply(answer) => return Ok(Asked::Answer(answer, None)),
            Exchange::Reply(mut replied) if known.is_none() && !replied.is_large() => {
                let value = self.read(&mut replied);
                return Ok(Asked::Answer(self.answer(replied, value), None));
            }
            // In a box, so that a request which waits for its reply holds no room for it.
            Exchange::Reply(replied) => Box::pin(self.look_into(replied, known, meter)),
        };
        looked.await
    }

    async fn exchange(&self, item: &Item, request: Box<Request>, meter: &Meter) -> Result<Exchange, Fault> {
        let (method, url) = (request.method, request.url.clone());
        let started = self.clock.instant();
        match self.endpoint.send(request, meter).await {
            Ok(response) => {
                if let Some(findings) = &item.origin.findings {
                    findings.found_reply(fresh_until(&response.headers, response.fetched_at));
                }
                Ok(Exchange::Reply(Replied { method, url, response }))
            }
            Err(fault) if matches!(fault.verdict, Verdict::NotBefore(_)) => Err(fault),
            Err(fault) => Ok(Exchange::NoReply(self.not_replied(method, url, started, fault))),
        }
    }

    /// Compares a reply with the last one to the same request, if there is one, and reads it however large it is.
    async fn look_into(&self, mut replied: Replied, known: Option<Box<Known>>, meter: &Meter) -> Result<Asked, Fault> {
        let mut mark = None;
        if let Some(known) = known {
            match known.compare(&replied.response).await? {
                Compared::Unchanged(outputs) => {
                    if self.settings.policy.refreshes_auth() {
                        self.endpoint.accept(replied.response.ticket.as_ref());
                    }
                    return Ok(Asked::Unchanged(outputs));
                }
                Compared::Changed(left) => mark = left,
            }
        }
        let value =
            if replied.is_large() { self.read_large(&mut replied, meter).await } else { self.read(&mut replied) };
        Ok(Asked::Answer(self.answer(replied, value), mark))
    }

    /// The value of a reply's body, of which nothing stays in the reply.
    fn read(&self, replied: &mut Replied) -> Result<Value, Fault> {
        let body = replied.response.take_body()?;
        let Response { headers, status, .. } = &*replied.response;
        self.settings.value(body, headers, *status, replied.method).map_err(|cause| replied.unreadable(&cause))
    }

    /// [`Self::read`] for a body that takes long: off the executor's threads, and once there is room for what it
    /// becomes.
    async fn read_large(&self, replied: &mut Replied, meter: &Meter) -> Result<Value, Fault> {
        let body = replied.response.take_body()?;
        let (settings, method) = (self.settings.clone(), replied.method);
        let (headers, status) = (replied.response.headers.clone(), replied.response.status);
        if settings.is_json(&headers) {
            meter.grow(body.len().saturating_mul(EXPANSION)).await;
        }
        let parsed = runtime::blocking(move || settings.value(body, &headers, status, method)).await;
        let parsed = parsed.unwrap_or_else(|panic| Err(format!("its parser panicked: {}", panic.0)));
        parsed.map_err(|cause| replied.unreadable(&cause))
    }

    fn answer(&self, replied: Replied, value: Result<Value, Fault>) -> Arc<Answer> {
        let Replied { method, url, response } = replied;
        let not_before = retry_after(&response.headers, &self.clock);
        let (value, fault) = match value {
            Ok(value) => (value, None),
            Err(fault) => (Value::Null, Some(fault)),
        };
        let Response { url: from, host, status, headers, fetched_at, elapsed, ticket, .. } = *response;
        let reply = Reply {
            url: from.as_str().into(),
            host,
            status: Some(status),
            headers,
            fetched_at,
            elapsed,
            fault: fault.as_ref().map(|fault| fault.kind.name()),
        };
        Arc::new(Answer { method, url, from, value, reply: Arc::new(reply), fault, ticket, not_before })
    }

    fn not_replied(&self, method: Method, url: Url, started: Instant, fault: Fault) -> Arc<Answer> {
        let reply = Reply {
            url: url.as_str().into(),
            host: host_of(&url),
            status: None,
            headers: HeaderMap::new(),
            fetched_at: self.clock.timestamp(),
            elapsed: self.clock.instant() - started,
            fault: Some(fault.kind.name()),
        };
        Arc::new(Answer {
            method,
            from: url.clone(),
            url,
            value: Value::Null,
            reply: Arc::new(reply),
            fault: Some(fault),
            ticket: None,
            not_before: None,
        })
    }

    /// What becomes of the item, by the error policy: it goes on with the answer, or ends as filtered for a reason.
    /// `labels` has those of the reply.
    async fn decide(&self, item: &Item, answer: &Arc<Answer>, labels: &Labels) -> Result<Option<Reason>, Fault> {
        let decision = if self.settings.policy.has_rules() {
            let (step, answer, labels, window) = (self.clone(), answer.clone(), labels.clone(), item.origin.window);
            with_fuel(move |fuel| {
                let scope = Scope { labels: &labels, window, now: step.clock.timestamp(), fuel };
                step.settings.policy.decide(&answer, &scope)
            })
            .await?
        } else {
            answer.default_decision()
        };
        if self.settings.policy.refreshes_auth() {
            match &decision {
                Decision::RefreshAuth(_) => self.endpoint.refuse(answer.ticket.as_ref())?,
                // Whatever else became of it, no rule says that the credentials were refused.
                _ if answer.reply.status.is_some_and(is_success) => self.endpoint.accept(answer.ticket.as_ref()),
                _ => {}
            }
        }
        match decision {
            Decision::Fail(fault) | Decision::RefreshAuth(fault) => Err(fault),
            Decision::Pause(pause, fault) => {
                let now = self.clock.instant();
                let until = (now + pause).max(answer.not_before.unwrap_or(now));
                self.endpoint.pause(&answer.url, until);
                Err(Fault { kind: FaultKind::Paused, verdict: Verdict::NotBefore(until), ..fault })
            }
            Decision::Filter(reason) => Ok(Some(reason)),
            Decision::Pass => Ok(None),
        }
    }
}
