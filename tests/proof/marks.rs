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
    let shop = Shop::start();
    let workplace = shop.workplace(
        r#"
        [pipeline.prices]
        from  = { lines = { path = "prices.ndjson", follow = true } }
        steps = [
          { new = ".id" },
          { changed = { of = ".price", key = ".tea" } },
        ]
        to    = ["shop"]
        "#,
    );
    let mut random = random();
    let mut crashes = 0;
    for id in Rounds::new(40, Duration::from_secs(15), 2_000) {
        let price = json!({ "id": id, "tea": "assam", "price": id });
        append(&workplace, "prices.ndjson", &price);
        let now = random.usize(1..3);
        shop.takes_after_crashes(&workplace, &price, now);
        crashes += now;

        // Now it is remembered.
        append(&workplace, "prices.ndjson", &price);
        let settled = shop.server.seen().len();
        assert_eq!(workplace.run_once().code(), Some(0));
        assert_eq!(shop.server.seen().len(), settled, "{price} is neither new nor changed");
    }
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    say(&format!("{crashes} crashes with an item in the sink: each was delivered after them"));
}

#[test]
fn a_position_does_not_move_over_an_item_that_had_not_settled_before_a_crash() {
    let shop = Shop::start();
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.orders]
        from  = {{ lines = {{ path = "orders.in.ndjson", follow = true }} }}
        steps = [ {{ get = {{ url = "{}", into = ".reply" }}, when = ".is_hard" }} ]
        to    = [ {{ file = "orders.ndjson" }} ]
        "#,
        shop.server.url("/{.id}")
    ));
    let mut crashes = 0;
    for id in Rounds::new(40, Duration::from_secs(15), 2_000) {
        append(&workplace, "orders.in.ndjson", &json!({ "id": id, "is_hard": true }));
        append(&workplace, "orders.in.ndjson", &json!({ "id": id, "is_hard": false }));
        shop.is_well.store(false, Ordering::SeqCst);
        let daemon = workplace.start();
        wait_until("the second item settles while the first is asked for again and again", || {
            let status = workplace.gatherd(&["status", "--json"]);
            status.values().iter().any(|status| status["pipelines"][0]["settled"] == 1)
        });
        daemon.kill();
        shop.is_well.store(true, Ordering::SeqCst);
        assert_eq!(workplace.run_once().code(), Some(0));
        let arrivals = || {
            let orders = workplace.values("orders.ndjson");
            orders.iter().filter(|order| order["id"] == id && order["is_hard"] == true).count()
        };
        assert_eq!(arrivals(), 1, "what had not settled before the crash is not delivered after it: {id}");
        assert_eq!(workplace.run_once().code(), Some(0));
        assert_eq!(arrivals(), 1, "{id} was settled");
        crashes = id;
    }
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    say(&format!("{crashes} crashes with an item under way, and a later one settled: each was delivered after them"));
}

#[test]
fn a_queue_gives_out_again_what_a_failing_sink_had_not_taken_before_a_crash() {
    let shop = Shop::start();
    let workplace = shop.workplace(
        r#"
        [pipeline.orders]
        from = { lines = { path = "orders.ndjson", follow = true } }
        to   = ["between"]

        [queue.between]

        [pipeline.further]
        from = { queue = "between" }
        to   = ["shop"]
        "#,
    );
    let mut random = random();
    let mut crashes = 0;
    for id in Rounds::new(40, Duration::from_secs(15), 2_000) {
        let order = json!({ "id": id });
        append(&workplace, "orders.ndjson", &order);
        let now = random.usize(1..3);
        shop.takes_after_crashes(&workplace, &order, now);
        crashes += now;
    }
    say(&format!(
        "{crashes} crashes with an entry in the sink: each was delivered after them, and once it was, never again"
    ));
}

#[track_caller]
fn append(workplace: &Workplace, name: &str, value: &Value) {
    let file = OpenOptions::new().create(true).append(true).open(workplace.path(name));
    writeln!(file.unwrap(), "{value}").unwrap();
}

/// A destination that fails until it is well.
struct Shop {
    server: Server,
    is_well: Arc<AtomicBool>,
}

impl Shop {
    fn start() -> Self {
        let is_well = Arc::new(AtomicBool::new(false));
        let well = is_well.clone();
        let server = Server::start(move |_, connection| {
            let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
            connection.write_all(&reply(status, &[], ""))
        });
        Self { server, is_well }
    }

    /// Pipelines that may deliver here, to the sink `shop`.
    fn workplace(&self, pipelines: &str) -> Workplace {
        Workplace::new(&format!(
            r#"
            {pipelines}

            [sink.shop]
            http  = {{ url = "{}" }}
            retry = {{ base = "5ms", cap = "5ms" }}
            "#,
            self.server.url("/")
        ))
    }

    /// A pipeline that asks with this step, and delivers here.
    fn asking(&self, step: &str) -> Workplace {
        self.workplace(&format!(
            r#"
            [pipeline.orders]
            from  = {{ every = "24h" }}
            steps = [ {step} ]
            to    = ["shop"]
            "#
        ))
    }

    fn arrivals(&self, order: &Value, from: usize) -> usize {
        let seen = self.server.seen();
        seen[from..].iter().filter(|seen| serde_json::from_str::<Value>(&seen.body).unwrap() == *order).count()
    }

    /// Kills gatherd so many times while the order fails here, then lets it arrive. Once it has, it does not come again.
    #[track_caller]
    fn takes_after_crashes(&self, workplace: &Workplace, order: &Value, crashes: usize) {
        self.is_well.store(false, Ordering::SeqCst);
        for _ in 0..crashes {
            let before = self.server.seen().len();
            let mut run = Running::start(workplace.command(&["run", "--once", "gatherd.toml"]));
            wait_until("what is new, or what failed before the crash, fails again and again", || {
                self.arrivals(order, before) >= 3 || run.is_over()
            });
            run.kill();
        }
        let before = self.server.seen().len();
        self.is_well.store(true, Ordering::SeqCst);
        assert_eq!(workplace.run_once().code(), Some(0));
        assert!(self.arrivals(order, before) > 0, "what failed before the crash is not delivered after it: {order}");

        let settled = self.server.seen().len();
        assert_eq!(workplace.run_once().code(), Some(0));
        assert_eq!(self.server.seen().len(), settled, "{order} was settled");
    }
}

#[test]
fn a_cursor_does_not_move_over_what_a_failing_sink_had_not_taken_before_a_crash() {
    // Lists what came after the number that it is asked for.
    let newest = Arc::new(AtomicU64::new(0));
    let orders = newest.clone();
    let api = Server::start(move |seen, connection| {
        let since = seen.target.split("since=").nth(1).and_then(|since| since.parse().ok()).unwrap_or(0);
        let listed: Vec<_> = (since + 1..=orders.load(Ordering::SeqCst)).map(|id| json!({ "id": id })).collect();
        connection.write_all(&json_reply(&Value::from(listed).to_string()))
    });
    let shop = Shop::start();
    let workplace = shop.asking(&format!(
        r#"{{ get = {{ url = "{}", items = ".[]", new_by = {{ cursor = ".id", send_as = "since", as = "number" }} }} }}"#,
        api.url("/orders")
    ));
    let mut random = random();
    let mut crashes = 0;
    for id in Rounds::new(40, Duration::from_secs(15), 2_000) {
        newest.store(id as u64, Ordering::SeqCst);
        let now = random.usize(1..3);
        shop.takes_after_crashes(&workplace, &json!({ "id": id }), now);
        crashes += now;
    }
    say(&format!(
        "{crashes} crashes with an order in the sink: each was delivered after them, and once it was, never again"
    ));
}

#[test]
fn a_reply_that_a_failing_sink_had_not_taken_before_a_crash_is_not_skipped_after_it() {
    let newest = Arc::new(AtomicU64::new(0));
    let order = newest.clone();
    let api = Server::start(move |seen, connection| {
        let id = order.load(Ordering::SeqCst);
        let tag = format!("\"{id}\"");
        if seen.header("if-none-match") == Some(&tag) {
            return connection.write_all(b"HTTP/1.1 304 Not Modified\r\n\r\n");
        }
        let headers = ["content-type: application/json", &format!("etag: {tag}")];
        connection.write_all(&reply("200 OK", &headers, json!({ "id": id }).to_string()))
    });
    let shop = Shop::start();
    let workplace =
        shop.asking(&format!(r#"{{ get = {{ url = "{}", unchanged = "skip" }} }}"#, api.url("/orders/newest")));
    let mut random = random();
    let mut crashes = 0;
    for id in Rounds::new(20, Duration::from_secs(10), 1_000) {
        newest.store(id as u64, Ordering::SeqCst);
        let now = random.usize(1..3);
        shop.takes_after_crashes(&workplace, &json!({ "id": id }), now);
        crashes += now;
    }
    say(&format!("{crashes} crashes with a reply in the sink: each was delivered after them, and skipped only then"));
}
