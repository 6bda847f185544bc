//! Reloads under load: configs that are valid and that are broken, and a sink that answers nothing.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::oracle::{Oracle, Way, file, lines_in, wait_for_lines};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::Workplace;
use super::support::wait_until;

/// How many items are handed over for each reload.
const ITEMS: usize = 30;

/// What a pipeline that does not change may at most stand still: far more than was ever measured (0.2 s on a machine with
/// other work), and less than the time for which one that changes may run dry.
const LONGEST_PAUSE: Duration = Duration::from_millis(2500);

/// Each third reload changes the pipeline, each third finds a broken config, and each third changes the sink that
/// answers nothing, which is never waited for. Items come in all the while.
#[test]
fn reloads_under_load_lose_nothing_and_hold_up_nobody_else() {
    let config = |round: usize, stalled: &str| {
        format!(
            r#"
            [service]
            drain = "200ms"

            [pipeline.orders]
            vars  = {{ round = {round} }}
            from  = {{ lines = {{ path = "orders.in.ndjson", follow = true }} }}
            steps = [ {{ where = "$round >= 0" }} ]
            to    = ["well"]

            [pipeline.stuck]
            from = {{ lines = {{ path = "orders.in.ndjson", follow = true }} }}
            to   = ["stalls"]

            [pipeline.same]
            from = {{ every = "10ms" }}
            to   = [ {{ file = "same.ndjson", batch = {{ items = 1 }} }} ]

            [sink.well]
            file  = "well.ndjson"
            batch = {{ age = "10ms" }}

            [sink.stalls]
            http  = "{stalled}"
            batch = {{ age = "{age}ms" }}
            retry = {{ base = "5ms", cap = "5ms" }}
            "#,
            // Another one with each third reload.
            age = 5 + (round + 1) / 3 % 2,
        )
    };
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    // It takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let stalled = format!("http://{}/", silent.local_addr().unwrap());
    let alive = oracle.receive("stalls");
    let workplace = Workplace::new(&config(0, &stalled));
    let way = Way::line("orders", workplace.path("orders.in.ndjson"));
    let daemon = workplace.start();
    let started = Instant::now();
    let (mut reloads, mut slowest) = (0, Duration::ZERO);
    wait_until("the pipeline that does not change is at work", || workplace.path("same.ndjson").exists());
    let watch = Watch::begin(workplace.path("same.ndjson"));
    wait_for_lines(&workplace, "same.ndjson", lines_in(&workplace, "same.ndjson") + 200);
    let without = watch.end();
    let watch = Watch::begin(workplace.path("same.ndjson"));
    for reload in Rounds::new(12, Duration::from_secs(40), 300) {
        reloads = reload;
        oracle.hand_over(ITEMS, std::slice::from_ref(&way));
        let valid = config(reload, &stalled);
        let is_broken = reload % 3 == 0;
        workplace.write("gatherd.toml", if is_broken { valid.replace("where", "wehre") } else { valid });
        let asked = Instant::now();
        let ended = workplace.gatherd(&["reload"]);
        slowest = slowest.max(asked.elapsed());
        let (code, told) = match reload % 3 {
            0 => (78, ""),
            1 => (0, "restarted  orders\n2 pipelines go on as before\n"),
            _ => (0, "restarted  orders\nrestarted  stuck\n1 pipeline goes on as before\n"),
        };
        assert_eq!((ended.code(), &*ended.stdout), (Some(code), told), "reload {reload}: {ended:?}");
    }
    let pause = watch.end();
    workplace.write("gatherd.toml", config(reloads + 1, &alive));
    assert_eq!(workplace.gatherd(&["reload"]).code(), Some(0));
    let most = reloads * ITEMS;
    let found = [("well", vec![file(&workplace, "well.ndjson")]), ("stalls", vec![])]
        .map(|(destination, places)| oracle.check_all_arrive("orders", destination, &places, most));
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    assert_eq!(daemon.stop().code(), Some(0));
    let (items, duplicates) = (found[0].accepted, found.each_ref().map(|found| found.duplicates));
    say(&format!(
        "{reloads} reloads in {:?}, the slowest {slowest:?}; a pipeline that does not change stood still for {pause:?} at \
         most, and {without:?} without a reload; {items} items: none lost, none altered; duplicates {duplicates:?}",
        started.elapsed()
    ));
    assert!(pause < LONGEST_PAUSE, "a pipeline that does not change stood still for {pause:?}");
}

/// Looks how long a file does not change.
struct Watch {
    is_over: Arc<AtomicBool>,
    watcher: JoinHandle<Duration>,
}

impl Watch {
    fn begin(path: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let watcher = thread::spawn(move || {
            let (mut size, mut since, mut longest) = (size(&path), Instant::now(), Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let now = self::size(&path);
                if now != size {
                    longest = longest.max(since.elapsed());
                    (size, since) = (now, Instant::now());
                }
                thread::sleep(Duration::from_millis(2));
            }
            longest.max(since.elapsed())
        });
        Self { is_over, watcher }
    }

    fn end(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap()
    }
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}
