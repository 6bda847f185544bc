//! The promise, proved: nothing that gatherd accepted is lost or altered, whatever happens to the process, the disk and
//! the destinations. Each proof runs the real program, and an oracle outside of it keeps the books.
//!
//! A run here is short. `GATHERD_PROOF=long tests/run --release --test proof` takes hours. What is random comes from a
//! seed that is printed; `GATHERD_SEED=NUMBER` takes that one again.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod corruption;
mod crash_points;
mod dead_sinks;
mod failing_calls;
mod kills;
mod marks;
mod oracle;
mod order;
mod planted;
mod poison;
mod power;
mod reloads;
mod replays;
mod rounds;
mod scenes;
mod stops;
