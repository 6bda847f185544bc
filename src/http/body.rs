//! Reads the body of a reply, within its limits and as memory has room for it.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::{AsyncBufReadExt, future};
use http::HeaderMap;

use super::Meter;
use super::decode::Body;
use super::failure::{Failure, root_cause};
use super::pool::too_large;
use super::settings::Limits;
use super::transport::content_length;
use crate::model::FaultKind;
use crate::runtime::{self, Clock};

/// So much of a body is expanded before other tasks get a turn.
const TURN: usize = 256 << 10;

/// The first room that is made, if the server does not announce less.
const FIRST_ROOM: usize = 64 << 10;

/// How much room is made in all for each byte that has come, as far as the server announces so much: a large body is
/// copied little while it grows, and a server that announces much and sends little is not given it.
const TRUST: usize = 16;

pub(super) struct BodyReader<'a> {
    pub limits: &'a Limits,
    pub clock: &'a Clock,
    pub meter: &'a Meter,
}

impl BodyReader<'_> {
    /// Reads a body to its end, which must come before `deadline`. The time that it waits for room in memory is not
    /// counted: that is no fault of the server.
    pub(super) async fn read(&self, mut body: Body, headers: &HeaderMap, deadline: Instant) -> Result<Bytes, Failure> {
        // Small bodies mostly come with their heads.
        if let Some(whole) = body.take_whole() {
            self.meter.grow(whole.len()).await;
            return Ok(whole);
        }
        // In a box, so that a request which waits for the head of its reply holds no room for it.
        Box::pin(self.read_in_time(body, headers, deadline)).await
    }

    async fn read_in_time(&self, body: Body, headers: &HeaderMap, deadline: Instant) -> Result<Bytes, Failure> {
        let announced = content_length(headers);
        if announced.is_some_and(|announced| announced > self.limits.max_body.0) {
            return Err(too_large(self.limits.max_body));
        }
        let waited = Waited::new(self.clock);
        let mut read = pin!(self.read_slices(body, announced.unwrap_or(0), &waited));
        // All of it may have come meanwhile.
        if let Some(read) = future::poll_once(read.as_mut()).await {
            return read;
        }
        let mut excused = Duration::ZERO;
        loop {
            let left = (deadline + excused).saturating_duration_since(self.clock.instant());
            if let Some(read) = self.clock.timeout(left, read.as_mut()).await {
                return read;
            }
            let total = waited.total();
            if total == excused {
                return Err(Failure::not_whole(self.limits.whole));
            }
            excused = total;
        }
    }

    async fn read_slices(&self, mut body: Body, announced: u64, waited: &Waited<'_>) -> Result<Bytes, Failure> {
        let limit = self.limits.max_body;
        let mut bytes = Vec::new();
        let mut turn = 0;
        loop {
            let slice = body.fill_buf().await.map_err(|error| broken(&error))?;
            if slice.is_empty() {
                return Ok(bytes.into());
            }
            let length = slice.len();
            if (bytes.len() + length) as u64 > limit.0 {
                return Err(too_large(limit));
            }
            let missing = (bytes.len() + length).saturating_sub(bytes.capacity());
            if missing > 0 {
                // Doubling keeps copies few; the announced length makes none necessary for most bodies.
                let announced = usize::try_from(announced).unwrap_or(usize::MAX);
                let trusted = announced.min(bytes.capacity().saturating_mul(TRUST).max(FIRST_ROOM));
                let room = match trusted.checked_sub(bytes.capacity()) {
                    Some(room) if room >= missing => room,
                    _ => missing.max(bytes.capacity()).min(limit.bytes()),
                };
                waited.during(self.meter.grow(room)).await;
                bytes.reserve_exact(bytes.capacity() - bytes.len() + room);
            }
            bytes.extend_from_slice(slice);
            body.consume(length);
            turn += length;
            if turn >= TURN {
                turn = 0;
                runtime::yield_now().await;
            }
        }
    }
}

/// How long a reply has waited for room in memory.
struct Waited<'a> {
    clock: &'a Clock,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    ended: Duration,
    since: Option<Instant>,
}

impl<'a> Waited<'a> {
    fn new(clock: &'a Clock) -> Self {
        Self { clock, past: Mutex::default() }
    }

    fn total(&self) -> Duration {
        let past = self.past();
        past.ended + past.since.map_or(Duration::ZERO, |since| self.clock.instant() - since)
    }

    async fn during(&self, wait: impl Future<Output = ()>) {
        let mut wait = pin!(wait);
        // There mostly is room, and then nobody need know how long that took.
        if future::poll_once(wait.as_mut()).await.is_some() {
            return;
        }
        self.past().since = Some(self.clock.instant());
        wait.await;
        let total = self.total();
        *self.past() = Past { ended: total, since: None };
    }

    /// Whole even if a holder panicked: each change is one assignment.
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a body cannot be read to its end.
fn broken(error: &std::io::Error) -> Failure {
    if let Some(failure) = Failure::inside(error) {
        return failure.clone();
    }
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Failure::retry(FaultKind::Body, "the compressed body was cut short"),
        _ => Failure::reject(FaultKind::Body, format!("the body cannot be expanded: {}", root_cause(error))),
    }
}
