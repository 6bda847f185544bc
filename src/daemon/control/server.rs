//! The daemon's side of the control socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::Boxed;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};

use super::{dead, socket_places, store};
use crate::http::{Asked, BodyFault, Handler, ListenAddress, Listeners, Listening, Route, reply};
use crate::model::{Fault, FaultKind, Object, Size, Text, Value, json};
use crate::pipeline::Engine;
use crate::runtime::Clock;
use crate::store::{DeadLetter, DeadLetterFilter, Replay, Store};

/// What is taken of a body: an item's value is the largest.
const MAX_BODY: usize = 64 << 20;

/// How much a list of dead letters holds at most; the asker comes again for more.
const PAGE: usize = 1000;
const PAGE_BYTES: Size = Size::mib(8);

/// How long the last replies may take.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// Answers commands until it is closed.
pub(in crate::daemon) struct Control {
    listening: Vec<Listening>,
    listeners: Listeners,
    /// In the state folder, where the socket is elsewhere.
    link: Option<PathBuf>,
}

/// What commands are answered from.
struct Served {
    store: Store,
    engine: Arc<Engine>,
}

type Answer = Result<Response<Bytes>, (StatusCode, String)>;

impl Control {
    /// Listens at the control socket of a state folder. A daemon works without it too, so a failure is only logged.
    pub(in crate::daemon) fn listen(state: &Path, store: &Store, engine: &Arc<Engine>, clock: Clock) -> Option<Self> {
        let mut places = socket_places(state);
        let socket = places.next()?;
        let served = Arc::new(Served { store: store.clone(), engine: engine.clone() });
        let listeners = Listeners::new(clock);
        match listen(&socket, &listeners, &served) {
            Ok(listening) => {
                let link = places.next().and_then(|at| link(&socket, at));
                Some(Self { listening, listeners, link })
            }
            Err(error) => {
                log::warn!(socket:% = socket.display(), cause:% = error; "commands cannot reach this gatherd");
                None
            }
        }
    }

    /// Takes no more commands; those that have come are answered.
    pub(in crate::daemon) async fn close(self) {
        drop(self.listening);
        self.listeners.finished(LAST_REPLIES).await;
        if let Some(link) = &self.link {
            // Without its socket it leads nowhere, and the next start replaces it.
            let _ = fs::remove_file(link);
        }
    }
}

fn listen(socket: &Path, listeners: &Listeners, served: &Arc<Served>) -> io::Result<Vec<Listening>> {
    let address = ListenAddress::Unix(socket.to_owned());
    let routes = [
        (Method::GET, "/dead"),
        (Method::GET, "/dead/*"),
        (Method::PUT, "/dead/*"),
        (Method::POST, "/dead/replay"),
        (Method::POST, "/dead/drop"),
        (Method::POST, "/store/compact"),
    ];
    let listen = |(method, path): (Method, &str)| {
        listeners.listen(&address, Route { method, path: path.to_owned(), handler: handler(served.clone()) })
    };
    let listening = routes.into_iter().map(listen).collect::<io::Result<_>>()?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listening)
}

/// So that whoever knows the state folder finds the socket.
fn link(socket: &Path, at: PathBuf) -> Option<PathBuf> {
    if socket.parent() == at.parent() {
        return None;
    }
    let _ = fs::remove_file(&at);
    let linked = fs::canonicalize(socket).and_then(|socket| std::os::unix::fs::symlink(socket, &at));
    linked.inspect_err(|error| log::debug!(cause:% = error; "cannot link to the control socket")).ok().map(|()| at)
}

fn handler(served: Arc<Served>) -> Handler {
    Arc::new(move |asked: Asked| -> Boxed<Response<Bytes>> {
        let served = served.clone();
        Box::pin(async move {
            let answered = served.answer(asked).await;
            answered.unwrap_or_else(|(status, why)| reply(status, &why))
        })
    })
}

impl Served {
    async fn answer(&self, asked: Asked) -> Answer {
        let Asked { head, body, .. } = asked;
        if head.uri.path() == "/store/compact" {
            let compacted = self.store.compact().await.map_err(refused)?;
            return Ok(answer(&store::compacted_body(compacted)));
        }
        let path = head.uri.path().strip_prefix("/dead").unwrap_or_default().trim_start_matches('/').to_owned();
        let query = head.uri.query().unwrap_or_default();
        let not_found = || (StatusCode::NOT_FOUND, "there is nothing here".to_owned());
        if head.method == Method::GET {
            return match path.as_str() {
                "" => self.list(query),
                "ids" => self.ids(query),
                id => self.letter(id.parse().map_err(|_| not_found())?),
            };
        }
        let body = body.read(MAX_BODY).await.map_err(|fault| match fault {
            BodyFault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, format!("more than {}", Size(MAX_BODY as u64))),
            BodyFault::TooSlow | BodyFault::CutShort => {
                (StatusCode::BAD_REQUEST, "the request did not come whole".to_owned())
            }
        })?;
        let body = json::parse(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        let wrong_body = || (StatusCode::BAD_REQUEST, "the body is not what this takes".to_owned());
        match path.as_str() {
            "replay" => self.replay(dead::read_replays(&body).ok_or_else(wrong_body)?).await,
            "drop" => {
                let ids = dead::read_ids(&body).ok_or_else(wrong_body)?;
                self.store.drop_dead_letters(&ids).await.map_err(refused)?;
                Ok(answer(&Value::Null))
            }
            path => {
                let id = path.strip_suffix("/value").and_then(|id| id.parse().ok()).ok_or_else(not_found)?;
                let value = DeadLetter::value_from_json(body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
                self.store.edit_dead_letter(id, value).await.map_err(refused)?;
                Ok(answer(&Value::Null))
            }
        }
    }

    fn list(&self, query: &str) -> Answer {
        let filter = dead::read_list_query(query).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let limit = filter.limit.unwrap_or(PAGE).min(PAGE);
        let filter = DeadLetterFilter { limit: Some(limit), bytes: Some(PAGE_BYTES), ..filter };
        let letters = self.store.dead_letters(&filter).map_err(refused)?;
        let lines: String = letters.iter().map(|letter| format!("{}\n", letter.to_json())).collect();
        Ok(with_type(lines, "application/x-ndjson"))
    }

    fn ids(&self, query: &str) -> Answer {
        let filter = dead::read_list_query(query).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let ids = self.store.dead_letter_ids(&filter).map_err(refused)?;
        Ok(answer(&dead::ids_body(&ids, [])))
    }

    fn letter(&self, id: i64) -> Answer {
        let letter = self.store.dead_letter(id).map_err(refused)?;
        Ok(answer(&letter.map_or(Value::Null, |letter| letter.to_json())))
    }

    /// Answers why some of the letters will not be replayed as things stand.
    async fn replay(&self, replays: Vec<Replay>) -> Answer {
        let mut warnings: Vec<String> = Vec::new();
        for Replay { letter, from, .. } in &replays {
            let Some(letter) = self.store.dead_letter(*letter).map_err(refused)? else { continue };
            let checked = self.engine.check_replay(&letter.pipeline, &letter.component, from.as_deref());
            warnings.extend(checked.err().filter(|why| !warnings.contains(why)));
        }
        self.store.replay_dead_letters(replays).await.map_err(refused)?;
        let warnings = Value::array(warnings.into_iter().map(Value::from).collect());
        Ok(answer(&Value::object([(Text::from("warnings"), warnings)].into_iter().collect::<Object>())))
    }
}

/// The store's refusal, as a status.
fn refused(fault: Fault) -> (StatusCode, String) {
    let Fault { kind, message, .. } = fault;
    let is_askers = kind == FaultKind::Request;
    (if is_askers { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR }, message)
}

fn answer(value: &Value) -> Response<Bytes> {
    with_type(format!("{value}\n"), "application/json")
}

fn with_type(body: String, content_type: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
