//! The HTTP steps and the HTTP sink against real servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod certificates;
mod exchanges;
mod faults;
mod harness;
#[path = "../support/server.rs"]
mod server;
mod sink;
mod trust;
