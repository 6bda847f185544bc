//! `gatherd state`: with a daemon that runs and without one.

use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use super::api::{Api, Behaviour, Paging, arrived, config, orders, time};
use super::support::gatherd::{IDLE, Workplace};
use super::support::server::{Server, json as json_reply};
use super::support::wait_until;

const NEW: &str = r#"pages = "auto", new_by = { cursor = ".at", send_as = "since", key = ".id" }"#;

fn ask(workplace: &Workplace, arguments: &[&str], code: i32) -> String {
    let ended = workplace.gatherd(&[&["state"], arguments].concat());
    assert_eq!(ended.code(), Some(code), "{arguments:?}: {ended:?}");
    if code == 0 { ended.stdout } else { ended.stderr }
}

#[test]
fn a_cursor_is_listed_shown_set_and_reset() {
    let api = Api::start(Behaviour { orders: orders(12), ..Behaviour::default() });
    let workplace = Workplace::new(&(config(&api, NEW) + IDLE));
    assert_eq!(workplace.run_once().code(), Some(0));
    let table = ask(&workplace, &["list"], 0);
    assert!(table.contains(&format!("orders    get                   \"{}\"", time(12))), "{table}");
    assert_eq!(ask(&workplace, &["list", "--pipeline", "other"], 0), "nothing is kept yet\n");
    let shown: Value = serde_json::from_str(&ask(&workplace, &["show", "orders", "get"], 0)).unwrap();
    let expected =
        json!({ "pipeline": "orders", "component": "get", "partition": "", "cursor": time(12), "run": null });
    assert_eq!(shown, expected);

    assert_eq!(ask(&workplace, &["set", "orders", "get", &time(3)], 0), format!("set to \"{}\"\n", time(3)));
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(arrived(&workplace).len(), 12 + 10, "what lies behind the cursor comes again");
    assert_eq!(ask(&workplace, &["reset", "orders", "get"], 0), "reset 1 place\n");
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(api.asked("since"), ["".to_owned(), time(3), "".to_owned()]);

    for (arguments, why) in [
        (&["set", "orders", "get", "7"][..], "the cursor is a time, such as \"2026-01-31T00:00:00Z\""),
        (&["set", "orders", "get", "soon"], "the cursor is a time"),
        (&["set", "orders", "get", "[]"], "a cursor is a number or a text"),
        (&["set", "orders", "every", "7"], "what is there is of type string"),
        (&["set", "order", "get", &time(3)], "there is none (see `gatherd state list`)"),
        (&["reset", "orders", "get", "--partition", "x"], "there is none"),
        (&["show", "orders", "post"], "there is none"),
    ] {
        let said = ask(&workplace, arguments, 1);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    // A source's too.
    ask(&workplace, &["reset", "orders", "every"], 0);
    assert!(!ask(&workplace, &["list", "--pipeline", "orders"], 0).contains("every"));
}

#[test]
fn what_is_set_while_a_run_is_on_its_way_stays_and_a_source_that_runs_is_not_touched() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let own = gate.clone();
    let server = Server::start(move |seen, connection| {
        let is_second = seen.target.contains("cursor=");
        let mut is_open = own.0.lock().unwrap();
        while is_second && !*is_open {
            is_open = own.1.wait(is_open).unwrap();
        }
        drop(is_open);
        let (id, next) = if is_second { (2, Value::Null) } else { (1, json!("x")) };
        let page = json!({ "data": [{ "id": id, "at": time(id) }], "next_cursor": next });
        connection.write_all(&json_reply(&page.to_string()))
    });
    let api = Api::start(Behaviour { paging: Paging::Token, ..Behaviour::default() });
    let text = config(&api, NEW).replace(&api.server.url("/"), &server.url("/"));
    let daily = text.replace(r#"from  = { every = "24h" }"#, r#"from = { every = "1h" }"#) + IDLE;
    let workplace = Workplace::new(&daily);
    let daemon = workplace.start();
    wait_until("the first page has settled", || ask(&workplace, &["list"], 0).contains("1 page"));
    ask(&workplace, &["set", "orders", "get", "2026-02-01T00:00:00Z"], 0);
    let why = ask(&workplace, &["reset", "orders", "every"], 1);
    assert!(why.contains("there is none") || why.contains("stop gatherd first"), "{why}");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    wait_until("the run is over", || ask(&workplace, &["list"], 0).contains("orders    every"));
    let why = ask(&workplace, &["set", "orders", "every", "\"2026-02-01T00:00:00Z\""], 1);
    assert!(why.contains("stop gatherd first"), "{why}");
    let table = ask(&workplace, &["list"], 0);
    assert!(table.contains("2026-02-01T00:00:00Z") && !table.contains("2026-03-01"), "{table}");
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(arrived(&workplace).len(), 2);
}
