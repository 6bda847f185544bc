//! What becomes of a request: an item, or a refusal.

use std::sync::Arc;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::credentials::Credentials;
use super::room::{Held, Room};
use super::{Received, remote};
use crate::http::{Asked, BodyFault, ReadAs, Refusal, reply, value_of};
use crate::model::{Labels, Object, Outcome, Text, Value, headers_value, json};
use crate::runtime::{self, Clock};

/// A body longer than this is parsed on a blocking thread.
const LARGE: usize = 64 << 10;

/// After how many seconds a sender may try again.
const RETRY_SECONDS: u16 = 5;

/// What the requests of one webhook share.
pub(super) struct Answering {
    pub(super) credentials: Credentials,
    pub(super) max_body: usize,
    pub(super) room: Arc<Room>,
    pub(super) clock: Clock,
    pub(super) requests: Sender<Received>,
}

/// Why a request has made no item.
enum NotTaken {
    /// Its body is not what its content type says.
    Bad(String),
    /// The source has gone, or senders that hung up have left no room.
    Lost,
}

impl Answering {
    pub(super) async fn answer(self: Arc<Self>, asked: Asked) -> Response<Bytes> {
        if let Err(refusal) = self.credentials.check_head(&asked.head.headers) {
            let (status, why) = refused(refusal);
            return with_challenge(asked.refuse(status, why).await);
        }
        if asked.head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return asked.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as it is, not compressed").await;
        }
        let length = asked.body.length().map_or(self.max_body, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if length > self.max_body {
            return asked.refuse(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE).await;
        }
        // The place is kept until the answer is there.
        let Some((_place, held)) = self.room.enter(length) else {
            return come_back(asked.refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests wait; come back").await);
        };
        let Asked { mut head, body, peer } = asked;
        let body = match body.read(self.max_body).await {
            Ok(body) => body,
            Err(BodyFault::TooLarge) => return reply(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE),
            Err(BodyFault::TooSlow) => return reply(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
            Err(BodyFault::CutShort) => return reply(StatusCode::BAD_REQUEST, "the body was cut short"),
        };
        if let Err(refusal) = self.credentials.check_body(&head.headers, &body) {
            let (status, why) = refused(refusal);
            return with_challenge(reply(status, why));
        }
        head.headers = self.credentials.without(&head.headers);
        let labels = self.labels(&head, peer.map(|peer| peer.ip()));
        let is_large = body.len() > LARGE;
        let take = move || self.take(&body, &head.headers, labels, held);
        // Goes on to its end even if the sender hangs up meanwhile.
        let taken = if is_large { runtime::blocking(take).await.unwrap_or(Err(NotTaken::Lost)) } else { take() };
        match taken {
            Err(NotTaken::Bad(why)) => reply(StatusCode::BAD_REQUEST, &why),
            Err(NotTaken::Lost) => try_again(),
            Ok(outcome) => match outcome.recv().await {
                Ok(outcome) if outcome.is_settled() => reply(StatusCode::ACCEPTED, "accepted"),
                // Abandoned, or nobody is left to tell.
                _ => try_again(),
            },
        }
    }

    /// The item of a request goes on its way; answers where its end will be told.
    fn take(
        &self,
        body: &Bytes,
        headers: &HeaderMap,
        labels: Labels,
        held: Held,
    ) -> Result<Receiver<Outcome>, NotTaken> {
        let value = value(body, headers).map_err(NotTaken::Bad)?;
        let (told, outcome) = async_channel::bounded(1);
        let sent = self.requests.try_send(Received { value, labels, told, _held: held });
        sent.map(|()| outcome).map_err(|_| NotTaken::Lost)
    }

    fn labels(&self, head: &http::request::Parts, peer: Option<std::net::IpAddr>) -> Labels {
        let mut labels = Object::default();
        let mut set = |name: &str, value: Value| labels.insert(name.into(), value);
        set("method", Value::from(head.method.as_str()));
        set("path", Value::from(head.uri.path()));
        set("query", query(head.uri.query().unwrap_or_default()));
        set("headers", headers_value(&head.headers));
        if let Some(peer) = peer {
            set("remote", remote(peer));
        }
        set("received_at", Value::from(self.clock.timestamp().to_string()));
        Labels::from(labels)
    }
}

const TOO_LARGE: &str = "the body is too large";

/// The parameters by name; repeated ones joined by `, `, as headers are.
fn query(text: &str) -> Value {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, joined)) => *joined = format!("{joined}, {value}"),
            None => parameters.push((name.into_owned(), value.into_owned())),
        }
    }
    parameters.into_iter().map(|(name, value)| (Text::from(name), Value::from(value))).collect()
}

/// The value of a body. The error says why it is not what its content type says.
fn value(body: &Bytes, headers: &HeaderMap) -> Result<Value, String> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|line| line.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if body.is_empty() && essence.is_empty() {
        return Ok(Value::Null);
    }
    if !matches!(essence.as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl") {
        return value_of(body.clone(), headers, ReadAs::Auto);
    }
    let lines = body.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
    let values =
        lines.map(|(line, number)| json::parse(line).map_err(|error| format!("line {number} of the body is {error}")));
    Ok(Value::array(values.collect::<Result<_, _>>()?))
}

fn refused(refusal: Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::Missing => (StatusCode::UNAUTHORIZED, "the credentials are missing"),
        Refusal::Wrong => (StatusCode::FORBIDDEN, "the credentials are not right"),
    }
}

/// A 401 says how to sign in (RFC 9110, 11.6.1).
fn with_challenge(mut response: Response<Bytes>) -> Response<Bytes> {
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn try_again() -> Response<Bytes> {
    come_back(reply(StatusCode::SERVICE_UNAVAILABLE, "not taken; send it again"))
}

fn come_back(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_its_content_type_says() {
        for (content_type, body, expected) in [
            ("application/json", "[1, {}]", "[1,{}]"),
            ("application/x-ndjson; charset=utf-8", "1\r\n\n{\"a\":2}\n", r#"[1,{"a":2}]"#),
            ("application/ndjson", "", "[]"),
            ("text/plain", "[1]", r#""[1]""#),
            ("", "text", r#""text""#),
            ("", "", "null"),
            ("image/png", "x", r#""eA==""#),
        ] {
            let mut headers = HeaderMap::new();
            if !content_type.is_empty() {
                headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            }
            assert_eq!(value(&Bytes::from_static(body.as_bytes()), &headers).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        let mut headers = HeaderMap::new();
        for (content_type, body, expected) in [
            ("application/json", "{", "the body is not JSON at byte 1: value or end of sequence expected"),
            (
                "application/x-ndjson",
                "1\n\n[",
                "line 3 of the body is not JSON at byte 1: value or end of sequence expected",
            ),
        ] {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            assert_eq!(value(&Bytes::from_static(body.as_bytes()), &headers), Err(expected.to_owned()));
        }
    }

    #[test]
    fn parameters_come_by_name() {
        assert_eq!(query("a=1&b=x%20y&a=2&c").to_string(), r#"{"a":"1, 2","b":"x y","c":""}"#);
        assert_eq!(query("").to_string(), "{}");
    }
}
