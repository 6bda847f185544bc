//! `oauth2`: access tokens from a token end point (RFC 6749), by the client's own credentials or by a refresh token.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};
use surf::http::Method;
use url::form_urlencoded;

use super::Kind;
use super::assertion::Assertion;
use super::basic::basic;
use super::desk::Desk;
use super::outgoing::Outgoing;
use super::scheme::{Denial, Issuer, Scheme, Token};
use crate::http::failure::Failure;
use crate::http::request::Request;
use crate::http::settings::read_own_url;
use crate::model::{Object, Text, Value};
use crate::settings::{Identity, Secret, Section};

pub(super) const KIND: Kind =
    Kind { name: "oauth2", about: "access tokens from a token end point, as OAuth 2.0 has them", read };

struct OAuth2 {
    token_url: String,
    id: String,
    proof: Proof,
    grant: Grant,
    scope: Option<String>,
    params: Vec<(String, String)>,
}

/// How the client shows the token end point who it is (RFC 6749, section 2.3).
enum Proof {
    /// It has no secret.
    Nothing,
    Header(String),
    Body(String),
    Assertion(Assertion),
}

/// What tells that an assertion is a JWT (RFC 7523, section 2.2).
const IS_JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

enum Grant {
    ClientCredentials,
    /// The refresh token of the config. The end point may have given another one since.
    RefreshToken(String),
}

/// Under which a refresh token is remembered.
const REFRESH_TOKEN: &str = "refresh_token";

fn read(section: &mut Section<'_>) -> Option<Arc<dyn Scheme>> {
    let token_url = read_own_url(section, "token_url", "the token end point; a path is appended to `base`");
    let id: Option<Identity> = section.required("id", "the client's id");
    let secret: Option<Secret> = section.optional("secret", "the client's secret; write it as \"${secret:NAME}\"");
    let places = [("header", Proof::Header as fn(String) -> Proof), ("body", Proof::Body)];
    let place = section.choice("send_id_in", &places, "where the token end point looks for id and secret");
    let private_key = section.table(
        "private_key",
        "the key that signs who the client is, in place of a secret (`private_key_jwt`)",
        Assertion::read,
    );
    if section.has("secret") && section.has("private_key") {
        let message = "the client shows who it is in one way";
        section.mistake("private_key", message, "keep `secret` or `private_key`");
    }
    let is_refreshed = section.choice(
        "grant",
        &[("client_credentials", false), ("refresh_token", true)],
        "what tokens are given for: the client's own credentials, or a refresh token",
    );
    let refresh_token: Option<Secret> = section.optional(
        "refresh_token",
        "the first refresh token; when the token end point gives another one, that is kept in the store",
    );
    let scope: Option<String> = section.optional("scope", "what to ask access to, such as \"orders:read users:read\"");
    let audience: Option<String> = section.optional("audience", "the API that the token is for");
    let params = section.table("params", "more parameters of the token request", |section| {
        Some(section.entries::<Identity>("a parameter"))
    });
    if is_refreshed && !section.has("refresh_token") {
        let way_out = "add `refresh_token = \"${secret:NAME}\"`, or remove `grant`";
        section.mistake("grant", "there is no refresh token to begin with", way_out);
    }
    if !is_refreshed && section.has("refresh_token") {
        let way_out = "add `grant = \"refresh_token\"`, or remove it";
        section.mistake("refresh_token", "nothing uses the refresh token", way_out);
    }
    let audience = audience.map(|audience| ("audience".to_owned(), audience));
    let params = params.into_iter().flatten().map(|(name, Identity(value))| (name, value));
    let grant = match refresh_token {
        Some(Secret(token)) if is_refreshed => Grant::RefreshToken(token),
        _ => Grant::ClientCredentials,
    };
    Some(Arc::new(OAuth2 {
        token_url: token_url?,
        id: id?.0,
        proof: match (private_key, secret) {
            (Some(assertion), _) => Proof::Assertion(assertion),
            (None, Some(Secret(secret))) => place(secret),
            (None, None) => Proof::Nothing,
        },
        grant,
        scope,
        params: audience.into_iter().chain(params).collect(),
    }))
}

impl Scheme for OAuth2 {
    fn sign(&self, request: &mut Outgoing<'_>, token: &Token) -> Result<(), Failure> {
        request.authorize(&format!("Bearer {}", token.text))
    }

    fn signs_alike(&self) -> bool {
        true
    }

    fn issuer(&self) -> Option<&dyn Issuer> {
        Some(self)
    }
}

#[async_trait]
impl Issuer for OAuth2 {
    async fn issue(&self, desk: &Desk<'_>) -> Result<Token, Denial> {
        let url = desk.url(&self.token_url)?;
        let assertion = match &self.proof {
            Proof::Assertion(assertion) => {
                Some(assertion.make(&self.id, url.as_str(), desk.clock().timestamp()).await?)
            }
            _ => None,
        };
        let mut request = Request::new(Method::Post, url);
        let refresh_token = self.refresh_token(desk)?;
        let mut form = match &refresh_token {
            None => vec![("grant_type", "client_credentials")],
            Some(token) => vec![("grant_type", "refresh_token"), ("refresh_token", token)],
        };
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(self.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        match &self.proof {
            Proof::Nothing | Proof::Assertion(_) => form.push(("client_id", &self.id)),
            Proof::Body(secret) => form.extend([("client_id", self.id.as_str()), ("client_secret", secret)]),
            Proof::Header(secret) => {
                let authorization = basic(&encoded(&self.id), &encoded(secret));
                let value = authorization.parse().map_err(|_| Denial::permanent("id and secret cannot be sent"))?;
                request.headers.insert(AUTHORIZATION, value);
            }
        }
        form.extend(
            assertion
                .iter()
                .flat_map(|assertion| [("client_assertion_type", IS_JWT), ("client_assertion", assertion.as_str())]),
        );
        let reply = desk.ask_with_form(request, &form).await?;
        let text = |name| reply.get(name).and_then(Value::as_text);
        let Some(access_token) = text("access_token").filter(|token| !token.is_empty()) else {
            return Err(Denial::for_now(format!("what `{}` answered holds no access token", self.token_url)));
        };
        desk.keep_secret(access_token);
        if let Some(kind) = text("token_type").filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            let cause = format!("`{}` gave a token of type `{kind}`, and only `Bearer` can be sent", self.token_url);
            return Err(Denial::permanent(cause));
        }
        if let (Some(old), Some(new)) = (&refresh_token, text("refresh_token"))
            && old != new
        {
            desk.keep_secret(new);
            // Whoever uses the new one ends the old one, so it must be on disk before.
            desk.remember(REFRESH_TOKEN, self.noted(new)).await?;
        }
        Ok(Token { text: access_token.to_owned(), lifetime: lifetime(&reply), look_again: None })
    }
}

impl OAuth2 {
    /// The refresh token to use: the latest that the end point gave in place of the one in the config.
    fn refresh_token(&self, desk: &Desk<'_>) -> Result<Option<String>, Denial> {
        let Grant::RefreshToken(configured) = &self.grant else { return Ok(None) };
        let noted = desk.remembered(REFRESH_TOKEN)?;
        let is_its_successor =
            |noted: &Value| noted.get("first").and_then(Value::as_text) == Some(fingerprint(configured).as_str());
        let latest = noted.filter(is_its_successor).and_then(|noted| Some(noted.get("token")?.as_text()?.to_owned()));
        if let Some(latest) = &latest {
            desk.keep_secret(latest);
        }
        Ok(Some(latest.unwrap_or_else(|| configured.clone())))
    }

    /// A refresh token as it is remembered, with the one in the config that it came of: another one in the config is
    /// a new beginning.
    fn noted(&self, token: &str) -> Value {
        let first = match &self.grant {
            Grant::RefreshToken(configured) => fingerprint(configured),
            Grant::ClientCredentials => String::new(),
        };
        let mut noted = Object::default();
        noted.insert(Text::from("first"), Value::from(first));
        noted.insert(Text::from("token"), Value::from(token));
        Value::object(noted)
    }
}

fn fingerprint(token: &str) -> String {
    HEXLOWER.encode(&digest(&SHA256, token.as_bytes()).as_ref()[..16])
}

/// Id and secret are encoded as a form would before they go into the header (RFC 6749, section 2.3.1).
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// `expires_in` in seconds, which some end points write as a text.
fn lifetime(reply: &Value) -> Option<Duration> {
    let seconds = match reply.get("expires_in")? {
        Value::Text(text) => text.parse().ok()?,
        Value::Number(number) => number.as_f64(),
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}
