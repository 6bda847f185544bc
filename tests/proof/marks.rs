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
    let Shop { server: shop, is_well } = Shop::start();
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

    /// A pipeline that asks with this step, and delivers here.
    fn workplace(&self, step: &str) -> Workplace {
        Workplace::new(&format!(
            r#"
            [pipeline.orders]
            from  = {{ every = "24h" }}
            steps = [ {step} ]
            to    = ["shop"]

            [sink.shop]
            http  = {{ url = "{}" }}
            retry = {{ base = "5ms", cap = "5ms" }}
            "#,
            self.server.url("/")
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
            let run = Running::start(workplace.command(&["run", "--once", "gatherd.toml"]));
            wait_until("what is new, or what failed before the crash, fails again and again", || {
                self.arrivals(order, before) >= 3
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
    let workplace = shop.workplace(&format!(
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
        shop.workplace(&format!(r#"{{ get = {{ url = "{}", unchanged = "skip" }} }}"#, api.url("/orders/newest")));
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
