//! Disks without space.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::gatherd::{Running, Workplace, wait_for_lines};
use crate::support::small_disk::SmallDisk;
use crate::support::{comes_true_within, wait_until};

/// How soon gatherd goes on once there is space.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);

/// Long enough for a back-off that doubles to have grown beyond that.
const FULL_FOR: Duration = Duration::from_secs(6);

/// More than a source may run ahead of what is noted.
const LINES: u64 = 30_000;

fn add_lines(workplace: &Workplace, ids: std::ops::Range<u64>) {
    let lines: String =
        ids.map(|id| format!("{{\"id\":{id},\"text\":\"enough of them to fill a small disk\"}}\n")).collect();
    let file = OpenOptions::new().append(true).create(true).open(workplace.path("in.ndjson"));
    file.unwrap().write_all(lines.as_bytes()).unwrap();
}

/// The disk under the only sink gets full, stays so for a while, and has space again.
fn check(sink: impl Fn(&SmallDisk) -> String, delivered: impl Fn(&SmallDisk) -> Vec<u64>) {
    let Some(disk) = SmallDisk::mount() else { return };
    let workplace = Workplace::new(&format!(
        "[pipeline.lines]\nfrom = {{ lines = {{ path = \"in.ndjson\", follow = true }} }}\nto = [\"small\"]\n\n\
         [sink.small]\n{}\nbatch = {{ age = \"10ms\" }}\n",
        sink(&disk)
    ));
    add_lines(&workplace, 0..10);
    let daemon = workplace.start();
    wait_until("the first lines", || delivered(&disk).len() == 10);
    let filler = disk.fill(16 << 10);
    add_lines(&workplace, 10..LINES);
    daemon.wait_for_log("sink fails");
    let since = Instant::now();
    wait_until("some time", || since.elapsed() > FULL_FOR);
    assert!(!daemon.log().contains("works again"), "{}", daemon.log());
    drop(filler);
    assert_resumes(&daemon, "works again");
    wait_until("the rest", || delivered(&disk).len() as u64 >= LINES);
    assert_eq!(delivered(&disk), (0..LINES).collect::<Vec<_>>());
    assert!(workplace.dead_letters().is_empty());
    assert_eq!(daemon.stop().code(), Some(0));
}

#[track_caller]
fn assert_resumes(daemon: &Running, text: &str) {
    let resumed = comes_true_within(RESUMES_WITHIN, || daemon.log().contains(text));
    assert!(resumed, "not within {RESUMES_WITHIN:?}: {}", daemon.log());
}

/// The ids in a file of JSON lines, in order. A last line that is not whole is still being written.
fn ids_in(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_u64().unwrap();
    whole.lines().map(id).collect()
}

#[test]
fn a_full_disk_under_a_file_makes_its_items_wait_and_loses_and_doubles_none() {
    check(|disk| format!("file = \"{}\"", disk.path("out.ndjson").display()), |disk| ids_in(&disk.path("out.ndjson")));
}

#[test]
fn a_full_disk_under_a_database_makes_its_items_wait_and_loses_and_doubles_none() {
    check(
        |disk| format!("sqlite = {{ path = \"{}\", table = \"items\" }}", disk.path("out.db").display()),
        |disk| {
            let Ok(database) = rusqlite::Connection::open(disk.path("out.db")) else { return Vec::new() };
            let Ok(mut ids) = database.prepare("SELECT id FROM items ORDER BY rowid") else { return Vec::new() };
            ids.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|id| id.unwrap().cast_unsigned()).collect()
        },
    );
}

#[test]
fn a_full_disk_under_the_store_pauses_everything_and_loses_and_doubles_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let config = format!(
        r#"
        [service]
        state = "{}"

        [pipeline.lines]
        from = {{ lines = {{ path = "in.ndjson", follow = true }} }}
        to   = [{{ file = "out.ndjson", batch = {{ age = "10ms" }} }}]
        "#,
        disk.path("state").display()
    );
    let workplace = Workplace::new(&config);
    add_lines(&workplace, 0..10);
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 10);
    let filler = disk.fill(16 << 10);
    add_lines(&workplace, 10..LINES);
    daemon.wait_for_log("waiting for space");
    let written = || ids_in(&workplace.path("out.ndjson")).len() as u64;
    let since = Instant::now();
    wait_until("some time", || since.elapsed() > FULL_FOR);
    assert!(written() < LINES, "what cannot be noted is not gathered on and on");
    drop(filler);
    assert_resumes(&daemon, "there is space for the state again");
    wait_until("all lines", || written() >= LINES);
    assert_eq!(daemon.stop().code(), Some(0));

    // What had settled does not come again.
    workplace.write("gatherd.toml", config.replace(", follow = true", ""));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(ids_in(&workplace.path("out.ndjson")), (0..LINES).collect::<Vec<_>>());
}
