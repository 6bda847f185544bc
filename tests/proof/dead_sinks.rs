//! Sinks that are down or hang while a flood arrives.

use std::net::TcpListener;

use serde_json::Value;

use super::oracle::{Oracle, Way, file, lines_in};
use super::rounds::{is_long, random, say};
use super::support::gatherd::Workplace;
use super::support::server::closed_port;
use super::support::wait_until;

/// How much memory gatherd may hold, in bytes.
const MEMORY: u64 = 256 << 20;

#[test]
fn a_flood_is_held_for_sinks_that_are_down_or_hang_in_little_memory_and_all_of_it_is_drained() {
    let items: usize = if is_long() { 300_000 } else { 60_000 };
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = |down: &str, hangs: &str| {
        format!(
            r#"
            [service]
            drain = "1s"

            [pipeline.flood]
            from = {{ lines = {{ path = "flood.in.ndjson", follow = true }} }}
            to   = ["well", "down", "hangs"]

            [sink.well]
            file = "well.ndjson"

            [sink.down]
            {down}

            [sink.hangs]
            {hangs}
            "#
        )
    };
    let workplace = Workplace::new(&config(
        &format!(r#"http = "http://127.0.0.1:{}/""#, closed_port()),
        &format!(r#"http = "http://{}/""#, hanging.local_addr().unwrap()),
    ));
    let mut oracle = Oracle::start(&mut random());
    oracle.begin(items, 100, &[Way::line("flood", workplace.path("flood.in.ndjson"))]);
    oracle.wait();
    let daemon = workplace.start();
    wait_until("the neighbour has everything", || lines_in(&workplace, "well.ndjson") >= items);
    let memory = daemon.peak_memory();
    assert!(memory <= MEMORY, "{} MiB", memory >> 20);
    assert_eq!(daemon.stop().code(), Some(0));

    // Both come back, as files, and get what was kept for them.
    workplace.write("gatherd.toml", config(r#"file = "down.ndjson""#, r#"file = "hangs.ndjson""#));
    let daemon = workplace.start();
    for name in ["down.ndjson", "hangs.ndjson"] {
        wait_until(&format!("{name} is drained"), || lines_in(&workplace, name) >= items);
    }
    let drained = daemon.peak_memory();
    assert!(drained <= MEMORY, "{} MiB", drained >> 20);
    assert_eq!(daemon.stop().code(), Some(0));
    for name in ["well.ndjson", "down.ndjson", "hangs.ndjson"] {
        oracle.check("flood", name, &[file(&workplace, name)], 20_000);
    }
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    say(&format!("{items} items: all drained, in {} and {} MiB", memory >> 20, drained >> 20));
}
