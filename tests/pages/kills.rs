//! SIGKILL after each page of a run: 20 pages, or 1,000 with `GATHERD_PROOF=long`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

use super::support::gatherd::{IDLE, Running, Workplace, wait_for_lines};
use super::support::server::{Server, json as json_reply};
use super::support::{LIMIT, comes_true_within, wait_until};

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

/// Takes the orders of an API page by page.
fn orders_of(api: &Server) -> Workplace {
    Workplace::new(&format!(
        r#"
        [pipeline.orders]
        from  = {{ every = "24h" }}
        steps = [{{ get = {{ url = "{}", items = ".data[]", pages = "auto",
                             new_by = {{ cursor = ".at", send_as = "since", key = ".id" }} }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        api.url("/orders")
    ))
}

#[test]
fn a_stop_in_the_middle_of_a_run_loses_nothing_and_the_next_start_goes_on_with_the_next_page() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let own = gate.clone();
    let api = Server::start(move |seen, connection| {
        let page: usize = page_of(&seen.target);
        let mut is_open = own.0.lock().unwrap();
        while page == 1 && !*is_open {
            is_open = own.1.wait(is_open).unwrap();
        }
        drop(is_open);
        let body =
            json!({ "data": [{ "id": page, "at": page }], "next_cursor": (page < 3).then(|| (page + 1).to_string()) });
        connection.write_all(&json_reply(&body.to_string()))
    });
    let workplace = orders_of(&api);
    let daemon = workplace.start();
    wait_until("the second page is asked for", || api.seen().len() == 2);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for_log("asked to stop");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    assert_eq!(daemon.end().code(), Some(0));
    assert_eq!(api.seen().len(), 2, "no page was begun after the stop");
    assert_eq!(workplace.run_once().code(), Some(0));
    let asked: Vec<String> = api.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(asked[2..], ["/orders?cursor=2", "/orders?cursor=3"]);
    let mut ids: Vec<u64> = workplace.values("out.ndjson").iter().map(|item| item["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3]);
}

#[test]
fn memory_does_not_grow_with_the_number_of_pages() {
    let peak = |pages: usize| {
        let api = Server::start(move |seen, connection| {
            let page: usize = page_of(&seen.target);
            let items: Vec<_> =
                (0..50).map(|place| json!({ "id": page * 50 + place, "at": page, "text": "x".repeat(1000) })).collect();
            let body = json!({ "data": items, "next_cursor": (page + 1 < pages).then(|| (page + 1).to_string()) });
            connection.write_all(&json_reply(&body.to_string()))
        });
        let workplace = Workplace::new(&format!(
            r#"
            [pipeline.orders]
            from  = {{ every = "24h" }}
            steps = [{{ get = {{ url = "{}", items = ".data[]", pages = "auto",
                                 new_by = {{ cursor = ".at", send_as = "since", key = ".id" }} }} }},
                     {{ map = ".id" }}]
            to    = [{{ file = "out.ndjson" }}]
            {IDLE}
            "#,
            api.url("/orders")
        ));
        let daemon = workplace.start();
        wait_for_lines(&workplace, "out.ndjson", pages * 50);
        daemon.peak_memory()
    };
    let (few, many) = (peak(20), peak(600));
    const MORE: u64 = 24 << 20;
    assert!(many < few + MORE, "20 pages took {few} bytes, 600 took {many}; their text alone is 30 MB");
}

/// The page that was asked for first since the request number `from`: this one, or the one before it, which had come but
/// had not settled.
fn goes_on_at(api: &Server, from: usize, page: usize) -> usize {
    let asked: Vec<usize> = api.seen()[from..].iter().map(|seen| page_of(&seen.target)).collect();
    let first = asked[0];
    assert!(first == page || first + 1 == page, "it went on at page {first} in place of {page}: {asked:?}");
    first
}

fn page_of(target: &str) -> usize {
    target.split_once("cursor=").map_or(0, |(_, page)| page.parse().unwrap())
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
        let page: usize = page_of(&seen.target);
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
    let workplace = orders_of(&api);
    let start = || Running::start(workplace.command(&["run", "--once", "gatherd.toml"]));
    let has_items = |count: usize| {
        let values = workplace.read("out.ndjson");
        let whole = values.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        whole.filter_map(|item| item["id"].as_u64()).collect::<BTreeSet<_>>().len() >= count
    };
    let mut asked_again = 0;
    for page in 0..pages - 1 {
        let before = api.seen().len();
        let daemon = start();
        let arrived = comes_true_within(LIMIT, || has_items((page + 1) * PAGE));
        assert!(arrived, "page {page} of {:?}: {}", &api.seen()[before..], daemon.log());
        wait_until("the next page is asked for", || gate.asked.load(Ordering::SeqCst) > page);
        // Every other time it is killed at the worst moment: what has arrived may not be known to have settled.
        if page % 2 == 1 {
            wait_until("the page has settled", || kept_pages(&workplace) > page);
        }
        daemon.kill();
        asked_again += usize::from(goes_on_at(&api, before, page) != page);
        *gate.open.lock().unwrap() = page + 1;
        gate.changed.notify_all();
    }
    let before = api.seen().len();
    let ended = start().end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    asked_again += usize::from(goes_on_at(&api, before, pages - 1) != pages - 1);
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
