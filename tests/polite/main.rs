//! Politeness and overload, through the real program: servers that count what is asked of them, proxies, and listeners
//! that nobody may reach.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod limits;
mod overload;
mod proxies;
mod robots;
#[path = "../support/mod.rs"]
mod support;
mod trust;
