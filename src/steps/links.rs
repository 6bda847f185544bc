//! `links`: finds where a page leads.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use html5ever::tendril::{StrTendril, TendrilSink};
use scraper::{ElementRef, Html, HtmlTreeSink, Selector};
use url::Url;

use crate::component::{
    FilterFault, Kind, Opened, Outputs, Reason, Repeats, Step, StepContext, StepSettings, Transform, TransformScope,
};
use crate::expr::Fuel;
use crate::model::{Fault, FaultKind, Item, Value};
use crate::runtime::Clock;
use crate::settings::Section;

/// A page longer than this is parsed on a blocking thread.
const LARGE: usize = 64 << 10;

/// How long one page may take. Elements that stand inside each other by the hundred thousand take time in the square of
/// their number.
const TIME: Duration = Duration::from_secs(10);

/// How many bytes of a page are parsed, and how many of its elements looked at, between two looks at the clock.
const SLICE: usize = 16 << 10;
const ELEMENTS: usize = 256;

pub(super) const KIND: Kind<dyn StepSettings> = Kind {
    name: "links",
    summary: "Finds the links of an HTML page: each becomes an item of its own, an absolute URL (http or https) as \
              text, with the labels of the page. Links are relative to the page's `<base>`, or else to `labels.url`, \
              as `get` sets it. What follows `#` is cut, and a URL comes once a page.",
    sample: r#"
[pipeline.links]
from  = { every = "1h" }
steps = [
  { get   = "https://www.example/" },
  { links = { select = "nav a", same_host = true } },
]
"#,
    read: |section| Some(Box::new(Links::read(section)?)),
};

#[derive(Clone)]
struct Links {
    select: Selector,
    same_host: bool,
}

impl Links {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("select");
        let about = "a CSS selector of the elements that link; their `href` counts, or else their `src`";
        let select = section.or("select", "a[href]".to_owned(), about);
        let same_host = section.or("same_host", false, "only links to the host and port of the page itself");
        match Selector::parse(&select) {
            Ok(select) => Some(Self { select, same_host }),
            // The library says no more than that.
            Err(_) => {
                let way_out = "write one such as \"a[href]\" or \"nav a\"";
                section.mistake("select", format!("`{select}` is no CSS selector"), way_out);
                None
            }
        }
    }
}

impl StepSettings for Links {
    fn repeats(&self) -> Repeats {
        Repeats::AlikeEach
    }

    fn open(&self, context: &StepContext, _limit: usize) -> Opened<Step> {
        Ok(Step::Transform(Arc::new(Opening { settings: self.clone(), clock: context.clock.clone() })))
    }
}

struct Opening {
    settings: Links,
    clock: Clock,
}

impl Transform for Opening {
    fn apply(&self, item: &Item, scope: &TransformScope) -> Result<Outputs, FilterFault> {
        let html = match &item.value {
            Value::Text(text) => text,
            other => {
                let message = format!("cannot find links in a value of type {}: only in text", other.type_name());
                return Err(Fault::reject(FaultKind::Parse, message).into());
            }
        };
        if html.len() > LARGE && scope.fuel == Fuel::Inline {
            return Err(FilterFault::OutOfFuel);
        }
        let deadline = Deadline { clock: self.clock.clone(), at: self.clock.instant() + TIME };
        let page = item.labels.get("url").and_then(|url| Url::parse(url.as_text()?).ok());
        let links = self.settings.links(&parse(html, &deadline)?, page.as_ref(), &deadline)?;
        Ok(if links.is_empty() { Outputs::Filtered(Reason::NoMatch) } else { Outputs::Many(links) })
    }
}

/// When a page has had its time.
struct Deadline {
    clock: Clock,
    at: Instant,
}

impl Deadline {
    fn check(&self) -> Result<(), Fault> {
        if self.clock.instant() < self.at {
            return Ok(());
        }
        let message = "cannot find the links of a page: its HTML takes longer than an item may take";
        Err(Fault::reject(FaultKind::Parse, message))
    }
}

fn parse(html: &str, deadline: &Deadline) -> Result<Html, Fault> {
    let sink = HtmlTreeSink::new(Html::new_document());
    let mut parser = html5ever::parse_document(sink, html5ever::ParseOpts::default());
    let mut rest = html;
    while !rest.is_empty() {
        let (slice, after) = rest.split_at(rest.floor_char_boundary(SLICE));
        parser.process(StrTendril::from_slice(slice));
        rest = after;
        deadline.check()?;
    }
    Ok(parser.finish())
}

impl Links {
    /// The URLs in the order in which the page has them.
    fn links(&self, html: &Html, page: Option<&Url>, deadline: &Deadline) -> Result<Vec<Value>, Fault> {
        let base = base(html, page);
        let mut seen = HashSet::new();
        let mut links = Vec::new();
        for (place, element) in html.tree.nodes().filter_map(ElementRef::wrap).enumerate() {
            if place % ELEMENTS == 0 {
                deadline.check()?;
            }
            if !self.select.matches(&element) {
                continue;
            }
            let Some(written) = element.attr("href").or_else(|| element.attr("src")) else { continue };
            let url = match Url::options().base_url(base.as_ref()).parse(written) {
                Ok(url) => url,
                Err(url::ParseError::RelativeUrlWithoutBase) => {
                    let message = format!(
                        "cannot tell where the link `{written}` leads: the item has no `labels.url`, and the page no \
                         absolute `<base>`"
                    );
                    return Err(Fault::reject(FaultKind::Parse, message));
                }
                // As a browser does: such a link leads nowhere.
                Err(_) => continue,
            };
            links.extend(self.wanted(url, page).filter(|url| seen.insert(url.clone())));
        }
        Ok(links.into_iter().map(|url| Value::from(url.as_str())).collect())
    }

    fn wanted(&self, mut url: Url, page: Option<&Url>) -> Option<Url> {
        let here = |page: &Url| {
            (page.host_str(), page.port_or_known_default()) == (url.host_str(), url.port_or_known_default())
        };
        let is_wanted = matches!(url.scheme(), "http" | "https") && (!self.same_host || page.is_some_and(here));
        url.set_fragment(None);
        is_wanted.then_some(url)
    }
}

/// The page's base URL: the `href` of its first `<base>` that has one, relative to the page (HTML Standard, 4.2.3).
fn base(html: &Html, page: Option<&Url>) -> Option<Url> {
    let written = html.tree.nodes().filter_map(|node| node.value().as_element());
    let mut written = written.filter(|element| element.name() == "base").filter_map(|element| element.attr("href"));
    let base = written.next().and_then(|href| Url::options().base_url(page).parse(href).ok());
    base.filter(|base| !base.cannot_be_a_base()).or_else(|| page.cloned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, open, show, test_item};
    use super::*;
    use crate::model::Item;

    fn page(html: &str, url: Option<&str>) -> Item {
        let mut item = test_item(Value::from(html));
        if let Some(url) = url {
            item.labels.set("url".into(), Value::from(url));
        }
        item
    }

    #[track_caller]
    fn check(step: &str, html: &str, expected: &str) {
        let step = open(&KIND, step).unwrap();
        assert_eq!(show(apply(&*step, &page(html, Some("https://a.example/x/y?z#t")))), expected, "{html}");
    }

    #[test]
    fn links_are_absolute_whole_and_come_once() {
        for (html, expected) in [
            (
                r#"<a href="b">B</a><a href='/c?d=1&amp;e=2'>"#,
                r#"many ["https://a.example/x/b","https://a.example/c?d=1&e=2"]"#,
            ),
            (r#"<a href="b#one"><a href="b#two"><A HREF=" b ">"#, r#"many ["https://a.example/x/b"]"#),
            (
                r#"<a href="//b.example"><a href="http://c.example:80/é x">"#,
                r#"many ["https://b.example/","http://c.example/%C3%A9%20x"]"#,
            ),
            (
                r#"<a href="mailto:a@b.example"><a href="javascript:x()"><a href="data:,x"><a name="x">"#,
                "filtered no_match",
            ),
            (r#"<a href="http://[bad/"><a href="">"#, r#"many ["https://a.example/x/y?z"]"#),
            ("no page at all", "filtered no_match"),
            ("<!-- <a href='no'> --><script>'<a href=no>'</script><p><b><a href=yes", "filtered no_match"),
            ("<table><a href=odd>x</table>", r#"many ["https://a.example/x/odd"]"#),
        ] {
            check("links = {}", html, expected);
        }
    }

    #[test]
    fn the_base_element_is_what_links_are_relative_to() {
        for (html, expected) in [
            (r#"<base href="/deep/er/"><a href="b">"#, "https://a.example/deep/er/b"),
            (r#"<base target=x><base href="http://b.example/"><base href="/no/"><a href="c">"#, "http://b.example/c"),
            (r#"<base href="mailto:x"><a href="b">"#, "https://a.example/x/b"),
        ] {
            check("links = {}", html, &format!(r#"many ["{expected}"]"#));
        }
    }

    #[test]
    fn only_what_is_asked_for_is_found() {
        let html = r#"<nav><a href="http://a.example/other_port"><a href="/here"></nav><a href="//b.example/"><img src="i.png">"#;
        check("links = { same_host = true }", html, r#"many ["https://a.example/here"]"#);
        check("links = 'nav > a'", html, r#"many ["http://a.example/other_port","https://a.example/here"]"#);
        check("links = 'img'", html, r#"many ["https://a.example/x/i.png"]"#);
    }

    #[test]
    fn without_a_url_only_absolute_links_can_be_told() {
        let step = open(&KIND, "links = {}").unwrap();
        let shown = |html: &str| show(apply(&*step, &page(html, None)));
        assert_eq!(shown("<a href='http://a.example/'>"), r#"many ["http://a.example/"]"#);
        assert_eq!(shown("<base href='http://a.example/'><a href='b'>"), r#"many ["http://a.example/b"]"#);
        assert!(shown("<a href='b'>").starts_with("rejected parse: cannot tell where the link `b` leads"));
    }

    #[test]
    fn a_long_page_is_parsed_off_the_executor() {
        let step = open(&KIND, "links = {}").unwrap();
        let item = page(&format!("{}<a href='b'>", "<p>é".repeat(LARGE)), Some("http://a.example/"));
        assert_eq!(show(apply(&*step, &item)), "out of fuel");
        let scope = TransformScope { now: "2026-01-02T03:04:05Z".parse().unwrap(), fuel: Fuel::Blocking };
        assert_eq!(show(step.apply(&item, &scope)), r#"many ["http://a.example/b"]"#);
    }

    #[test]
    fn a_page_that_takes_too_long_is_given_up() {
        let clock = Clock::system();
        let over = Deadline { at: clock.instant(), clock: clock.clone() };
        let in_time = Deadline { at: clock.instant() + TIME, clock };
        let html = "<div>".repeat(SLICE);
        assert!(parse(&html, &over).is_err());
        let links = Links { select: Selector::parse("a").unwrap(), same_host: false };
        assert!(links.links(&parse("<a>", &in_time).unwrap(), None, &over).is_err());
    }
}
