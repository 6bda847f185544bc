//! What carries requests: the network, or in a rehearsal someone who knows the replies by heart.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use surf::http::Method;
use url::Url;

use super::failure::Failure;
use super::request::Response;
use crate::model::FaultKind;

/// What carries the requests of all clients.
#[derive(Clone, Default)]
pub enum Wire {
    #[default]
    Network,
    /// The network, and someone who is told of each exchange.
    Watched(Arc<dyn Witness>),
    /// No network: these replies.
    Scripted(Arc<dyn Script>),
}

/// Is told of each exchange once its reply is whole, or is known not to come.
pub trait Witness: Send + Sync {
    /// The request is as it was made, without what signing adds; the reply is the last one, after redirects.
    fn saw(&self, method: Method, url: &Url, body: &Bytes, response: &Response);

    /// No reply came to this request, for a reason of this kind.
    fn missed(&self, method: Method, url: &Url, why: FaultKind);
}

/// Answers requests in place of servers.
#[async_trait]
pub trait Script: Send + Sync {
    async fn reply(&self, sent: Sent) -> Result<ScriptedReply, NoReply>;
}

/// A request as a server would get it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: String,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a server would answer.
#[derive(Clone, Debug)]
pub struct ScriptedReply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why no reply comes.
#[derive(Clone, Debug)]
pub enum NoReply {
    /// Nobody listens there.
    Refused,
    /// The connection broke before the reply came.
    Disconnected,
    /// The script knows no reply to this request.
    Unexpected,
}

/// Why an item is given up whose request no script knows.
pub const NO_REPLY: &str = "the test has no reply to this request";

impl From<NoReply> for Failure {
    fn from(none: NoReply) -> Self {
        match none {
            NoReply::Refused => Failure::retry(FaultKind::Connect, "connection refused"),
            NoReply::Disconnected => Failure::retry(FaultKind::Disconnect, "the connection ended before a reply came"),
            NoReply::Unexpected => Failure::reject(FaultKind::Request, NO_REPLY),
        }
    }
}
