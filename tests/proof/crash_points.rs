//! SIGKILL at each call that changes a file, in a run and in the recoveries after it.

use super::calls::can_trace;
use super::rounds::{random, say, some_of};
use super::scenes::{BEGINNINGS, Scene};
use super::support::skip;

/// What changes files, or makes changes last.
const CHANGES: &str = "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir";

#[test]
fn a_kill_at_any_write_sync_rename_or_unlink_loses_nothing() {
    if !can_trace() {
        return skip("strace is not installed, or may not trace here (apt-get install strace)");
    }
    let mut random = random();
    for beginning in BEGINNINGS {
        let mut scene = Scene::set_up(beginning, &mut random);
        let calls = scene.calls(CHANGES);
        let (mut kills, mut duplicates) = (0, 0);
        for call in some_of(&calls, 25, &mut random) {
            let (killed, _) = scene.disturb(call, "signal=SIGKILL");
            let findings = scene.finish(&killed);
            // Threads take turns in another order each time, so that a call may not come.
            kills += usize::from(killed.code().is_none());
            duplicates += findings.duplicates;
        }
        say(&format!(
            "{beginning:?}: {kills} kills at one of {} calls each: none lost, none altered; {duplicates} duplicates",
            calls.len()
        ));
        assert!(kills > 0, "not one of the calls came again");
    }
}
