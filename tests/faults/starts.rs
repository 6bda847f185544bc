//! Starts that cannot be.

use crate::support::gatherd::{IDLE, Workplace};

#[test]
fn a_wrong_config_ends_the_start_with_78_and_says_where_and_how_to_mend_it() {
    let workplace = Workplace::new("[pipeline.a]\nfrom = { evry = \"1m\" }\nto = [\"nowhere\"]\n");
    let ended = workplace.gatherd(&["run", "gatherd.toml"]);
    assert_eq!(ended.code(), Some(78), "{ended:?}");
    for said in ["gatherd.toml:2:10", "evry", "did you mean `every`?", "gatherd.toml:3:7", "[sink.nowhere]"] {
        assert!(ended.stderr.contains(said), "{said} is not in {}", ended.stderr);
    }
    assert!(!workplace.path("gatherd-state").exists(), "nothing was started");
}

#[test]
fn a_config_that_is_not_there_ends_the_start_with_78() {
    let workplace = Workplace::new("");
    let ended = workplace.gatherd(&["run", "missing.toml"]);
    assert_eq!(ended.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("missing.toml"), "{}", ended.stderr);
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let workplace = Workplace::new("");
    for arguments in [&["run"][..], &["rnu", "gatherd.toml"], &["run", "--oncee", "gatherd.toml"]] {
        let ended = workplace.gatherd(arguments);
        assert_eq!(ended.code(), Some(2), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_second_gatherd_is_kept_out_of_a_state_folder() {
    let workplace = Workplace::new(IDLE);
    let first = workplace.start();
    let second = workplace.gatherd(&["run", "gatherd.toml"]);
    assert_eq!(second.code(), Some(1), "{second:?}");
    assert!(second.stderr.contains("gatherd-state"), "{}", second.stderr);
    assert_eq!(first.stop().code(), Some(0));
    let third = workplace.start();
    assert_eq!(third.stop().code(), Some(0), "the first has let go of it");
}
