//! How a pipeline's only item ends.

use super::gatherd::Workplace;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    /// With this JSON in the file.
    Delivered(&'static str),
    /// As a dead letter with this fault, after so many tries, whose message has this in it.
    Dead(&'static str, u64, &'static str),
}

/// Runs a pipeline of the one item `"x"` through `steps`, and compares how it ended. `more` follows in the config.
#[track_caller]
pub(crate) fn check(what: &str, steps: &str, more: &str, ends: Ends) {
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.only]
        from  = {{ items = ["x"] }}
        steps = [ {steps} ]
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
            let found = (fault["kind"].as_str(), fault["attempts"].as_u64());
            assert_eq!(found, (Some(kind), Some(tries)), "{what}: {fault}");
            assert!(fault["message"].as_str().unwrap().contains(cause), "{what}: {fault}");
            assert_eq!(dead[0]["value"], "x", "{what}: the dead letter is the item as it entered the step");
            1
        }
    };
    assert_eq!(ended.code(), Some(expected_code), "{what}: {ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
}
