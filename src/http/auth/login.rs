//! `login`: a request that signs in; the token in its reply, or the cookies, sign what follows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use surf::http::Method;
use url::form_urlencoded;

use super::Kind;
use super::desk::Desk;
use super::nonce;
use super::outgoing::Outgoing;
use super::scheme::{Denial, Issuer, Scheme, Token};
use crate::expr::{Filter, Fuel, Scope};
use crate::http::content::{ReadAs, value_of};
use crate::http::failure::Failure;
use crate::http::request::{Request, Response};
use crate::http::settings::{read_header_name, read_own_url};
use crate::model::{Labels, Value, json};
use crate::settings::{SecretValue, Section};

pub(super) const KIND: Kind =
    Kind { name: "login", about: "a request that signs in; its token or cookies sign what follows", read };

struct Login {
    url: String,
    method: Method,
    body: Option<(&'static str, Vec<u8>)>,
    token: Option<Filter>,
    header: HeaderName,
    prefix: String,
    lifetime: Option<Duration>,
}

fn read(section: &mut Section<'_>) -> Option<Arc<dyn Scheme>> {
    let url = read_own_url(section, "url", "where to sign in; a path is appended to `base`");
    let methods = [("post", Method::Post), ("put", Method::Put), ("get", Method::Get)];
    let method = section.choice("method", &methods, "the request's method");
    let form: Option<SecretValue> = section.optional("form", "fields to send as an HTML form would, by name");
    let sent: Option<SecretValue> = section.optional("json", "what to send as JSON");
    let token: Option<Filter> =
        section.optional("token", "a filter that takes the token out of the reply, such as \".token\"");
    let cookie = section.or("cookie", false, "whether the cookies that the reply sets sign what follows");
    let header =
        read_header_name(section, "header", "the header that the token goes into, by default \"Authorization\"");
    let prefix = section.or("prefix", "Bearer ".to_owned(), "what stands before the token in the header");
    let lifetime =
        section.optional("lifetime", "after which time to sign in again; without it, when the server refuses");
    if section.has("form") && section.has("json") {
        section.mistake("json", "a request has one body", "keep `form` or `json`");
    }
    if token.is_none() && !cookie && !section.has("token") {
        let way_out = "add `token = \".token\"` or `cookie = true`";
        section.mistake("login", "this does not say what signs the requests that follow", way_out);
    }
    let form = form.map(|SecretValue(form)| {
        let encoded = encoded_form(&form);
        if encoded.is_none() {
            let message = "a form is a table of texts, numbers and booleans";
            section.mistake("form", message, "write `form = { user = \"…\", password = \"${secret:NAME}\" }`");
        }
        ("application/x-www-form-urlencoded", encoded.unwrap_or_default().into_bytes())
    });
    let body = form.or(sent.map(|SecretValue(value)| ("application/json", json::to_vec(&value))));
    Some(Arc::new(Login { url: url?, method, body, token, header: header.unwrap_or(AUTHORIZATION), prefix, lifetime }))
}

fn encoded_form(form: &Value) -> Option<String> {
    let Value::Object(fields) = form else { return None };
    let mut encoder = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter() {
        match value {
            Value::Text(text) => encoder.append_pair(name, text),
            Value::Number(_) | Value::Bool(_) => encoder.append_pair(name, &value.to_string()),
            _ => return None,
        };
    }
    Some(encoder.finish())
}

impl Scheme for Login {
    fn sign(&self, request: &mut Outgoing<'_>, token: &Token) -> Result<(), Failure> {
        // Cookies are added where they are kept.
        if self.token.is_none() || request.header(self.header.as_str()).is_some() {
            return Ok(());
        }
        request.set_header(self.header.as_str(), &format!("{}{}", self.prefix, token.text))
    }

    fn signs_alike(&self) -> bool {
        true
    }

    fn issuer(&self) -> Option<&dyn Issuer> {
        Some(self)
    }

    fn uses_cookies(&self) -> bool {
        self.token.is_none()
    }
}

#[async_trait]
impl Issuer for Login {
    async fn issue(&self, desk: &Desk<'_>) -> Result<Token, Denial> {
        let url = desk.url(&self.url)?;
        let mut request = Request::new(self.method, url.clone());
        if let Some((content_type, body)) = &self.body {
            request.headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
            request.body = body.clone().into();
        }
        // What an earlier session left would be taken for this one.
        desk.forget_cookies();
        let response = desk.ask(request).await?;
        let said = self.said(&response);
        // A form sends its reader on to the page that was wanted.
        if !(200..400).contains(&response.status) {
            return Err(desk.refusal(self.method, &url, &response, &said));
        }
        let text = match &self.token {
            Some(filter) => {
                let token = self.token_in(filter, &said, &response, desk)?;
                desk.keep_secret(&token);
                token
            }
            // It is never sent: it tells one session from the next.
            None if desk.has_cookies() => nonce(),
            None => {
                let cause = format!("signing in at `{}` set no cookie", self.url);
                return Err(Denial::permanent(cause));
            }
        };
        Ok(Token { text, lifetime: self.lifetime, look_again: None })
    }
}

impl Login {
    fn said(&self, response: &Response) -> Value {
        let Ok(body) = &response.body else { return Value::Null };
        let read = |read_as| value_of(body.clone(), &response.headers, read_as);
        read(ReadAs::Auto).or_else(|_| read(ReadAs::Text)).unwrap_or_default()
    }

    fn token_in(&self, filter: &Filter, said: &Value, response: &Response, desk: &Desk<'_>) -> Result<String, Denial> {
        let labels = Labels::default().with_reply(Arc::new(response.to_reply()));
        let scope = Scope { labels: &labels, window: None, now: desk.clock().timestamp(), fuel: Fuel::Inline };
        let nothing = |why: &str| {
            let cause = format!("signing in at `{}` gave no token: `{}` {why}", self.url, filter.source());
            Err(Denial::permanent(cause))
        };
        match filter.first(said, &scope) {
            Ok(Some(Value::Text(token))) if !token.is_empty() => Ok(token.to_string()),
            Ok(Some(number @ Value::Number(_))) => Ok(number.to_string()),
            Ok(_) => nothing("finds no text in the reply"),
            Err(_) => nothing("fails on the reply"),
        }
    }
}
