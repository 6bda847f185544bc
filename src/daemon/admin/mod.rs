//! The admin address: metrics, status and a page for people and programs, at an address and port or a socket.
//!
//! It answers what [`super::api`] says, to those whom [`guard`] lets in.

mod guard;
mod page;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::Boxed;
use http::header::{CACHE_CONTROL, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use self::guard::{Guard, Refused};
use super::api::{Api, ApiRoute, Needs};
use crate::assemble::AdminSettings;
use crate::http::{Asked, Handler, Listeners, Listening, Route};
use crate::model::{Fault, FaultKind};

/// How many connections are open at most; see [`crate::http::Listeners`] for what becomes of the next.
const CONNECTIONS: usize = 64;

/// How long the last replies may take.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// Answers until it is closed.
pub(super) struct Admin {
    listening: Vec<Listening>,
    listeners: Listeners,
}

impl Admin {
    pub(super) fn listen(settings: &AdminSettings, api: &Arc<Api>) -> Result<Self, Fault> {
        let guard = Arc::new(Guard::new(settings));
        let listeners = Listeners::with_connections(api.clock.clone(), CONNECTIONS);
        let mut routes: Vec<Route> = api.routes().into_iter().map(|route| guarded(&guard, route)).collect();
        routes.push(page_route(&guard));
        // Whoever asks before the last is there waits for it.
        let _change = listeners.change();
        let listen = |route| listeners.listen(&settings.listen, route);
        let listening: Vec<_> = routes.into_iter().map(listen).collect::<Result<_, _>>().map_err(|error| {
            let message = format!("cannot listen at `{}`, the `admin` of `[service]`: {error}", settings.listen);
            Fault::stop(FaultKind::Read, message)
        })?;
        if let Some(first) = listening.first() {
            log::info!(address:% = first.bound(); "admin listens");
        }
        Ok(Self { listening, listeners })
    }

    /// Takes no more requests; those that have come are answered.
    pub(super) async fn close(self) {
        self.listeners.close();
        drop(self.listening);
        self.listeners.finished(LAST_REPLIES).await;
    }
}

fn guarded(guard: &Arc<Guard>, route: ApiRoute) -> Route {
    let ApiRoute { method, path, needs, handler } = route;
    Route { method, path: path.to_owned(), handler: behind(guard, Some(needs), handler) }
}

/// The page holds nothing of its own, so anyone may have it: what it shows, it asks for.
fn page_route(guard: &Arc<Guard>) -> Route {
    let handler: Handler = Arc::new(|_| -> Boxed<Response<Bytes>> { Box::pin(async { page::response() }) });
    Route { method: Method::GET, path: "/".to_owned(), handler: behind(guard, None, handler) }
}

/// A handler that is asked only by those whom the guard lets in.
fn behind(guard: &Arc<Guard>, needs: Option<Needs>, handler: Handler) -> Handler {
    let guard = guard.clone();
    Arc::new(move |asked: Asked| -> Boxed<Response<Bytes>> {
        let (guard, handler) = (guard.clone(), handler.clone());
        Box::pin(async move {
            let checked = guard.check(&asked.head.headers, &asked.head.uri, needs);
            let mut response = match checked {
                Ok(()) => handler(asked).await,
                Err(refused) => refuse(asked, refused).await,
            };
            let headers = response.headers_mut();
            for (name, value) in HEADERS {
                headers.insert(name, HeaderValue::from_static(value));
            }
            response
        })
    })
}

/// On every reply: browsers shall neither keep it, nor guess its type, nor show it to other sites.
const HEADERS: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

async fn refuse(asked: Asked, refused: Refused) -> Response<Bytes> {
    let (status, why) = refused.answer();
    let mut response = asked.refuse(status, why).await;
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
