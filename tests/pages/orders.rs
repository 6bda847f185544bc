//! Servers that sort in any way, and whose data changes while it is paged through: nothing is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::api::{Api, Behaviour, Paging, Sorted, arrived, config, order, orders, time};
use super::support::gatherd::Workplace;
use super::support::server::{Server, reply};
use super::support::{check_each, wait_until};

/// With each page come two new orders.
fn insert(orders: &mut Vec<Value>, _from: usize) {
    for _ in 0..2 {
        let next = orders.len() + 1;
        if next <= 60 {
            orders.push(order(next, newest(orders) + 1));
        }
    }
}

/// With each page come new orders, and an old one changes.
fn insert_and_change(orders: &mut Vec<Value>, from: usize) {
    insert(orders, from);
    let (count, version) = (orders.len(), newest(orders) + 1);
    if count < 60 {
        orders[count / 2] = order(count / 2 + 1, version);
    }
}

fn newest(orders: &[Value]) -> usize {
    orders.iter().filter_map(|order| order["version"].as_u64()).max().unwrap_or(0) as usize
}

/// Where a server does not sort by the cursor, what comes in before the page that is fetched is overtaken by what comes
/// behind it, so a lag as long as a run takes has to be asked for.
#[test]
fn nothing_is_lost_however_a_server_sorts_and_inserts_while_it_is_paged_through() {
    let mut cases = Vec::new();
    for (sorted, before_page, lag) in [
        (Sorted::Ascending, insert as fn(&mut Vec<Value>, usize), ""),
        (Sorted::Descending, insert_and_change, ""),
        (Sorted::Not, insert, r#"lag = "2h","#),
    ] {
        for (paging, pages) in [
            (Paging::Token, r#"pages = "auto""#),
            (Paging::Offset, r#"pages = { offset = { send_as = "offset" } }"#),
            (Paging::Number, r#"pages = { number = { send_as = "page" } }"#),
        ] {
            for order in ["any", "ascending"] {
                cases.push((sorted, before_page, lag, paging, pages, order));
            }
        }
    }
    check_each(&cases, |(sorted, before_page, lag, paging, pages, order)| {
        let behaviour = Behaviour { sorted: *sorted, paging: *paging, orders: orders(30), ..Behaviour::default() };
        let api = Api::start(Behaviour { before_page: Some(*before_page), ..behaviour });
        let new_by =
            format!(r#"new_by = {{ cursor = ".at", send_as = "since", {lag} key = ".id", order = "{order}" }}"#);
        let workplace = Workplace::new(&config(&api, &format!("{pages}, {new_by}")));
        let what = format!("{sorted:?} {paging:?} {order}");
        let mut is_descent_told = false;
        while api.behave().orders.len() < 60 {
            let ended = workplace.run_once();
            assert_eq!(ended.code(), Some(0), "{what}: {ended:?}");
            is_descent_told |= ended.stderr.contains("items do not ascend");
        }
        assert_eq!(workplace.run_once().code(), Some(0), "{what}");
        assert_eq!(is_descent_told, *order == "ascending" && *sorted != Sorted::Ascending, "{what}");
        let mut there: Vec<(u64, u64)> = api
            .behave()
            .orders
            .iter()
            .map(|order| (order["id"].as_u64().unwrap(), order["version"].as_u64().unwrap()))
            .collect();
        there.sort_unstable();
        let all = arrived(&workplace);
        let newest: BTreeMap<u64, u64> = all.iter().copied().collect();
        assert_eq!(newest.into_iter().collect::<Vec<_>>(), there, "the newest version of each: {what}");
        let mut once = all.clone();
        once.dedup();
        assert_eq!(all, once, "no version of an order came twice: {what}");
    });
}

/// A sink that fails as long as it is told to.
fn moody_sink(is_well: &Arc<AtomicBool>) -> Server {
    let is_well = is_well.clone();
    Server::start(move |_, connection| {
        let status = if is_well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        connection.write_all(&reply(status, &[], ""))
    })
}

#[test]
fn a_cursor_waits_for_every_sink_and_a_restart_goes_on_from_the_page_that_was_kept() {
    let is_well = Arc::new(AtomicBool::new(false));
    let sink = moody_sink(&is_well);
    let behaviour = Behaviour { paging: Paging::Token, orders: orders(35), ..Behaviour::default() };
    let api = Api::start(Behaviour { sorted: Sorted::Descending, ..behaviour });
    let new_by = r#"pages = "auto", new_by = { cursor = ".at", send_as = "since", key = ".id" }"#;
    let text = config(&api, new_by).replace(r#"{ file = "out.ndjson" }"#, r#""shop""#);
    let workplace = Workplace::new(&format!(
        r#"
        {text}
        [sink.shop]
        http  = {{ url = "{}" }}
        batch = 5
        retry = {{ base = "5ms", cap = "5ms" }}
        "#,
        sink.url("/")
    ));
    let daemon = workplace.start();
    wait_until("all pages have come, and the sink was asked", || api.pages(0).len() >= 4 && !sink.seen().is_empty());
    daemon.kill();
    let state = workplace.gatherd(&["state", "list", "--json"]);
    assert!(!state.stdout.contains("cursor"), "nothing has settled: {state:?}");

    is_well.store(true, Ordering::SeqCst);
    let before = api.server.seen().len();
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(api.pages(before), [0, 10, 20, 30]);
    let state = workplace.gatherd(&["state", "list", "--json"]);
    assert!(state.stdout.contains(&format!("\"cursor\":\"{}\"", time(35))), "{state:?}");
    assert!(!state.stdout.contains("\"run\":{"), "{state:?}");
}

#[test]
fn a_page_that_is_refused_after_a_restart_begins_the_run_anew_and_what_settled_is_not_sent_again() {
    let behaviour = Behaviour { paging: Paging::Token, orders: orders(35), ..Behaviour::default() };
    let api = Api::start(Behaviour { refuses: Some((20, "500 Internal Server Error")), ..behaviour });
    let workplace =
        Workplace::new(&config(&api, r#"pages = "auto", new_by = { cursor = ".at", send_as = "since", key = ".id" }"#));
    let first = workplace.run_once();
    assert_eq!(first.code(), Some(1), "the third page is given up: {first:?}");
    assert_eq!(arrived(&workplace).len(), 20);

    // Its token has gone stale.
    api.behave().refuses = Some((20, "410 Gone"));
    let before = api.server.seen().len();
    let second = workplace.run_once();
    assert_eq!(second.code(), Some(1), "{second:?}");
    assert!(second.stderr.contains("begins anew at its cursor"), "{}", second.stderr);
    assert_eq!(api.pages(before), [20, 0, 10, 20]);

    api.behave().refuses = None;
    let before = api.server.seen().len();
    let third = workplace.run_once();
    assert_eq!(third.code(), Some(0), "{third:?}");
    assert_eq!(api.pages(before), [20, 30]);
    let ids: Vec<u64> = arrived(&workplace).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, (1..=35).collect::<Vec<_>>(), "each once");
    assert!(api.asked("since").iter().all(String::is_empty), "the cursor did not move before the end");
}

#[test]
fn a_run_that_asked_for_another_window_is_not_gone_on_with() {
    let behaviour = Behaviour { paging: Paging::Token, orders: orders(35), ..Behaviour::default() };
    let api = Api::start(Behaviour { refuses: Some((20, "500 Internal Server Error")), ..behaviour });
    let settings = r#"query = { to = "{window.end}" }, pages = "auto",
                      new_by = { cursor = ".at", send_as = "since", key = ".id" }"#;
    let workplace = Workplace::new(&config(&api, settings));
    assert_eq!(workplace.run_once().code(), Some(1));
    api.behave().refuses = None;
    let before = api.server.seen().len();
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(api.pages(before), [0, 10, 20, 30], "its pages would lack what this window has more");
    let ids: Vec<u64> = arrived(&workplace).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, (1..=35).collect::<Vec<_>>(), "each once");
}

#[test]
fn a_cursor_of_ascending_items_moves_page_by_page_and_goes_back_when_they_do_not_ascend() {
    let behaviour = Behaviour { paging: Paging::Token, orders: orders(35), ..Behaviour::default() };
    let api = Api::start(Behaviour { refuses: Some((20, "404 Not Found")), ..behaviour });
    let new_by = r#"pages = "auto", new_by = { cursor = ".at", send_as = "since", key = ".id", order = "ascending" }"#;
    let workplace = Workplace::new(&config(&api, new_by));
    assert_eq!(workplace.run_once().code(), Some(1));
    let cursor = || workplace.gatherd(&["state", "list", "--json"]).stdout;
    assert!(cursor().contains(&format!("\"cursor\":\"{}\"", time(20))), "two pages have settled: {}", cursor());
    let before = api.server.seen().len();
    api.behave().refuses = Some((20, "410 Gone"));
    let second = workplace.run_once();
    assert_eq!(second.code(), Some(0), "{second:?}");
    assert_eq!(api.asked("since")[before + 1], time(20), "it begins anew at the cursor, not at the start");
    assert_eq!(arrived(&workplace).len(), 35);

    // A third page that falls behind the two before it.
    let mut mixed = orders(30);
    for order in &mut mixed[20..] {
        order["at"] = time(1).into();
    }
    for (id, order) in mixed.iter_mut().enumerate() {
        order["id"] = (id + 1).into();
    }
    let api =
        Api::start(Behaviour { paging: Paging::Token, sorted: Sorted::Kept, orders: mixed, ..Behaviour::default() });
    let workplace = Workplace::new(&config(&api, new_by));
    api.behave().orders.push(order(31, 1));
    api.behave().refuses = Some((30, "404 Not Found"));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("items do not ascend"), "{}", ended.stderr);
    let state = workplace.gatherd(&["state", "list", "--json"]).stdout;
    assert!(!state.contains("\"cursor\":\"2026"), "it went back to where the run began: {state}");
    assert_eq!(arrived(&workplace).len(), 30);
}

#[test]
fn a_run_that_max_pages_ends_goes_on_with_the_next_item() {
    let behaviour = Behaviour { paging: Paging::Token, orders: orders(47), ..Behaviour::default() };
    let api = Api::start(Behaviour { sorted: Sorted::Descending, ..behaviour });
    let settings = r#"pages = { max_pages = 2 }, new_by = { cursor = ".at", send_as = "since", key = ".id" }"#;
    let workplace = Workplace::new(&config(&api, settings));
    for count in [20, 40, 47, 47] {
        assert_eq!(workplace.run_once().code(), Some(0));
        assert_eq!(arrived(&workplace).len(), count);
    }
    assert_eq!(api.pages(0), [0, 10, 20, 30, 40, 0]);
    assert_eq!(api.asked("since"), ["", "", "", "", "", time(47).as_str()]);
}
