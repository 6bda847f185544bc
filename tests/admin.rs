//! The admin address through the real program: what it tells, whom it answers, and that it goes on answering whatever
//! clients do.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use support::client::{Reply, connect, exchange, read_reply};
use support::gatherd::{IDLE, Running, Workplace, wait_for_lines};
use support::server::Server;
use support::{LIMIT, check_each, wait_until};

const TOKEN: &str = "canary-of-the-admin-token";

/// Two pipelines, one of which gives items up and has a sink that is down.
fn busy(more: &str) -> Workplace {
    Workplace::new(&format!(
        r#"
        [service]
        admin = {{ listen = "127.0.0.1:0", token = "{TOKEN}", hosts = ["gather.example"] }}
        drain = "10ms"

        [pipeline.numbers]
        from  = {{ items = {{ range = [1, 10] }} }}
        steps = [ {{ where = ". != 2" }}, {{ map = "if . == 3 then error(\"no\") else {{n: .}} end" }}, {{ new = ".n" }} ]
        to    = ["kept", "gone"]

        [sink.kept]
        file = "kept.ndjson"

        [sink.gone]
        http = {{ url = "http://user:canary-in-a-url@127.0.0.1:1/?key=canary-in-a-query" }}
        {more}
        {IDLE}
        "#
    ))
}

/// Where the admin address of a daemon is.
fn address(daemon: &Running) -> SocketAddr {
    daemon.admin_address()
}

fn get(address: SocketAddr, path: &str, header_lines: &str) -> Reply {
    exchange(connect(address), &format!("GET {path} HTTP/1.1\nHost: {address}\n{header_lines}\n"))
}

fn with_token() -> String {
    format!("Authorization: Bearer {TOKEN}\n")
}

#[test]
fn status_and_metrics_tell_the_same_of_each_component() {
    let workplace = busy("");
    let daemon = workplace.start();
    let address = address(&daemon);
    wait_for_lines(&workplace, "kept.ndjson", 8);
    wait_until("the sink that is down is known to be", || {
        let status = get(address, "/status", "").json();
        status["sinks"].as_array().unwrap().iter().any(|sink| sink["health"] == "fails")
            && status["pipelines"][0]["dead_letters"] == 1
            && status["pipelines"][0]["delivered"] == 8
    });

    let status = get(address, "/status", "").json();
    let numbers = &status["pipelines"][0];
    let told = |field: &str| numbers[field].as_u64().unwrap();
    assert_eq!((told("produced"), told("delivered"), told("rejected"), told("dead_letters")), (10, 8, 1, 1));
    assert_eq!(numbers["filtered"]["no_match"], 1);
    assert!(numbers["newest_seconds"].as_f64().unwrap() < LIMIT.as_secs_f64());
    let components: Vec<_> = numbers["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {}", one["id"].as_str().unwrap(), one["in"], one["out"]))
        .collect();
    let expected = ["items 0 10", "where 10 9", "map 9 8", "new 8 8", "sink.kept 8 8", "sink.gone 8 0"];
    assert_eq!(components, expected);
    let fault = status["faults"].as_array().unwrap().iter().find(|fault| fault["component"] == "map").unwrap();
    assert_eq!((&fault["consequence"], &fault["kind"]), (&"rejected".into(), &"filter".into()));

    let samples = metrics(address, "");
    let sample = |name: &str| samples.get(name).copied().unwrap_or_else(|| panic!("no sample {name}"));
    let component = r#"pipeline="numbers",component="map",role="step""#;
    assert_eq!(sample(&format!("gatherd_component_items_in_total{{{component}}}")), 9.0);
    assert_eq!(sample(&format!("gatherd_component_items_out_total{{{component}}}")), 8.0);
    assert_eq!(sample(&format!("gatherd_component_items_rejected_total{{{component}}}")), 1.0);
    let filtered = r#"pipeline="numbers",component="where",role="step",reason="no_match""#;
    assert_eq!(sample(&format!("gatherd_component_items_filtered_total{{{filtered}}}")), 1.0);
    assert_eq!(sample(r#"gatherd_dead_letters{pipeline="numbers"}"#), 1.0);
    assert_eq!(sample(r#"gatherd_sink_up{sink="gone"}"#), 0.0);
    assert_eq!(sample(r#"gatherd_sink_up{sink="kept"}"#), 1.0);
    assert!(sample(r#"gatherd_sink_write_duration_seconds_count{sink="kept"}"#) >= 1.0);
    assert!(sample("process_cpu_seconds_total") > 0.0 && sample("process_open_fds") > 3.0);
    assert_eq!(metrics(address, "Accept: application/openmetrics-text; version=1.0.0\n").len(), samples.len());
}

/// The samples of `/metrics` by name and labels, once the text is seen to keep the rules of its format.
fn metrics(address: SocketAddr, header_lines: &str) -> BTreeMap<String, f64> {
    let reply = get(address, "/metrics", header_lines);
    let is_open = reply.headers["content-type"].starts_with("application/openmetrics-text");
    assert_eq!(is_open, header_lines.contains("openmetrics"), "{reply:?}");
    assert_eq!(reply.body.ends_with("# EOF\n"), is_open);
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind) = ("", "");
    for line in reply.body.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<_> = comment.splitn(3, ' ').collect();
            if words[0] == "TYPE" {
                (family, kind) = (words[1], words[2]);
                assert!(families.insert(family), "a family stands in one piece: {family}");
            }
            assert_eq!(words[1], family, "what is said of a family follows its type: {line}");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        let suffixes: &[&str] = match kind {
            "counter" if is_open => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{name} in {family}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(kind != "counter" || name.ends_with("_total"), "{name}");
        assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "twice: {sample}");
    }
    samples
}

#[test]
fn who_may_not_ask_is_told_why() {
    let workplace = busy("");
    let daemon = workplace.start();
    let address = address(&daemon);
    let here = format!("Host: {address}\n");
    let cases = [
        ("GET /health", here.clone(), 200, "turns"),
        ("GET /ready", here.clone(), 200, "runs"),
        ("GET /status", "Host: gather.example\n".to_owned(), 200, ""),
        ("GET /status", "Host: evil.example\n".to_owned(), 421, "hosts"),
        ("GET /", "Host: evil.example\n".to_owned(), 421, "hosts"),
        ("GET /status", String::new(), 400, "Host"),
        ("GET /status", format!("{here}Host: evil.example\n"), 400, "Host"),
        ("GET /status", format!("{here}Origin: http://evil.example\n"), 403, "other sites"),
        ("GET /dead", here.clone(), 401, "token"),
        ("GET /dead", format!("{here}Authorization: Bearer wrong\n"), 403, "wrong"),
        ("GET /dead", format!("{here}{}", with_token()), 200, ""),
        ("POST /dead/drop", format!("{here}Content-Length: 2\n"), 401, "token"),
        ("POST /dead/drop", format!("{here}Origin: http://evil.example\n{}", with_token()), 403, "other sites"),
        ("DELETE /dead", here.clone(), 405, "another method"),
        ("GET /no/such/page", here, 404, "nothing here"),
    ];
    check_each(&cases, |(request, headers, status, why)| {
        let reply = exchange(connect(address), &format!("{request} HTTP/1.1\n{headers}\n"));
        assert_eq!(reply.status, *status, "{request} {headers}: {reply:?}");
        assert!(reply.body.contains(why), "{request} {headers}: {reply:?}");
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control")), "{reply:?}");
    });
    assert_eq!(get(address, "/dead", "").headers["www-authenticate"], "Bearer");
}

#[test]
fn a_dead_letter_is_replayed_and_dropped_with_the_token() {
    let workplace = busy("");
    let daemon = workplace.start();
    let address = address(&daemon);
    wait_until("a dead letter", || get(address, "/status", "").json()["pipelines"][0]["dead_letters"] == 1);
    let letter = get(address, "/dead", &with_token()).json();
    let id = letter["id"].as_i64().unwrap();
    let post = |path: &str, body: &str| {
        let (token, length) = (with_token(), body.len());
        let head = format!("POST {path} HTTP/1.1\nHost: {address}\n{token}Content-Length: {length}\n\n");
        exchange(connect(address), &format!("{head}{body}"))
    };
    assert_eq!(post("/dead/replay", &format!("{{\"ids\":[{id}]}}")).status, 200);
    wait_until("the letter was given up once more", || {
        get(address, &format!("/dead/{id}"), &with_token()).json()["count"] == 2
    });
    assert_eq!(post("/dead/drop", "{\"ids\":[1000]}").status, 400);
    assert_eq!(post("/dead/drop", "not JSON").status, 400);
    assert_eq!(post("/dead/drop", &format!("{{\"ids\":[{id}]}}")).status, 200);
    assert_eq!(get(address, "/dead/ids", &with_token()).json()["ids"], serde_json::json!([]));
}

#[test]
fn a_socket_answers_like_a_port() {
    let workplace = Workplace::new(&format!("[service]\nadmin = \"unix:admin.sock\"\n{IDLE}"));
    let _daemon = workplace.start();
    let connect = || UnixStream::connect(workplace.path("admin.sock")).unwrap();
    let ask = |request: &str| exchange(connect(), &format!("{request} HTTP/1.1\nHost: gatherd\n\n"));
    assert_eq!(ask("GET /status").json()["pipelines"][0]["name"], "idle");
    let refused = ask("GET /dead");
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("there is none in the `admin`"), "{refused:?}");
}

#[test]
fn while_it_runs_dry_it_is_not_ready() {
    let hangs = Server::start(|_, _| {
        loop {
            thread::park();
        }
    });
    let workplace = Workplace::new(&format!(
        r#"
        [service]
        admin = "127.0.0.1:0"
        drain = "60s"

        [pipeline.slow]
        from = {{ items = [1] }}
        to   = [ {{ http = {{ url = "{}" }} }} ]
        "#,
        hangs.url("/"),
    ));
    let daemon = workplace.start();
    let address = address(&daemon);
    assert_eq!(get(address, "/ready", "").status, 200);
    wait_until("the item is on its way", || !hangs.seen().is_empty());
    let mut waiting = connect(address);
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("asked to stop");
    waiting.write_all(format!("GET /ready HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let reply = read_reply(waiting);
    assert!(reply.status == 503 && reply.body.contains("stops"), "{reply:?}");
}

#[test]
fn the_page_brings_all_it_needs_and_holds_nothing_of_its_own() {
    let workplace = busy("");
    let daemon = workplace.start();
    let page = get(address(&daemon), "/", "");
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.body.contains("numbers"), "the page asks for what it shows");
}

#[test]
fn no_secret_is_told() {
    let workplace = busy("");
    let daemon = workplace.start();
    let address = address(&daemon);
    wait_until("the sink fails", || get(address, "/status", "").body.contains("sink.gone"));
    wait_until("a fault of the sink", || get(address, "/status", "").body.contains("\"retried\""));
    for path in ["/", "/status", "/metrics", "/health", "/ready", "/dead"] {
        let reply = get(address, path, &with_token());
        assert!(!format!("{reply:?}").contains("canary"), "{path}: {reply:?}");
    }
    let status = workplace.gatherd(&["status", "--json"]);
    assert!(status.code() == Some(0) && !status.stdout.contains("canary"), "{status:?}");
}

#[test]
fn it_answers_beside_a_thousand_idle_and_slow_clients_and_nonsense() {
    let workplace = Workplace::new(
        r#"
        [service]
        admin = "127.0.0.1:0"

        [pipeline.ticks]
        from  = { every = "1s" }
        steps = [ { each = "range(100)" } ]
        to    = [ { file = "ticks.ndjson" } ]
        "#,
    );
    let daemon = workplace.start();
    let address = address(&daemon);
    let lines = || workplace.read("ticks.ndjson").lines().count();
    const NONSENSE: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /status HTTP/9.9\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST /dead/drop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /dead/drop HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let before = lines();
    let mut clients = Vec::new();
    for number in 0..1000 {
        let mut client = connect(address);
        // It may have been closed already, to make room.
        let _ = match number % 4 {
            0 => Ok(()),
            1 => client.write_all(b"GET /status HTTP/1.1\r\nHost: loc"),
            2 => client.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            _ => client.write_all(NONSENSE[number / 4 % NONSENSE.len()]),
        };
        clients.push(client);
        if number % 100 == 99 {
            let asked = Instant::now();
            assert_eq!(get(address, "/health", "").status, 200, "beside {number} clients");
            assert!(asked.elapsed() < LIMIT / 6, "its turn came late: {:?}", asked.elapsed());
        }
    }
    let oversized = format!("GET /{} HTTP/1.1\nHost: localhost\n\n", "x".repeat(1 << 20));
    let mut stream = connect(address);
    let _ = stream.write_all(oversized.as_bytes());
    assert_eq!(get(address, "/health", "").status, 200);
    for client in &mut clients {
        let _ = client.write_all(b"x");
    }
    let status = get(address, "/status", "").json();
    let open = status["process"]["open_descriptors"].as_u64().unwrap();
    assert!(open < 200, "clients that only sit there hold {open} descriptors");
    wait_until("the pipeline goes on", || lines() >= before + 100);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
