//! `pages`: how a reply leads to the next page, and when the pages are over.

use http::HeaderMap;

use super::auto;
use super::parameter::Parameter;
use super::progress::Next;
use crate::component::FilterFault;
use crate::expr::{Filter, Scope};
use crate::http::{Method, Payload, Url, links};
use crate::model::{Fault, FaultKind, Value};
use crate::settings::Section;

#[derive(Clone)]
pub(super) struct Pages {
    by: By,
    pub max_pages: Option<u64>,
    total: Option<Filter>,
    more: Option<Filter>,
    stop: Option<Filter>,
}

/// What leads to the next page.
#[derive(Clone)]
enum By {
    /// Whatever the reply has.
    Auto,
    Link,
    NextUrl(Filter),
    Cursor {
        from: Filter,
        send_as: Parameter,
    },
    Number {
        send_as: Parameter,
        first: i64,
    },
    Offset {
        send_as: Parameter,
        size: Option<u64>,
    },
}

/// A reply, as far as it tells of its pages.
pub(super) struct Reply<'a> {
    pub value: &'a Value,
    pub headers: &'a HeaderMap,
    /// The URL that was asked.
    pub asked: &'a Url,
    pub method: Method,
    pub sends_json: bool,
    /// How many items it has, if that can be told.
    pub count: Option<u64>,
    /// How many the pages before it had.
    pub items_so_far: u64,
}

/// What comes after a page.
#[derive(Debug)]
pub(super) enum After {
    Next(Next),
    /// `is_stated` unless there is merely nothing that leads on.
    End {
        is_stated: bool,
    },
}

impl Pages {
    pub(super) fn read(section: &mut Section<'_>, payload: &Payload) -> Option<Self> {
        const ABOUT: &str = "how a reply leads to the next page: \"auto\", \"link\" or a table; each page is fetched once the items of the one before \
                             have been handed on";
        section.table("pages", ABOUT, |section| {
            section.shorthand("by");
            let words = [("auto", By::Auto), ("link", By::Link)];
            let by = section.optional_choice(
                "by",
                &[("auto", 0), ("link", 1)],
                "\"auto\" finds a `Link` header, a URL, a token, a page number or an offset under common names, \"link\" takes \
                 the `Link` header alone; \"auto\" unless one of the others is there",
            );
            let by = by.map(|place: usize| words[place].1.clone());
            let next_url: Option<Filter> = section.optional("next_url", "where in the reply the next page's URL stands");
            let cursor = section.table("cursor", "a token in the reply that is sent for the next page", |section| {
                let from = section.required("from", "where in the reply the token stands, such as \".next_cursor\"");
                let send_as = Parameter::read(section, "send_as", "what the token is sent as", payload);
                Some(By::Cursor { from: from?, send_as: needed(section, send_as, "cursor")? })
            });
            let number = section.table("number", "pages are numbered; they end with an empty one", |section| {
                let send_as = Parameter::read(section, "send_as", "what the number is sent as", payload);
                let first = section.or("first", 1, "the number of the first page");
                Some(By::Number { send_as: needed(section, send_as, "page")?, first })
            });
            let offset = section.table("offset", "items are counted; the pages end with an empty one", |section| {
                let send_as = Parameter::read(section, "send_as", "what the offset is sent as", payload);
                let size = section.optional("size", "how many items a page has, where the reply does not show it");
                Some(By::Offset { send_as: needed(section, send_as, "offset")?, size })
            });
            let given = ["by", "next_url", "cursor", "number", "offset"].iter().filter(|key| section.has(key)).count();
            if given > 1 {
                let way_out = "keep one of `by`, `next_url`, `cursor`, `number` and `offset`";
                section.mistake("by", "pages are found in one way", way_out);
            }
            let max_pages = section.optional("max_pages", "ends after so many pages; with `new_by` the next item goes on there");
            if max_pages == Some(0) {
                section.mistake("max_pages", "no page would ever be fetched", "write 1 or more");
            }
            let total = section.optional("total", "how many items there are in all: the pages end once so many have come");
            let more = section.optional("more", "whether more pages come: they end when it gives false or null");
            let stop = section.optional("stop", "ends after a page for which this filter over the reply gives true");
            let by = next_url.map(By::NextUrl).or(cursor).or(number).or(offset).or(by).unwrap_or(By::Auto);
            Some(Self { by, max_pages, total, more, stop })
        })
    }

    /// The first page.
    pub(super) fn first(&self) -> Next {
        match &self.by {
            By::Number { send_as, first } => Next::Parameter(send_as.clone(), Value::from(*first)),
            By::Offset { send_as, .. } => Next::Parameter(send_as.clone(), Value::from(0)),
            _ => Next::First,
        }
    }

    /// Whether it matters how many items a page has. Where the reply itself says that there is no next page, it does not.
    pub(super) fn asks_for_count(&self) -> bool {
        self.total.is_some() || !matches!(self.by, By::NextUrl(_) | By::Cursor { .. })
    }

    /// Whether the same items on two pages show that the API does not look at what it is sent.
    pub(super) fn counts(&self, next: &Next) -> bool {
        matches!(next, Next::Parameter(_, Value::Number(_))) && !matches!(self.by, By::Cursor { .. })
    }

    /// What comes after the page `now`.
    pub(super) fn after(&self, now: &Next, reply: &Reply<'_>, scope: &Scope<'_>) -> Result<After, FilterFault> {
        let failed = |setting: &'static str| move |error| FilterFault::new(setting, error, scope.fuel);
        let end = Ok(After::End { is_stated: true });
        if let Some(stop) = &self.stop
            && stop.test(reply.value, scope).map_err(failed("stop"))?
        {
            return end;
        }
        if let Some(more) = &self.more
            && !more.test(reply.value, scope).map_err(failed("more"))?
        {
            return end;
        }
        if let Some(total) = &self.total {
            let total = total.first(reply.value, scope).map_err(failed("total"))?.unwrap_or_default();
            let total = match &total {
                Value::Number(number) => number.as_f64(),
                other => return Err(wrong("total", other, "a number").into()),
            };
            if reply.count.is_some_and(|count| (reply.items_so_far + count) as f64 >= total) {
                return end;
            }
        }
        let output = |filter: &Filter, setting| {
            let value = filter.first(reply.value, scope).map_err(failed(setting))?.unwrap_or_default();
            let is_none = matches!(value, Value::Null | Value::Bool(false)) || value.as_text() == Some("");
            Ok::<_, FilterFault>((!is_none).then_some(value))
        };
        match &self.by {
            By::Auto => Ok(auto::after(reply)),
            By::Link => {
                let relations = links(reply.headers);
                let next = relations.iter().find(|(relation, _)| relation == "next");
                Ok(match next {
                    Some((_, target)) => After::Next(Next::Url(target.as_str().into())),
                    None => After::End { is_stated: !relations.is_empty() },
                })
            }
            By::NextUrl(filter) => match output(filter, "next_url")? {
                None => end,
                Some(Value::Text(url)) => Ok(After::Next(Next::Url(url))),
                Some(other) => Err(wrong("next_url", &other, "text").into()),
            },
            By::Cursor { from, send_as } => match output(from, "from")? {
                None => end,
                Some(token @ (Value::Text(_) | Value::Number(_))) => {
                    Ok(After::Next(Next::Parameter(send_as.clone(), token)))
                }
                Some(other) => Err(wrong("from", &other, "text or a number").into()),
            },
            By::Number { send_as, .. } => self.counted(now, reply, send_as, Some(1)),
            By::Offset { send_as, size } => self.counted(now, reply, send_as, reply.count.or(*size)),
        }
    }

    /// The page `by` after this one, unless this one is empty.
    fn counted(
        &self,
        now: &Next,
        reply: &Reply<'_>,
        send_as: &Parameter,
        by: Option<u64>,
    ) -> Result<After, FilterFault> {
        if reply.count == Some(0) {
            return Ok(After::End { is_stated: true });
        }
        let can_end = reply.count.is_some() || self.more.is_some() || self.stop.is_some() || self.max_pages.is_some();
        let (Some(by), true) = (by, can_end) else {
            let message = "cannot tell how many items a page has, so the pages would never end: name them with `items`, or \
                           say with `more` or `stop` when the pages end";
            return Err(Fault::reject(FaultKind::Body, message).into());
        };
        let now = match now {
            Next::Parameter(_, value) => value.as_i64().unwrap_or(0),
            _ => 0,
        };
        let next = now.saturating_add(i64::try_from(by).unwrap_or(i64::MAX));
        Ok(After::Next(Next::Parameter(send_as.clone(), Value::from(next))))
    }
}

fn needed(section: &mut Section<'_>, send_as: Option<Parameter>, example: &str) -> Option<Parameter> {
    if send_as.is_none() && !section.has("send_as") {
        let message = "it does not say how the next page is asked for";
        section.mistake(
            "send_as",
            message,
            format!("add `send_as = \"{example}\"`, the name of a parameter of the URL"),
        );
    }
    // Whoever only asks for the settings gets one.
    send_as.or_else(|| (!section.has("send_as")).then(|| Parameter::Query(example.into())))
}

fn wrong(setting: &str, value: &Value, expected: &str) -> Fault {
    let message = format!("`{setting}` gives a value of type {}, where {expected} should stand", value.type_name());
    Fault::reject(FaultKind::Filter, message)
}

/// How many items a reply has: in the list at `path`, or in the only list that is to be seen.
pub(super) fn count(value: &Value, path: Option<&[String]>) -> Option<u64> {
    /// What APIs call the list of their items, where there are several lists.
    const NAMES: &[&str] = &["data", "items", "results", "records", "values", "value", "entries", "hits", "rows"];
    let length = |value: &Value| match value {
        Value::Array(values) => Some(values.len() as u64),
        _ => None,
    };
    if let Some(path) = path {
        return path.iter().try_fold(value, |value, key| value.get(key)).and_then(length);
    }
    let Value::Object(object) = value else { return length(value) };
    let mut lists = object.values().filter_map(length);
    match (lists.next(), lists.next()) {
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) => NAMES.iter().find_map(|name| length(object.get(name)?)),
        (None, _) => None,
    }
}

/// The keys that lead to the list in a filter such as `.data.items[] | select(.open)`, whose outputs alone would not show
/// how many items a page has.
pub(super) fn list_path(filter: &str) -> Option<Vec<String>> {
    let (path, _) = filter.trim().split_once("[]")?;
    let path = path.strip_prefix('.')?;
    let is_key =
        |key: &str| !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('.').map(|key| is_key(key).then(|| key.to_owned())).collect()
}

/// Whether a page is probably cut short at what the API gives at most: it has as many items as were asked for, as the
/// first of several pages had, or as APIs commonly cap their pages at.
pub(super) fn is_full(count: u64, asked: &Url, pages: u64, page_size: Option<u64>) -> bool {
    const SIZES: &[&str] =
        &["limit", "per_page", "perPage", "page_size", "pageSize", "size", "maxResults", "$top", "count"];
    const CAPS: &[u64] = &[20, 25, 30, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000];
    let size = asked.query_pairs().find(|(key, _)| SIZES.contains(&&**key)).and_then(|(_, size)| size.parse().ok());
    match size.or(page_size.filter(|_| pages > 1)) {
        Some(size) => count > 0 && count == size,
        None => CAPS.contains(&count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json;

    #[test]
    fn the_items_of_a_reply_are_counted_where_they_stand() {
        for (body, path, expected) in [
            ("[1,2]", None, Some(2)),
            (r#"{"data":[1]}"#, None, Some(1)),
            (r#"{"orders":[1],"data":[1,2]}"#, None, Some(2)),
            (r#"{"orders":[1],"errors":[]}"#, None, None),
            ("7", None, None),
            (r#"{"a":{"b":[1,2,3]}}"#, Some(".a.b[]"), Some(3)),
            (r#"{"a":{"b":[1,2,3]}}"#, Some(".a.b[] | select(false)"), Some(3)),
            ("[1,2]", Some(".[]"), Some(2)),
            (r#"{"a":{}}"#, Some(".a.b[]"), None),
        ] {
            let value = json::parse(body.as_bytes()).unwrap();
            let path = path.and_then(list_path);
            assert_eq!(count(&value, path.as_deref()), expected, "{body} {path:?}");
        }
        assert_eq!(list_path(".a | .b[]"), None);
    }

    #[test]
    fn a_last_page_that_is_full_is_suspicious() {
        for (count, query, pages, size, expected) in [
            (100, "", 1, None, true),
            (99, "", 1, None, false),
            (7, "limit=7", 1, None, true),
            (100, "limit=1000", 1, None, false),
            (37, "", 3, Some(37), true),
            (36, "", 3, Some(37), false),
            (0, "limit=0", 1, None, false),
        ] {
            let asked = Url::parse(&format!("http://a/?{query}")).unwrap();
            assert_eq!(is_full(count, &asked, pages, size), expected, "{count} {query}");
        }
    }
}
