//! Defects that are put into gatherd on purpose: each is found by a proof, and a build for release has none.

use std::fs;

/// What a build with the feature has, and no other.
const MARKS: [&str; 2] = ["GATHERD_PLANTED", "DroppedAckDelivered"];

#[test]
fn planted_defects_are_in_no_build_without_their_feature() {
    let program = fs::read(env!("CARGO_BIN_EXE_gatherd")).unwrap();
    for mark in MARKS {
        let is_there = memchr::memmem::find(&program, mark.as_bytes()).is_some();
        assert_eq!(is_there, cfg!(feature = "planted"), "{mark}");
    }
}

#[cfg(feature = "planted")]
mod found {
    use std::panic::catch_unwind;
    use std::process::Command;
    use std::time::Instant;

    use crate::rounds::say;
    use crate::support::{check_each, skip};

    /// A defect, the proof that finds it, in how many rounds, and what it says then.
    struct Planted {
        name: &'static str,
        proof: &'static str,
        rounds: usize,
        finding: &'static str,
    }

    const STOPS: &str = "stops::a_stop_always_comes_to_its_end_and_loses_nothing";
    const LOST: &str = "lost: [";

    const PLANTED: [Planted; 12] = [
        Planted {
            name: "AckBeforeFsync",
            proof: "power::nothing_that_was_acknowledged_is_lost_or_altered_by_power_cuts",
            rounds: 20,
            finding: LOST,
        },
        Planted {
            name: "NoFolderSync",
            proof: "order::what_a_run_leaves_behind_was_synced_and_so_were_the_names",
            rounds: 1,
            finding: "unnamed: {",
        },
        Planted {
            name: "FsyncIgnored",
            proof: "failing_calls::a_call_that_fails_once_neither_stops_gatherd_for_good_nor_loses_anything",
            rounds: 1,
            finding: "error=EIO at f",
        },
        Planted {
            name: "NewBeforeAck",
            proof: "marks::what_a_failing_sink_had_not_taken_before_a_crash_passes_new_and_changed_after_it",
            rounds: 3,
            finding: "what failed before the crash",
        },
        Planted {
            name: "CursorBeforeAck",
            proof: "marks::a_cursor_does_not_move_over_what_a_failing_sink_had_not_taken_before_a_crash",
            rounds: 3,
            finding: "what failed before the crash",
        },
        Planted {
            name: "ValidatorBeforeAck",
            proof: "marks::a_reply_that_a_failing_sink_had_not_taken_before_a_crash_is_not_skipped_after_it",
            rounds: 3,
            finding: "what failed before the crash",
        },
        Planted {
            name: "DeadLetterApart",
            proof: "crash_points::a_kill_at_any_write_sync_rename_or_unlink_loses_nothing",
            rounds: 200,
            finding: LOST,
        },
        Planted { name: "DroppedAckDelivered", proof: STOPS, rounds: 10, finding: LOST },
        Planted {
            name: "SettledAtLease",
            proof: "marks::a_queue_gives_out_again_what_a_failing_sink_had_not_taken_before_a_crash",
            rounds: 3,
            finding: "what failed before the crash",
        },
        Planted {
            name: "PositionByRead",
            proof: "marks::a_position_does_not_move_over_an_item_that_had_not_settled_before_a_crash",
            rounds: 3,
            finding: "what had not settled before the crash",
        },
        Planted {
            name: "ReplayWithoutHistory",
            proof: "replays::a_replay_that_fails_again_leaves_one_letter_with_a_longer_history_whatever_is_killed",
            rounds: 2,
            finding: "faults after",
        },
        Planted { name: "BufferBeforeDelivery", proof: STOPS, rounds: 10, finding: LOST },
    ];

    #[test]
    fn each_planted_defect_is_found_by_a_proof() {
        let chosen = std::env::var("GATHERD_PLANTED").ok();
        let is_chosen = |planted: &&Planted| chosen.as_ref().is_none_or(|name| name == planted.name);
        let planted: Vec<&Planted> = PLANTED.iter().filter(is_chosen).collect();
        let found = |some: &[&Planted]| catch_unwind(|| check_each(some, |planted| check(planted))).is_ok();
        let missed = planted.chunks(3).filter(|some| !found(some)).count();
        assert_eq!(missed, 0, "see above");
    }

    fn check(planted: &Planted) {
        let Planted { name, proof, rounds, finding } = planted;
        let started = Instant::now();
        let mut proves = Command::new(std::env::current_exe().unwrap());
        proves.args(["--exact", proof, "--nocapture"]).env("GATHERD_PLANTED", name).env_remove("GATHERD_ALL");
        let proved = proves.env("GATHERD_ROUNDS", rounds.to_string()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&proved.stdout), String::from_utf8_lossy(&proved.stderr));
        if said.contains("SKIPPED") {
            return skip(&format!("{name} is not looked for, since {proof} cannot run here"));
        }
        let is_found = !proved.status.success() && said.replace("lost: []", "").contains(finding);
        assert!(is_found, "{name} is not found by {proof}:\n{said}");
        say(&format!("{name} is found by {proof} in {:.0?}", started.elapsed()));
    }
}
