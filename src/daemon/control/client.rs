//! A command's side of the control socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::socket_places;
use crate::assemble::Outline;
use crate::daemon::api::{PlanReport, ReloadReport, Status, TapOrder, compaction, kept, letters, reload};
use crate::http::{LocalBody, ask_local, open_local};
use crate::model::{Fault, FaultKind, Value, json};
use crate::runtime;
use crate::store::{Compacted, DeadLetter, DeadLetterFilter, Kept, KeptPlace, Replay};

/// A daemon that runs, as commands reach it.
pub struct ControlClient {
    socket: PathBuf,
}

/// How many letters one request names at most.
const PORTION: usize = 10_000;

impl ControlClient {
    /// The daemon of a state folder, if one listens.
    pub fn find(state: &Path) -> Option<Self> {
        let socket = socket_places(state).find(|place| UnixStream::connect(place).is_ok())?;
        Some(Self { socket })
    }

    /// How the daemon is doing.
    pub fn status(&self) -> Result<Status, Fault> {
        serde_json::from_slice(&self.ask(Method::GET, "/status", None)?).map_err(|_| not_understood())
    }

    /// Dead letters, newest first; fewer than there are, or than the filter's limit. The last one is where to go on.
    pub fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetter>, Fault> {
        let body = self.ask(Method::GET, &format!("/dead?{}", letters::list_query(filter)), None)?;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| DeadLetter::from_json(&parse(line)?).ok_or_else(not_understood)).collect()
    }

    pub fn dead_letter_ids(&self, filter: &DeadLetterFilter) -> Result<Vec<i64>, Fault> {
        let body = self.ask(Method::GET, &format!("/dead/ids?{}", letters::list_query(filter)), None)?;
        letters::read_ids(&parse(&body)?).ok_or_else(not_understood)
    }

    pub fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, Fault> {
        match parse(&self.ask(Method::GET, &format!("/dead/{id}"), None)?)? {
            Value::Null => Ok(None),
            letter => DeadLetter::from_json(&letter).map(Some).ok_or_else(not_understood),
        }
    }

    /// `value` is JSON as [`DeadLetter::value_to_json`] writes it.
    pub fn edit_dead_letter(&self, id: i64, value: &Value) -> Result<(), Fault> {
        self.ask(Method::PUT, &format!("/dead/{id}/value"), Some(value)).map(drop)
    }

    /// All of them enter at the same step, at the same pace. Answers why some will not be replayed as things stand.
    pub fn replay_dead_letters(&self, replays: &[Replay]) -> Result<Vec<String>, Fault> {
        let mut warnings: Vec<String> = Vec::new();
        for portion in replays.chunks(PORTION) {
            let body = self.ask(Method::POST, "/dead/replay", Some(&letters::replay_body(portion)))?;
            let body = parse(&body)?;
            let Some(Value::Array(told)) = body.get("warnings") else { return Err(not_understood()) };
            for warning in told.iter().filter_map(Value::as_text) {
                if !warnings.iter().any(|known| known == warning) {
                    warnings.push(warning.to_owned());
                }
            }
        }
        Ok(warnings)
    }

    pub fn drop_dead_letters(&self, ids: &[i64]) -> Result<(), Fault> {
        for portion in ids.chunks(PORTION) {
            self.ask(Method::POST, "/dead/drop", Some(&letters::ids_body(portion, [])))?;
        }
        Ok(())
    }

    /// Every position, and every cursor with its run.
    pub fn kept(&self) -> Result<Vec<Kept>, Fault> {
        let body = self.ask(Method::GET, "/state", None)?;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Kept::from_json(&parse(line)?).ok_or_else(not_understood)).collect()
    }

    pub fn set_kept(&self, place: &KeptPlace, value: &Value) -> Result<(), Fault> {
        self.ask(Method::POST, "/state", Some(&kept::change_body(place, Some(value)))).map(drop)
    }

    /// Answers how many were reset.
    pub fn reset_kept(&self, place: &KeptPlace) -> Result<u64, Fault> {
        let count = parse(&self.ask(Method::POST, "/state", Some(&kept::change_body(place, None)))?)?;
        count.as_i64().and_then(|count| u64::try_from(count).ok()).ok_or_else(not_understood)
    }

    /// Gives back the unused space of the store.
    pub fn compact(&self) -> Result<Compacted, Fault> {
        compaction::read_compacted(&parse(&self.ask(Method::POST, "/store/compact", None)?)?).ok_or_else(not_understood)
    }

    pub fn pause(&self, pipeline: &str, is_paused: bool) -> Result<(), Fault> {
        self.ask(Method::POST, &format!("/pipeline/{pipeline}/{}", if is_paused { "pause" } else { "resume" }), None)?;
        Ok(())
    }

    pub fn trigger(&self, pipeline: &str) -> Result<(), Fault> {
        self.ask(Method::POST, &format!("/pipeline/{pipeline}/trigger"), None).map(drop)
    }

    /// What going over to a config would do.
    pub fn plan(&self, outline: &Outline) -> Result<PlanReport, Fault> {
        let outline = serde_json::to_vec(outline).expect("an outline has no keys but text");
        let body = self.ask(Method::POST, "/plan", Some(&parse(&outline)?))?;
        serde_json::from_slice(&body).map_err(|_| not_understood())
    }

    /// A fault of kind [`FaultKind::Config`] says what is wrong with the config.
    pub fn reload(&self) -> Result<ReloadReport, Fault> {
        let body = self.ask(Method::POST, "/reload", None)?;
        serde_json::from_slice(&body).map_err(|_| not_understood())
    }

    /// Items as they pass.
    pub async fn tap(&self, order: &TapOrder) -> Result<TappedItems, Fault> {
        let request = self.request(Method::GET, &format!("/tap?{}", order.to_query()), None)?;
        let response = open_local(&self.socket, request).await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let mut items = TappedItems { body: response.into_body(), read: Vec::new() };
        if status.is_success() {
            return Ok(items);
        }
        while items.read().await?.is_some() {}
        Err(refusal(status, &items.read))
    }

    /// The body of a reply that is a success.
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, Fault> {
        let request = self.request(method, path, body)?;
        let response = runtime::block_on(ask_local(&self.socket, request)).map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() { Ok(response.into_body()) } else { Err(refusal(status, response.body())) }
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Request<Bytes>, Fault> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).body(Bytes::from(body));
        request.map_err(|error| self.failed(&error))
    }

    fn failed(&self, cause: &dyn std::fmt::Display) -> Fault {
        let message = format!("cannot ask the gatherd that runs (at `{}`): {cause}", self.socket.display());
        Fault::stop(FaultKind::Request, message)
    }
}

/// Items that pass in the daemon, as they come.
pub struct TappedItems {
    body: LocalBody,
    /// What has come of the next line.
    read: Vec<u8>,
}

impl TappedItems {
    /// The next one: an object with `at`, `item`, `value`, `labels`, `passed` and `lost`, as the daemon writes it.
    /// Nothing when no more will come.
    pub async fn next(&mut self) -> Result<Option<Value>, Fault> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return parse(&line).map(Some);
            }
            if self.read().await?.is_none() {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> Result<Option<()>, Fault> {
        let Some(bytes) = self.body.next().await else { return Ok(None) };
        let bytes = bytes.map_err(|error| {
            Fault::stop(FaultKind::Request, format!("the connection to the gatherd that runs broke off: {error}"))
        })?;
        self.read.extend_from_slice(&bytes);
        Ok(Some(()))
    }
}

/// What a reply that is no success says.
fn refusal(status: StatusCode, body: &[u8]) -> Fault {
    let kind = if status == reload::BROKEN { FaultKind::Config } else { FaultKind::Request };
    Fault::stop(kind, String::from_utf8_lossy(body).trim_end().to_owned())
}

fn parse(body: &[u8]) -> Result<Value, Fault> {
    json::parse(body).map_err(|_| not_understood())
}

fn not_understood() -> Fault {
    let message = "the gatherd that runs gave an answer that this one does not understand; are they of one version?";
    Fault::stop(FaultKind::Request, message)
}
