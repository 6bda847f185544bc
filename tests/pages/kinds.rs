//! Each way to the next page, and each way to its end.

use serde_json::json;

use super::api::{Api, Behaviour, Paging, arrived, config, orders};
use super::support::check_each;
use super::support::gatherd::Workplace;
use super::support::server::Seen;

/// A way of paging, the settings for it, and how many requests 47 orders in pages of ten take.
const KINDS: &[(Paging, &str, usize)] = &[
    (Paging::Link, r#"pages = "auto""#, 5),
    (Paging::Link, r#"pages = "link""#, 5),
    (Paging::NextUrl, r#"pages = "auto""#, 5),
    (Paging::NextUrl, r#"pages = { next_url = ".paging.next" }"#, 5),
    (Paging::Token, r#"pages = "auto""#, 5),
    (Paging::Token, r#"pages = { cursor = { from = ".next_cursor", send_as = "cursor" } }"#, 5),
    // An empty page ends it.
    (Paging::Number, r#"query = { page = "1" }, pages = "auto""#, 6),
    (Paging::Number, r#"pages = { number = { send_as = "page" } }"#, 6),
    (Paging::Offset, r#"query = { offset = "0" }, pages = "auto""#, 6),
    (Paging::Offset, r#"pages = { offset = { send_as = "offset", size = 10 } }"#, 6),
];

#[test]
fn every_kind_of_pages_brings_every_item_once_and_in_order() {
    check_each(KINDS, |(paging, settings, requests)| {
        let api = Api::start(Behaviour { paging: *paging, orders: orders(47), ..Behaviour::default() });
        let workplace = Workplace::new(&config(&api, settings));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{settings}: {ended:?}");
        let ids: Vec<u64> = workplace.values("out.ndjson").iter().map(|order| order["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=47).collect::<Vec<_>>(), "{settings}");
        assert_eq!(api.server.seen().len(), *requests, "{settings}: {:?}", api.pages(0));
    });
}

#[test]
fn the_next_page_is_asked_for_in_a_body_too() {
    let cases = [
        (
            r#"json = '{q: "x"}', pages = { cursor = { from = ".next_cursor", send_as = { body = ".cursor" } } }"#,
            Paging::Token,
        ),
        (r#"json = '{q: "x"}', pages = "auto""#, Paging::Token),
        (r#"json = '{q: "x"}', pages = { number = { send_as = { body = ".page" } } }"#, Paging::Number),
        (r#"form = '{q: "x"}', pages = { offset = { send_as = { body = ".offset" } } }"#, Paging::Offset),
    ];
    check_each(&cases, |(settings, paging)| {
        let api = Api::start(Behaviour { paging: *paging, orders: orders(25), ..Behaviour::default() });
        let workplace = Workplace::new(&config(&api, settings).replace("get =", "post ="));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{settings}: {ended:?}");
        assert_eq!(arrived(&workplace).len(), 25, "{settings}: {:?}", api.server.seen());
        let kept = |seen: &Seen| seen.body.contains('q') && seen.body.contains('x') && !seen.target.contains('?');
        assert!(api.server.seen().iter().all(kept), "{settings}: {:?}", api.server.seen());
    });
}

/// What ends the pages, with settings for 47 orders in pages of ten, and how many requests and orders that makes.
#[test]
fn the_pages_end_where_they_are_told_to() {
    let cases = [
        (r#"pages = { number = { send_as = "page" } }"#, json!({}), 6, 47),
        (r#"pages = { number = { send_as = "page" }, total = ".total" }"#, json!({ "total": 47 }), 5, 47),
        (r#"pages = { number = { send_as = "page" }, more = ".has_more" }"#, json!({ "has_more": false }), 1, 10),
        (r#"pages = { number = { send_as = "page" }, max_pages = 3 }"#, json!({}), 3, 30),
        (r#"pages = { number = { send_as = "page" }, stop = ".data[-1].id >= 20" }"#, json!({}), 2, 20),
        (r#"pages = { number = { send_as = "page", first = 2 } }"#, json!({}), 5, 37),
        (r#"query = { page = "1" }, pages = "auto""#, json!({ "total": 47 }), 5, 47),
        (r#"query = { page = "1" }, pages = "auto""#, json!({ "has_more": false }), 1, 10),
    ];
    check_each(&cases, |(settings, beside, requests, items)| {
        let behaviour = Behaviour { paging: Paging::Number, orders: orders(47), ..Behaviour::default() };
        let api = Api::start(Behaviour { beside: beside.clone(), ..behaviour });
        let workplace = Workplace::new(&config(&api, settings));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{settings}: {ended:?}");
        assert_eq!((api.server.seen().len(), arrived(&workplace).len()), (*requests, *items), "{settings}");
    });
}

#[test]
fn a_page_without_items_is_one_item_and_a_filter_over_items_ends_no_pages() {
    let behaviour = Behaviour { paging: Paging::Number, orders: orders(25), ..Behaviour::default() };
    let api = Api::start(behaviour);
    let whole = config(&api, r#"pages = { number = { send_as = "page" } }"#).replace(r#"items = ".data[]", "#, "");
    let workplace = Workplace::new(&whole);
    assert_eq!(workplace.run_once().code(), Some(0));
    let lengths: Vec<_> =
        workplace.values("out.ndjson").iter().map(|page| page["data"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [10, 10, 5, 0]);

    // The first page has none that pass, and is not empty.
    let some = config(&api, r#"pages = { number = { send_as = "page" } }"#);
    let workplace = Workplace::new(&some.replace(".data[]", ".data[] | select(.id > 12)"));
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(arrived(&workplace).len(), 13);
}

#[test]
fn each_page_has_tries_of_its_own_and_the_ones_before_are_not_fetched_again() {
    let behaviour = Behaviour { paging: Paging::Token, orders: orders(47), ..Behaviour::default() };
    let api = Api::start(behaviour);
    // Each page fails three times; five tries in all for an item would not do.
    let failures = std::sync::Mutex::new(std::collections::HashMap::<String, usize>::new());
    let upstream = api.server.address;
    let flaky = super::support::server::Server::start(move |seen, connection| {
        let mut failures = failures.lock().unwrap();
        let count = failures.entry(seen.target.clone()).or_default();
        *count += 1;
        if *count <= 3 {
            return super::api::refuse(connection);
        }
        drop(failures);
        let mut socket = std::net::TcpStream::connect(upstream)?;
        std::io::Write::write_all(&mut socket, format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", seen.target).as_bytes())?;
        socket.shutdown(std::net::Shutdown::Write)?;
        let mut reply = Vec::new();
        std::io::Read::read_to_end(&mut socket, &mut reply)?;
        connection.write_all(&reply)
    });
    let text = config(&api, r#"pages = "auto""#).replace(&api.server.url("/"), &flaky.url("/"));
    let workplace = Workplace::new(&text);
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(arrived(&workplace).len(), 47);
    assert_eq!(flaky.seen().len(), 5 * 4);
}
