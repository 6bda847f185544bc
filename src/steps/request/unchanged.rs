//! Replies that have not changed: their items end, where that cannot hide anything, or where it is asked for.
//!
//! What tells a reply from later ones is kept from the commit on that settles all that came of it, and only as long as
//! the config makes the same of it. So a reply whose items were abandoned is fetched and passed on again; one whose
//! items became dead letters is not.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use jiff::Timestamp;
use ring::digest::{Context, SHA256};

use crate::component::{Mark, MarkKind, Onward, Outputs, Repeats, StepContext};
use crate::http::{Method, Request, Response, Url, Validators, is_conditional, is_same_etag};
use crate::model::{Fault, Fingerprint, Item, Text, json};
use crate::runtime::{self, Clock};
use crate::settings::Section;
use crate::store::{Change, Digest, Store, Validator};

/// A server is asked whether something has changed for so long; then the reply is fetched whole once. What a server hides
/// that wrongly says that nothing has changed, it hides no longer.
const ASKED: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long the last reply to a request is remembered that is not made any more.
const REMEMBERED: Duration = Duration::from_secs(90 * 24 * 3600);

/// So much of a body is digested before other tasks get a turn.
const TURN: usize = 256 << 10;

/// What an author says of replies that have not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unchanged {
    Skip,
    Pass,
}

impl Unchanged {
    pub(super) fn read(section: &mut Section<'_>, method: Method) -> Option<Self> {
        const ABOUT: &str = "what becomes of an item whose reply is the one that settled the last time: it ends as \
                             filtered, and where the server can tell, the body is not fetched again (`skip`), or it \
                             goes on (`pass`). Unless given, items are skipped where requests come again (on a \
                             schedule, or all for the same URL) and the steps behind would end the items anyway: where \
                             `new` (for ever) or `changed` follows, or in a list without `pages` that has `new_by`";
        let unchanged = section.optional_choice("unchanged", &[("skip", Self::Skip), ("pass", Self::Pass)], ABOUT);
        if unchanged == Some(Self::Skip) && !is_asking(method) {
            let message = format!("what a {method} does may be needed though its reply is the same");
            section.mistake("unchanged", message, "remove it: only the replies to `get` and `head` can be skipped");
        }
        unchanged
    }

    /// Whether items end whose reply has not changed. `is_constant` says that every item makes the same request.
    ///
    /// What tells a reply from later ones costs a look into the store and a row for each request. Where requests are not
    /// likely to come again, such as those for the lines of a file, that is a price for nothing.
    pub(super) fn is_skipped(said: Option<Self>, method: Method, is_constant: bool, onward: &Onward) -> bool {
        let hides_nothing = match onward.repeats {
            Repeats::End => true,
            Repeats::EndInARow => is_constant,
            Repeats::Alike | Repeats::AlikeEach | Repeats::Unknown => false,
        };
        let comes_again = is_constant || onward.recurs;
        is_asking(method) && said.map_or(hides_nothing && comes_again, |said| said == Self::Skip)
    }
}

/// Whether requests of this method only ask.
fn is_asking(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head)
}

/// A step that skips replies that have not changed.
#[derive(Clone)]
pub(super) struct Skipping {
    store: Store,
    clock: Clock,
    pipeline: Text,
    component: Text,
    onward: Digest,
    /// Whether what becomes of a reply hangs on the item's value too.
    with_value: bool,
}

/// What is known of the last reply to a request.
pub(super) struct Known {
    skipping: Skipping,
    /// A digest of the request.
    request: Text,
    has_body: bool,
    /// Whether the store holds anything for it.
    is_stored: bool,
    validator: Option<Validator>,
}

/// What a reply is, beside the last one to the same request.
pub(super) enum Compared {
    /// The item ends.
    Unchanged(Outputs),
    /// The item goes on, and leaves this mark behind.
    Changed(Option<Mark>),
}

impl Skipping {
    pub(super) fn new(context: &StepContext, with_value: bool) -> Self {
        Self {
            store: context.store.clone(),
            clock: context.clock.clone(),
            pipeline: context.pipeline.clone(),
            component: context.id.clone(),
            onward: context.onward.digest,
            with_value,
        }
    }

    /// Looks up the last reply to a request, and makes the request conditional. Nothing if its author did so already.
    pub(super) fn begin(&self, request: &mut Request, item: &Item) -> Result<Option<Known>, Fault> {
        if is_conditional(&request.headers) {
            return Ok(None);
        }
        let key = self.key(request, item);
        let stored = self.store.validator(&self.pipeline, &self.component, &key)?;
        let is_stored = stored.is_some();
        // A replayed item goes on whatever its reply is.
        let holds = |validator: &Validator| validator.onward == self.onward && item.origin.replayed.is_none();
        let validator = stored.filter(holds);
        if let Some(Validator { etag, last_modified, .. }) = validator.as_ref().filter(|known| !self.is_old(known)) {
            for (name, value) in [(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, last_modified)] {
                let value = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok());
                value.and_then(|value| request.headers.insert(name, value));
            }
        }
        let has_body = request.method != Method::Head;
        Ok(Some(Known { skipping: self.clone(), request: key, has_body, is_stored, validator }))
    }

    /// When what is noted now is forgotten.
    fn forgotten_at(&self) -> Timestamp {
        self.clock.timestamp().checked_add(REMEMBERED).unwrap_or(Timestamp::MAX)
    }

    /// Whether the reply was noted so long ago that it is to be fetched whole.
    fn is_old(&self, known: &Validator) -> bool {
        let left = known.until.duration_since(self.clock.timestamp());
        left.unsigned_abs() < REMEMBERED - ASKED
    }

    /// A digest of all that makes the reply of a request what it is, and that the config alone does not tell.
    fn key(&self, request: &Request, item: &Item) -> Text {
        let mut parts = vec![request.method.as_ref().as_bytes(), request.url.as_str().as_bytes(), &request.body];
        parts.extend(request.headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]));
        let value = if self.with_value { json::to_vec(&item.value) } else { Vec::new() };
        parts.push(&value);
        BASE64URL_NOPAD.encode(Fingerprint::of(parts).as_ref()).as_str().into()
    }
}

impl Known {
    /// Compares a reply with the last one. A server that says that nothing has changed, and contradicts itself, is asked
    /// anew: that is the fault.
    pub(super) async fn compare(&self, response: &Response) -> Result<Compared, Fault> {
        match response.status {
            304 => self.believe(response).await,
            200 => Ok(self.compare_whole(response).await),
            // The next reply of status 200 shall go on, even if it is the last one again.
            _ => Ok(Compared::Changed(self.is_stored.then(|| self.mark(None)))),
        }
    }

    async fn believe(&self, response: &Response) -> Result<Compared, Fault> {
        // Without a condition a 304 makes no sense; it is an answer like any other then.
        let Some(known) = &self.validator else { return Ok(Compared::Changed(None)) };
        let validators = Validators { etag: known.etag.clone(), last_modified: known.last_modified.clone() };
        if validators == Validators::default() {
            return Ok(Compared::Changed(None));
        }
        // Another place may call something else by the same entity tag.
        if known.url == digest_of(&response.url) && validators.are_those_of(&response.headers) {
            return Ok(Compared::Unchanged(Outputs::Unchanged { saved: known.size, mark: None }));
        }
        let Skipping { store, clock, pipeline, component, .. } = &self.skipping;
        log::debug!(pipeline = &**pipeline, component = &**component;
            "a server says that nothing has changed, but means another reply; it is asked for all");
        let (pipeline, component, request) = (pipeline.clone(), component.clone(), self.request.clone());
        store.commit(vec![Change::Validator { pipeline, component, request, validator: None }]).await?;
        Err(Fault::not_before(clock.instant(), "the server did not say what has changed"))
    }

    async fn compare_whole(&self, response: &Response) -> Compared {
        // What cannot be read does not go on, unless a rule says so; it is nothing to tell others from.
        let Ok(body) = &response.body else {
            return Compared::Changed(self.is_stored.then(|| self.mark(None)));
        };
        let Validators { etag, last_modified } = Validators::of(&response.headers);
        let validator = Validator {
            onward: self.skipping.onward,
            url: digest_of(&response.url),
            etag,
            last_modified,
            body: if self.has_body { Some(body_digest(response, body).await) } else { None },
            size: body.len() as u64,
            until: self.skipping.forgotten_at(),
        };
        match &self.validator {
            Some(known) if is_same(known, &validator) => {
                let is_noted = known.etag == validator.etag && known.last_modified == validator.last_modified;
                let mark =
                    if is_noted && !self.skipping.is_old(known) { None } else { Some(self.mark(Some(validator))) };
                Compared::Unchanged(Outputs::Unchanged { saved: 0, mark: mark.map(Box::new) })
            }
            _ => Compared::Changed(Some(self.mark(Some(validator)))),
        }
    }

    fn mark(&self, validator: Option<Validator>) -> Mark {
        let Skipping { pipeline, component, .. } = &self.skipping;
        let (pipeline, component, key) = (pipeline.clone(), component.clone(), self.request.clone());
        Mark { pipeline, component, key, kind: MarkKind::Validator(validator.map(Box::new)) }
    }
}

/// Whether two replies are the same. Of one without a body only the server can tell.
fn is_same(known: &Validator, reply: &Validator) -> bool {
    let says_same = || match (&known.etag, &reply.etag) {
        (Some(known), Some(reply)) => is_same_etag(known, reply),
        (None, None) => known.last_modified.is_some() && known.last_modified == reply.last_modified,
        _ => false,
    };
    known.url == reply.url
        && match (known.body, reply.body) {
            (None, None) => says_same(),
            (known, reply) => known == reply,
        }
}

/// Of a body, and of what says how to read it.
async fn body_digest(response: &Response, body: &[u8]) -> Digest {
    let mut digest = Context::new(&SHA256);
    let content_type = response.headers.get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    digest.update(&(content_type.len() as u64).to_le_bytes());
    digest.update(content_type);
    for (number, slice) in body.chunks(TURN).enumerate() {
        if number > 0 {
            runtime::yield_now().await;
        }
        digest.update(slice);
    }
    digest.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

fn digest_of(url: &Url) -> Digest {
    Fingerprint::of([url.as_str()]).into_bytes()
}
