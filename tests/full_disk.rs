//! Disks that are full: nothing is torn, nothing is doubled, and work goes on once there is space.
//!
//! The disk is a small tmpfs, which only root may mount; elsewhere these tests say that they are skipped, and fail if
//! `GATHERD_ALL=1` asks for everything.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gatherd::component::{Sink, SinkContext, WriteFault, find};
use gatherd::http::{Allow, Clients};
use gatherd::model::{Fault, FaultKind, Item, ItemIds, Labels, Origin, Value, Verdict};
use gatherd::runtime::{Clock, Task, block_on, spawn};
use gatherd::settings::read_text;
use gatherd::sinks::KINDS;
use gatherd::store::{Change, Store};

use support::small_disk::{Filler, SmallDisk};

/// Five times what a resumption may take.
const LIMIT: Duration = Duration::from_secs(25);

fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "hung");
        std::thread::yield_now();
    }
}

/// More than fits into what a file has left of its last page.
fn large_position(number: i64) -> Change {
    Change::Position { pipeline: "p".into(), component: "lines".into(), position: large(number) }
}

fn large(number: i64) -> Value {
    Value::from(number.to_string().repeat(100_000))
}

/// A store that has committed position 1, and waits for space to commit position 2.
fn full_store(disk: &SmallDisk) -> (Store, Filler, Task<Result<(), Fault>>) {
    let store = Store::open(&disk.path("state")).unwrap();
    block_on(store.commit(vec![large_position(1)])).unwrap();
    let filler = disk.fill(0);
    let commit = spawn({
        let store = store.clone();
        async move { store.commit(vec![large_position(2)]).await }
    });
    wait_until(|| store.is_waiting_for_space());
    (store, filler, commit)
}

#[test]
fn the_store_waits_for_space_and_goes_on() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (store, filler, commit) = full_store(&disk);
    assert_eq!(store.position("p", "lines").unwrap(), Some(large(1)));
    drop(filler);
    block_on(Clock::system().timeout(LIMIT, commit.join())).expect("hung").unwrap().unwrap();
    assert!(!store.is_waiting_for_space());
    drop(store);
    let store = Store::open(&disk.path("state")).unwrap();
    assert_eq!(store.position("p", "lines").unwrap(), Some(large(2)));
}

#[test]
fn a_store_that_waits_for_space_can_be_closed() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (store, filler, commit) = full_store(&disk);
    block_on(commit.cancel());
    drop(store);
    drop(filler);
    let store = Store::open(&disk.path("state")).unwrap();
    assert_eq!(store.position("p", "lines").unwrap(), Some(large(1)));
}

fn open_sink(config: &str) -> Box<dyn Sink> {
    let (kind, _) = config.split_once(' ').unwrap();
    let settings = read_text(config, find(KINDS, kind).unwrap().read).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let clock = Clock::system();
    let clients = Clients::open(Default::default(), Allow::default(), &clock).unwrap();
    let store = tempfile::tempdir().unwrap();
    let store = Store::open(store.path()).unwrap();
    settings.open(SinkContext { name: "out".into(), clock, clients, store }).unwrap()
}

/// Objects `{"id": …, "text": …}` of about a kilobyte each.
fn batch(ids: std::ops::Range<i64>) -> Vec<Item> {
    let item = |id: i64| {
        let entries = [("id", Value::from(id)), ("text", Value::from("x".repeat(1000)))];
        let value = entries.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let origin = std::sync::Arc::new(Origin::new("test".into(), None, 0));
        Item::new(origin, ItemIds::of("test", "items").at(&id.to_le_bytes()), value, Labels::default())
    };
    ids.map(item).collect()
}

/// Writes to a sink whose disk is full for a while, and compares what is delivered then.
fn check(config: impl Fn(&SmallDisk) -> String, delivered: impl Fn(&SmallDisk) -> Vec<i64>) {
    let Some(disk) = SmallDisk::mount() else { return };
    let sink = open_sink(&config(&disk));
    block_on(sink.write(&batch(0..100))).unwrap();
    // Room for a part of the batch.
    let filler = disk.fill(300 << 10);
    for _ in 0..2 {
        let WriteFault::Batch(fault) = block_on(sink.write(&batch(100..1000))).unwrap_err() else {
            panic!("not the batch as a whole")
        };
        assert_eq!((fault.kind, fault.verdict), (FaultKind::Write, Verdict::Retry { not_before: None }), "{fault}");
        assert!(fault.message.contains("No space left on device") || fault.message.contains("disk is full"), "{fault}");
        assert_eq!(delivered(&disk), (0..100).collect::<Vec<_>>());
    }
    drop(filler);
    block_on(sink.write(&batch(100..1000))).unwrap();
    assert_eq!(delivered(&disk), (0..1000).collect::<Vec<_>>());
}

fn ids_in_lines(path: &Path) -> Vec<i64> {
    let text = fs::read_to_string(path).unwrap();
    let id = |line: &str| gatherd::model::json::parse(line.as_bytes()).unwrap().get("id").and_then(Value::as_i64);
    text.lines().map(|line| id(line).unwrap()).collect()
}

#[test]
fn the_file_sink_takes_back_what_it_cannot_write_whole() {
    check(
        |disk| format!("file = '{}'", disk.path("out.ndjson").display()),
        |disk| ids_in_lines(&disk.path("out.ndjson")),
    );
}

#[test]
fn the_sqlite_sink_writes_a_batch_whole_or_not_at_all() {
    check(
        |disk| format!("sqlite = {{ path = '{}', table = 't' }}", disk.path("out.db").display()),
        |disk| {
            let connection = rusqlite::Connection::open(disk.path("out.db")).unwrap();
            let mut statement = connection.prepare("SELECT id FROM t ORDER BY rowid").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        },
    );
}

/// The real binary on a config, and what it logs.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(state: &Path, arguments: &[&str], config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gatherd.toml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatherd"));
        command.arg("run").args(arguments).arg("--state").arg(state).arg(&file).current_dir(folder.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, _folder: folder }
    }

    /// Reads the log up to a line with this text.
    fn wait_for(&self, text: &str) {
        let mut passed = Vec::new();
        while !passed.last().is_some_and(|line: &String| line.contains(text)) {
            passed.push(self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no `{text}` in {passed:#?}")));
        }
    }

    fn succeeds(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn gatherd_pauses_while_the_disk_of_a_sink_is_full_and_delivers_all_then() {
    let Some(disk) = SmallDisk::mount() else { return };
    let state = tempfile::tempdir().unwrap();
    let filler = disk.fill(500 << 10);
    let config = format!(
        "[pipeline.p]\nfrom = {{ items = {{ range = [1, 20000] }} }}\nsteps = [{{ map = '{{id: ., text: (\"x\" * 90)}}' }}]\n\
         to = [{{ file = '{}', retry = {{ cap = '1s' }} }}]\n",
        disk.path("out.ndjson").display()
    );
    let gatherd = Running::start(state.path(), &["--once"], &config);
    gatherd.wait_for("No space left on device");
    drop(filler);
    gatherd.wait_for("sink works again");
    gatherd.succeeds();
    let mut ids = ids_in_lines(&disk.path("out.ndjson"));
    ids.sort_unstable();
    assert_eq!(ids, (1..=20_000).collect::<Vec<_>>());
}

#[test]
fn gatherd_pauses_while_the_disk_of_its_state_is_full_and_loses_no_dead_letter() {
    let Some(disk) = SmallDisk::mount() else { return };
    let filler = disk.fill(1 << 20);
    let config = "[pipeline.p]\nfrom = { items = { range = [1, 30] } }\n\
                  steps = [{ map = '\"x\" * 100000' }, { map = 'error' }]\nto = []\n";
    let mut gatherd = Running::start(&disk.path("state"), &["--once"], config);
    gatherd.wait_for("the disk of the state folder is full; waiting for space");
    drop(filler);
    gatherd.wait_for("there is space for the state again");
    // Something was rejected.
    assert_eq!(gatherd.child.wait().unwrap().code(), Some(1));
    assert_eq!(Store::open_to_read(&disk.path("state")).unwrap().dead_letter_count().unwrap(), 30);
}

#[test]
fn gatherd_that_was_killed_on_a_full_disk_waits_at_its_next_start_until_there_is_space() {
    let Some(disk) = SmallDisk::mount() else { return };
    let filler = disk.fill(1 << 20);
    // What is out of the queue at a crash must be noted at the next start.
    let config = "[pipeline.p]\nfrom = { items = { range = [1, 15] } }\nto = ['q']\n[queue.q]\n\
                  [pipeline.r]\nfrom = { queue = 'q' }\n\
                  steps = [{ map = '\"x\" * 100000' }, { map = 'error' }]\nto = []\n";
    let state = disk.path("state");
    let waiting = "the disk of the state folder is full; waiting for space";
    let mut killed = Running::start(&state, &["--once"], config);
    killed.wait_for(waiting);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    // What the crash gave back is taken too.
    drop(filler);
    let filler = disk.fill(0);
    let mut gatherd = Running::start(&state, &["--once"], config);
    gatherd.wait_for(waiting);
    drop(filler);
    gatherd.wait_for("there is space for the state again");
    // Something was rejected.
    assert_eq!(gatherd.child.wait().unwrap().code(), Some(1));
    // What was in the queue, but not yet noted to be, may have come a second time.
    let letters = Store::open_to_read(&state).unwrap().dead_letter_count().unwrap();
    assert!((15..=30).contains(&letters), "{letters}");
}
