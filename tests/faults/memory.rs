//! More items than memory.

use std::fmt::Write;
use std::fs;

use crate::support::gatherd::Workplace;
use crate::support::wait_until;

const ITEMS: u64 = 1_000_000;

const BUDGET: u64 = 64 << 20;

/// What the program takes beside the items in flight: itself, its stacks, and what its allocator has set aside.
const BASE: u64 = 48 << 20;

#[test]
fn a_million_items_pass_through_a_budget_of_64_mib() {
    // Never ends, so that its memory can be looked at when the million is through.
    let workplace = Workplace::new(
        r#"
        [service]
        memory = "64MiB"

        [pipeline.million]
        from  = { lines = "in.ndjson" }
        steps = [{ map = "{id, text: (.text + \"!\")}" }]
        to    = [{ file = "out.ndjson" }]

        [pipeline.idle]
        from = { every = { period = "24h", jitter = "23h" } }
        to   = []
        "#,
    );
    let (mut lines, mut expected) = (String::new(), 0);
    for id in 1..=ITEMS {
        let before = lines.len();
        writeln!(lines, r#"{{"id":{id},"text":"of a million that do not fit into the memory at once"}}"#).unwrap();
        expected += (lines.len() - before + 1) as u64;
    }
    workplace.write("in.ndjson", &lines);
    let mut daemon = workplace.start();
    let written = || fs::metadata(workplace.path("out.ndjson")).map_or(0, |metadata| metadata.len());
    wait_until("a million items are written", || written() >= expected || daemon.is_over());
    let peak = daemon.peak_memory();
    assert!(peak <= BUDGET + BASE, "{} MiB", peak >> 20);
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    let out = workplace.read("out.ndjson");
    let mut ids: Vec<u64> = out.lines().map(|line| line[6..line.find(',').unwrap()].parse().unwrap()).collect();
    assert_eq!(ids.len() as u64, ITEMS);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len() as u64, ids[0]), (ITEMS, 1));
}
