//! Hosts that fail, and what that costs those that do not.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::gatherd::{Workplace, wait_for_lines};
use crate::support::server::{self, Connection, Server, drip, reply};
use crate::support::wait_until;

/// How a hostile host behaves.
type Play = fn(&mut dyn Connection) -> io::Result<()>;

#[test]
fn half_of_the_hosts_hostile_do_not_hold_up_the_other_half_nor_are_they_stormed() {
    const ROUNDS: usize = 10;
    let plays: [(&str, Play); 4] = [
        ("hangs", |connection| connection.read(&mut [0]).and(Err(io::ErrorKind::Other.into()))),
        ("drips", |connection| drip(connection, "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")),
        ("resets", |connection| {
            connection.reset_at_end();
            Err(io::ErrorKind::Other.into())
        }),
        ("is unavailable", |connection| connection.write_all(&reply("503 Service Unavailable", &[], ""))),
    ];
    let hostile: Vec<(&str, Server)> = (1..=3)
        .flat_map(|n| plays.iter().enumerate().map(move |(kind, play)| (n, kind, play)))
        .map(|(n, kind, (what, play))| {
            let play = *play;
            (*what, Server::start_at(&format!("127.0.{}.{n}", 80 + kind), move |_, connection| play(connection)))
        })
        .collect();
    let healthy: Vec<Server> = (1..=12)
        .map(|n| Server::start_at(&format!("127.0.90.{n}"), |_, connection| connection.write_all(&server::json("1"))))
        .collect();
    let workplace = Workplace::new(
        r#"
        [service]
        allow = ["127.0.0.0/8"]
        drain = "100ms"

        [pipeline.hosts]
        from  = { lines = "urls.txt" }
        steps = [
          { get = { url = "{.}", timeouts = { connect = "10m", first_byte = "10m", whole = "10m" } }, retry = { tries = 1000, within = "10m", base = "20ms", cap = "20ms" } },
          { map = "labels.host" },
        ]
        to    = [{ file = "out.ndjson", batch = { age = "10ms" } }]
        "#,
    );
    let servers = hostile.iter().map(|(_, server)| server).chain(&healthy);
    let hosts: Vec<String> = servers.map(|server| server.url("/")).collect();
    let lines = (0..ROUNDS).flat_map(|round| hosts.iter().map(move |url| format!("{url}{round}\n")));
    workplace.write("urls.txt", lines.collect::<String>());
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", healthy.len() * ROUNDS);
    assert_eq!(workplace.values("out.ndjson").len(), healthy.len() * ROUNDS);
    assert_eq!(workplace.dead_letters().len(), 0, "the hostile are still being asked");
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    for (what, server) in &hostile {
        let asked = server.seen().len();
        // Each item once, ten retries at once and ten a minute after that; the run takes less than a minute.
        assert!((1..=ROUNDS + 20).contains(&asked), "{what}: asked {asked} times");
    }
}

#[test]
fn a_host_that_is_down_is_asked_by_one_request_now_and_then_and_found_when_it_is_back() {
    const FAILING: usize = 12;
    const ITEMS: usize = 30;
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_, connection| {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        if number > FAILING {
            return connection.write_all(&server::json("1"));
        }
        connection.write_all(&reply("500 Internal Server Error", &[], ""))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.all]
        from  = {{ items = {{ range = [1, {ITEMS}] }} }}
        steps = [{{ get = "{}/{{.}}", retry = {{ tries = 20, base = "1ms", cap = "1ms" }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        server.url("")
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(workplace.read("out.ndjson").lines().count(), ITEMS);
    assert_eq!(server.seen().len(), ITEMS + FAILING);
    for said in ["host fails again and again", "it answered 500", "host answers again"] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

#[test]
fn a_schedule_asks_a_host_that_stays_down_more_and_more_rarely() {
    const UNTIL_OPEN: usize = 10;
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let kept = times.clone();
    let server = Server::start(move |_, connection| {
        kept.lock().unwrap().push(Instant::now());
        connection.write_all(&reply("500 Internal Server Error", &[], ""))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.all]
        from  = {{ every = "50ms" }}
        steps = [{{ get = "{}", retry = {{ tries = 1000, base = "1ms", cap = "1ms" }} }}]
        to    = []
        "#,
        server.url("/")
    ));
    let _daemon = workplace.start();
    wait_until("three probes", || times.lock().unwrap().len() >= UNTIL_OPEN + 3);
    let times = times.lock().unwrap();
    let pauses: Vec<f64> = times[UNTIL_OPEN - 1..].windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    // A second, then twice as long each time, less a fifth at most.
    for (pause, least) in pauses.iter().zip([0.8, 1.6, 3.2]) {
        assert!(*pause >= least, "{pauses:?}");
    }
}

#[test]
fn items_for_a_host_that_stays_down_become_dead_letters_that_say_why() {
    let down = format!("http://127.0.0.1:{}", server::closed_port());
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.all]
        from  = {{ items = {{ range = [1, 100] }} }}
        steps = [{{ get = "{down}/{{.}}", retry = {{ within = "3s", base = "1ms", cap = "1ms" }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let dead = workplace.dead_letters();
    assert_eq!(dead.len(), 100);
    let kinds = |kind: &str| dead.iter().filter(|letter| letter["fault"]["kind"] == kind).count();
    assert!(kinds("down") > 50 && kinds("down") + kinds("connect") == 100, "{:?}", dead[0]);
    assert!(dead.iter().all(|letter| letter["fault"]["message"].as_str().unwrap().contains("connection refused")));
}

#[test]
fn a_sink_begins_with_few_requests_at_once_and_finds_out_how_many_are_right() {
    const ITEMS: usize = 300;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (now, most.clone());
    // Takes four at once in 10 ms; whatever is beyond that waits for its turn.
    let places = Arc::new((Mutex::new(4_usize), std::sync::Condvar::new()));
    let server = Server::start(move |_, connection| {
        let (now, most) = &counted;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let (free, changed) = &*places;
        let mut free_now = changed.wait_while(free.lock().unwrap(), |free| *free == 0).unwrap();
        *free_now -= 1;
        drop(free_now);
        std::thread::sleep(std::time::Duration::from_millis(10));
        *free.lock().unwrap() += 1;
        changed.notify_one();
        now.fetch_sub(1, Ordering::SeqCst);
        connection.write_all(&reply("204 No Content", &[], ""))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.all]
        from = {{ items = {{ range = [1, {ITEMS}] }} }}
        to   = ["hook"]

        [sink.hook]
        http    = "{}"
        workers = 64

        [service.http]
        per_host = 64
        "#,
        server.url("/")
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(server.seen().len(), ITEMS);
    let most = most.load(Ordering::SeqCst);
    assert!((2..=32).contains(&most), "{most} at once to a server that takes four, by 64 workers");
}
