//! The HTTP steps and the HTTP sink against real servers on loopback.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod certificates;
mod exchanges;
mod faults;
mod harness;
mod server;
mod sink;
mod trust;
