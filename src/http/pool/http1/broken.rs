//! Why an exchange over HTTP/1.1 did not come to its end.

use std::borrow::Cow;
use std::io;

use crate::http::failure::{Failure, root_cause};
use crate::model::FaultKind;

#[derive(Debug)]
pub(in crate::http::pool) enum Broken {
    /// Nothing of the request had gone out.
    Unsent(io::Error),
    /// Nothing of a reply has come, and why none will, unless the server just ended the connection.
    Unanswered(Option<io::Error>),
    /// The server ended the connection.
    Ended,
    /// The head of the reply takes more room than it is given.
    TooLarge,
    /// What came is not what the standard says, and in which way.
    NotHttp(Cow<'static, str>),
    Failed(io::Error),
}

impl Broken {
    /// As the failure of an exchange whose reply has not begun.
    pub(in crate::http::pool) fn before_reply(&self) -> Failure {
        let cause = match self {
            Self::Ended | Self::Unanswered(None) => "the connection ended before a reply came".to_owned(),
            Self::TooLarge => "the head of the reply is too large".to_owned(),
            Self::NotHttp(why) => format!("the reply is not HTTP: {why}"),
            Self::Unsent(error) | Self::Unanswered(Some(error)) | Self::Failed(error) => {
                format!("the connection broke: {}", root_cause(error))
            }
        };
        Failure::retry(FaultKind::Disconnect, cause)
    }

    /// As the failure of an exchange whose reply has begun.
    pub(in crate::http::pool) fn in_body(&self) -> Failure {
        let cause: Cow<'_, str> = match self {
            Self::Ended | Self::Unanswered(None) => "the connection ended too early".into(),
            Self::TooLarge => "what surrounds its chunks is too large".into(),
            Self::NotHttp(why) => why.as_ref().into(),
            Self::Unsent(error) | Self::Unanswered(Some(error)) | Self::Failed(error) => root_cause(error).into(),
        };
        Failure::retry(FaultKind::Body, format!("the body was cut short: {cause}"))
    }
}
