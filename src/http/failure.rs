//! Why an exchange failed, in the parts below the client, and the wording for what was attempted.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use surf::StatusCode;
use surf::http::Method;
use url::Url;

use crate::model::{Fault, FaultKind, Verdict, show_duration};

/// A cause that does not know yet what was attempted: [`Failure::of`] adds it at the edge. It passes through surf
/// inside its error type.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub kind: FaultKind,
    pub verdict: Verdict,
    pub cause: String,
}

impl Failure {
    pub(super) fn retry(kind: FaultKind, cause: impl Into<String>) -> Self {
        Self { kind, verdict: Verdict::Retry { not_before: None }, cause: cause.into() }
    }

    pub(super) fn reject(kind: FaultKind, cause: impl Into<String>) -> Self {
        Self { kind, verdict: Verdict::Reject, cause: cause.into() }
    }

    /// A time limit ran out; `what` is what did not come about in time.
    pub(super) fn timeout(what: &str, limit: Duration) -> Self {
        Self::retry(FaultKind::Timeout, format!("{what} within {}", show_duration(limit)))
    }

    pub(super) fn not_whole(limit: Duration) -> Self {
        Self::timeout("the reply was not whole", limit)
    }

    /// The failure inside surf's error, if it is one of ours.
    pub(super) fn from_surf(error: surf::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self::retry(FaultKind::Disconnect, error.to_string()))
    }

    pub(super) fn into_surf(self) -> surf::Error {
        surf::Error::new(StatusCode::InternalServerError, self)
    }

    /// The failure that an error has somewhere in its chain of causes.
    pub(super) fn inside<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        loop {
            if let Some(failure) = error.downcast_ref() {
                return Some(failure);
            }
            // An I/O error hides the error that it was made from.
            let wrapped = error.downcast_ref().and_then(std::io::Error::get_ref);
            if let Some(failure) = wrapped.and_then(|wrapped| wrapped.downcast_ref()) {
                return Some(failure);
            }
            error = error.source()?;
        }
    }

    pub(super) fn of(self, method: Method, url: &Url) -> Fault {
        Fault::new(self.kind, self.verdict, format!("cannot {} `{}`: {}", attempt(method), shown(url), self.cause))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cause)
    }
}

impl Error for Failure {}

impl From<Failure> for std::io::Error {
    fn from(failure: Failure) -> Self {
        std::io::Error::other(failure)
    }
}

/// What a request of this method attempts, before the URL: `get`, `post to`.
pub fn attempt(method: Method) -> String {
    match method {
        Method::Get => "get".to_owned(),
        Method::Head => "get the head of".to_owned(),
        Method::Post => "post to".to_owned(),
        Method::Put => "put to".to_owned(),
        Method::Patch => "patch".to_owned(),
        Method::Delete => "delete".to_owned(),
        other => format!("send {other} to"),
    }
}

/// A URL for messages: without user, password and fragment, and with only the presence of a query, since any of
/// them may hold a secret.
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // A URL without a host has no credentials either; nothing to mask then.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    if shown.query().is_some() {
        shown.set_query(None);
        return format!("{shown}?…");
    }
    shown.into()
}

/// The last cause in an error's chain: what really happened.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_neither_credentials_nor_the_query() {
        let url = Url::parse("https://user:hunter2@a.example/x?token=hunter2#hunter2").unwrap();
        let fault = Failure::retry(FaultKind::Connect, "connection refused").of(Method::Get, &url);
        assert_eq!(fault.message, "cannot get `https://a.example/x?…`: connection refused");
    }
}
