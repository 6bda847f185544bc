//! Finds the next page where an API does not say in the config how it pages: by the names that APIs commonly use.

use super::super::into::Place;
use super::pages::{After, Reply};
use super::parameter::Parameter;
use super::progress::Next;
use crate::http::{Method, Url, links};
use crate::model::{Text, Value};

/// Where APIs put what they say of their pages.
const WRAPPERS: &[&[&str]] = &[
    &[],
    &["meta"],
    &["pagination"],
    &["paging"],
    &["page"],
    &["links"],
    &["_links"],
    &["page_info"],
    &["pageInfo"],
    &["response_metadata"],
    &["metadata"],
    &["meta", "pagination"],
    &["meta", "page"],
    &["paging", "next"],
];

const NEXT_URLS: &[&str] = &[
    "next",
    "next_url",
    "nextUrl",
    "next_link",
    "nextLink",
    "@odata.nextLink",
    "odata.nextLink",
    "next_page_url",
    "nextPageUrl",
    "next_page",
    "nextPage",
    "nextRecordsUrl",
    "next_href",
];

/// What a token for the next page is called, and what it is sent as.
const TOKENS: &[(&str, &str)] = &[
    ("next_cursor", "cursor"),
    ("nextCursor", "cursor"),
    ("next_page_token", "page_token"),
    ("nextPageToken", "pageToken"),
    ("next_token", "next_token"),
    ("nextToken", "nextToken"),
    ("NextToken", "NextToken"),
    ("continuation_token", "continuation_token"),
    ("continuationToken", "continuationToken"),
    ("end_cursor", "after"),
    ("endCursor", "after"),
    ("after", "after"),
];

const MORE: &[&str] = &["has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage", "more"];
const LAST: &[&str] = &["is_last", "isLast", "last"];

const PAGES: &[&str] = &["page", "current_page", "currentPage", "page_number", "pageNumber"];
/// Pages that are counted from zero.
const PAGES_FROM_ZERO: &[&str] = &["number"];
const LAST_PAGES: &[&str] =
    &["total_pages", "totalPages", "pages", "page_count", "pageCount", "last_page", "lastPage", "num_pages"];

const OFFSETS: &[&str] = &["offset", "start", "skip", "startAt", "start_at", "startIndex"];
const TOTALS: &[&str] =
    &["total", "total_count", "totalCount", "total_items", "totalResults", "total_results", "count"];

/// Where the reply leads, by the first of these that it has: a `Link` header, a URL, a token, a page number, an offset.
pub(super) fn after(reply: &Reply<'_>) -> After {
    let relations = links(reply.headers);
    if let Some((_, target)) = relations.iter().find(|(relation, _)| relation == "next") {
        return After::Next(Next::Url(target.as_str().into()));
    }
    if relations.iter().any(|(relation, _)| matches!(relation.as_str(), "prev" | "previous" | "first" | "last")) {
        return After::End { is_stated: true };
    }
    let wrappers: Vec<&Value> = WRAPPERS.iter().filter_map(|path| at(reply.value, path)).collect();
    if says(&wrappers, MORE, false) || says(&wrappers, LAST, true) {
        return After::End { is_stated: true };
    }
    let by_body = next_url(&wrappers).or_else(|| token(&wrappers, reply)).or_else(|| number(&wrappers, reply));
    if let Some(after) = by_body.or_else(|| offset(&wrappers, reply)) {
        return after;
    }
    by_request(reply).unwrap_or(After::End { is_stated: has_null_next(&wrappers) })
}

/// What an object at the path holds, if there is one.
fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| matches!(value, Value::Object(_)))
}

fn find<'v>(wrappers: &[&'v Value], names: &[&'static str]) -> Option<(&'static str, &'v Value)> {
    wrappers.iter().find_map(|wrapper| names.iter().find_map(|name| Some((*name, wrapper.get(name)?))))
}

fn find_number(wrappers: &[&Value], names: &[&'static str]) -> Option<(&'static str, i64)> {
    let numbers = |wrapper: &&Value| names.iter().find_map(|name| Some((*name, as_number(wrapper.get(name)?)?)));
    wrappers.iter().find_map(numbers)
}

/// Some APIs write their numbers as text.
fn as_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_text()?.parse().ok())
}

fn says(wrappers: &[&Value], names: &[&str], what: bool) -> bool {
    let says = |wrapper: &&Value| names.iter().any(|name| wrapper.get(name) == Some(&Value::Bool(what)));
    wrappers.iter().any(says)
}

fn has_null_next(wrappers: &[&Value]) -> bool {
    let is_empty = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || value.as_text() == Some("");
    let names = NEXT_URLS.iter().chain(TOKENS.iter().map(|(name, _)| name));
    names.into_iter().any(|name| wrappers.iter().any(|wrapper| wrapper.get(name).is_some_and(is_empty)))
}

fn next_url(wrappers: &[&Value]) -> Option<After> {
    let url_of = |value: &Value| {
        let text = value.as_text().or_else(|| value.get("href")?.as_text()).or_else(|| value.get("url")?.as_text())?;
        let is_url = ["http://", "https://", "/", "?"].iter().any(|start| text.starts_with(start));
        is_url.then(|| Text::from(text))
    };
    let url = wrappers.iter().find_map(|wrapper| NEXT_URLS.iter().find_map(|name| url_of(wrapper.get(name)?)))?;
    Some(After::Next(Next::Url(url)))
}

fn token(wrappers: &[&Value], reply: &Reply<'_>) -> Option<After> {
    let is_token = |value: &&Value| match value {
        Value::Text(text) => !text.is_empty(),
        Value::Number(_) => true,
        _ => false,
    };
    let found = |wrapper: &&Value| {
        TOKENS.iter().find_map(|(name, send_as)| Some((*send_as, wrapper.get(name).filter(is_token)?.clone())))
    };
    let (send_as, value) = wrappers.iter().find_map(found)?;
    Some(After::Next(Next::Parameter(sent_as(send_as, reply), value)))
}

fn number(wrappers: &[&Value], reply: &Reply<'_>) -> Option<After> {
    // A number under the name of a next page is one.
    if let Some((_, next)) = find_number(wrappers, &["next_page", "nextPage"]) {
        return Some(After::Next(Next::Parameter(page_parameter(reply), Value::from(next))));
    }
    let (_, last) = find_number(wrappers, LAST_PAGES)?;
    let (page, left) = match find_number(wrappers, PAGES) {
        Some((_, page)) => (page, last - page),
        None => find_number(wrappers, PAGES_FROM_ZERO).map(|(_, page)| (page, last - page - 1))?,
    };
    if left <= 0 || reply.count == Some(0) {
        return Some(After::End { is_stated: true });
    }
    Some(After::Next(Next::Parameter(page_parameter(reply), Value::from(page + 1))))
}

fn offset(wrappers: &[&Value], reply: &Reply<'_>) -> Option<After> {
    let (name, offset) = find_number(wrappers, OFFSETS)?;
    let count = i64::try_from(reply.count?).ok()?;
    let total = find_number(wrappers, TOTALS).map(|(_, total)| total);
    let is_over = count == 0 || total.is_some_and(|total| offset + count >= total);
    Some(match is_over {
        true => After::End { is_stated: true },
        false => After::Next(Next::Parameter(sent_as(name, reply), Value::from(offset + count))),
    })
}

/// The request itself counts pages or items, and the reply does not: it goes on until a page is empty, or all that it
/// says there is has come.
fn by_request(reply: &Reply<'_>) -> Option<After> {
    let asked = |names: &[&'static str]| {
        names.iter().find_map(|name| Some((*name, query(reply.asked, name)?.parse::<i64>().ok()?)))
    };
    let (name, now, by) = match asked(PAGES) {
        Some((name, page)) => (name, page, 1),
        None => asked(OFFSETS).map(|(name, offset)| (name, offset, reply.count.unwrap_or(0)))?,
    };
    let count = reply.count?;
    let wrappers: Vec<&Value> = WRAPPERS.iter().filter_map(|path| at(reply.value, path)).collect();
    let total = find(&wrappers, TOTALS).and_then(|(_, total)| u64::try_from(as_number(total)?).ok());
    if count == 0 || total.is_some_and(|total| reply.items_so_far.saturating_add(count) >= total) {
        return Some(After::End { is_stated: true });
    }
    let next = now.saturating_add(i64::try_from(by).ok()?);
    Some(After::Next(Next::Parameter(sent_as(name, reply), Value::from(next))))
}

/// The name that the request uses for its page, or the usual one.
fn page_parameter(reply: &Reply<'_>) -> Parameter {
    let name = PAGES.iter().find(|name| query(reply.asked, name).is_some()).copied();
    sent_as(name.unwrap_or("page"), reply)
}

/// What reads JSON gets it there, all else in the URL.
fn sent_as(name: &str, reply: &Reply<'_>) -> Parameter {
    let place = || Place::parse(&format!(".{name}"));
    let is_in_query = query(reply.asked, name).is_some();
    match reply.sends_json && reply.method != Method::Get && !is_in_query {
        true => place().map_or_else(|| Parameter::Query(name.into()), Parameter::Body),
        false => Parameter::Query(name.into()),
    }
}

fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::LINK;

    use super::*;
    use crate::model::json;

    /// Where a reply leads to a request for `/?asked`.
    fn check(asked: &str, link: Option<&str>, body: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        link.map(|link| headers.insert(LINK, link.parse().unwrap()));
        let value = json::parse(body.as_bytes()).unwrap();
        let asked_url = Url::parse(&format!("http://a/?{asked}")).unwrap();
        let count = super::super::pages::count(&value, None);
        let reply = Reply {
            value: &value,
            headers: &headers,
            asked: &asked_url,
            method: if asked.is_empty() { Method::Post } else { Method::Get },
            sends_json: asked.is_empty(),
            count,
            items_so_far: 0,
        };
        let shown = match after(&reply) {
            After::Next(Next::Url(url)) => url.to_string(),
            After::Next(Next::Parameter(parameter, value)) => format!("{} {value}", parameter.to_value()),
            After::Next(other) => format!("{other:?}"),
            After::End { is_stated } => format!("end, {}", if is_stated { "stated" } else { "unstated" }),
        };
        assert_eq!(shown, expected, "{asked} {link:?} {body}");
    }

    #[test]
    fn the_next_page_is_found_under_the_names_that_apis_use() {
        let next = Some(r#"</n>; rel="next""#);
        check("q", next, "[1]", "/n");
        check("q", Some(r#"</1>; rel="prev""#), "[1]", "end, stated");
        check("q", None, "[1]", "end, unstated");
        check("q", None, r#"{"data":[1],"next":"https://a/2"}"#, "https://a/2");
        check("q", None, r#"{"data":[1],"next":null}"#, "end, stated");
        check("q", None, r#"{"value":[1],"@odata.nextLink":"https://a/2"}"#, "https://a/2");
        check("q", None, r#"{"_links":{"next":{"href":"/2"}}}"#, "/2");
        check("q", None, r#"{"paging":{"next":"?c=2"}}"#, "?c=2");
        check("q", None, r#"{"next_cursor":"x","has_more":true}"#, r#"{"query":"cursor"} "x""#);
        check("q", None, r#"{"next_cursor":"x","has_more":false}"#, "end, stated");
        check("q", None, r#"{"response_metadata":{"next_cursor":""}}"#, "end, stated");
        check("q", None, r#"{"nextPageToken":"x"}"#, r#"{"query":"pageToken"} "x""#);
        check("", None, r#"{"next_cursor":"x"}"#, r#"{"body":".cursor"} "x""#);
        check("q", None, r#"{"paging":{"next":{"after":"x","link":"?after=x"}}}"#, r#"{"query":"after"} "x""#);
        check("q", None, r#"{"pageInfo":{"hasNextPage":true,"endCursor":"x"}}"#, r#"{"query":"after"} "x""#);
        check("q", None, r#"{"pageInfo":{"hasNextPage":false,"endCursor":"x"}}"#, "end, stated");
        check("q", None, r#"{"data":[1],"page":1,"total_pages":2}"#, r#"{"query":"page"} 2"#);
        check("q", None, r#"{"data":[1],"page":2,"total_pages":2}"#, "end, stated");
        check("page_number=1", None, r#"{"meta":{"current_page":1,"last_page":2}}"#, r#"{"query":"page_number"} 2"#);
        check("q", None, r#"{"content":[1],"page":{"number":0,"totalPages":2}}"#, r#"{"query":"page"} 1"#);
        check("q", None, r#"{"content":[1],"page":{"number":1,"totalPages":2}}"#, "end, stated");
        check("q", None, r#"{"data":[1],"next_page":3}"#, r#"{"query":"page"} 3"#);
        check("q", None, r#"{"data":[1,2],"offset":2,"total":9}"#, r#"{"query":"offset"} 4"#);
        check("q", None, r#"{"issues":[1],"startAt":8,"total":9}"#, "end, stated");
        check("page=3", None, "[1]", r#"{"query":"page"} 4"#);
        check("page=3", None, "[]", "end, stated");
        check("offset=3&limit=2", None, r#"{"data":[1,2]}"#, r#"{"query":"offset"} 5"#);
        check("offset=0", None, r#"{"data":[1,2],"total":2}"#, "end, stated");
    }
}
