//! Another config for a daemon that runs: what is the same goes on, what changed starts anew, and nothing is lost.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use support::gatherd::{Ended, IDLE, Running, ServiceManager, Workplace, wait_for_lines};
use support::server::{Connection, Server, json};
use support::wait_until;

/// Two pipelines that copy what is added to their files.
fn two_pipelines(first: &str, second: &str) -> String {
    format!(
        r#"
        [pipeline.first]
        from  = {{ lines = {{ path = "first.ndjson", follow = true }} }}
        steps = [{{ map = '{first}' }}]
        to    = [{{ file = "first.out" }}]

        [pipeline.second]
        from  = {{ lines = {{ path = "second.ndjson", follow = true }} }}
        steps = [{{ map = '{second}' }}]
        to    = [{{ file = "second.out" }}]
        "#
    )
}

fn append(workplace: &Workplace, name: &str, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(workplace.path(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[track_caller]
fn reload(workplace: &Workplace) -> String {
    let Ended { stdout, stderr, status } = workplace.gatherd(&["reload"]);
    assert!(status.success(), "{stdout}{stderr}");
    stdout
}

#[test]
fn a_reload_starts_only_what_changed_anew() {
    let workplace = Workplace::new(&two_pipelines("{a: .}", "{b: .}"));
    workplace.write("first.ndjson", "1\n");
    workplace.write("second.ndjson", "1\n");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "first.out", 1);
    wait_for_lines(&workplace, "second.out", 1);

    workplace.write("gatherd.toml", two_pipelines("{a: .}", "{c: .}"));
    assert_eq!(reload(&workplace), "restarted  second\n1 pipeline goes on as before\n");
    append(&workplace, "first.ndjson", "2\n");
    append(&workplace, "second.ndjson", "2\n");
    wait_for_lines(&workplace, "first.out", 2);
    wait_for_lines(&workplace, "second.out", 2);
    assert_eq!(workplace.read("first.out"), "{\"a\":1}\n{\"a\":2}\n");
    assert_eq!(workplace.read("second.out"), "{\"b\":1}\n{\"c\":2}\n");

    assert_eq!(reload(&workplace), "2 pipelines go on as before\n");
    daemon.stop();
}

#[test]
fn a_reload_starts_what_is_new_and_stops_what_is_gone() {
    let workplace = Workplace::new(&two_pipelines(".", "."));
    workplace.write("first.ndjson", "1\n");
    workplace.write("second.ndjson", "1\n");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "second.out", 1);
    let renamed = two_pipelines(".", ".").replace("[pipeline.second]", "[pipeline.third]");
    workplace.write("gatherd.toml", renamed.replace("second.out", "third.out"));
    assert_eq!(reload(&workplace), "started    third\nstopped    second\n1 pipeline goes on as before\n");
    wait_for_lines(&workplace, "third.out", 1);
    append(&workplace, "second.ndjson", "2\n");
    wait_for_lines(&workplace, "third.out", 2);
    assert_eq!(workplace.read("second.out"), "1\n", "the one that is gone no longer writes");
    daemon.stop();
}

#[test]
fn a_broken_config_changes_nothing_and_says_why() {
    let workplace = Workplace::new(&two_pipelines(".", "."));
    workplace.write("first.ndjson", "1\n");
    workplace.write("second.ndjson", "1\n");
    let manager = ServiceManager::listen(&workplace.path("notify"));
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("NOTIFY_SOCKET", &manager.path);
    let daemon = Running::start(command);
    wait_for_lines(&workplace, "second.out", 1);
    workplace.write("gatherd.toml", two_pipelines(".", ".").replace("map", "mpa"));
    let Ended { stderr, status, .. } = workplace.gatherd(&["reload"]);
    assert_eq!(status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("there is no step `mpa`") && stderr.contains("did you mean `map`?"), "{stderr}");

    daemon.signal(Signal::HUP);
    let told = || manager.told();
    wait_until("the service manager hears of it", || {
        told().iter().any(|line| line.starts_with("STATUS=the config is broken, and nothing has changed: "))
    });
    assert!(told().iter().any(|line| line == "RELOADING=1"), "{:?}", told());
    assert!(told().iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{:?}", told());
    daemon.wait_for_log("the config is broken; nothing has changed");
    append(&workplace, "second.ndjson", "2\n");
    wait_for_lines(&workplace, "second.out", 2);
    daemon.stop();
}

#[test]
fn a_changed_sink_variable_or_client_restarts_who_names_it() {
    let config = |file: &str, var: u8, rate: &str| {
        format!(
            r#"
            [pipeline.sink]
            from = {{ lines = {{ path = "in", follow = true }} }}
            to   = ["named"]
            [pipeline.vars]
            vars  = {{ number = {var} }}
            from  = {{ lines = {{ path = "in", follow = true }} }}
            steps = [{{ map = "$number" }}]
            [pipeline.client]
            from  = {{ lines = {{ path = "in", follow = true }} }}
            steps = [{{ get = {{ url = "/x", via = "api" }} }}]
            to    = []
            [sink.named]
            file = "{file}"
            [http.api]
            base = "http://127.0.0.1:9"
            rate = "{rate}"
            "#
        )
    };
    let workplace = Workplace::new(&config("a", 1, "10/s"));
    workplace.write("in", "");
    let daemon = workplace.start();
    for (changed, restarted) in
        [(config("b", 1, "10/s"), "sink"), (config("b", 2, "10/s"), "vars"), (config("b", 2, "20/s"), "client")]
    {
        workplace.write("gatherd.toml", changed);
        assert_eq!(reload(&workplace), format!("restarted  {restarted}\n2 pipelines go on as before\n"));
    }
    daemon.stop();
}

#[test]
fn a_secret_that_has_changed_is_used_after_a_reload_and_shown_neither_before_nor_after() {
    let server = Server::start(|_, connection: &mut dyn Connection| connection.write_all(&json("1")));
    let workplace = Workplace::new(&format!(
        r#"
        [service]
        secrets = "."

        [http.api]
        base    = "{}"
        headers = {{ X-Key = "${{secret:key}}" }}

        [pipeline.asks]
        from  = {{ every = "50ms" }}
        steps = [{{ get = {{ url = "/", via = "api" }} }}, {{ map = "error(labels | tostring)" }}]
        to    = []
        {IDLE}
        "#,
        server.url("")
    ));
    workplace.write("key", "first-secret-canary");
    let daemon = workplace.start();
    let is_sent = |key: &str| server.seen().last().is_some_and(|seen| seen.header("x-key") == Some(key));
    wait_until("the first secret is sent", || is_sent("first-secret-canary"));
    workplace.write("key", "second-secret-canary");
    assert_eq!(reload(&workplace), "restarted  asks\n1 pipeline goes on as before\n");
    wait_until("the second secret is sent", || is_sent("second-secret-canary"));
    assert_eq!(reload(&workplace), "2 pipelines go on as before\n");
    let status = workplace.gatherd(&["status", "--json"]).stdout;
    let Ended { stdout, stderr, .. } = daemon.stop();
    assert!(!format!("{status}{stdout}{stderr}").contains("canary"), "{status}{stderr}");
}

#[test]
fn a_setting_of_the_service_that_only_a_start_reads_is_named() {
    let workplace = Workplace::new(IDLE);
    let daemon = workplace.start();
    workplace.write("gatherd.toml", format!("{IDLE}\n[service]\nmemory = \"1GiB\"\ndrain = \"1s\""));
    let told = reload(&workplace);
    assert!(told.ends_with("`[service]` is read at the next start: memory changed\n"), "{told}");
    daemon.stop();
}

#[test]
fn a_pipeline_that_cannot_start_is_named_and_the_others_go_on() {
    let workplace = Workplace::new(&two_pipelines(".", "."));
    workplace.write("first.ndjson", "1\n");
    workplace.write("second.ndjson", "1\n");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "first.out", 1);
    wait_for_lines(&workplace, "second.out", 1);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = r#"{ lines = { path = "second.ndjson", follow = true } }"#;
    let webhook = format!("{{ webhook = \"{}\" }}", taken.local_addr().unwrap());
    workplace.write("gatherd.toml", two_pipelines(".", ".").replace(lines, &webhook));
    let Ended { status, stdout, .. } = workplace.gatherd(&["reload"]);
    assert_eq!(status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("cannot start second: cannot listen at `127.0.0.1:"), "{stdout}");
    assert!(stdout.ends_with("1 pipeline goes on as before\n"), "{stdout}");
    append(&workplace, "first.ndjson", "2\n");
    wait_for_lines(&workplace, "first.out", 2);
    workplace.write("gatherd.toml", two_pipelines(".", "."));
    append(&workplace, "second.ndjson", "2\n");
    assert!(reload(&workplace).contains("restarted  second\n"));
    wait_for_lines(&workplace, "second.out", 2);
    daemon.stop();
}

/// A destination that answers nothing until it is told to, and then everything.
fn stalled() -> (Server, Arc<AtomicBool>) {
    let goes = Arc::new(AtomicBool::new(false));
    let told = goes.clone();
    let server = Server::start(move |_, connection: &mut dyn Connection| {
        wait_until("the server may answer", || told.load(Ordering::SeqCst));
        connection.write_all(&json("{}"))
    });
    (server, goes)
}

#[test]
fn a_stalled_sink_does_not_hold_up_a_reload_and_its_items_come_again() {
    let (server, goes) = stalled();
    let config = |extra: &str| {
        format!(
            r#"
            [pipeline.work]
            from  = {{ queue = "jobs" }}
            steps = [{{ map = '{{id: .{extra}}}' }}]
            to    = [{{ http = {{ url = "http://{}/", json = "." }} }}]

            [pipeline.feed]
            from = {{ items = {{ range = [1, 50] }} }}
            to   = ["jobs"]

            [queue.jobs]
            "#,
            server.address
        )
    };
    let workplace = Workplace::new(&config(""));
    let daemon = workplace.start();
    wait_until("the sink is asked", || !server.seen().is_empty());
    workplace.write("gatherd.toml", config(", new: true"));
    assert_eq!(reload(&workplace), "restarted  work\n1 pipeline goes on as before\n");
    goes.store(true, Ordering::SeqCst);
    let arrived = || {
        let seen = server.seen();
        let new = seen.iter().filter(|seen| seen.body.contains("new"));
        new.map(|seen| seen.body.clone()).collect::<BTreeSet<_>>()
    };
    wait_until("every item arrives by the new pipeline", || arrived().len() == 50);
    daemon.stop();
}

#[test]
fn a_shared_sink_outlives_each_of_its_pipelines() {
    let config = |first: u8| {
        format!(
            r#"
            [pipeline.first]
            from  = {{ lines = {{ path = "first", follow = true }} }}
            steps = [{{ map = "{{first: {first}, line: .}}" }}]
            to    = ["out"]
            [pipeline.second]
            from  = {{ lines = {{ path = "second", follow = true }} }}
            to    = ["out"]
            [sink.out]
            file = "out"
            "#
        )
    };
    let workplace = Workplace::new(&config(1));
    workplace.write("first", "1\n");
    workplace.write("second", "1\n");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out", 2);
    workplace.write("gatherd.toml", config(2));
    assert_eq!(reload(&workplace), "restarted  first\n1 pipeline goes on as before\n");
    append(&workplace, "first", "2\n");
    append(&workplace, "second", "2\n");
    wait_for_lines(&workplace, "out", 4);
    let lines: BTreeSet<String> = workplace.read("out").lines().map(str::to_owned).collect();
    let expected = ["{\"first\":1,\"line\":\"1\"}", "{\"first\":2,\"line\":\"2\"}", "\"1\"", "\"2\""];
    assert_eq!(lines, expected.map(str::to_owned).into(), "{lines:?}");
    daemon.stop();
}

#[test]
fn a_stop_in_the_middle_of_a_reload_starts_nothing_and_ends_in_good_order() {
    let (server, _goes) = stalled();
    let config = |round: u8| {
        format!(
            r#"
            [service]
            drain = "1s"
            [pipeline.stalled]
            from  = {{ items = [1] }}
            steps = [{{ get = "http://{}/" }}, {{ map = "{round}" }}]
            to    = ["out"]
            [pipeline.idle]
            from  = {{ lines = {{ path = "idle", follow = true }} }}
            steps = [{{ map = "{round}" }}]
            to    = []
            [pipeline.same]
            from  = {{ lines = {{ path = "same", follow = true }} }}
            to    = ["out"]
            [sink.out]
            file   = "out"
            buffer = {{ disk = "0B" }}
            "#,
            server.address
        )
    };
    let workplace = Workplace::new(&config(1));
    let daemon = workplace.start();
    wait_until("the server is asked", || server.seen().len() == 1);
    workplace.write("gatherd.toml", config(2));
    daemon.signal(Signal::HUP);
    wait_until("the reload has begun", || {
        let status: Value = serde_json::from_str(&workplace.gatherd(&["status", "--json"]).stdout).unwrap();
        let mut pipelines = status["pipelines"].as_array().unwrap().iter();
        pipelines.any(|pipeline| pipeline["name"] == "idle" && pipeline["state"] == "ended")
    });
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("ERROR"), "{ended:?}");
}

/// A pipeline of twenty numbers to these sinks: `near`, a file, and one at a server, so called.
fn numbers_to(sinks: &str, far: &str, server: &Server) -> String {
    format!(
        r#"
        [pipeline.numbers]
        from = {{ items = {{ range = [1, 20] }} }}
        to   = [{sinks}]
        [sink.{far}]
        http  = {{ url = "http://{}/" }}
        retry = {{ base = "10ms", cap = "10ms" }}
        [sink.near]
        file = "near"
        {IDLE}
        "#,
        server.address
    )
}

#[test]
fn what_a_buffer_holds_reaches_its_sink_though_the_sink_has_no_buffer_any_more() {
    let check = |change: fn(&Workplace, Running) -> Running| {
        let is_up = Arc::new(AtomicBool::new(false));
        let told = is_up.clone();
        let server = Server::start(move |_, connection: &mut dyn Connection| {
            let unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
            let answer = if told.load(Ordering::SeqCst) { json("{}") } else { unavailable.into() };
            connection.write_all(&answer)
        });
        let workplace = Workplace::new(&numbers_to(r#""far", "near""#, "far", &server));
        let daemon = workplace.start();
        let is_buffered = || {
            let stats: Value = serde_json::from_str(&workplace.gatherd(&["store", "stats", "--json"]).stdout).unwrap();
            stats["queues"].as_array().unwrap().iter().any(|queue| queue["name"] == "sink.far" && queue["items"] == 20)
        };
        wait_until("all items are in the buffer", is_buffered);
        workplace.write("gatherd.toml", numbers_to(r#""far""#, "far", &server));
        let daemon = change(&workplace, daemon);
        is_up.store(true, Ordering::SeqCst);
        wait_until("they leave the buffer", || !is_buffered());
        let arrived = || server.seen().iter().map(|seen| seen.body.clone()).collect::<BTreeSet<_>>().len();
        wait_until("all items arrive", || arrived() == 20);
        assert_eq!(daemon.stop().code(), Some(0));
    };
    check(|workplace, daemon| {
        reload(workplace);
        daemon
    });
    check(|workplace, daemon| {
        daemon.kill();
        workplace.start()
    });
}

#[test]
fn what_the_store_holds_for_nobody_is_told() {
    let server = Server::saying("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let workplace = Workplace::new(&numbers_to(r#""far", "near""#, "far", &server));
    let daemon = workplace.start();
    wait_until("an item is in the buffer", || workplace.gatherd(&["store", "stats"]).stdout.contains("sink.far"));
    workplace.write("gatherd.toml", numbers_to(r#""other", "near""#, "other", &server));
    reload(&workplace);
    daemon.wait_for_log("the store holds items that nothing of this config brings on; they stay queue=sink.far");
    daemon.stop();
}

#[test]
fn reloads_under_load_lose_nothing() {
    const ITEMS: usize = 30_000;
    const RELOADS: usize = 20;
    let config = |round: usize| {
        format!(
            r#"
            [pipeline.load]
            from  = {{ items = {{ range = [1, {ITEMS}] }} }}
            steps = [{{ map = "{{id: ., round: {round}}}" }}]
            to    = [{{ file = "out", batch = {{ items = 100 }} }}]
            [pipeline.same]
            from  = {{ every = {{ period = "1h" }} }}
            to    = []
            "#
        )
    };
    let workplace = Workplace::new(&config(0));
    let daemon = workplace.start();
    for round in 1..=RELOADS {
        workplace.write("gatherd.toml", config(round));
        reload(&workplace);
    }
    let arrived =
        || workplace.values("out").iter().filter_map(|value| value["id"].as_u64()).collect::<BTreeSet<_>>().len();
    wait_until("every item arrives", || arrived() == ITEMS);
    daemon.stop();
}
