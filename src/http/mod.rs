//! The one HTTP client: surf on top, our transport below.
//!
//! A request passes from [`Endpoint::send`], where redirects are followed and replies expanded, through surf's middleware
//! (signing, cookies) to the transport, which sends it over a connection of a pool. Connections come from the connector,
//! which is where the address that is really connected to is checked.

mod admission;
mod auth;
mod body;
mod client;
mod connections;
mod connector;
mod content;
mod cookies;
mod decode;
mod endpoint;
mod envelopes;
mod failure;
mod freshness;
mod inherited;
mod io;
mod listener;
mod listeners;
mod local;
mod meter;
mod next_link;
mod pool;
mod proxy;
mod redirect;
mod request;
mod resolver;
mod robots;
mod route;
mod server;
mod servers;
mod settings;
mod status;
mod template;
mod tls;
mod token;
mod transport;
mod trust;
mod validators;
mod wire;

#[cfg(test)]
mod tests;

pub use admission::{Condition, HostState};
pub use auth::Ticket;
pub use client::Clients;
pub use content::{ReadAs, is_json, value_of};
pub use endpoint::Endpoint;
pub use failure::{attempt, shown};
pub use freshness::fresh_until;
pub use inherited::inherit_sockets;
pub use listener::ListenAddress;
pub use listeners::{Listeners, Listening, Route};
pub use local::{LocalBody, ask_local, open_local};
pub use meter::{Grow, Meter};
pub use next_link::links;
pub use request::{IDEMPOTENCY_KEY, Request, Response, host_of};
pub use server::{Asked, BodyFault, Handler, RequestBody, Streamed, reply};
pub use settings::{ClientSettings, EndpointSettings, Limits, read_allow, read_headers};
pub use status::{answered, is_success, is_transient, retry_after};
pub use surf::http::Method;
pub use template::{Payload, RequestTemplate, Unrendered};
pub use token::{Refusal, Token, read_header_name};
pub use trust::Allow;
pub use url::Url;
pub use validators::{Validators, is_conditional, is_same_etag};
pub use wire::{NO_REPLY, NoReply, Script, ScriptedReply, Sent, Wire, Witness};
