//! More items than memory.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use crate::support::comes_true_within;
use crate::support::gatherd::{IDLE, Workplace, idle_memory};
use crate::support::server::{Server, json};

const ITEMS: u64 = 1_000_000;

const BUDGET: u64 = 64 << 20;

/// What the program takes beside the items in flight and what it takes when idle: the buffers of its sources and
/// sinks, the store's cache, and what its allocator has set aside.
const BASE: u64 = 32 << 20;

/// Five times what it takes on two busy cores.
const LIMIT: Duration = Duration::from_secs(400);

#[test]
fn a_million_items_pass_through_a_budget_of_64_mib() {
    let workplace = Workplace::new(&format!(
        r#"
        [service]
        memory = "64MiB"

        [pipeline.million]
        from  = {{ lines = "in.ndjson" }}
        to    = [{{ file = "out.ndjson" }}]

        {IDLE}
        "#,
    ));
    let mut lines = String::new();
    for id in 1..=ITEMS {
        writeln!(lines, r#"{{"id":{id},"text":"one of a million that do not fit into the memory at once"}}"#).unwrap();
    }
    workplace.write("in.ndjson", &lines);
    let expected = lines.len() as u64;
    let idle = idle_memory();
    let mut daemon = workplace.start();
    let written = || fs::metadata(workplace.path("out.ndjson")).map_or(0, |metadata| metadata.len());
    let all = comes_true_within(LIMIT, || written() >= expected || daemon.is_over());
    assert!(all, "{} of {expected} bytes are written; the log:\n{}", written(), daemon.log());
    let peak = daemon.peak_memory();
    assert!(peak <= idle + BUDGET + BASE, "{} MiB, and {} MiB when idle", peak >> 20, idle >> 20);
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    let out = workplace.read("out.ndjson");
    let mut ids: Vec<u64> = out.lines().map(|line| line[6..line.find(',').unwrap()].parse().unwrap()).collect();
    assert_eq!(ids.len() as u64, ITEMS);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len() as u64, ids[0]), (ITEMS, 1));
}

/// Each of the replies is larger than the budget once it is a value, and all are asked for at once.
#[test]
fn replies_larger_than_the_budget_wait_for_each_other_and_all_arrive() {
    const REPLIES: usize = 4;
    const OBJECTS: usize = 50_000;
    let objects: Vec<String> = (0..OBJECTS).map(|id| format!(r#"{{"id":{id},"text":"{}"}}"#, "x".repeat(50))).collect();
    let reply = json(&format!("[{}]", objects.join(",")));
    let server = Server::saying(reply);
    let workplace = Workplace::new(&format!(
        r#"
        [service]
        memory = "16MiB"

        [pipeline.large]
        from  = {{ items = {{ range = [1, {REPLIES}] }} }}
        steps = [{{ get = {{ url = "{}", timeouts = {{ whole = "10m" }} }} }}, {{ each = ".[]" }}, {{ map = ".id" }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        server.url("/{.}")
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(workplace.read("out.ndjson").lines().count(), REPLIES * OBJECTS);
}
