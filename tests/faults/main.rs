//! What can go wrong around gatherd, met by the real program: it must say so, lose nothing, and go on.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod certificates;
mod connections;
mod disks;
mod hosts;
mod memory;
mod replies;
mod starts;
#[path = "../support/mod.rs"]
mod support;

use support::ending::Ends;

/// Compares how the only item of a pipeline ends that may try three times to get through `step`.
#[track_caller]
fn check(what: &str, step: &str, more: &str, ends: Ends) {
    let patient = format!(r#"{{ {step}, retry = {{ tries = 3, base = "5ms", cap = "5ms" }} }}"#);
    support::ending::check(what, &patient, more, ends);
}
