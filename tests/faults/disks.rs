//! Disks without space.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::gatherd::{Workplace, wait_for_lines};
use crate::support::{skip, wait_until};

/// How soon gatherd goes on once there is space.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);

/// A disk of one MiB in memory.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Nothing if this user may not mount one, which is said.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => return Some(Self { folder }),
            Ok(output) => {
                skip(&format!("cannot mount a small disk: {}", String::from_utf8_lossy(&output.stderr).trim()))
            }
            Err(error) => skip(&format!("cannot run mount: {error}")),
        }
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes all space that is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.path("ballast")).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
    }

    fn make_space(&self) {
        fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is still open there is let go of when it is closed.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

fn add_lines(path: &Path, ids: std::ops::Range<u32>) {
    let lines: String = ids.map(|id| format!("{{\"id\":{id}}}\n")).collect();
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(lines.as_bytes()).unwrap();
}

#[track_caller]
fn assert_whole(workplace: &Workplace, name: &str, count: u32) {
    let mut ids: Vec<u64> = workplace.values(name).iter().map(|value| value["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids, (0..u64::from(count)).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_under_a_file_makes_its_items_wait_and_loses_none() {
    let Some(disk) = SmallDisk::mount() else { return };
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.lines]
        from = {{ lines = {{ path = "in.ndjson", follow = true }} }}
        to   = [{{ file = "{}", batch = {{ age = "10ms" }} }}]
        "#,
        disk.path("out.ndjson").display()
    ));
    let arrived = || fs::read_to_string(disk.path("out.ndjson")).unwrap_or_default();
    add_lines(&workplace.path("in.ndjson"), 0..10);
    let daemon = workplace.start();
    wait_until("the first lines", || arrived().lines().count() == 10);
    disk.fill();
    add_lines(&workplace.path("in.ndjson"), 10..5000);
    daemon.wait_for_log("No space left on device");
    assert!(daemon.log().contains("WARN"), "{}", daemon.log());
    // Long enough for a back-off to have grown.
    std::thread::sleep(Duration::from_secs(4));
    disk.make_space();
    let since = Instant::now();
    wait_until("the rest", || arrived().lines().count() >= 5000);
    assert!(since.elapsed() < RESUMES_WITHIN, "went on after {:?}", since.elapsed());
    daemon.wait_for_log("works again");
    workplace.write("out.ndjson", arrived());
    assert_whole(&workplace, "out.ndjson", 5000);
    assert!(workplace.dead_letters().is_empty());
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_full_disk_under_the_store_pauses_everything_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let workplace = Workplace::new(&format!(
        r#"
        [service]
        state = "{}"

        [pipeline.lines]
        from  = {{ lines = {{ path = "in.ndjson", follow = true }} }}
        steps = [{{ new = ".id" }}]
        to    = [{{ file = {{ path = "out.ndjson" }}, batch = {{ age = "10ms" }} }}]
        "#,
        disk.path("state").display()
    ));
    add_lines(&workplace.path("in.ndjson"), 0..10);
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 10);
    disk.fill();
    add_lines(&workplace.path("in.ndjson"), 10..2000);
    daemon.wait_for_log("waiting for space");
    disk.make_space();
    let since = Instant::now();
    daemon.wait_for_log("there is space for the state again");
    assert!(since.elapsed() < RESUMES_WITHIN, "went on after {:?}", since.elapsed());
    add_lines(&workplace.path("in.ndjson"), 2000..2010);
    wait_for_lines(&workplace, "out.ndjson", 2010);
    assert_whole(&workplace, "out.ndjson", 2010);
    assert_eq!(daemon.stop().code(), Some(0));

    // Everything was settled: nothing comes again.
    let before = workplace.read("out.ndjson");
    let config = workplace.read("gatherd.toml").replace(", follow = true", "");
    workplace.write("gatherd.toml", config);
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(workplace.read("out.ndjson"), before);
}
