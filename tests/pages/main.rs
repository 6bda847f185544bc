//! Lists that come page by page, and what is new in them: through the whole program, from servers that page in every
//! way and behave in many.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod guards;
mod kills;
mod kinds;
mod new_by;
mod orders;
mod state;
