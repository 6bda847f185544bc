//! A failure and what to do about it.

use std::fmt;
use std::time::Instant;

/// A failure, with the decision about it already taken by the component that saw it.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub verdict: Verdict,
    /// What was attempted, then the cause: ``cannot append to `out.ndjson`: No space left on device``.
    pub message: String,
}

/// What the engine shall do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was tried yet (a rate, a busy host, an open breaker). Comes again at this time, and does not count
    /// as a try.
    NotBefore(Instant),
    /// The destination fails as a whole: tried again, but not before this time if one is given.
    Retry { not_before: Option<Instant> },
    /// The item is at fault, though another try may help: like `Retry`, but limited for sinks too.
    RetryItem { not_before: Option<Instant> },
    /// This item will never pass: it becomes a dead letter.
    Reject,
    /// No item can pass until a person has acted: the pipeline stops, and loses nothing.
    Stop,
}

/// What kind of failure it was: the `labels.fault` of a config, and the word in metrics and dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The name did not resolve.
    Dns,
    /// No connection came about.
    Connect,
    /// The connection came about, but its encryption did not.
    Tls,
    /// A time limit ran out.
    Timeout,
    /// The connection ended, or broke the protocol, before the reply was whole.
    Disconnect,
    /// The reply came, but its body was too large, cut short or not what its headers said.
    Body,
    /// More redirects than allowed, or one that leads nowhere.
    Redirect,
    /// The address is not one that data may lead to.
    Forbidden,
    /// The reply's status is an error.
    Status,
    /// A request cannot be made from this item.
    Request,
    /// A filter or a template failed on this item.
    Filter,
    /// Pages that lead back to one that was there before.
    Pages,
    /// The item has no value of the cursor that it was fetched by, or one of another type.
    Cursor,
    /// The text could not be parsed.
    Parse,
    /// The destination refused the item's data.
    Refused,
    /// The destination could not be written.
    Write,
    /// The source could not be read.
    Read,
    /// Whoever read what is written has gone away, as `head` does: the run ends quietly.
    ClosedPipe,
    /// The embedded store could not be read or written.
    Store,
    /// The component panicked.
    Panic,
    /// The credentials were refused, or cannot be had.
    Auth,
    /// A rate, a busy host or a pause of our own.
    Wait,
    /// The host has asked for a pause.
    Paused,
    /// The host fails again and again, and is left alone for now.
    Down,
    /// The site's robots.txt asks not to fetch it.
    Robots,
    /// The config cannot be used.
    Config,
}

impl FaultKind {
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Dns => "dns",
            FaultKind::Connect => "connect",
            FaultKind::Tls => "tls",
            FaultKind::Timeout => "timeout",
            FaultKind::Disconnect => "disconnect",
            FaultKind::Body => "body",
            FaultKind::Redirect => "redirect",
            FaultKind::Forbidden => "forbidden",
            FaultKind::Status => "status",
            FaultKind::Request => "request",
            FaultKind::Filter => "filter",
            FaultKind::Pages => "pages",
            FaultKind::Cursor => "cursor",
            FaultKind::Parse => "parse",
            FaultKind::Refused => "refused",
            FaultKind::Write => "write",
            FaultKind::Read => "read",
            FaultKind::ClosedPipe => "closed_pipe",
            FaultKind::Store => "store",
            FaultKind::Panic => "panic",
            FaultKind::Auth => "auth",
            FaultKind::Wait => "wait",
            FaultKind::Paused => "paused",
            FaultKind::Down => "down",
            FaultKind::Robots => "robots",
            FaultKind::Config => "config",
        }
    }
}

impl Fault {
    pub fn new(kind: FaultKind, verdict: Verdict, message: impl Into<String>) -> Self {
        Self { kind, verdict, message: message.into() }
    }

    pub fn reject(kind: FaultKind, message: impl Into<String>) -> Self {
        Self::new(kind, Verdict::Reject, message)
    }

    pub fn retry(kind: FaultKind, message: impl Into<String>) -> Self {
        Self::new(kind, Verdict::Retry { not_before: None }, message)
    }

    pub fn stop(kind: FaultKind, message: impl Into<String>) -> Self {
        Self::new(kind, Verdict::Stop, message)
    }

    pub fn not_before(when: Instant, message: impl Into<String>) -> Self {
        Self::new(FaultKind::Wait, Verdict::NotBefore(when), message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
