//! Many hosts and URLs, some of which fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::gatherd::{Workplace, wait_for_lines};
use crate::support::server::{self, BlackHole, Connection, Server, reply};
use crate::support::wait_until;

#[test]
fn one_url_among_a_thousand_that_always_fails_is_one_dead_letter_and_the_others_arrive() {
    let server = Server::start(|seen, connection| match &*seen.target {
        "/500" => connection.write_all(&reply("500 Internal Server Error", &[], "")),
        path => connection.write_all(&server::json(&path[1..])),
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.pages]
        from  = {{ items = {{ range = [1, 1000] }} }}
        steps = [{{ get = "{}/{{.}}", retry = {{ base = "5ms", cap = "5ms" }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        server.url("")
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let mut arrived: Vec<u64> = workplace.values("out.ndjson").iter().map(|id| id.as_u64().unwrap()).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=1000).filter(|id| *id != 500).collect::<Vec<_>>());
    let dead = workplace.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0]["value"], 500);
    assert_eq!(dead[0]["fault"]["attempts"], 5);
    assert!(ended.stderr.contains("999 delivered") && ended.stderr.contains("1 dead letter"), "{}", ended.stderr);
}

/// Twenty hosts, five of which drop what comes, and five of which take it and never answer. The dead are still being
/// called when the last item of a healthy host arrives: nothing has waited for them.
#[test]
fn half_of_the_hosts_dead_do_not_hold_up_the_other_half() {
    let healthy: Vec<Server> = (1..=10)
        .map(|n| Server::start_at(&format!("127.0.2.{n}"), |_, connection| connection.write_all(&server::json("1"))))
        .collect();
    let holes: Vec<BlackHole> = (1..=5).map(|n| BlackHole::at(&format!("127.0.3.{n}"))).collect();
    let silent: Vec<Server> =
        (1..=5).map(|n| Server::start_at(&format!("127.0.4.{n}"), |_, connection| wait_for_end(connection))).collect();
    let dead = holes.iter().map(|hole| format!("http://{}/", hole.address)).chain(silent.iter().map(|it| it.url("/")));
    let hosts: Vec<String> = dead.chain(healthy.iter().map(|server| server.url("/"))).collect();
    // Ten rounds, the dead first in each.
    let lines: String = (0..10).flat_map(|round| hosts.iter().map(move |url| format!("{url}{round}\n"))).collect();

    let workplace = Workplace::new(
        r#"
        [service]
        allow = ["127.0.0.0/8"]
        drain = "100ms"

        [pipeline.hosts]
        from  = { lines = "urls.txt" }
        steps = [
          { get = { url = "{.}", timeouts = { connect = "10m", first_byte = "10m", whole = "10m" } } },
          { map = "labels.host" },
        ]
        to    = [{ file = "out.ndjson", batch = { age = "10ms" } }]
        "#,
    );
    workplace.write("urls.txt", lines);
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 100);
    let hosts = workplace.values("out.ndjson");
    for n in 1..=10 {
        let host = json!(format!("127.0.2.{n}"));
        assert_eq!(hosts.iter().filter(|other| **other == host).count(), 10, "{host}");
    }
    assert!(silent.iter().all(|server| server.accepted() > 0), "the dead were called, too");
    assert_eq!(workplace.dead_letters().len(), 0, "the dead are still being called");
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

/// Takes what comes, and never answers.
fn wait_for_end(connection: &mut dyn Connection) -> std::io::Result<()> {
    connection.read(&mut [0]).and(Err(std::io::ErrorKind::Other.into()))
}

#[test]
fn a_source_does_not_wait_for_hosts_that_are_down_and_what_was_set_aside_for_them_survives_a_kill() {
    // More than a source may have in flight.
    const DOWN: usize = 10_500;
    const HEALTHY: usize = 100;
    let is_up = Arc::new(AtomicBool::new(false));
    let own = is_up.clone();
    let down = Server::start(move |_, connection| {
        let is_up = own.load(Ordering::SeqCst);
        connection.write_all(&if is_up { server::json("1") } else { reply("500 Internal Server Error", &[], "") })
    });
    // Of the same address: it is the port that tells them apart.
    let healthy = Server::saying(server::json("1"));
    let urls = (0..DOWN).map(|n| down.url(&format!("/{n}"))).chain((0..HEALTHY).map(|n| healthy.url(&format!("/{n}"))));
    let workplace = Workplace::new(
        r#"
        [service]
        allow = ["127.0.0.0/8"]

        [pipeline.all]
        from  = { lines = "urls.txt" }
        steps = [
          { get = "{.}", retry = { tries = 1000, within = "10m", base = "20ms", cap = "20ms" } },
          { map = "labels.url" },
        ]
        to    = [{ file = "out.ndjson" }]
        "#,
    );
    workplace.write("urls.txt", urls.map(|url| url + "\n").collect::<String>());
    let daemon = workplace.start();
    let arrived = || workplace.read("out.ndjson").lines().map(str::to_owned).collect::<BTreeSet<_>>().len();
    wait_until("the healthy host was asked for all", || arrived() == HEALTHY);
    daemon.kill();
    is_up.store(true, Ordering::SeqCst);
    let daemon = workplace.start();
    wait_until("the other host was, too", || arrived() == HEALTHY + DOWN);
    // With nothing left, it comes to its end by itself.
    assert_eq!(daemon.end().code(), Some(0));
}
