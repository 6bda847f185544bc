//! `expect` through the real program: an alert opens once and closes once, in the log, the status, the metrics, and the
//! sinks that are told.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use support::gatherd::{IDLE, Running, Workplace, wait_for_lines};
use support::server::{Server, json};
use support::wait_until;

/// Fetches a document every second from a server whose document has this `id`, which is null below 0.
fn watched(expect: &str, steps: &str) -> (Workplace, Arc<AtomicI64>) {
    let id = Arc::new(AtomicI64::new(0));
    let shown = id.clone();
    let server = Server::start(move |_, connection| {
        let id = shown.load(Ordering::SeqCst);
        let id = if id < 0 { "null".to_owned() } else { id.to_string() };
        connection.write_all(&json(&format!("{{\"id\":{id}}}")))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [service]
        alerts = ["ops"]

        [pipeline.prices]
        from   = {{ every = "1s" }}
        expect = {{ {expect} }}
        steps  = [ {{ get = "{}" }}, {steps} ]
        to     = [ {{ file = "prices.ndjson" }} ]

        [sink.ops]
        file = "ops.ndjson"
        "#,
        server.url("/price")
    ));
    (workplace, id)
}

fn alerts(workplace: &Workplace) -> Vec<Value> {
    let told = workplace.gatherd(&["status", "--json"]).stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    told["alerts"].as_array().unwrap().clone()
}

/// What the sink `ops` was told, as `expects state`.
fn told(workplace: &Workplace) -> Vec<String> {
    let of = |alert: &Value| format!("{} {}", alert["expects"].as_str().unwrap(), alert["state"].as_str().unwrap());
    workplace.values("ops.ndjson").iter().map(of).collect()
}

fn count(daemon: &Running, line: &str) -> usize {
    daemon.log().matches(line).count()
}

#[test]
fn a_source_that_brings_nothing_new_opens_one_alert_and_something_new_closes_it() {
    let (workplace, id) = watched("new_within = '3s'", "{ new = '.id' }");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "prices.ndjson", 1);
    wait_until("the alert opens", || alerts(&workplace).len() == 1);
    let alert = &alerts(&workplace)[0];
    assert_eq!((&alert["pipeline"], &alert["expects"]), (&"prices".into(), &"new_within".into()), "{alert}");
    assert_eq!(alert["message"], "nothing new has come through for 3s");
    let shown = workplace.gatherd(&["status"]).stdout;
    assert!(shown.contains("alert: prices: nothing new has come through for 3s"), "{shown}");
    wait_for_lines(&workplace, "ops.ndjson", 1);

    id.store(1, Ordering::SeqCst);
    wait_for_lines(&workplace, "ops.ndjson", 2);
    assert_eq!(told(&workplace)[..2], ["new_within open", "new_within closed"]);
    assert!(count(&daemon, "expectation is not met") >= 1 && count(&daemon, "expectation is met again") == 1);
    let first = &workplace.values("ops.ndjson")[0];
    assert!(first["since"].is_string() && first["at"].is_string() && first["pipeline"] == "prices", "{first}");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn an_open_alert_stays_open_over_a_reload_and_goes_with_its_pipeline() {
    let (workplace, _) = watched("new_within = '2s'", "{ new = '.id' }");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "prices.ndjson", 1);
    wait_until("the alert opens", || {
        let open = alerts(&workplace);
        open.first().is_some_and(|alert| alert["message"] == "nothing new has come through for 2s")
    });
    let opened = count(&daemon, "expectation is not met");
    wait_for_lines(&workplace, "ops.ndjson", 1);
    let since = alerts(&workplace)[0]["since"].clone();
    let config = workplace.read("gatherd.toml");
    workplace.write("gatherd.toml", format!("{config}{IDLE}"));
    let told_of_reload = workplace.gatherd(&["reload"]).stdout;
    assert_eq!(told_of_reload, "started    idle\n1 pipeline goes on as before\n");
    assert_eq!(alerts(&workplace)[0]["since"], since, "it is the same alert");
    assert_eq!(count(&daemon, "expectation is not met"), opened, "{}", daemon.log());

    workplace.write("gatherd.toml", IDLE);
    assert_eq!(workplace.gatherd(&["reload"]).stdout, "stopped    prices\n1 pipeline goes on as before\n");
    assert_eq!(alerts(&workplace), [] as [Value; 0]);
    assert_eq!(told(&workplace)[0], "new_within open");
    daemon.stop();
}

#[test]
fn an_item_without_a_field_opens_one_alert_however_many_follow() {
    let (workplace, id) = watched("fields = ['id']", "{ where = 'true' }");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "prices.ndjson", 1);
    id.store(-1, Ordering::SeqCst);
    let before = workplace.read("prices.ndjson").lines().count();
    wait_for_lines(&workplace, "prices.ndjson", before + 4);
    assert_eq!(alerts(&workplace)[0]["message"], "an item has no `id`");
    assert_eq!(told(&workplace), ["fields open"]);
    id.store(7, Ordering::SeqCst);
    wait_for_lines(&workplace, "ops.ndjson", 2);
    assert_eq!(told(&workplace), ["fields open", "fields closed"]);
    assert!(alerts(&workplace).is_empty());
    drop(daemon);
}

#[test]
fn too_many_dead_letters_open_an_alert_until_some_are_dropped() {
    let workplace = Workplace::new(&format!(
        r#"
        [service]
        alerts = ["ops"]

        [pipeline.bad]
        from   = {{ items = {{ range = [1, 5] }} }}
        steps  = [ {{ map = "error(\"no\")" }} ]
        to     = []
        expect = {{ max_dead = 3, new_within = "1s" }}

        [sink.ops]
        file = "ops.ndjson"
        when = ".expects == \"max_dead\""
        {IDLE}
        "#
    ));
    let _daemon = workplace.start();
    wait_for_lines(&workplace, "ops.ndjson", 1);
    assert_eq!(alerts(&workplace)[0]["message"], "it has 5 dead letters, and at most 3 are expected");
    let dropped = workplace.gatherd(&["dead", "drop", "1", "2"]);
    assert_eq!(dropped.code(), Some(0), "{dropped:?}");
    wait_for_lines(&workplace, "ops.ndjson", 2);
    assert_eq!(told(&workplace), ["max_dead open", "max_dead closed"]);
}

#[test]
fn fewer_items_than_expected_open_an_alert() {
    let (workplace, _) = watched("new_within = '4s', min_items = 100", "{ where = 'true' }");
    let _daemon = workplace.start();
    wait_for_lines(&workplace, "ops.ndjson", 1);
    let alert = &alerts(&workplace)[0];
    assert_eq!(alert["expects"], "min_items");
    assert!(alert["message"].as_str().unwrap().ends_with("within 4s, and at least 100 are expected"), "{alert}");
}

#[test]
fn a_single_run_and_a_config_that_ends_are_not_held_up() {
    let workplace = Workplace::new(
        r#"
        [service]
        alerts = ["ops"]

        [pipeline.list]
        from   = { items = [1] }
        expect = { new_within = "1h" }
        to     = []

        [sink.ops]
        log = {}
        "#,
    );
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(workplace.gatherd(&["run", "gatherd.toml"]).code(), Some(0));
    let explained = workplace.gatherd(&["explain", "gatherd.toml"]).stdout;
    assert!(explained.contains("expect = { new_within = \"1h\", min_items = 1, fields = [] }"), "{explained}");
    assert!(explained.contains("alerts = [\"ops\"]"), "{explained}");
}
