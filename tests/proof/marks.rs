//! What is remembered of items: it is remembered of none that has not arrived.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::rounds::{Rounds, random, say};
use super::support::gatherd::{Running, Workplace};
use super::support::server::{Server, json as json_reply, reply};
use super::support::wait_until;

#[test]
fn what_a_failing_sink_had_not_taken_before_a_crash_passes_new_and_changed_after_it() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let shop = Server::start(move |_, connection| {
        let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        connection.write_all(&reply(status, &[], ""))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.prices]
        from  = {{ lines = {{ path = "prices.ndjson", follow = true }} }}
        steps = [
          {{ new = ".id" }},
          {{ changed = {{ of = ".price", key = ".tea" }} }},
        ]
        to    = ["shop"]

        [sink.shop]
        http  = {{ url = "{}" }}
        retry = {{ base = "5ms", cap = "5ms" }}
        "#,
        shop.url("/")
    ));
    workplace.write("prices.ndjson", "");
    let mut random = random();
    let has_arrived = |price: &Value, from: usize| {
        shop.seen()[from..].iter().any(|seen| serde_json::from_str::<Value>(&seen.body).unwrap() == *price)
    };
    let mut crashes = 0;
    for id in Rounds::new(40, Duration::from_secs(15), 2_000) {
        let price = json!({ "id": id, "tea": "assam", "price": id });
        let mut prices = OpenOptions::new().append(true).open(workplace.path("prices.ndjson")).unwrap();
        writeln!(prices, "{price}").unwrap();
        is_well.store(false, Ordering::SeqCst);
        for _ in 0..random.usize(1..3) {
            let before = shop.seen().len();
            let daemon = workplace.start();
            wait_until("the sink fails", || has_arrived(&price, before));
            daemon.kill();
            crashes += 1;
        }
        let before = shop.seen().len();
        is_well.store(true, Ordering::SeqCst);
        let daemon = workplace.start();
        wait_until("what failed before the crash is delivered after it", || has_arrived(&price, before));
        assert_eq!(daemon.stop().code(), Some(0));

        // Now it has settled, and what has settled does not come again.
        let settled = shop.seen().len();
        writeln!(prices, "{price}").unwrap();
        assert_eq!(workplace.run_once().code(), Some(0));
        assert_eq!(shop.seen().len(), settled, "{price} was settled");
    }
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    say(&format!("{crashes} crashes with an item in the sink: each was delivered after them"));
}

#[test]
fn a_cursor_does_not_move_over_what_a_failing_sink_had_not_taken_before_a_crash() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let shop = Server::start(move |_, connection| {
        let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        connection.write_all(&reply(status, &[], ""))
    });
    // Lists what came after the number that it is asked for.
    let newest = Arc::new(AtomicU64::new(0));
    let orders = newest.clone();
    let api = Server::start(move |seen, connection| {
        let since = seen.target.split("since=").nth(1).and_then(|since| since.parse().ok()).unwrap_or(0);
        let listed: Vec<_> = (since + 1..=orders.load(Ordering::SeqCst)).map(|id| json!({ "id": id })).collect();
        connection.write_all(&json_reply(&Value::from(listed).to_string()))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.orders]
        from  = {{ every = "24h" }}
        steps = [
          {{ get = {{ url = "{}", items = ".[]", new_by = {{ cursor = ".id", send_as = "since", as = "number" }} }} }},
        ]
        to    = ["shop"]

        [sink.shop]
        http  = {{ url = "{}" }}
        retry = {{ base = "5ms", cap = "5ms" }}
        "#,
        api.url("/orders"),
        shop.url("/")
    ));
    let mut random = random();
    let mut crashes = 0;
    for id in Rounds::new(40, Duration::from_secs(15), 2_000) {
        newest.store(id as u64, Ordering::SeqCst);
        let order = json!({ "id": id });
        let arrivals = |from: usize| {
            let seen = shop.seen();
            seen[from..].iter().filter(|seen| serde_json::from_str::<Value>(&seen.body).unwrap() == order).count()
        };
        is_well.store(false, Ordering::SeqCst);
        for _ in 0..random.usize(1..3) {
            let before = shop.seen().len();
            let run = Running::start(workplace.command(&["run", "--once", "gatherd.toml"]));
            wait_until("the sink fails, and fails again", || arrivals(before) >= 3);
            run.kill();
            crashes += 1;
        }
        let before = shop.seen().len();
        is_well.store(true, Ordering::SeqCst);
        assert_eq!(workplace.run_once().code(), Some(0));
        assert!(arrivals(before) > 0, "what failed before the crash is not delivered after it: {order}");

        let settled = shop.seen().len();
        assert_eq!(workplace.run_once().code(), Some(0));
        assert_eq!(shop.seen().len(), settled, "{order} was settled");
    }
    say(&format!(
        "{crashes} crashes with an order in the sink: each was delivered after them, and once it was, never again"
    ));
}
