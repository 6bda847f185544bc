//! `bearer`: a token with each request (RFC 6750), from the config or from a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Kind;
use super::desk::Desk;
use super::outgoing::Outgoing;
use super::scheme::{Denial, Issuer, Scheme, Token};
use crate::http::failure::Failure;
use crate::http::settings::check_header_value;
use crate::runtime;
use crate::settings::{Secret, Section};

pub(super) const KIND: Kind = Kind { name: "bearer", about: "a token, as the Bearer scheme sends it", read };

/// How often a token's file is looked at while it is used.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

enum Bearer {
    Fixed(String),
    File(PathBuf),
}

fn read(section: &mut Section<'_>) -> Option<Arc<dyn Scheme>> {
    section.shorthand("token");
    let token: Option<Secret> = section.optional("token", "the token; write it as \"${secret:NAME}\"");
    let file: Option<PathBuf> =
        section.optional("token_file", "a file that holds the token; it is read again when it changes");
    match (section.has("token"), section.has("token_file")) {
        (true, true) => {
            let message = "the token stands here and in a file";
            section.mistake("token_file", message, "keep `token` or `token_file`");
        }
        (false, false) => {
            let way_out = "add `token = \"${secret:NAME}\"` or `token_file = \"…\"`";
            section.mistake("token", "there is no token to send", way_out);
        }
        _ => {}
    }
    if let Some(Secret(token)) = &token {
        check_header_value(section, "token", token);
    }
    let fixed = token.map(|token| Bearer::Fixed(format!("Bearer {}", token.0)));
    Some(Arc::new(fixed.or(file.map(Bearer::File))?))
}

impl Scheme for Bearer {
    fn sign(&self, request: &mut Outgoing<'_>, token: &Token) -> Result<(), Failure> {
        match self {
            Bearer::Fixed(authorization) => request.authorize(authorization),
            Bearer::File(_) => request.authorize(&format!("Bearer {}", token.text)),
        }
    }

    fn signs_alike(&self) -> bool {
        true
    }

    fn issuer(&self) -> Option<&dyn Issuer> {
        match self {
            Bearer::Fixed(_) => None,
            Bearer::File(_) => Some(self),
        }
    }
}

#[async_trait]
impl Issuer for Bearer {
    async fn issue(&self, desk: &Desk<'_>) -> Result<Token, Denial> {
        let Bearer::File(file) = self else { return Ok(Token::default()) };
        let (path, shown) = (file.clone(), file.display());
        let read = runtime::blocking(move || std::fs::read_to_string(path)).await;
        let text = read
            .map_err(|panic| Denial::for_now(panic.0))?
            .map_err(|error| Denial::for_now(format!("cannot read `{shown}`: {error}")))?;
        match text.trim() {
            "" => Err(Denial::for_now(format!("`{shown}` is empty"))),
            token => {
                desk.keep_secret(token);
                Ok(Token { text: token.to_owned(), lifetime: None, look_again: Some(LOOK_AGAIN) })
            }
        }
    }
}
