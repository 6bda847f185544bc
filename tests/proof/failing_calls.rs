//! Each call on a file fails once: gatherd neither panics nor hangs nor loses anything, and it says so where that matters.

use std::time::Duration;

use super::calls::{Call, can_trace};
use super::oracle::{Oracle, Place, Way};
use super::rounds::{Rounds, random, say, some_of};
use super::scenes::{Beginning, Scene};
use super::support::gatherd::Workplace;
use super::support::small_disk::SmallDisk;
use super::support::{comes_true_within, skip};

/// Calls that fail, and how. Locks of SQLite (fcntl) are left out: they neither wait nor touch a disk. A call that answers 0 has written nothing of what it was given: a short write.
const FAILING: [(&str, &[&str]); 6] = [
    ("openat", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("read,pread64,fstat,newfstatat,statx,lseek", &["error=EIO", "error=EINTR"]),
    ("write,pwrite64", &["error=EIO", "error=ENOSPC", "error=EINTR", "retval=0"]),
    ("fsync,fdatasync", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("ftruncate,mkdir,rename,renameat,renameat2", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("unlink,unlinkat,flock", &["error=EIO", "error=EINTR"]),
];

/// The store's log.
const LOG: &str = "state/gatherd.db-wal";

#[test]
fn a_call_that_fails_once_neither_stops_gatherd_for_good_nor_loses_anything() {
    if !can_trace() {
        return skip("strace is not installed, or may not trace here (apt-get install strace)");
    }
    let mut random = random();
    for beginning in [Beginning::Nothing, Beginning::Kill, Beginning::Damage] {
        let mut scene = Scene::set_up(beginning, &mut random);
        let mut failures = Vec::new();
        for (names, errors) in FAILING {
            let calls = scene.calls(names);
            failures.extend(calls.iter().flat_map(|call| errors.iter().map(|error| (call.clone(), *error))));
        }
        let mut chosen: Vec<_> = failures.iter().filter(|(call, error)| must_be_told(call, error)).take(3).collect();
        chosen.extend(some_of(&failures, 20, &mut random));
        let met = chosen.iter().filter(|(call, error)| check(&mut scene, call, error)).count();
        assert!(2 * met > chosen.len(), "{met} of {}", chosen.len());
        say(&format!(
            "{beginning:?}: {} of {} failures, {met} of them met: none lost, none altered",
            chosen.len(),
            failures.len()
        ));
    }
}

/// Answers whether the call was met.
#[track_caller]
fn check(scene: &mut Scene, call: &Call, error: &str) -> bool {
    let (disturbed, is_met) = scene.disturb(call, error);
    let show = || format!("{error} at {call}: {disturbed:?}");
    assert!(disturbed.code().is_some() && !disturbed.stderr.contains("panicked"), "{}", show());
    // What was not made to last must not pass for it. SQLite tries the same at the end, to do without its log from
    // then on, and keeps the log if that fails.
    let is_log_kept = call.path == LOG && scene.workplace.path(LOG).exists();
    if is_met && must_be_told(call, error) && !is_log_kept {
        assert!(disturbed.stderr.contains("I/O error") || disturbed.stderr.contains("os error 5"), "{}", show());
    }
    scene.finish(&disturbed);
    is_met
}

/// Whether what is to last does not.
fn must_be_told(call: &Call, error: &str) -> bool {
    call.name.contains("sync") && (call.path == LOG || call.path.ends_with(".ndjson")) && error == "error=EIO"
}

/// The system writes a part of what it is given, and then there is no room for the rest.
#[test]
fn a_write_that_is_cut_short_by_a_full_disk_loses_nothing() {
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    let mut items = 0;
    for round in Rounds::new(10, Duration::from_secs(20), 200) {
        let Some(disk) = SmallDisk::mount() else { return };
        let (state, out) = (disk.path("state"), disk.path("out.ndjson"));
        let workplace = Workplace::new(&format!(
            r#"
            [service]
            state = "{}"

            [pipeline.items]
            from  = {{ lines = {{ path = "items.ndjson", follow = true }}, durable = true }}
            steps = [ {{ new = ".id" }} ]
            to    = [ {{ file = "{}", batch = {{ items = 7, age = "10ms" }} }} ]
            "#,
            state.display(),
            out.display()
        ));
        let (book, way) = (format!("items.{round}"), workplace.path("items.ndjson"));
        let daemon = workplace.start();
        let filler = disk.fill(random.u64(0..128 << 10));
        oracle.hand_over(400, &[Way::line(&book, way)]);
        comes_true_within(Duration::from_secs(5), || {
            daemon.log().contains("No space left") || daemon.log().contains("full")
        });
        drop(filler);
        let found = oracle.check_all_arrive(&book, &format!("out.{round}"), &[Place::File(out.clone())], 400);
        assert_eq!(daemon.stop().code(), Some(0));
        items += found.accepted;
    }
    say(&format!("{items} items over disks that were full for a while: none lost, none altered"));
}
