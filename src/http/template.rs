//! A request that is made from an item.

use bytes::Bytes;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use surf::http::Method;
use url::{Url, form_urlencoded};

use super::endpoint::Endpoint;
use super::request::Request;
use super::settings::read_headers;
use crate::expr::{Encoding, Filter, FilterError, Scope, Template};
use crate::model::{Value, json};
use crate::settings::Section;

/// The parts of a request that depend on an item.
#[derive(Clone)]
pub struct RequestTemplate {
    pub method: Method,
    pub url: Template,
    headers: Vec<(HeaderName, Template)>,
    query: Vec<(String, Template)>,
}

/// What a request carries.
#[derive(Clone)]
pub enum Payload {
    None,
    /// The filter's first output as JSON.
    Json(Filter),
    /// The filter's first output, an object, as an HTML form sends it.
    Form(Filter),
    Text(Template),
}

/// Why no request can be made from an item.
#[derive(Clone, Debug)]
pub enum Unrendered {
    /// The filter or template in this setting failed.
    Filter { setting: &'static str, error: FilterError },
    /// What came out cannot be sent.
    Unsendable(String),
}

impl RequestTemplate {
    /// Reads `url`, `headers` and `query`. A relative URL needs a client, which may have a base: `via` must be read too.
    pub fn read(section: &mut Section<'_>, method: Method) -> Option<Self> {
        let url = section.template("url", Encoding::Url, "where the request goes; relative to the base of `via`");
        let headers = read_headers(section);
        let query = section.templates("query", Encoding::Plain, "parameters to add to the URL, by name");
        let url = url?;
        let has_client = section.has("via");
        if let Some(wrong) = url.constant().and_then(|text| wrong_url(text, has_client)) {
            section.mistake("url", wrong, "write one such as \"https://api.example/items\"");
        }
        Some(Self { method, url, headers, query })
    }

    /// Whether the same request comes of every item, apart from what it carries.
    pub fn is_constant(&self) -> bool {
        let headers = self.headers.iter().map(|(_, template)| template);
        let query = self.query.iter().map(|(_, template)| template);
        headers.chain(query).chain([&self.url]).all(|template| template.constant().is_some())
    }

    /// Whether a request is told by its URL: it has no query of its own, headers or body.
    pub fn is_url_alone(&self, payload: &Payload) -> bool {
        self.headers.is_empty() && self.query.is_empty() && matches!(payload, Payload::None)
    }

    /// The URL for an item, without `query`. It may be relative to the base of the endpoint's client.
    pub fn render_url(&self, endpoint: &Endpoint, input: &Value, scope: &Scope<'_>) -> Result<Url, Unrendered> {
        let rendered = self.url.render(input, scope);
        let rendered = rendered.map_err(|error| Unrendered::Filter { setting: "url", error })?;
        if !self.url.begins_with_data() && self.url.constant().is_none() && climbs(&rendered) {
            let cause = "data put a `..` into the path of the URL, which would lead to another place";
            return Err(Unrendered::Unsendable(cause.to_owned()));
        }
        endpoint.url(&rendered).map_err(Unrendered::Unsendable)
    }

    /// The request for an item. Its URL may be relative to the base of the endpoint's client.
    pub fn render(
        &self,
        payload: &Payload,
        endpoint: &Endpoint,
        input: &Value,
        scope: &Scope<'_>,
    ) -> Result<Request, Unrendered> {
        let render = |setting, template: &Template| {
            template.render(input, scope).map_err(|error| Unrendered::Filter { setting, error })
        };
        let mut url = self.render_url(endpoint, input, scope)?;
        for (name, template) in &self.query {
            url.query_pairs_mut().append_pair(name, &render("query", template)?);
        }
        let mut request = Request::new(self.method, url);
        if let Some((content_type, body)) = payload.render(input, scope)? {
            request.headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
            request.body = body;
        }
        for (name, template) in &self.headers {
            request.set_header(name.clone(), &render("headers", template)?).map_err(Unrendered::Unsendable)?;
        }
        Ok(request)
    }
}

/// Whether a path has a segment `.` or `..`, in any way that the URL standard reads as one.
fn climbs(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let is_dots = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    path.split(['/', '\\']).any(is_dots)
}

fn wrong_url(text: &str, has_client: bool) -> Option<String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => None,
        Ok(_) => Some(format!("`{text}` does not begin with http:// or https://")),
        Err(url::ParseError::RelativeUrlWithoutBase) if has_client => None,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            Some(format!("`{text}` names no host, and without `via` there is no base for it"))
        }
        Err(error) => Some(format!("`{text}` is not a URL: {error}")),
    }
}

impl Payload {
    /// Reads `json`, `form` and `body`, of which at most one may be there.
    pub fn read(section: &mut Section<'_>) -> Self {
        let json = section.optional("json", "a filter that makes the JSON to send");
        let form = section.optional("form", "a filter that makes an object, sent as an HTML form would");
        let body = section.optional_template("body", Encoding::Plain, "the text to send");
        // Also those that are wrong by themselves count.
        if ["json", "form", "body"].iter().filter(|key| section.has(key)).count() > 1 {
            let second = if section.has("body") { "body" } else { "form" };
            section.mistake(second, "a request has one body", "keep one of `json`, `form` and `body`");
        }
        let payload = json.map(Payload::Json).or(form.map(Payload::Form)).or(body.map(Payload::Text));
        payload.unwrap_or(Payload::None)
    }

    /// The content type and the bytes.
    fn render(&self, input: &Value, scope: &Scope<'_>) -> Result<Option<(&'static str, Bytes)>, Unrendered> {
        let first = |setting, filter: &Filter| {
            let output = filter.first(input, scope).map_err(|error| Unrendered::Filter { setting, error })?;
            output.ok_or_else(|| Unrendered::Unsendable(format!("`{setting}` gave nothing to send")))
        };
        Ok(match self {
            Payload::None => None,
            Payload::Json(filter) => Some(("application/json", json::to_vec(&first("json", filter)?).into())),
            Payload::Form(filter) => {
                let form = encoded_form(&first("form", filter)?).map_err(Unrendered::Unsendable)?;
                Some(("application/x-www-form-urlencoded", form.into()))
            }
            Payload::Text(template) => {
                let text = template.render(input, scope);
                let text = text.map_err(|error| Unrendered::Filter { setting: "body", error })?;
                Some(("text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes())))
            }
        })
    }
}

/// An object as an HTML form sends it. A list gives its name once for each element.
fn encoded_form(form: &Value) -> Result<String, String> {
    let Value::Object(fields) = form else {
        return Err(format!("`form` gave {} in place of an object", with_article(form)));
    };
    let mut encoder = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter() {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let text = match value {
                Value::Text(text) => text.to_string(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                other => return Err(format!("the field `{name}` of `form` is {}", with_article(other))),
            };
            encoder.append_pair(name, &text);
        }
    }
    Ok(encoder.finish())
}

fn with_article(value: &Value) -> String {
    match value.type_name() {
        name @ ("array" | "object") => format!("an {name}"),
        name @ ("null" | "bytes") => name.to_owned(),
        name => format!("a {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_climbs_is_known_in_every_spelling() {
        for url in ["http://a/..", "http://a/x/../y", "/.", "/%2e%2E/x", "/.%2e?q", "/x\\..\\y"] {
            assert!(climbs(url), "{url}");
        }
        for url in ["http://a.b/x..y/.z/...", "/x?q=/../", "/x#/.."] {
            assert!(!climbs(url), "{url}");
        }
    }

    #[test]
    fn a_form_takes_texts_numbers_booleans_and_lists_of_them() {
        let form = |text: &str| encoded_form(&json::parse(text.as_bytes()).unwrap());
        assert_eq!(form(r#"{"a":"x y&","b":1,"c":[true,"z"]}"#).unwrap(), "a=x+y%26&b=1&c=true&c=z");
        assert_eq!(form("[1]").unwrap_err(), "`form` gave an array in place of an object");
        assert_eq!(form(r#"{"a":null}"#).unwrap_err(), "the field `a` of `form` is null");
    }
}
