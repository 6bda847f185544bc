//! `basic`: user and password with each request (RFC 7617).

use std::sync::Arc;

use data_encoding::BASE64;

use super::Kind;
use super::outgoing::Outgoing;
use super::scheme::{Scheme, Token};
use crate::http::failure::Failure;
use crate::model::secret;
use crate::settings::{Identity, Secret, Section};

pub(super) const KIND: Kind = Kind {
    name: "basic",
    about: "user and password, as the Basic scheme sends them",
    read: |section| {
        let (user, password) = read_user(section)?;
        let authorization = basic(&user, &password);
        // The password alone may be too short to be masked.
        secret::keep(&format!("{user}:{password}"));
        secret::keep(authorization.trim_start_matches("Basic "));
        Some(Arc::new(Basic { authorization }))
    },
};

struct Basic {
    authorization: String,
}

impl Scheme for Basic {
    fn sign(&self, request: &mut Outgoing<'_>, _: &Token) -> Result<(), Failure> {
        request.authorize(&self.authorization)
    }

    fn signs_alike(&self) -> bool {
        true
    }
}

/// Reads `user` and `password`.
pub(super) fn read_user(section: &mut Section<'_>) -> Option<(String, String)> {
    let user: Option<Identity> = section.required("user", "the user's name");
    let password: Option<Secret> = section.required("password", "the user's password; write it as \"${secret:NAME}\"");
    Some((user?.0, password?.0))
}

/// The value of the Authorization header for a user and a password.
pub(in crate::http) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}
