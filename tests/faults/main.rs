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

use support::gatherd::Workplace;

/// How a pipeline's only item ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// With this JSON in the file.
    Delivered(&'static str),
    /// As a dead letter with this fault, after so many tries, whose message has this in it.
    Dead(&'static str, u64, &'static str),
}

/// Runs a pipeline of one item through `step`, which may try three times, and compares how it ended. `more` follows
/// in the config.
#[track_caller]
fn check(what: &str, step: &str, more: &str, ends: Ends) -> Workplace {
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.only]
        from  = {{ items = ["x"] }}
        steps = [ {{ {step}, retry = {{ tries = 3, base = "5ms", cap = "5ms" }} }} ]
        to    = [ {{ file = "out.ndjson" }} ]
        {more}
        "#
    ));
    let ended = workplace.run_once();
    let dead = workplace.dead_letters();
    let expected_code = match ends {
        Ends::Delivered(value) => {
            assert_eq!(workplace.read("out.ndjson"), format!("{value}\n"), "{what}: {ended:?} {dead:?}");
            assert!(dead.is_empty(), "{what}: {dead:?}");
            0
        }
        Ends::Dead(kind, tries, cause) => {
            assert_eq!(workplace.read("out.ndjson"), "", "{what}: {ended:?}");
            assert_eq!(dead.len(), 1, "{what}: {ended:?}");
            let fault = &dead[0]["fault"];
            assert_eq!(
                (fault["kind"].as_str(), fault["attempts"].as_u64()),
                (Some(kind), Some(tries)),
                "{what}: {fault}"
            );
            assert!(fault["message"].as_str().unwrap().contains(cause), "{what}: {fault}");
            assert_eq!(dead[0]["value"], "x", "{what}: the dead letter is the item as it entered the step");
            1
        }
    };
    assert_eq!(ended.code(), Some(expected_code), "{what}: {ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
    workplace
}
