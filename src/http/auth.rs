//! Signing: the credentials of a named client, for the hosts that they belong to.

use async_trait::async_trait;
use data_encoding::BASE64;
use surf::middleware::{Middleware, Next};
use surf::{Client, Request, Response};
use url::{Origin, Url};

use super::transport::Exchange;
use crate::settings::{Secret, Section};

/// How a client shows who it is.
#[derive(Clone)]
pub(super) enum Auth {
    Basic { user: String, password: Secret },
    Bearer(Secret),
}

impl Auth {
    /// Reads `{ basic = { user, password } }` or `{ bearer = "…" }`.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let basic = section.table("basic", "user and password, as the Basic scheme sends them", |section| {
            let user = section.required("user", "the user's name");
            let password = section.required("password", "the user's password; write it as \"${secret:NAME}\"");
            Some(Auth::Basic { user: user?, password: password? })
        });
        let bearer =
            section.optional("bearer", "a token, as the Bearer scheme sends it; write it as \"${secret:NAME}\"");
        match (basic, bearer.map(Auth::Bearer)) {
            (Some(_), Some(_)) => {
                section.mistake("bearer", "a client signs in one way, not in two", "remove `basic` or `bearer`");
                None
            }
            (None, None) if !section.has("basic") && !section.has("bearer") => {
                let way_out = "write `bearer = \"${secret:NAME}\"` or `basic = { user = …, password = … }`";
                section.mistake("auth", "this names no way to sign in", way_out);
                None
            }
            (basic, bearer) => basic.or(bearer),
        }
    }

    /// The value of the Authorization header (RFC 7617, RFC 6750).
    fn authorization(&self) -> String {
        match self {
            Auth::Basic { user, password } => basic(user, &password.0),
            Auth::Bearer(token) => format!("Bearer {}", token.0),
        }
    }

    /// Whether it can stand in a header at all.
    pub(super) fn is_sendable(&self) -> bool {
        http::HeaderValue::from_str(&self.authorization()).is_ok()
    }
}

/// The value of the Authorization header for a user and a password (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

/// Adds a client's credentials to requests that go to its base, and to no others.
pub(super) struct Sign {
    authorization: String,
    origin: Origin,
}

impl Sign {
    pub(super) fn new(auth: &Auth, base: &Url) -> Self {
        Self { authorization: auth.authorization(), origin: base.origin() }
    }
}

#[async_trait]
impl Middleware for Sign {
    async fn handle(&self, mut request: Request, client: Client, next: Next<'_>) -> surf::Result<Response> {
        let strayed = request.ext::<Exchange>().is_none_or(|exchange| exchange.strayed);
        if !strayed && request.url().origin() == self.origin && request.header("authorization").is_none() {
            request.insert_header("authorization", self.authorization.as_str());
        }
        next.run(request, client).await
    }
}
