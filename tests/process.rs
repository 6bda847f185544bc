//! The life of a gatherd process as its surroundings see it: signals, pipes, the service manager, the log.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use support::gatherd::{IDLE, Running, ServiceManager, Workplace};
use support::server::{Connection, Server, closed_port, json};
use support::wait_until;

/// A config whose items go from `in.ndjson` to `out.ndjson`.
const COPY: &str = r#"
    [pipeline.copy]
    from = { lines = "in.ndjson" }
    to   = [{ file = "out.ndjson", batch = { items = 100, age = "10ms" } }]
"#;

fn numbered_lines(count: u64) -> String {
    (0..count).map(|id| format!("{{\"id\":{id}}}\n")).collect()
}

/// Which ids have arrived. Every line must be whole.
#[track_caller]
fn arrived(workplace: &Workplace) -> BTreeSet<u64> {
    workplace.values("out.ndjson").iter().map(|value| value["id"].as_u64().unwrap()).collect()
}

#[track_caller]
fn assert_all_arrived(workplace: &Workplace, count: u64) {
    let arrived = arrived(workplace);
    let missing: Vec<u64> = (0..count).filter(|id| !arrived.contains(id)).collect();
    assert!(missing.is_empty() && arrived.len() as u64 == count, "missing: {missing:?}");
}

/// A pipeline whose requests are answered only once the server is told to.
struct SlowWork {
    workplace: Workplace,
    server: Server,
    go: Arc<AtomicBool>,
}

impl SlowWork {
    const ITEMS: u64 = 100;

    fn new(drain: &str) -> Self {
        let go = Arc::new(AtomicBool::new(false));
        let told = go.clone();
        let server = Server::start(move |seen, connection: &mut dyn Connection| {
            wait_until("the server may answer", || told.load(Ordering::SeqCst));
            connection.write_all(&json(&format!("{{\"id\":{}}}", &seen.target[1..])))
        });
        let workplace = Workplace::new(&format!(
            r#"
            [service]
            drain = "{drain}"

            [pipeline.slow]
            from  = {{ lines = {{ path = "in.txt", format = "text" }} }}
            steps = [{{ get = "{}/{{.}}" }}]
            to    = [{{ file = "out.ndjson" }}]
            "#,
            server.url("")
        ));
        workplace.write("in.txt", (0..Self::ITEMS).map(|id| format!("{id}\n")).collect::<String>());
        Self { workplace, server, go }
    }

    /// Starts the daemon, and waits until it has requests on their way.
    fn start(&self) -> Running {
        let daemon = self.workplace.start();
        wait_until("a request", || !self.server.seen().is_empty());
        daemon
    }

    fn let_the_server_answer(&self) {
        self.go.store(true, Ordering::SeqCst);
    }

    /// The next run delivers what is left.
    fn assert_that_nothing_was_lost(&self) {
        self.let_the_server_answer();
        let ended = self.workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        assert_all_arrived(&self.workplace, Self::ITEMS);
    }
}

#[test]
fn a_stop_lets_work_run_dry_and_the_next_start_goes_on_where_it_was() {
    for signal in [Signal::TERM, Signal::INT] {
        let work = SlowWork::new("30s");
        let daemon = work.start();
        daemon.signal(signal);
        daemon.wait_for_log("running dry");
        work.let_the_server_answer();
        let ended = daemon.end();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        assert!(!arrived(&work.workplace).is_empty(), "what was on its way has arrived");
        work.assert_that_nothing_was_lost();
        let lines = work.workplace.values("out.ndjson").len() as u64;
        assert_eq!(lines, SlowWork::ITEMS, "nothing that had settled came again");
    }
}

#[test]
fn a_stop_does_not_wait_longer_than_drain_and_what_is_left_comes_again() {
    let work = SlowWork::new("100ms");
    let ended = work.start().stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("comes again"), "{}", ended.stderr);
    work.assert_that_nothing_was_lost();
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let work = SlowWork::new("1h");
    let mut daemon = work.start();
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("running dry");
    // One that comes right behind the first is the same wish.
    wait_until("another signal ends it", || {
        daemon.signal(Signal::TERM);
        daemon.is_over()
    });
    let ended = daemon.end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("at once"), "{}", ended.stderr);
    work.assert_that_nothing_was_lost();
}

#[test]
fn a_process_that_is_killed_at_any_moment_loses_nothing() {
    const ROUNDS: u64 = 20;
    const LINES: u64 = 20_000;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let workplace = Workplace::new(COPY);
    workplace.write("in.ndjson", numbered_lines(LINES));
    let mut killed_at_work = 0;
    for round in 0..ROUNDS {
        let mut daemon = Running::start(workplace.command(&["run", "gatherd.toml"]));
        let before = file_length(&workplace, "out.ndjson");
        // Sometimes while it starts, else after so much more was written.
        let more = if round % 5 == 0 { 0 } else { random.u64(1..10_000) };
        wait_until("more is written, or all", || {
            file_length(&workplace, "out.ndjson") >= before + more || daemon.is_over()
        });
        killed_at_work += u64::from(!daemon.is_over());
        daemon.kill();
    }
    assert!(killed_at_work > ROUNDS / 2, "only {killed_at_work} of {ROUNDS} were killed at work");
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_all_arrived(&workplace, LINES);
    assert!(workplace.dead_letters().is_empty());
}

fn file_length(workplace: &Workplace, name: &str) -> u64 {
    fs::metadata(workplace.path(name)).map_or(0, |metadata| metadata.len())
}

#[test]
fn a_reader_that_has_enough_ends_the_run_quietly() {
    let workplace = Workplace::new(
        r#"
        [pipeline.numbers]
        from = { items = { range = [1, 100000] } }
        to   = [{ stdout = {} }]
        "#,
    );
    let mut child =
        workplace.command(&["run", "gatherd.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    {
        let mut head = BufReader::with_capacity(16, child.stdout.take().unwrap());
        head.read_line(&mut first).unwrap();
    }
    assert_eq!(first, "1\n");
    let ended = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{log}");
    for alarming in ["ERROR", "WARN", "panicked", "Broken pipe"] {
        assert!(!log.contains(alarming), "{log}");
    }
}

#[test]
fn commands_that_print_end_quietly_too_when_nobody_reads_on() {
    let workplace = Workplace::new(COPY);
    for arguments in [&["kinds"][..], &["explain", "gatherd.toml"], &["--help"], &["kinds", "get"]] {
        let mut child = workplace.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {said}");
    }
}

#[test]
fn the_service_manager_is_told_of_readiness_status_life_and_stop() {
    let workplace = Workplace::new(COPY.replace("\"in.ndjson\"", "{ path = \"in.ndjson\", follow = true }").as_str());
    workplace.write("in.ndjson", numbered_lines(10));
    let manager = ServiceManager::listen(&workplace.path("manager"));
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200000");
    let daemon = Running::start(command);
    wait_until("READY", || manager.was_told("READY=1"));
    let is_status = |line: &String| line.starts_with("STATUS=1 pipeline") && line.contains("dead letters");
    wait_until("STATUS", || manager.told().iter().any(is_status));
    wait_until("pings", || manager.told().iter().filter(|line| *line == "WATCHDOG=1").count() > 3);
    assert!(!manager.was_told("STOPPING=1"));
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(manager.was_told("STOPPING=1"), "{:?}", manager.told());
}

#[test]
fn a_process_that_is_not_the_one_watched_sends_no_pings() {
    let workplace = Workplace::new(IDLE);
    let manager = ServiceManager::listen(&workplace.path("manager"));
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let daemon = Running::start(command);
    wait_until("READY", || manager.was_told("READY=1"));
    wait_until("STATUS", || manager.told().iter().any(|line| line.starts_with("STATUS=")));
    assert!(!manager.was_told("WATCHDOG=1"), "another process is the one that is watched: {:?}", manager.told());
    daemon.stop();
}

/// Starts the daemon with its log in a file, which `JOURNAL_STREAM` then names or not.
fn log_in_file(is_journal: bool) -> String {
    let workplace = Workplace::new("[pipeline.only]\nfrom = { items = [\"x\"] }\n");
    let path = workplace.path("log");
    let file = File::create(&path).unwrap();
    let metadata = file.metadata().unwrap();
    let inode = if is_journal { metadata.ino() } else { metadata.ino() + 1 };
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()));
    let status = command.stderr(file).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_journal_gets_a_priority_before_each_line_and_no_time() {
    let is_record = |line: &&str| line.contains("gatherd::");
    let log = log_in_file(true);
    let records: Vec<&str> = log.lines().filter(is_record).collect();
    assert!(!records.is_empty(), "{log}");
    for line in records {
        let (priority, rest) = line.split_at(3);
        assert!(["<3>", "<4>", "<6>", "<7>"].contains(&priority), "{line}");
        assert!(rest.starts_with(|c: char| c.is_ascii_uppercase()), "{line}");
    }
    let log = log_in_file(false);
    for line in log.lines().filter(is_record) {
        let time = line.split(' ').next().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{line}");
    }
}

#[test]
fn a_log_for_programs_is_one_json_object_a_line() {
    let workplace = Workplace::new("[pipeline.only]\nfrom = { items = [\"a\\nb\"] }\n");
    let ended = Running::start(workplace.command(&["--log-format", "json", "run", "gatherd.toml"])).end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let records: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let item = records.iter().find(|record| record["trace"].as_str().is_some()).unwrap_or_else(|| panic!("{ended:?}"));
    assert!(item["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{item}");
    assert_eq!(item["level"], "info");
    assert!(item["trace"].as_str().unwrap().starts_with("only-"), "{item}");
    assert!(ended.stderr.contains(r#"a\\nb"#) || ended.stderr.contains(r#"a\nb"#), "{}", ended.stderr);
}

#[test]
fn rust_log_says_what_is_logged() {
    let workplace = Workplace::new("[pipeline.only]\nfrom = { items = [\"x\"] }\n");
    let log = |levels: Option<&str>| {
        let mut command = workplace.command(&["run", "gatherd.toml"]);
        if let Some(levels) = levels {
            command.env("RUST_LOG", levels);
        }
        let ended = Running::start(command).end();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        ended.stderr
    };
    assert!(log(None).contains("INFO"), "items are logged unless something else is said");
    assert!(log(Some("info")).contains("INFO"));
    assert_eq!(log(Some("warn")), "");
    assert_eq!(log(Some("off")), "");
    assert_eq!(log(Some("some_other_crate=trace")), "");
    assert!(log(Some("trace")).len() > log(Some("info")).len());
}

#[test]
fn the_demo_needs_nothing_and_leaves_rows_a_config_and_a_dead_letter() {
    let workplace = Workplace::new("");
    let ended = workplace.gatherd(&["demo"]);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let demo = workplace.path("gatherd-demo");
    let rows = |table: &str| {
        let database = rusqlite::Connection::open(demo.join("weather.db")).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows("stations"), 22, "24 stations, of which one is gone and one is broken");
    assert!(!fs::read_to_string(demo.join("storms.ndjson")).unwrap().is_empty());
    let dead = workplace.gatherd(&["dead", "list", "--state", "gatherd-demo/state"]);
    assert!(dead.stdout.contains("500 Internal Server Error"), "{dead:?}");
    // What it says can be typed as it stands.
    assert!(ended.stdout.contains("gatherd dead list --state gatherd-demo/state"), "{}", ended.stdout);
    assert!(ended.stderr.contains("`gatherd dead list --state gatherd-demo/state`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("(buffer)"), "a buffer that nothing went through: {}", ended.stderr);
    let typed = ended.stdout.lines().find_map(|line| line.trim().strip_prefix("DEMO_API=")).unwrap();
    let (api, explain) = typed.split_once(" gatherd ").unwrap();
    let explain: Vec<_> = explain.split(' ').collect();
    let mut command = workplace.command(&explain);
    command.env("DEMO_API", api);
    let explained = Running::start(command).end();
    assert_eq!((explained.code(), &*explained.stderr), (Some(0), ""), "{explained:?}");
    let again = workplace.gatherd(&["demo"]);
    assert_eq!((again.code(), rows("stations")), (Some(0), 22), "{again:?}");
}

#[test]
fn where_the_state_is_elsewhere_the_summary_says_so_and_what_it_says_can_be_typed() {
    let workplace = Workplace::new(
        r#"
        [service]
        state = "elsewhere"

        [pipeline.numbers]
        from  = { items = [1] }
        steps = [ { map = "error(\"no\")" } ]
        "#,
    );
    let ended = workplace.run_once();
    assert!(ended.stderr.contains("See `gatherd dead list --state elsewhere` for"), "{ended:?}");
    let listed = workplace.gatherd(&["dead", "list", "--state", "elsewhere"]);
    assert!(listed.stdout.contains("numbers"), "{listed:?}");
    // Commands that read no config cannot know what it says.
    let help = workplace.gatherd(&["dead", "list", "--help"]).stdout;
    assert!(!help.contains("[default: `[service] state`"), "{help}");
}

#[test]
fn a_single_run_ends_though_a_queue_holds_what_it_cannot_get_rid_of() {
    let numbers = |to: &str| {
        format!(
            r#"
            [service]
            dead_letters = {{ items = 2 }}

            [pipeline.numbers]
            from = {{ items = {{ range = [1, 6] }} }}
            to   = {to}

            [queue.work]
            [pipeline.work]
            from = {{ queue = "work" }}
            "#
        )
    };
    let out = r#"to = [ { file = "out.ndjson" } ]"#;
    let dead_sink = format!(r#"to = [ {{ http = "http://127.0.0.1:{}/" }} ]"#, closed_port());
    for (why, config) in [
        ("its sink is down", numbers(r#"["work"]"#) + &dead_sink),
        ("nobody reads it", numbers(r#"["work", "other"]"#) + out + "\n[queue.other]"),
        (
            "its pipeline has stopped, and another reads a queue too",
            numbers(r#"["work", "other"]"#)
                + out
                + r#"
                [queue.other]
                [pipeline.other]
                from  = { queue = "other" }
                steps = [ { map = 'error("no")' } ]
                to    = []
                "#,
        ),
    ] {
        let ended = Workplace::new(&config).run_once();
        assert!(ended.code().is_some(), "{why}: {ended:?}");
    }
}
