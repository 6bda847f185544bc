//! What a way to sign in must do.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::HeaderMap;

use super::desk::Desk;
use super::outgoing::Outgoing;
use crate::http::failure::Failure;

/// One way to sign requests.
pub(in crate::http) trait Scheme: Send + Sync {
    /// Adds to a request what shows who sends it. `token` is what [`Issuer::issue`] gave; without an issuer it is empty.
    fn sign(&self, request: &mut Outgoing<'_>, token: &Token) -> Result<(), Failure>;

    /// Where its tokens come from; nothing if the config holds all that it needs.
    fn issuer(&self) -> Option<&dyn Issuer> {
        None
    }

    /// Whether what it adds to a request is headers that follow from the token alone.
    fn signs_alike(&self) -> bool {
        false
    }

    /// Whether a refused request may have to be sent again at once, as [`Scheme::takes_challenge`] says.
    fn answers_challenges(&self) -> bool {
        false
    }

    /// Looks at the head of a reply that refuses a request: whether it says how the same request is to be signed, so
    /// that it is sent again at once. Asked only where it [answers challenges](Self::answers_challenges).
    fn takes_challenge(&self, _headers: &HeaderMap) -> bool {
        false
    }

    /// Whether it shows who it is by cookies, so that the client must keep them.
    fn uses_cookies(&self) -> bool {
        false
    }
}

/// Where tokens come from: a token end point, a login, a file.
#[async_trait]
pub(in crate::http) trait Issuer: Send + Sync {
    async fn issue(&self, desk: &Desk<'_>) -> Result<Token, Denial>;
}

/// What requests are signed with for a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::http) struct Token {
    /// As it stands in a header; empty if nothing of it stands there.
    pub text: String,
    /// How long it is good for, if that is known.
    pub lifetime: Option<Duration>,
    /// When its issuer is to be asked whether there is another one, while this one is used.
    pub look_again: Option<Duration>,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(in crate::http) struct Denial {
    pub cause: String,
    /// The issuer refuses; a person has to act.
    pub is_permanent: bool,
    /// When the issuer wants to be asked again.
    pub not_before: Option<Instant>,
}

impl Denial {
    pub(super) fn permanent(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_permanent: true, not_before: None }
    }

    pub(super) fn for_now(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_permanent: false, not_before: None }
    }
}
