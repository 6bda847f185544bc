//! How a client signs in.
//!
//! A [`Scheme`] is one way to sign requests, a file each. [`Credentials`] is the state machine of a named client: it
//! hands out what requests are signed with, gets a new token before the old one ends or when the server refuses it,
//! once for all that wait, and holds requests back while signing in is not possible.

mod assertion;
mod basic;
mod bearer;
mod challenge;
mod credentials;
mod desk;
mod digest;
mod hmac;
mod key;
mod login;
mod oauth2;
mod outgoing;
mod scheme;
mod sign;
mod sigv4;

use std::sync::Arc;

use data_encoding::HEXLOWER;

pub(super) use basic::basic;
pub(super) use credentials::Credentials;
pub use credentials::Ticket;
pub(super) use scheme::{Scheme, Token};
pub(super) use sign::Sign;

use crate::expr::Filter;
use crate::settings::Section;

/// The `auth` of an `[http.NAME]`.
#[derive(Clone)]
pub(super) struct AuthSettings {
    scheme: Arc<dyn Scheme>,
    /// A reply for which this holds says that the credentials were refused; without it the status 401 says so.
    refresh_when: Option<Filter>,
}

/// A way to sign in, by the word that a config uses.
struct Kind {
    name: &'static str,
    about: &'static str,
    read: fn(&mut Section<'_>) -> Option<Arc<dyn Scheme>>,
}

const KINDS: [Kind; 8] =
    [basic::KIND, bearer::KIND, key::KIND, oauth2::KIND, login::KIND, digest::KIND, hmac::KIND, sigv4::KIND];

/// A text that nobody can guess, and that never comes twice.
fn nonce() -> String {
    let bytes: [u8; 16] = ring::rand::generate(&ring::rand::SystemRandom::new())
        .expect("the system's generator fails at most before it is set up, long before this process")
        .expose();
    HEXLOWER.encode(&bytes)
}

impl AuthSettings {
    /// Whether it needs the client to keep cookies.
    pub(super) fn uses_cookies(&self) -> bool {
        self.scheme.uses_cookies()
    }

    /// Reads a table with one kind in it: `{ bearer = "…" }`.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let schemes: Vec<_> = KINDS.iter().filter_map(|kind| section.table(kind.name, kind.about, kind.read)).collect();
        let refresh_when = section.optional(
            "refresh_when",
            "a filter over a reply that says whether the credentials were refused, such as \"labels.status == 403\"; \
             by default the status 401 says so",
        );
        let written: Vec<&str> = KINDS.iter().map(|kind| kind.name).filter(|name| section.has(name)).collect();
        match written[..] {
            [] => {
                let kinds: Vec<String> = KINDS.iter().map(|kind| format!("`{}`", kind.name)).collect();
                let way_out = format!("write one of {}; `gatherd kinds http` shows their settings", kinds.join(", "));
                section.mistake("auth", "this names no way to sign in", way_out);
            }
            [_] => {}
            [first, second, ..] => {
                let way_out = format!("remove `{first}` or `{second}`");
                section.mistake(second, "a client signs in one way, not in two", way_out);
            }
        }
        Some(Self { scheme: schemes.into_iter().next()?, refresh_when })
    }
}
