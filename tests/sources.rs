//! Sources through the real binary: what is piped in, killed in the middle, or rotated away is gathered all the same.

#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Far more than any test needs: what tells done from hung.
const LIMIT: Duration = Duration::from_secs(30);

/// A folder with a config, in which gatherd runs.
struct Folder(tempfile::TempDir);

impl Folder {
    /// The pipeline `lines` of `from` and `steps`, into the table `items` of a database.
    fn new(from: &str, steps: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[pipeline.lines]\nfrom = {from}\nsteps = [{steps}]\nto = [\"db\"]\n\n\
             [sink.db]\nsqlite = {{ path = \"items.db\", table = \"items\", columns = {{ value = \"TEXT\" }} }}\n\
             batch = {{ age = \"10ms\" }}\n"
        );
        fs::write(folder.path().join("gatherd.toml"), config).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn gatherd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatherd"));
        command.args(arguments).args(["--state", "state", "gatherd.toml"]).current_dir(self.path());
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn run_once(&self) -> Output {
        self.gatherd(&["run", "--once"]).output().unwrap()
    }

    /// The values that were delivered, in the order in which they came.
    fn values(&self) -> Vec<String> {
        let Ok(database) = rusqlite::Connection::open(self.path().join("items.db")) else { return Vec::new() };
        let Ok(mut statement) = database.prepare("SELECT value FROM items ORDER BY rowid") else { return Vec::new() };
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&[String]) -> bool) {
        let start = Instant::now();
        while !is_there(&self.values()) {
            assert!(start.elapsed() < LIMIT, "{what} never came: {:?}", self.values());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A running gatherd that does not outlive its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_piped_in_is_delivered_and_a_bad_line_becomes_a_dead_letter() {
    let folder = Folder::new(r#"{ lines = { path = "-", format = "ndjson" } }"#, "");
    let mut child = folder.gatherd(&["run", "--once"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"value\": \"one\"}\n{broken\n\n{\"value\": \"two\"}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "something was rejected");
    assert_eq!(folder.values(), ["one", "two"]);
    let dead = Command::new(env!("CARGO_BIN_EXE_gatherd"))
        .args(["dead", "list", "--state", "state"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let dead = String::from_utf8_lossy(&dead.stdout).into_owned();
    assert!(dead.contains("cannot read the standard input at byte 17: not JSON"), "{dead}");
}

#[test]
fn lines_that_were_in_flight_at_a_kill_come_again_and_none_is_lost() {
    let folder = Folder::new(r#"{ lines = "all.txt" }"#, r#"{ map = "{value: .}" }"#);
    let count = 30_000;
    let text: String = (0..count).map(|line| format!("{line}\n")).collect();
    folder.append("all.txt", &text);
    for kills in 1..=3 {
        let mut daemon = Daemon(folder.gatherd(&["run", "--once"]).spawn().unwrap());
        let enough = kills * 2000;
        folder.wait_for("the next lines", |values| values.len() > enough);
        daemon.0.kill().unwrap();
    }
    let output = folder.run_once();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut values: Vec<usize> = folder.values().iter().map(|value| value.parse().unwrap()).collect();
    values.sort_unstable();
    values.dedup();
    assert!(values.iter().copied().eq(0..count), "{} of {count} lines", values.len());
    let settled = folder.values().len();
    assert!(folder.run_once().status.success());
    assert_eq!(folder.values().len(), settled, "what has settled does not come again");
}

#[test]
fn a_daemon_follows_a_file_through_rotation_and_a_restart() {
    let folder = Folder::new(r#"{ lines = { path = "app.log", follow = true } }"#, r#"{ map = "{value: .}" }"#);
    let run = || Daemon(folder.gatherd(&["run"]).spawn().unwrap());
    let daemon = run();
    folder.append("app.log", "one\n");
    folder.wait_for("the first line", |values| values == ["one"]);
    folder.append("app.log", "two\n");
    fs::rename(folder.path().join("app.log"), folder.path().join("app.log.1")).unwrap();
    folder.append("app.log", "three\n");
    folder.wait_for("the lines around the rotation", |values| values == ["one", "two", "three"]);
    drop(daemon);
    folder.append("app.log", "four\n");
    let _daemon = run();
    folder.wait_for("the line of the time between", |values| values.last().is_some_and(|last| last == "four"));
}

#[test]
fn a_schedule_ticks_at_once_at_its_first_start_and_its_windows_join() {
    let folder = Folder::new(r#"{ every = "1h" }"#, r#"{ map = '{value: "\(.start) \(.end)"}' }"#);
    for _ in 0..3 {
        assert!(folder.run_once().status.success());
    }
    let values = folder.values();
    let windows: Vec<_> = values.iter().map(|value| value.split_once(' ').unwrap()).collect();
    assert_eq!(windows.len(), 3);
    for pair in windows.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "a window begins where the one before ended");
    }
}
