//! Pipelines that a person pauses, resumes and triggers.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::fs;

use support::gatherd::{Ended, Workplace, wait_for_lines};
use support::wait_until;

const CONFIG: &str = r#"
    [pipeline.copy]
    from = { lines = { path = "in", follow = true } }
    to   = [{ file = "out" }]
    [pipeline.tick]
    from  = { every = "24h" }
    steps = [{ map = "1" }]
    to    = [{ file = "ticks" }]
"#;

#[track_caller]
fn says(workplace: &Workplace, arguments: &[&str], expected: &str) {
    let Ended { stdout, stderr, status } = workplace.gatherd(arguments);
    assert_eq!(stdout, expected, "{stderr}");
    assert!(status.success(), "{stderr}");
}

#[track_caller]
fn refuses(workplace: &Workplace, arguments: &[&str], expected: &str) {
    let ended = workplace.gatherd(arguments);
    assert!(ended.stderr.contains(expected) && ended.code() == Some(1), "{ended:?}");
}

fn append(workplace: &Workplace, text: &str) {
    let before = workplace.read("in");
    fs::write(workplace.path("in"), before + text).unwrap();
}

#[test]
fn a_paused_pipeline_rests_over_restarts_until_it_is_resumed_and_loses_nothing() {
    let workplace = Workplace::new(CONFIG);
    workplace.write("in", "1\n");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out", 1);
    wait_for_lines(&workplace, "ticks", 1);
    says(&workplace, &["pause", "copy"], "paused  copy\n");
    append(&workplace, "2\n");
    refuses(&workplace, &["pause", "nothing"], "there is no pipeline `nothing`");
    let status = workplace.gatherd(&["status"]).stdout;
    assert!(status.contains("paused"), "{status}");
    daemon.stop();

    let daemon = workplace.start();
    // What is not paused gets a turn, and so would what is.
    says(&workplace, &["trigger", "tick"], "triggered  tick\n");
    wait_for_lines(&workplace, "ticks", 2);
    assert_eq!(workplace.read("out"), "\"1\"\n");
    says(&workplace, &["resume", "copy"], "resumed  copy\n");
    wait_for_lines(&workplace, "out", 2);
    daemon.stop();

    says(&workplace, &["pause", "copy"], "paused  copy\n");
    says(&workplace, &["resume", "copy"], "resumed  copy\n");
    refuses(&workplace, &["trigger", "tick"], "no gatherd runs");
}

#[test]
fn a_triggered_schedule_ticks_at_once() {
    let workplace = Workplace::new(CONFIG);
    workplace.write("in", "");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "ticks", 1);
    for ticks in 2..5 {
        says(&workplace, &["trigger", "tick"], "triggered  tick\n");
        wait_for_lines(&workplace, "ticks", ticks);
    }
    refuses(&workplace, &["trigger", "copy"], "cannot trigger `copy`: its source is no schedule");
    says(&workplace, &["pause", "tick"], "paused  tick\n");
    refuses(&workplace, &["trigger", "tick"], "cannot trigger `tick`: it is paused: by hand");
    wait_until("the daemon goes on", || workplace.gatherd(&["status"]).status.success());
    daemon.stop();
}
