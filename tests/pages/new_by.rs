//! What is new: the cursor, its boundary, and where it is sent.

use serde_json::{Value, json};

use super::api::{Api, Behaviour, Paging, arrived, arrived_ids, config, order, orders, time};
use super::support::client::{connect, exchange};
use super::support::gatherd::{IDLE, Workplace};
use super::support::{check_each, wait_until};

const NEW: &str = r#"pages = "auto", new_by = { cursor = ".at", send_as = "since", key = ".id" }"#;

fn run(workplace: &Workplace, code: i32) {
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(code), "{ended:?}");
}

/// Runs once, then changes what the API has, and runs once more. Answers what was asked for, and what came.
fn two_runs(settings: &str, first: Vec<Value>, then: impl FnOnce(&mut Vec<Value>)) -> (Vec<String>, Vec<(u64, u64)>) {
    let api = Api::start(Behaviour { orders: first, ..Behaviour::default() });
    let workplace = Workplace::new(&config(&api, settings));
    run(&workplace, 0);
    then(&mut api.behave().orders);
    run(&workplace, 0);
    (api.asked("since"), arrived(&workplace))
}

#[test]
fn the_second_run_asks_for_what_is_new_and_nothing_comes_twice() {
    let (asked, arrived) = two_runs(NEW, orders(12), |orders| {
        orders.push(order(13, 12));
        orders.push(order(14, 20));
        orders[0] = order(1, 30);
        orders[11] = order(12, 12);
    });
    assert_eq!(asked, ["", time(12).as_str()]);
    let mut expected: Vec<(u64, u64)> = (1..=12).map(|id| (id, id)).collect();
    expected.extend([(1, 30), (13, 12), (14, 20)]);
    expected.sort_unstable();
    assert_eq!(arrived, expected, "a new one at the cursor, one beyond it, and one that changed");
}

#[test]
fn a_lag_asks_for_earlier_items_and_passes_on_only_those_that_came_late() {
    let settings = NEW.replace("key =", "lag = \"5m\", key =");
    let (asked, arrived) = two_runs(&settings, orders(12), |orders| orders.push(order(13, 8)));
    assert_eq!(asked, ["", time(7).as_str()]);
    assert_eq!(arrived.len(), 13);
    assert_eq!(arrived[12], (13, 8));
    // Without a key the whole item tells.
    let (_, arrived) =
        two_runs(&settings.replace(", key = \".id\"", ""), orders(12), |orders| orders.push(order(13, 8)));
    assert_eq!(arrived.len(), 13);
}

#[test]
fn items_are_known_again_as_long_as_they_can_come_again_and_no_longer() {
    let api = Api::start(Behaviour { orders: orders(100), ..Behaviour::default() });
    let workplace = Workplace::new(&config(&api, &NEW.replace("key =", "lag = \"10m\", key =")));
    let known = || {
        let store = rusqlite::Connection::open(workplace.path("gatherd-state/gatherd.db")).unwrap();
        store.query_row("SELECT count(*) FROM settled", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    run(&workplace, 0);
    assert_eq!(known(), 11, "those of the last ten minutes");
    api.behave().orders.push(order(101, 105));
    run(&workplace, 0);
    assert_eq!(known(), 7, "five minutes later");
    assert_eq!(arrived(&workplace).len(), 101);
}

#[test]
fn a_cursor_is_sent_where_it_is_wanted_and_begins_where_it_is_told_to() {
    let cases = [
        (r#"send_as = "since""#, "get"),
        (r#"send_as = { query = "since" }"#, "get"),
        (r#"send_as = { header = "X-Since" }"#, "get"),
        (r#"send_as = { body = ".since" }"#, "post"),
    ];
    check_each(&cases, |(send_as, method)| {
        let api = Api::start(Behaviour { orders: orders(12), ..Behaviour::default() });
        let payload = if *method == "post" { r#"json = "{}","# } else { "" };
        let settings = format!(r#"{payload} new_by = {{ cursor = ".at", {send_as}, initial = "{}" }}"#, time(6));
        let workplace = Workplace::new(&config(&api, &settings).replace("get =", &format!("{method} =")));
        run(&workplace, 0);
        run(&workplace, 0);
        assert_eq!(api.asked("since"), [time(6), time(12)], "{send_as}");
        assert_eq!(arrived(&workplace).len(), 7, "{send_as}");
    });
}

#[test]
fn numbers_and_texts_are_cursors_too_and_times_are_compared_as_instants() {
    let of = |at: &[Value]| at.iter().enumerate().map(|(id, at)| json!({ "id": id, "at": at })).collect::<Vec<_>>();
    let cases = [
        (vec![json!(9), json!(10), json!(2)], "10"),
        (vec![json!(9.5), json!(10)], "10"),
        (vec![json!("b9"), json!("b10"), json!("a")], "b9"),
        (
            vec![json!("2026-01-01T01:00:00+02:00"), json!("2026-01-01T00:00:00Z"), json!("2025-12-31T22:00:00-01:00")],
            "2026-01-01T00:00:00Z",
        ),
        (vec![json!("2026-01-01T01:00:00.5+02:00")], "2026-01-01T01:00:00.5+02:00"),
    ];
    check_each(&cases, |(at, cursor)| {
        let settings = r#"new_by = { cursor = ".at", send_as = "q" }"#;
        let api = Api::start(Behaviour { orders: of(at), ..Behaviour::default() });
        let workplace = Workplace::new(&config(&api, settings));
        run(&workplace, 0);
        run(&workplace, 0);
        assert_eq!(api.asked("q"), ["", *cursor], "{at:?}");
    });
}

#[test]
fn each_partition_has_a_cursor_of_its_own_and_one_run_at_a_time() {
    check_each(&[1, 8], |workers| check_partitions(*workers));
}

fn check_partitions(workers: usize) {
    let order = |account: &str, id: usize, minute: usize| json!({ "id": id, "at": time(minute), "version": minute, "account": account });
    let mut all: Vec<Value> = (1..=20).map(|id| order("a", id, id)).collect();
    all.extend((21..=25).map(|id| order("b", id, id - 20)));
    let api = Api::start(Behaviour { paging: Paging::Token, page_size: 4, orders: all, ..Behaviour::default() });
    let settings = r#"query = { account = "{.account}" }, pages = "auto",
                      new_by = { cursor = ".at", send_as = "since", key = ".id", per = ".account" }"#;
    let accounts = r#"from = { items = [{ account = "a" }, { account = "b" }, { account = "a" }, { account = "b" }] }"#;
    let text = config(&api, settings).replace(r#"from  = { every = "24h" }"#, accounts);
    let text = if workers == 1 { text.replace("}, retry =", "}, workers = 1, retry =") } else { text };
    let workplace = Workplace::new(&text);
    run(&workplace, 0);
    assert_eq!(arrived(&workplace).len(), 25, "the second of each account found nothing new");
    let asked: Vec<_> = api.asked("account").into_iter().zip(api.asked("since")).collect();
    for (account, cursor) in [("a", 20), ("b", 5)] {
        let of_account: Vec<_> = asked.iter().filter(|(name, _)| name == account).map(|(_, since)| since).collect();
        assert_eq!(**of_account.last().unwrap(), time(cursor), "{asked:?}");
        assert_eq!(of_account.iter().filter(|since| !since.is_empty()).count(), 1, "{asked:?}");
    }
}

#[test]
fn an_item_without_a_cursor_or_with_one_of_another_type_costs_itself_alone() {
    let mut first = orders(5);
    first[1]["at"] = Value::Null;
    first[3]["at"] = json!(7);
    let api = Api::start(Behaviour { orders: first, sorted: super::api::Sorted::Descending, ..Behaviour::default() });
    let text = config(&api, NEW).replace("}]\n        to ", "}, { map = \". + {late: true}\" }]\n        to ");
    let workplace = Workplace::new(&text);
    run(&workplace, 1);
    assert_eq!(arrived_ids(&workplace), [1, 3, 5].into());
    let mut dead = workplace.dead_letters();
    dead.sort_by_key(|letter| letter["value"]["id"].as_u64());
    let shown: Vec<_> = dead
        .iter()
        .map(|letter| {
            let [kind, message] = ["kind", "message"].map(|name| letter["fault"][name].as_str().unwrap());
            (letter["component"].as_str().unwrap(), kind, message)
        })
        .collect();
    let null = "the filter `cursor` gives null: the item has no value to go by";
    let number = "the filter `cursor` gives a value of type number, where the others have a time";
    assert_eq!(shown, [("items.get", "cursor", null), ("items.get", "cursor", number)]);

    // Replayed, they go on behind the step that found them.
    assert_eq!(workplace.gatherd(&["dead", "replay", "--all"]).code(), Some(0));
    let before = api.server.seen().len();
    run(&workplace, 1);
    assert_eq!(arrived_ids(&workplace), [1, 2, 3, 4, 5].into());
    assert_eq!(api.server.seen().len(), before + 1, "only the tick went to the server");
    assert_eq!(api.asked("since"), ["", time(5).as_str()]);
}

#[test]
fn a_lag_of_the_wrong_kind_is_told_and_loses_nothing() {
    for (at, lag, why) in [
        (json!("b"), "\"5m\"", "`lag` says nothing of a cursor that is text"),
        (json!(7), "\"5m\"", "the cursor is a number, so `lag` must be one too, in its unit"),
        (json!("2026-01-01T00:00:00Z"), "5", "the cursor is a time, so `lag` must be a duration such as \"5m\""),
    ] {
        let api = Api::start(Behaviour { orders: vec![json!({ "id": 1, "at": at })], ..Behaviour::default() });
        let settings = format!(r#"new_by = {{ cursor = ".at", send_as = "q", lag = {lag} }}"#);
        let workplace = Workplace::new(&config(&api, &settings));
        run(&workplace, 1);
        let dead = workplace.dead_letters();
        assert_eq!((dead.len(), dead[0]["fault"]["message"].as_str().unwrap()), (1, why));
        assert_eq!(dead[0]["component"], "get");
    }
}

#[test]
fn the_pages_of_missed_windows_come_one_window_after_the_other() {
    let api = Api::start(Behaviour { paging: Paging::Token, orders: orders(25), ..Behaviour::default() });
    let settings = r#"query = { from = "{window.start}", to = "{window.end}" }, pages = "auto",
                      new_by = { cursor = ".at", send_as = "since", key = ".id" }"#;
    let text =
        config(&api, settings).replace(r#"{ every = "24h" }"#, r#"{ every = { period = "1h", missed = "all" } }"#);
    let workplace = Workplace::new(&text);
    run(&workplace, 0);
    // As if that had been five hours ago.
    let store = rusqlite::Connection::open(workplace.path("gatherd-state/gatherd.db")).unwrap();
    let mark: String = store.query_row("SELECT position FROM position_even", [], |row| row.get(0)).unwrap();
    drop(store);
    let mark: jiff::Timestamp = serde_json::from_str::<String>(&mark).unwrap().parse().unwrap();
    let earlier = mark - jiff::SignedDuration::from_hours(5);
    let set = workplace.gatherd(&["state", "set", "orders", "every", &format!("\"{earlier}\"")]);
    assert_eq!(set.code(), Some(0), "{set:?}");
    api.behave().orders.extend((26..=45).map(|id| order(id, id)));
    let before = api.server.seen().len();
    run(&workplace, 0);
    let asked: Vec<_> = api.asked("from").into_iter().zip(api.asked("to")).skip(before).collect();
    let mut windows = asked.clone();
    windows.dedup();
    assert!(windows.len() >= 5, "{asked:?}");
    assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0), "one begins where the one before ends: {windows:?}");
    assert_eq!(windows[0].0, earlier.to_string());
    assert_eq!(arrived(&workplace).len(), 45, "each once");
}

#[test]
fn how_long_ago_a_cursor_moved_is_a_metric() {
    let api = Api::start(Behaviour { orders: orders(12), ..Behaviour::default() });
    let workplace = Workplace::new(&format!("{}\n[service]\nadmin = \"127.0.0.1:0\"\n{IDLE}", config(&api, NEW)));
    let daemon = workplace.start();
    let address = daemon.admin_address();
    let age = || {
        let metrics = exchange(connect(address), &format!("GET /metrics HTTP/1.1\nHost: {address}\n\n")).body;
        let sample = metrics.lines().find(|line| line.starts_with("gatherd_component_cursor_age_seconds{"))?.to_owned();
        assert!(sample.contains(r#"pipeline="orders",component="get",role="step"}"#), "{sample}");
        sample.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    assert!(age().is_some(), "a cursor that has not moved is as old as the process");
    wait_until("the cursor has moved", || !workplace.gatherd(&["state", "list"]).stdout.contains("nothing is kept"));
    let moved = age().unwrap();
    wait_until("it grows older while nothing is new", || age().unwrap() > moved + 0.2);
    daemon.stop();
}
