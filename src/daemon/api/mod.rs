//! What a daemon answers over HTTP: to commands at the control socket, and to people and programs at the admin address.
//!
//! | request | is |
//! |---|---|
//! | `GET /health` | 200 as long as the executor turns |
//! | `GET /ready` | 200 from the start until a stop |
//! | `GET /metrics` | the metrics, as Prometheus reads them |
//! | `GET /status` | how all is doing: [`Status`] |
//! | `GET /dead?…` | dead letters, newest first, one JSON object a line; see [`letters::list_query`] |
//! | `GET /dead/ids?…` | their ids, as an array |
//! | `GET /dead/ID` | one of them |
//! | `PUT /dead/ID/value` | gives one another value |
//! | `POST /dead/replay` | asks for some to be replayed: `{"ids": […], "from": …, "interval_us": …}` |
//! | `POST /dead/drop` | drops some: `{"ids": […]}` |
//! | `GET /tap?…` | samples of what passes after a component, one JSON object a line as they come; see [`TapOrder`] |
//! | `POST /plan` | what going over to the config of an [`crate::assemble::Outline`] would do: a [`PlanReport`] |
//! | `GET /state` | positions, and cursors with their runs, one JSON object a line |
//! | `POST /state` | sets a cursor, or resets one: `{"pipeline": …, "component": …, "partition": …, "value": …}` |
//! | `POST /store/compact` | gives back what the store's file no longer needs |
//! | `POST /pipeline/NAME/pause`, `…/resume`, `…/trigger` | pauses one, lets it go on, has its schedule tick at once |
//! | `POST /reload` | reads the config again; 422 with its mistakes if it is broken |
//!
//! A reply that is no success holds a line for a person.

pub(super) mod compaction;
mod dead;
pub(super) mod kept;
pub(super) mod letters;
mod metrics;
mod plan;
pub(super) mod reload;
mod status;
mod switches;
mod tap;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::Boxed;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::daemon::reload::Reloader;
use crate::http::{Asked, Handler, reply};
use crate::model::{Fault, FaultKind, Value};
use crate::pipeline::Engine;
use crate::runtime::{self, Clock};
use crate::store::Store;
use crate::telemetry::Format;

pub use plan::PlanReport;
pub use reload::ReloadReport;
pub use status::{
    AlertShown, ClientShown, ComponentShown, FaultShown, HostShown, MemoryShown, PipelineShown, ProcessShown,
    QueueShown, SinkShown, Status, TimesShown,
};
pub use tap::TapOrder;

/// How long a task may wait for its turn before the executor counts as stuck.
const TURN: Duration = Duration::from_secs(2);

/// What the requests are answered from.
pub(super) struct Api {
    pub(super) store: Store,
    pub(super) engine: Arc<Engine>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) clock: Clock,
    pub(super) started: jiff::Timestamp,
}

/// One kind of request.
pub(super) struct ApiRoute {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    pub(super) handler: Handler,
}

/// What the admin address asks of who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The token, if the address can be reached from other machines.
    Look,
    /// The token in any case: it changes something, or shows what items hold.
    Token,
}

/// A reply, or a status with a line for a person.
type Answer = Result<Response<Bytes>, (StatusCode, String)>;

impl Api {
    pub(super) fn routes(self: &Arc<Self>) -> Vec<ApiRoute> {
        let look = |path, answer: fn(&Self, &Asked) -> Response<Bytes>| ApiRoute {
            method: Method::GET,
            path,
            needs: Needs::Look,
            handler: self.handler(move |api, asked| Box::pin(async move { Ok(answer(&api, &asked)) })),
        };
        let letters = |method, path| ApiRoute {
            method,
            path,
            needs: Needs::Token,
            handler: self.handler(|api, asked| Box::pin(async move { api.letters(asked).await })),
        };
        let health = ApiRoute {
            method: Method::GET,
            path: "/health",
            needs: Needs::Look,
            handler: self.handler(|api, _| Box::pin(async move { api.health().await })),
        };
        let reload = ApiRoute {
            method: Method::POST,
            path: "/reload",
            needs: Needs::Token,
            handler: self.handler(|api, _| Box::pin(async move { api.reload().await })),
        };
        let switch = ApiRoute {
            method: Method::POST,
            path: "/pipeline/*",
            needs: Needs::Token,
            handler: self.handler(|api, asked| Box::pin(async move { api.switch(asked).await })),
        };
        let compact = ApiRoute {
            method: Method::POST,
            path: "/store/compact",
            needs: Needs::Token,
            handler: self.handler(|api, _| Box::pin(async move { api.compact().await })),
        };
        let tap = ApiRoute {
            method: Method::GET,
            path: "/tap",
            needs: Needs::Token,
            handler: self.handler(|api, asked| Box::pin(async move { api.tap(&asked) })),
        };
        let plan = ApiRoute {
            method: Method::POST,
            path: "/plan",
            needs: Needs::Token,
            handler: self.handler(|api, asked| Box::pin(async move { api.plan(asked).await })),
        };
        let kept = ApiRoute {
            method: Method::GET,
            path: "/state",
            needs: Needs::Token,
            handler: self.handler(|api, _| Box::pin(async move { api.kept() })),
        };
        let change_kept = ApiRoute {
            method: Method::POST,
            path: "/state",
            needs: Needs::Token,
            handler: self.handler(|api, asked| Box::pin(async move { api.change_kept(asked).await })),
        };
        vec![
            health,
            look("/ready", |api, _| api.ready()),
            look("/metrics", |api, asked| api.metrics(asked)),
            look("/status", |api, _| answer(&api.status())),
            letters(Method::GET, "/dead"),
            letters(Method::GET, "/dead/*"),
            letters(Method::PUT, "/dead/*"),
            letters(Method::POST, "/dead/replay"),
            letters(Method::POST, "/dead/drop"),
            tap,
            plan,
            kept,
            change_kept,
            compact,
            reload,
            switch,
        ]
    }

    fn handler(
        self: &Arc<Self>,
        answer: impl Fn(Arc<Self>, Asked) -> Boxed<Answer> + Send + Sync + 'static,
    ) -> Handler {
        let api = self.clone();
        Arc::new(move |asked: Asked| -> Boxed<Response<Bytes>> {
            let answered = answer(api.clone(), asked);
            Box::pin(async move { answered.await.unwrap_or_else(|(status, why)| reply(status, &why)) })
        })
    }

    /// Whether a task that begins now gets its turn.
    async fn health(&self) -> Answer {
        match self.clock.timeout(TURN, runtime::spawn(runtime::yield_now()).join()).await {
            Some(Ok(())) => Ok(reply(StatusCode::OK, "the executor turns")),
            _ => Err((StatusCode::SERVICE_UNAVAILABLE, "tasks do not get their turn".to_owned())),
        }
    }

    fn ready(&self) -> Response<Bytes> {
        if self.engine.is_stopping() {
            return reply(StatusCode::SERVICE_UNAVAILABLE, "gatherd stops");
        }
        reply(StatusCode::OK, "gatherd runs")
    }

    fn metrics(&self, asked: &Asked) -> Response<Bytes> {
        let accept = asked.head.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::accepted(accept.unwrap_or_default());
        with_type(self.exposition(format), format.content_type())
    }
}

/// The store's refusal, as a status.
fn refused(fault: Fault) -> (StatusCode, String) {
    let Fault { kind, message, .. } = fault;
    let is_askers = kind == FaultKind::Request;
    (if is_askers { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR }, message)
}

fn shown(value: &Value) -> Response<Bytes> {
    with_type(format!("{value}\n"), "application/json")
}

fn answer(value: &impl serde::Serialize) -> Response<Bytes> {
    let mut body = serde_json::to_string(value).expect("what is answered has no keys but text");
    body.push('\n');
    with_type(body, "application/json")
}

fn with_type(body: String, content_type: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
