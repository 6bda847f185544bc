//! A place in a request for a value that a page or a cursor gives: a parameter of the URL, a header, or a place in the
//! body.

use http::HeaderName;
use http::header::CONTENT_TYPE;
use url::form_urlencoded;

use super::super::into::Place;
use crate::http::{Payload, Request};
use crate::model::{Text, Value, json};
use crate::settings::Section;

#[derive(Clone, Debug)]
pub(super) enum Parameter {
    Query(Text),
    Header(HeaderName),
    /// In JSON or in a form.
    Body(Place),
}

impl Parameter {
    /// Reads the table `key`: a name alone is a parameter of the URL.
    pub(super) fn read(
        section: &mut Section<'_>,
        key: &'static str,
        about: &'static str,
        payload: &Payload,
    ) -> Option<Self> {
        section.table(key, about, |section| {
            section.shorthand("query");
            let query: Option<String> =
                section.optional("query", "the name of a parameter of the URL; a text alone is one");
            let header: Option<String> = section.optional("header", "the name of a header");
            let body: Option<String> = section.optional("body", "a place in the JSON or the form, such as \".page\"");
            if [&query, &header, &body].into_iter().flatten().count() > 1 {
                let way_out = "keep one of `query`, `header` and `body`";
                section.mistake("body", "a value is sent in one place", way_out);
            }
            let header = header.and_then(|name| match name.parse::<HeaderName>() {
                Ok(name) => Some(Parameter::Header(name)),
                Err(_) => {
                    let message = format!("`{name}` cannot be the name of a header");
                    section.mistake("header", message, "write one such as \"X-Cursor\"");
                    None
                }
            });
            let body = body.and_then(|path| {
                let place = Place::parse(&path);
                match (&place, payload) {
                    (None, _) => {
                        let message = format!("`{path}` is not a path of keys");
                        section.mistake("body", message, "write one such as \".page\" or \".paging.cursor\"");
                    }
                    (Some(place), Payload::Form(_)) if !place.is_one_key() => {
                        section.mistake(
                            "body",
                            "a form has no places inside of its fields",
                            "write one such as \".page\"",
                        );
                    }
                    (Some(_), Payload::None | Payload::Text(_)) => {
                        let message = "the request has no JSON or form to put a value into";
                        section.mistake("body", message, "add `json` or `form`, or send it as `query` or `header`");
                    }
                    (Some(_), Payload::Json(_) | Payload::Form(_)) => {}
                }
                place.map(Parameter::Body)
            });
            query.map(|name| Parameter::Query(name.into())).or(header).or(body)
        })
    }

    pub(super) fn is_in_url(&self) -> bool {
        matches!(self, Parameter::Query(_))
    }

    /// Puts the value into its place, over what stands there.
    pub(super) fn put(&self, request: &mut Request, value: &Value) -> Result<(), String> {
        let text = || match value {
            Value::Text(text) => text.clone(),
            other => other.to_string().into(),
        };
        match self {
            Parameter::Query(name) => {
                put_query(request, name, &text());
                Ok(())
            }
            Parameter::Header(name) => request.set_header(name.clone(), &text()),
            Parameter::Body(place) => put_body(request, place, value, &text()),
        }
    }

    /// Plain data, for the store.
    pub(super) fn to_value(&self) -> Value {
        let (key, text) = match self {
            Parameter::Query(name) => ("query", name.to_string()),
            Parameter::Header(name) => ("header", name.to_string()),
            Parameter::Body(place) => ("body", place.path().to_owned()),
        };
        [(Text::from(key), Value::from(text))].into_iter().collect()
    }

    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let text = |key| value.get(key).and_then(Value::as_text);
        let query = || text("query").map(|name| Parameter::Query(name.into()));
        let header = || text("header").and_then(|name| Some(Parameter::Header(name.parse().ok()?)));
        let body = || text("body").and_then(|path| Some(Parameter::Body(Place::parse(path)?)));
        query().or_else(header).or_else(body)
    }
}

fn put_query(request: &mut Request, name: &str, value: &str) {
    let url = &mut request.url;
    if url.query_pairs().any(|(key, _)| key == name) {
        let others: Vec<(String, String)> =
            url.query_pairs().filter(|(key, _)| key != name).map(|(key, value)| (key.into(), value.into())).collect();
        url.query_pairs_mut().clear().extend_pairs(others);
    }
    url.query_pairs_mut().append_pair(name, value);
}

fn put_body(request: &mut Request, place: &Place, value: &Value, text: &str) -> Result<(), String> {
    let is_form = request.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"form-urlencoded"));
    if is_form {
        let name = place.path().trim_start_matches('.');
        let pairs = form_urlencoded::parse(&request.body).filter(|(key, _)| key != name);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs).append_pair(name, text);
        request.body = form.finish().into();
        return Ok(());
    }
    let body = json::parse(&request.body).map_err(|error| format!("the body is not JSON: {}", error.reason))?;
    place.check(&body).map_err(|_| format!("the body has no place for `{}`", place.path()))?;
    request.body = json::to_vec(&place.put(&body, value.clone())).into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::http::Method;

    fn check(parameter: &str, url: &str, body: (&'static str, &'static str), value: &str, expected: &str) {
        let parameter = Parameter::from_value(&json::parse(parameter.as_bytes()).unwrap()).unwrap();
        assert_eq!(Parameter::from_value(&parameter.to_value()).unwrap().to_value(), parameter.to_value());
        let mut request = Request::new(Method::Post, url.parse().unwrap());
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.0));
        request.body = body.1.into();
        let shown = match parameter.put(&mut request, &json::parse(value.as_bytes()).unwrap()) {
            Ok(()) => {
                let header = request.headers.get("x-page").map(|value| value.to_str().unwrap()).unwrap_or_default();
                let body = String::from_utf8(request.body.to_vec()).unwrap();
                format!("{} {header} {body}", request.url.query().unwrap_or_default())
            }
            Err(why) => why,
        };
        assert_eq!(shown.trim(), expected, "{url} {body:?}");
    }

    #[test]
    fn a_value_finds_its_place_in_a_request() {
        const JSON: &str = "application/json";
        const FORM: &str = "application/x-www-form-urlencoded";
        check(r#"{"query":"page"}"#, "http://a/", (JSON, ""), "2", "page=2");
        check(r#"{"query":"c"}"#, "http://a/?q=x%20y&c=1&z", (JSON, ""), r#""a&b""#, "q=x+y&z=&c=a%26b");
        check(r#"{"query":"c"}"#, "http://a/?q=x%20y", (JSON, ""), r#""1""#, "q=x%20y&c=1");
        check(r#"{"header":"X-Page"}"#, "http://a/", (JSON, ""), "2", "2");
        check(r#"{"body":".paging.page"}"#, "http://a/", (JSON, r#"{"q":1}"#), "2", r#"{"q":1,"paging":{"page":2}}"#);
        check(r#"{"body":".page"}"#, "http://a/", (FORM, "page=1&q=x+y"), "2", "q=x+y&page=2");
        check(r#"{"body":".page"}"#, "http://a/", (JSON, "[]"), "2", "the body has no place for `.page`");
    }
}
