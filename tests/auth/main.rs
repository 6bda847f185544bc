//! How clients sign in, met by the real program: every kind of credentials, tokens that end, servers that refuse, and
//! secrets that show nowhere.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod api;
mod canaries;
mod kinds;
mod others;
mod outages;
mod refreshes;
mod reloads;
mod rotation;
#[path = "../support/mod.rs"]
mod support;
