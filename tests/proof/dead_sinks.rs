//! Sinks that are down or hang while a flood arrives.

use std::fmt::Write;
use std::net::TcpListener;

use serde_json::Value;

use super::oracle::{Oracle, in_file};
use super::rounds::{is_long, say};
use super::support::gatherd::Workplace;
use super::support::server::closed_port;
use super::support::wait_until;

/// How much memory gatherd may hold, in bytes.
const MEMORY: u64 = 256 << 20;

#[test]
fn a_flood_is_held_for_sinks_that_are_down_or_hang_in_little_memory_and_all_of_it_is_drained() {
    let items: u64 = if is_long() { 300_000 } else { 30_000 };
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
    let mut oracle = Oracle::default();
    let mut lines = String::new();
    for id in 0..items {
        let item = serde_json::json!({ "id": id, "payload": format!("{id:0100}") });
        writeln!(lines, "{item}").unwrap();
        oracle.accepted(&item);
    }
    workplace.write("flood.in.ndjson", &lines);
    let daemon = workplace.start();
    let lines_in = |name: &str| {
        std::fs::read(workplace.path(name)).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
    };
    wait_until("the neighbour has everything", || lines_in("well.ndjson") >= items as usize);
    let memory = daemon.peak_memory();
    assert!(memory <= MEMORY, "{} MiB", memory >> 20);
    assert_eq!(daemon.stop().code(), Some(0));

    // Both come back, as files, and get what was kept for them.
    workplace.write("gatherd.toml", config(r#"file = "down.ndjson""#, r#"file = "hangs.ndjson""#));
    let daemon = workplace.start();
    for name in ["down.ndjson", "hangs.ndjson"] {
        wait_until(&format!("{name} is drained"), || lines_in(name) >= items as usize);
    }
    let drained = daemon.peak_memory();
    assert!(drained <= MEMORY, "{} MiB", drained >> 20);
    assert_eq!(daemon.stop().code(), Some(0));
    for name in ["well.ndjson", "down.ndjson", "hangs.ndjson"] {
        oracle.check(name, &in_file(&workplace, name), 20_000);
    }
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    say(&format!("{items} items: all drained, in {} and {} MiB", memory >> 20, drained >> 20));
}
