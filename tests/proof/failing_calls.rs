//! Each call on a file fails once: gatherd neither panics nor hangs nor loses anything, and it says so where that matters.

use super::calls::{Call, can_trace};
use super::rounds::{random, say, some_of};
use super::scenes::{Beginning, Scene};
use super::support::skip;

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
        let chosen = some_of(&failures, 25, &mut random);
        for (call, error) in &chosen {
            check(&mut scene, call, error);
        }
        say(&format!("{beginning:?}: {} of {} failures: none lost, none altered", chosen.len(), failures.len()));
    }
}

#[track_caller]
fn check(scene: &mut Scene, call: &Call, error: &str) {
    let disturbed = scene.disturb(call, error);
    let show = || format!("{error} at {call}: {disturbed:?}");
    assert!(disturbed.code().is_some() && !disturbed.stderr.contains("panicked"), "{}", show());
    // What was not made to last must not pass for it. SQLite tries the same at the end, to do without its log from
    // then on, and keeps the log if that fails.
    let must_last = call.path.ends_with(".ndjson") || call.path == LOG && !scene.workplace.path(LOG).exists();
    if must_last && call.name.contains("sync") && error == "error=EIO" {
        assert!(disturbed.stderr.contains("I/O error") || disturbed.stderr.contains("os error 5"), "{}", show());
    }
    scene.finish(&disturbed);
}
