//! The sample API of the demo: weather stations, some of them slow, unwell or gone.

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::json;

use crate::http::{Asked, Handler, ListenAddress, Listeners, Listening, Route};
use crate::runtime::Clock;

const NAMES: [&str; 24] = [
    "Aarhus",
    "Bergen",
    "Cork",
    "Dover",
    "Espoo",
    "Faro",
    "Ghent",
    "Halden",
    "Inverness",
    "Jena",
    "Kiruna",
    "Lerwick",
    "Malmö",
    "Narvik",
    "Oulu",
    "Porto",
    "Quimper",
    "Rostock",
    "Split",
    "Tromsø",
    "Umeå",
    "Valletta",
    "Wick",
    "Zadar",
];

pub(super) const STATIONS: usize = NAMES.len();

/// A station that was taken down: 404.
const GONE: usize = 9;
/// A station whose details always fail: 500.
const BROKEN: usize = 17;
/// Every so manieth station answers slowly.
const SLOW: usize = 5;
/// Every so manieth station is unwell the first time it is asked.
const UNWELL: usize = 6;

/// Starts the API on a free port of this machine; it runs until the answer is dropped.
pub(super) fn start() -> io::Result<Listening> {
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let clock = Clock::system();
    let pace = clock.clone();
    let handler: Handler = Arc::new(move |request: Asked| {
        let (asked, pace) = (asked.clone(), pace.clone());
        Box::pin(async move {
            let path = request.head.uri.path();
            let first = asked.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
            answer(path, first, &pace).await
        })
    });
    let address = ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
    Listeners::new(clock).listen(&address, Route { method: Method::GET, path: "/*".to_owned(), handler })
}

/// The reply to a request for `path`; `first` says that it is the first for it.
async fn answer(path: &str, first: bool, clock: &Clock) -> Response<Bytes> {
    if path == "/stations" {
        let stations: Vec<_> = NAMES.iter().enumerate().map(|(id, name)| json!({ "id": id, "name": name })).collect();
        return reply(StatusCode::OK, &json!({ "stations": stations }));
    }
    let id = path.strip_prefix("/stations/").and_then(|id| id.parse().ok()).filter(|id| *id < STATIONS);
    match id {
        None | Some(GONE) => reply(StatusCode::NOT_FOUND, &json!({ "error": "there is no such station" })),
        Some(BROKEN) => reply(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "the sensor is broken" })),
        Some(id) if id % UNWELL == 0 && first => {
            reply(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "try again in a moment" }))
        }
        Some(id) => {
            if id % SLOW == 0 {
                clock.sleep(Duration::from_millis(400)).await;
            }
            // Made up, but the same at every run.
            let wind = (id * 37 + 11) % 100;
            let temperature = (((id * 53) % 300) as f64 - 80.0) / 10.0;
            reply(StatusCode::OK, &json!({ "height": (id * 91) % 700, "temperature": temperature, "wind": wind }))
        }
    }
}

fn reply(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
