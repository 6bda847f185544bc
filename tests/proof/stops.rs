//! SIGTERM under load, with destinations that live and that are dead.

use std::time::Duration;

use serde_json::Value;

use super::oracle::{Oracle, Way, file, lines_in, wait_for_lines};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::Workplace;
use super::support::server::closed_port;

/// How many items are handed over for each stop.
const ITEMS: usize = 200;

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
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    let alive = config(&format!(r#"http = "{}""#, oracle.receive("frail")));
    let dead = config(&format!(r#"http = "http://127.0.0.1:{}/""#, closed_port()));
    let workplace = Workplace::new(&alive);
    let way = Way::line("orders", workplace.path("orders.in.ndjson"));
    let mut stops = 0;
    for stop in Rounds::new(100, Duration::from_secs(60), 1_000) {
        stops = stop;
        let done = lines_in(&workplace, "well.ndjson");
        workplace.write("gatherd.toml", if stop % 2 == 0 { &dead } else { &alive });
        // It follows a file that grows; a daemon that is not there yet finds it grown.
        oracle.hand_over(ITEMS, std::slice::from_ref(&way));
        let daemon = workplace.start();
        wait_for_lines(&workplace, "well.ndjson", done + random.usize(0..ITEMS / 2));
        let ended = daemon.stop();
        assert_eq!(ended.code(), Some(0), "stop {stop}: {ended:?}");
    }
    workplace.write("gatherd.toml", &alive);
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    // What has not settled at a stop comes again whole.
    let most = stops * ITEMS;
    let found = [("well", vec![file(&workplace, "well.ndjson")]), ("frail", vec![])]
        .map(|(destination, places)| oracle.check("orders", destination, &places, most));
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    let (items, duplicates) = (found[0].accepted, found.each_ref().map(|found| found.duplicates));
    say(&format!("{stops} stops, {items} items: always out, none lost, none altered; duplicates {duplicates:?}"));
}
