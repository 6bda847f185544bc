//! SIGKILL after each page of a run: 20 pages, or 1,000 with `GATHERD_PROOF=long`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

use super::support::gatherd::{Running, Workplace};
use super::support::server::{Server, json as json_reply};
use super::support::wait_until;

const PAGE: usize = 5;

fn page_count() -> usize {
    if std::env::var("GATHERD_PROOF").is_ok_and(|kind| kind == "long") { 1000 } else { 20 }
}

/// Gives pages up to a number that is raised one by one, and holds back the one after.
struct Gate {
    open: Mutex<usize>,
    changed: Condvar,
    asked: AtomicUsize,
}

/// After how many pages the run goes on that the store keeps.
fn kept_pages(workplace: &Workplace) -> usize {
    let listed = workplace.gatherd(&["state", "list", "--json"]);
    let run = listed.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    run.filter_map(|kept| kept["run"]["pages"].as_u64()).max().unwrap_or(0) as usize
}

#[test]
fn a_run_that_is_killed_after_each_page_loses_nothing_and_repeats_one_page_a_kill_at_most() {
    let pages = page_count();
    let gate = Arc::new(Gate { open: Mutex::new(0), changed: Condvar::new(), asked: AtomicUsize::new(0) });
    let own = gate.clone();
    let api = Server::start(move |seen, connection| {
        let page: usize = seen.target.split_once("cursor=").map_or(0, |(_, page)| page.parse().unwrap());
        own.asked.fetch_max(page, Ordering::SeqCst);
        let mut open = own.open.lock().unwrap();
        while *open < page {
            open = own.changed.wait(open).unwrap();
        }
        drop(open);
        let items: Vec<_> =
            (page * PAGE..(page + 1) * PAGE).map(|id| json!({ "id": id, "at": 100_000 - id })).collect();
        let next = (page + 1 < pages).then(|| (page + 1).to_string());
        connection.write_all(&json_reply(&json!({ "data": items, "next_cursor": next }).to_string()))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.orders]
        from  = {{ every = "24h" }}
        steps = [{{ get = {{ url = "{}", items = ".data[]", pages = "auto",
                             new_by = {{ cursor = ".at", send_as = "since", key = ".id" }} }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        api.url("/orders")
    ));
    let start = || Running::start(workplace.command(&["run", "--once", "gatherd.toml"]));
    let lines = |count: usize| {
        wait_until(&format!("{count} different items"), || {
            let values = workplace.read("out.ndjson");
            let whole = values.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            whole.filter_map(|item| item["id"].as_u64()).collect::<std::collections::BTreeSet<_>>().len() >= count
        });
    };
    let mut asked_again = 0;
    for page in 0..pages - 1 {
        let before = api.seen().len();
        let daemon = start();
        lines((page + 1) * PAGE);
        wait_until("the next page is asked for", || gate.asked.load(Ordering::SeqCst) > page);
        // Every other time it is killed at the worst moment: what has arrived may not be known to have settled.
        if page % 2 == 1 {
            wait_until("the page has settled", || kept_pages(&workplace) > page);
        }
        daemon.kill();
        let asked: Vec<usize> = api.seen()[before..]
            .iter()
            .map(|seen| seen.target.split_once("cursor=").map_or(0, |(_, page)| page.parse().unwrap()))
            .collect();
        let first = asked[0];
        assert!(first == page || first + 1 == page, "it went on at page {first} in place of {page}: {asked:?}");
        asked_again += usize::from(first != page);
        *gate.open.lock().unwrap() = page + 1;
        gate.changed.notify_all();
    }
    let ended = start().end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let mut arrived: BTreeMap<u64, usize> = BTreeMap::new();
    for item in workplace.values("out.ndjson") {
        *arrived.entry(item["id"].as_u64().unwrap()).or_default() += 1;
    }
    let ids: Vec<u64> = arrived.keys().copied().collect();
    assert_eq!(ids, (0..(pages * PAGE) as u64).collect::<Vec<_>>(), "nothing is lost");
    assert!(arrived.values().all(|count| *count <= 2), "no page comes more than twice: {arrived:?}");
    let repeated = arrived.values().filter(|count| **count == 2).count();
    assert!(
        repeated <= asked_again * PAGE,
        "{repeated} items came twice, and {asked_again} pages were asked for again"
    );
    let state = workplace.gatherd(&["state", "list"]);
    assert!(state.stdout.contains("100000"), "{state:?}");
}
