//! The step that fetches a list page by page.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use foldhash::quality::FixedState;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use ring::digest::{Context, SHA256};

use super::super::{Answer, Asked, RequestStep};
use super::Listing;
use super::new_by::{Found, NewBy, Sifted};
use super::pages::{self, After, Reply};
use super::progress::{Next, Progress, Refusal};
use super::run::Runs;
use crate::component::{
    Aim, Call, Child, Continuation, Fetch, Fetched, FilterFault, Mark, Outputs, Page, Reason, StepContext, with_fuel,
    with_fuel_over,
};
use crate::expr::{Fuel, Scope};
use crate::http::{Request, Url, shown};
use crate::model::{Fault, FaultKind, Item, Text, Value, Verdict, digest};
use crate::runtime;
use crate::store::{Change, Digest};

/// So many items have their filters run before other tasks get a turn.
const TURN: usize = 100;

#[derive(Clone)]
pub(in crate::steps::request) struct ListingStep {
    step: RequestStep,
    shared: Arc<Shared>,
}

struct Shared {
    listing: Listing,
    /// The keys that lead to the list that `items` takes apart.
    list_path: Option<Vec<String>>,
    runs: Runs,
    pipeline: Text,
    component: Text,
    /// Whether the log was told: that items do not ascend, that a page is full, that a limit ended a run.
    told_descent: AtomicBool,
    told_full: AtomicBool,
    told_limit: AtomicBool,
}

/// A reply to the request for a page.
#[derive(Clone)]
struct Visit {
    /// With the labels of the reply.
    item: Item,
    partition: Text,
    /// The request as it is written, without page and cursor.
    written: Request,
    /// Up to this page.
    progress: Progress,
    answer: Arc<Answer>,
    /// What tells the reply from later ones, if the list has no other pages.
    mark: Option<Mark>,
}

/// What a page hands to the next one, beside what the store keeps.
struct Handed {
    progress: Progress,
    /// The URL of the request as it is written.
    written: Url,
    /// Where the next page is, if a link leads there.
    link: Option<Url>,
}

/// A page's items, and where it leads.
struct Opened {
    values: Vec<Value>,
    count: Option<u64>,
    after: After,
}

impl ListingStep {
    pub(in crate::steps::request) fn new(step: RequestStep, listing: Listing, context: &StepContext) -> Self {
        let list_path = listing.items.as_ref().and_then(|items| pages::list_path(items.source()));
        let shared = Shared {
            listing,
            list_path,
            runs: Runs::new(context),
            pipeline: context.pipeline.clone(),
            component: context.id.clone(),
            told_descent: AtomicBool::new(false),
            told_full: AtomicBool::new(false),
            told_limit: AtomicBool::new(false),
        };
        Self { step, shared: Arc::new(shared) }
    }
}

#[async_trait]
impl Fetch for ListingStep {
    fn aim(&self, item: &Item, page: Option<&Continuation>) -> Aim {
        match page.and_then(Continuation::get) {
            Some(Handed { written, link, .. }) => {
                Aim { host: self.step.endpoint.server_of(link.as_ref().unwrap_or(written)), url: None }
            }
            None => self.step.aim(item, None),
        }
    }

    fn has_partitions(&self) -> bool {
        self.shared.listing.new_by.is_some()
    }

    async fn partition(&self, item: &Item) -> Result<Text, Fault> {
        let Some(per) = self.shared.listing.new_by.as_ref().and_then(|new_by| new_by.per.clone()) else {
            return Ok(Text::default());
        };
        let (step, item) = (self.step.clone(), item.clone());
        with_fuel(move |fuel| {
            let scope = step.scope(fuel);
            per.one_text(&item.value, &scope.of(&item)).map_err(|error| FilterFault::new("per", error, fuel))
        })
        .await
    }

    async fn fetch(&self, call: Call<'_>) -> Result<Fetched, Fault> {
        let Call { item, page, url, meter } = call;
        let handed: Option<&Handed> =
            page.map(|page| page.get().expect("a step is given the continuations that it made"));
        let mut written = self.step.request(item, handed.map(|handed| handed.written.clone()).or(url)).await?;
        let mut partition = match &self.shared.listing.new_by {
            Some(NewBy { per: Some(_), .. }) => self.partition(item).await?,
            _ => Text::default(),
        };
        let (mut progress, mut is_resumed) = match handed {
            Some(handed) => (handed.progress.clone(), false),
            None => self.begin(&written, &partition)?,
        };
        let mut link = handed.and_then(|handed| handed.link.clone());
        loop {
            if let Next::Never(Refusal { is_forbidden, message }) = &progress.next {
                let kind = if *is_forbidden { FaultKind::Forbidden } else { FaultKind::Pages };
                return Err(Fault::reject(kind, &**message));
            }
            let request = self.request(&written, &progress, link.take())?;
            let (answer, mark) = match self.step.ask(item, Box::new(request), meter).await? {
                Asked::Unchanged(outputs) => return Ok(outputs.into()),
                Asked::Answer(answer, mark) => (answer, mark),
            };
            let labels = item.labels.with_reply(answer.reply.clone());
            let decided = self.step.decide(item, &answer, &labels).await;
            let item = Item { labels, ..item.clone() };
            let visit = Visit { item, partition, written, progress, answer, mark };
            match decided {
                Ok(None) => {
                    let opened = with_fuel_over(self, &visit, Self::open).await?;
                    let found = match &self.shared.listing.new_by {
                        Some(new_by) => Some(self.find(&visit.item, new_by, &opened.values).await?),
                        None => None,
                    };
                    return self.take(visit, opened, found);
                }
                Ok(Some(reason)) if visit.progress.pages == 0 => return Ok(Outputs::Filtered(reason).into()),
                Ok(Some(Reason::Robots)) => {
                    let page = shown(&visit.answer.url);
                    let message = format!("the robots.txt of its site asks not to fetch the next page, `{page}`");
                    return Err(Fault::reject(FaultKind::Robots, message));
                }
                // The policy says that there is nothing more.
                Ok(Some(_)) => return self.end(visit),
                Err(fault) if std::mem::take(&mut is_resumed) && is_refusal(&fault, &visit.answer) => {
                    let Some(new_by) = &self.shared.listing.new_by else { return Err(fault) };
                    log::warn!(pipeline = &*self.shared.pipeline, component = &*self.shared.component, fault:% = fault;
                        "the page is refused that a run was to go on with; it begins anew at its cursor");
                    progress = self.shared.runs.begin_anew(&visit.partition, &visit.progress, self.first(), new_by)?;
                    (written, partition) = (visit.written, visit.partition);
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// Whether the server will not give the page, however often it is asked.
fn is_refusal(fault: &Fault, answer: &Answer) -> bool {
    fault.verdict == Verdict::Reject && answer.reply.status.is_some_and(|status| (400..500).contains(&status))
}

impl ListingStep {
    fn first(&self) -> Next {
        self.shared.listing.pages.as_ref().map_or(Next::First, pages::Pages::first)
    }

    /// Where the item begins; and whether that is where the store kept a run.
    fn begin(&self, written: &Request, partition: &Text) -> Result<(Progress, bool), Fault> {
        let request = print(written);
        match &self.shared.listing.new_by {
            Some(new_by) => self.shared.runs.begin(partition, request, self.first(), new_by),
            None => Ok((Progress::new(request, self.first()), false)),
        }
    }

    /// The request for the next page; `link` is where that is if it was found to be good already.
    fn request(&self, written: &Request, progress: &Progress, link: Option<Url>) -> Result<Request, Fault> {
        let unsendable = |why: String| Fault::reject(FaultKind::Request, format!("cannot ask for a page: {why}"));
        let by_url = matches!(progress.next, Next::Url(_));
        let mut request = match &progress.next {
            Next::First | Next::Never(_) => written.clone(),
            Next::Url(url) => {
                let checked = || self.step.endpoint.next_link(&written.url, &written.url, url);
                written.redirected_to(link.map_or_else(checked, Ok).map_err(unsendable)?)
            }
            Next::Parameter(parameter, value) => {
                let mut request = written.clone();
                parameter.put(&mut request, value).map_err(unsendable)?;
                request
            }
        };
        if let Some(new_by) = &self.shared.listing.new_by
            // A link of the server's has what it needs.
            && (!by_url || !new_by.send_as.is_in_url())
            && let Some(cursor) = new_by.sent(progress.run.began_at.as_ref())?
        {
            new_by.send_as.put(&mut request, &cursor).map_err(unsendable)?;
        }
        Ok(request)
    }

    /// Takes on a page that has come; `found` is what `new_by` made of its items.
    fn take(&self, visit: Visit, opened: Opened, found: Option<Vec<Found>>) -> Result<Fetched, Fault> {
        let Opened { values, count, after } = opened;
        let Visit { item, partition, written, mut progress, answer, mark } = visit;
        let asked = &answer.url;
        if progress.pages == 0 {
            // A link that leads back to the start closes a circle too.
            progress.asked.closes_with(hash(asked.as_str()));
        }
        progress.pages += 1;
        progress.items += count.unwrap_or(0);
        if progress.pages == 1 {
            progress.page_size = count;
        }
        let limit = self.shared.listing.pages.as_ref().and_then(|pages| pages.max_pages);
        let mut is_last = false;
        let mut goes_on = true;
        let mut link = None;
        match after {
            After::End { is_stated } => {
                is_last = true;
                if !is_stated
                    && count.is_some_and(|count| pages::is_full(count, asked, progress.pages, progress.page_size))
                {
                    self.tell_of_full_page(count.unwrap_or(0), asked);
                }
            }
            After::Next(next) => {
                (progress.next, link) = self.checked(next, &values, count, &written.url, &answer.from, &mut progress);
                if limit.is_some_and(|limit| progress.pages.is_multiple_of(limit.max(1))) {
                    goes_on = false;
                    self.tell_of_limit(progress.pages, asked);
                }
            }
        }
        let first_child = progress.children;
        let (mut sifted, mut changes) = match (&self.shared.listing.new_by, found) {
            (Some(new_by), Some(found)) => {
                let mut sifted = self.shared.runs.sift(&partition, found, &mut progress.run, new_by)?;
                progress.children += sifted.children.len() as u64;
                if let Some((less, before)) = sifted.descent.take() {
                    self.tell_of_descent(&less, &before);
                }
                let changes = self.shared.runs.changes(&partition, &mut progress, &mut sifted, is_last, new_by)?;
                (sifted, changes)
            }
            _ => {
                let children: Vec<Child> =
                    values.into_iter().map(|value| Child { value, name: None, fault: None }).collect();
                progress.children += children.len() as u64;
                (Sifted { children, ..Sifted::default() }, Vec::new())
            }
        };
        changes.extend(mark.map(Change::from));
        let next = (goes_on && !is_last).then(|| Continuation::new(Handed { progress, written: written.url, link }));
        let children = std::mem::take(&mut sifted.children);
        Ok(Fetched::Page(Box::new(Page { item, children, first_child, seen: sifted.seen, changes, next })))
    }

    /// The end of a run that has no last page.
    fn end(&self, visit: Visit) -> Result<Fetched, Fault> {
        let Visit { item, partition, mut progress, .. } = visit;
        let changes = match &self.shared.listing.new_by {
            Some(new_by) => {
                self.shared.runs.changes(&partition, &mut progress, &mut Sifted::default(), true, new_by)?
            }
            None => Vec::new(),
        };
        let first_child = progress.children;
        Ok(Fetched::Page(Box::new(Page { item, children: Vec::new(), first_child, seen: 0, changes, next: None })))
    }

    /// Finds the items of a page, and where it leads.
    fn open(&self, visit: &Visit, fuel: Fuel) -> Result<Opened, FilterFault> {
        let Visit { item, written, progress, answer, .. } = visit;
        let scope = self.step.scope(fuel);
        let scope = scope.of(item);
        let Listing { items, pages, .. } = &self.shared.listing;
        let value = &answer.value;
        let values = match items {
            None => vec![value.clone()],
            Some(items) => items.run(value, &scope).map_err(|error| FilterFault::new("items", error, fuel))?,
        };
        let of_items = || items.as_ref().map(|_| values.len() as u64);
        let asks_for_count = pages.as_ref().is_some_and(pages::Pages::asks_for_count);
        let count = || pages::count(value, self.shared.list_path.as_deref()).or_else(of_items);
        let count = asks_for_count.then(count).flatten();
        let after = match pages {
            None => After::End { is_stated: true },
            Some(pages) => {
                let (headers, asked, method) = (&answer.reply.headers, &answer.url, answer.method);
                let (sends_json, items_so_far) = (sends_json(&written.headers), progress.items);
                pages.after(
                    &progress.next,
                    &Reply { value, headers, asked, method, sends_json, count, items_so_far },
                    &scope,
                )?
            }
        };
        Ok(Opened { values, count, after })
    }

    /// Runs the filters of `new_by` over the items of a page.
    async fn find(&self, item: &Item, new_by: &NewBy, values: &[Value]) -> Result<Vec<Found>, Fault> {
        let mut found = Vec::with_capacity(values.len());
        for part in values.chunks(TURN) {
            let (new_by, part, labels, window) =
                (new_by.clone(), part.to_vec(), item.labels.clone(), item.origin.window);
            let clock = self.step.clock.clone();
            let of_part = with_fuel(move |fuel| {
                let scope = Scope { labels: &labels, window, now: clock.timestamp(), fuel };
                part.iter().map(|value| new_by.find(value, &scope)).collect::<Result<Vec<_>, FilterFault>>()
            });
            found.extend(of_part.await?);
            runtime::yield_now().await;
        }
        Ok(found)
    }

    /// The next page, unless it leads back, or to where data may not lead. `written` is the URL of the request as it is
    /// written, `from` where the reply came from.
    fn checked(
        &self,
        next: Next,
        values: &[Value],
        count: Option<u64>,
        written: &Url,
        from: &Url,
        progress: &mut Progress,
    ) -> (Next, Option<Url>) {
        let page = progress.pages;
        let refused = |is_forbidden, why: String| {
            let message = format!("cannot go on after page {page} of `{}`: {why}", shown(written));
            (Next::Never(Refusal { is_forbidden, message: message.into() }), None)
        };
        let mut checked = None;
        let next = match next {
            Next::Url(link) => match self.step.endpoint.next_link(written, from, &link) {
                Ok(url) => Next::Url(checked.insert(url).as_str().into()),
                Err(why) => return refused(true, why),
            },
            other => other,
        };
        let asked = match &next {
            Next::Url(url) => hash(url),
            Next::Parameter(_, value) => hash(&value.to_string()),
            Next::First | Next::Never(_) => return (next, None),
        };
        if progress.asked.closes_with(asked) {
            return refused(false, "the next page is one that was there before in this run".to_owned());
        }
        let counts = self.shared.listing.pages.as_ref().is_some_and(|pages| pages.counts(&next));
        // A short last page may come twice because as many items came in before it.
        let is_whole = count.is_some() && count == progress.page_size;
        if counts && is_whole && !values.is_empty() {
            let held = digest(&Value::array(values.to_vec()));
            if progress.held.closes_with(u64::from_le_bytes(held[..8].try_into().unwrap_or_default())) {
                let why = "it holds the same items as a page before it, so the server does not seem to look at what it is \
                           sent for the next page";
                return refused(false, why.to_owned());
            }
        }
        (next, checked)
    }

    fn tell_of_full_page(&self, items: u64, asked: &Url) {
        if !self.shared.told_full.swap(true, Ordering::Relaxed) {
            log::warn!(pipeline = &*self.shared.pipeline, component = &*self.shared.component, items, url = &*shown(asked);
                "the last page is full, and nothing in it leads to another: it was probably cut short; say in `pages` how \
                 the API pages");
        }
    }

    fn tell_of_limit(&self, pages: u64, asked: &Url) {
        if !self.shared.told_limit.swap(true, Ordering::Relaxed) {
            let way_on = match self.shared.listing.new_by {
                Some(_) => "the next item goes on there",
                None => "what comes after them is left out",
            };
            log::warn!(pipeline = &*self.shared.pipeline, component = &*self.shared.component, pages, url = &*shown(asked);
                "`max_pages` ends the pages before their end; {way_on}");
        }
    }

    fn tell_of_descent(&self, less: &Value, before: &Value) {
        if !self.shared.told_descent.swap(true, Ordering::Relaxed) {
            log::warn!(pipeline = &*self.shared.pipeline, component = &*self.shared.component, value:% = less, before:%;
                "items do not ascend, as `order` says; the cursor moves at the end of a run only");
        }
    }
}

fn sends_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// Tells requests apart that ask for different things.
fn print(request: &Request) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    add(request.method.as_ref().as_bytes());
    add(request.url.as_str().as_bytes());
    for (name, value) in &request.headers {
        add(name.as_str().as_bytes());
        add(value.as_bytes());
    }
    add(&request.body);
    context.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

/// The same in each process, since the store keeps what was asked; a build that hashes otherwise only notices a circle
/// later. A server that makes two of its own URLs collide ends its own list, and that is told.
fn hash(text: &str) -> u64 {
    FixedState::default().hash_one(text)
}
