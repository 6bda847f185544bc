//! SIGTERM under load, with destinations that live and that are dead.

use std::time::Duration;

use serde_json::Value;

use super::oracle::{Oracle, in_file, item};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::{Workplace, wait_for_lines};
use super::support::server::closed_port;

/// How many items are handed over for each stop.
const ITEMS: u64 = 200;

/// Half of the stops come while the second sink is dead, some before everything is done.
#[test]
fn a_stop_always_comes_to_its_end_and_loses_nothing() {
    let config = |destination: &str| {
        format!(
            r#"
            [service]
            drain = "1s"

            [pipeline.orders]
            from = {{ lines = {{ path = "orders.in.ndjson", follow = true }} }}
            to   = ["well", "frail"]

            [sink.well]
            file  = "well.ndjson"
            batch = {{ age = "10ms" }}

            [sink.frail]
            {destination}
            batch = {{ age = "10ms" }}
            retry = {{ base = "5ms", cap = "5ms" }}
            "#
        )
    };
    let alive = config(r#"file = "frail.ndjson""#);
    let dead = config(&format!(r#"http = "http://127.0.0.1:{}/""#, closed_port()));
    let workplace = Workplace::new(&alive);
    let mut random = random();
    let mut oracle = Oracle::default();
    let mut lines = String::new();
    let mut stops = 0;
    for stop in Rounds::new(100, Duration::from_secs(20), 1_000) {
        stops = stop;
        for id in (stop as u64 - 1) * ITEMS..stop as u64 * ITEMS {
            let item = item(id, &mut random);
            lines.push_str(&format!("{item}\n"));
            oracle.accepted(&item);
        }
        let done = in_file(&workplace, "well.ndjson").len();
        workplace.write("gatherd.toml", if stop % 2 == 0 { &dead } else { &alive });
        // It follows a file that grows; a daemon that is not there yet finds it grown.
        workplace.write("orders.in.ndjson", &lines);
        let daemon = workplace.start();
        wait_for_lines(&workplace, "well.ndjson", done + random.usize(0..ITEMS as usize / 2));
        let ended = daemon.stop();
        assert_eq!(ended.code(), Some(0), "stop {stop}: {ended:?}");
    }
    workplace.write("gatherd.toml", &alive);
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    // What has not settled at a stop comes again whole.
    let most = stops * ITEMS as usize;
    let duplicates = ["well.ndjson", "frail.ndjson"].map(|name| oracle.check(name, &in_file(&workplace, name), most));
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    let items = oracle.accepted_count();
    say(&format!("{stops} stops, {items} items: always out, none lost, none altered; duplicates {duplicates:?}"));
}
