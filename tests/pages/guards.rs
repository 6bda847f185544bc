//! Pages that lead where they should not.

use super::api::{Api, Behaviour, Paging, arrived, config, orders};
use super::support::check_each;
use super::support::gatherd::Workplace;
use super::support::server::{Server, json as json_reply};

struct Case {
    paging: Paging,
    settings: &'static str,
    /// Where the page that begins with item 20 leads.
    misleads: Option<&'static str>,
    is_deaf: bool,
    /// The kind of the fault, and what its message has in it.
    fault: (&'static str, &'static str),
    requests: usize,
}

const LED_BACK: (&str, &str) = ("pages", "is one that was there before in this run");
const ELSEWHERE: (&str, &str) = ("forbidden", "leads to another host than the request");

#[test]
fn pages_that_go_in_circles_or_elsewhere_are_given_up_and_their_items_are_not() {
    let case = |paging, settings, misleads, fault| Case {
        paging,
        settings,
        misleads: Some(misleads),
        is_deaf: false,
        fault,
        requests: 3,
    };
    let deaf = |paging, settings| Case {
        paging,
        settings,
        misleads: None,
        is_deaf: true,
        fault: ("pages", "holds the same items as a page before it"),
        requests: 2,
    };
    let cases = [
        case(Paging::Link, r#"pages = "link""#, "/orders?cursor=t10", LED_BACK),
        case(Paging::Link, r#"pages = "auto""#, "/orders", LED_BACK),
        case(Paging::Link, r#"pages = "link""#, "/orders?cursor=t20", LED_BACK),
        case(Paging::Link, r#"pages = "link""#, "http://127.0.0.1:9/orders", ELSEWHERE),
        case(Paging::Link, r#"pages = "link""#, "//evil.example/orders", ELSEWHERE),
        case(Paging::Link, r#"pages = "link""#, "file:///etc/passwd", ("forbidden", "`file:` is not HTTP")),
        case(Paging::NextUrl, r#"pages = { next_url = ".paging.next" }"#, "/orders?cursor=t10", LED_BACK),
        case(Paging::NextUrl, r#"pages = "auto""#, "http://169.254.169.254/latest", ELSEWHERE),
        case(Paging::NextUrl, r#"pages = "auto""#, "http://[::ffff:127.0.0.1]/orders", ELSEWHERE),
        case(Paging::NextUrl, r#"pages = { next_url = ".paging.next" }"#, "https://0x7f.1/orders", ELSEWHERE),
        case(Paging::Token, r#"pages = "auto""#, "t10", LED_BACK),
        case(Paging::Token, r#"pages = { cursor = { from = ".next_cursor", send_as = "cursor" } }"#, "t20", LED_BACK),
        deaf(Paging::Number, r#"pages = { number = { send_as = "page" } }"#),
        deaf(Paging::Number, r#"query = { page = "1" }, pages = "auto""#),
        deaf(Paging::Offset, r#"pages = { offset = { send_as = "offset" } }"#),
    ];
    check_each(&cases, |case| {
        let Case { paging, settings, misleads, is_deaf, fault, requests } = case;
        let misleads = misleads.map(|to| (20, to.to_owned()));
        let behaviour = Behaviour { paging: *paging, orders: orders(47), misleads, ..Behaviour::default() };
        let api = Api::start(Behaviour { is_deaf: *is_deaf, ..behaviour });
        let workplace = Workplace::new(&config(&api, settings));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(1), "{settings} {:?}: {ended:?}", case.misleads);
        assert_eq!(api.server.seen().len(), *requests, "{settings} {:?}", case.misleads);
        assert_eq!(arrived(&workplace).len(), requests * 10, "the items of its pages have come: {settings}");
        let dead = workplace.dead_letters();
        assert_eq!(dead.len(), 1, "{settings}: {dead:?}");
        assert_eq!(dead[0]["fault"]["kind"], fault.0, "{settings}: {dead:?}");
        assert!(dead[0]["fault"]["message"].as_str().unwrap().contains(fault.1), "{settings}: {dead:?}");
    });
}

#[test]
fn a_next_link_to_a_host_that_is_allowed_is_followed_without_credentials() {
    let other = Server::saying(json_reply(r#"{"data":[{"id":48}]}"#));
    let behaviour = Behaviour { paging: Paging::Link, orders: orders(15), ..Behaviour::default() };
    let api = Api::start(Behaviour { misleads: Some((10, other.url("/orders?secret"))), ..behaviour });
    let more = format!(
        r#"pages = "link", allow = ["{}"], headers = {{ Authorization = "Bearer canary", X-Key = "canary", Accept = "a/b" }}"#,
        other.address
    );
    let workplace = Workplace::new(&config(&api, &more));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(arrived(&workplace).len(), 16);
    let seen = other.seen();
    assert_eq!((seen.len(), seen[0].header("accept")), (1, Some("a/b")));
    assert!(seen[0].headers.iter().all(|(_, value)| !value.contains("canary")), "{seen:?}");
    assert!(api.server.seen().iter().all(|seen| seen.header("x-key") == Some("canary")));
}

#[test]
fn a_full_last_page_that_leads_nowhere_is_warned_of() {
    const WARNING: &str = "it was probably cut short";
    for (paging, count, settings, is_warned) in [
        (Paging::None, 100, r#"pages = "auto""#, true),
        (Paging::None, 99, r#"pages = "auto""#, false),
        (Paging::None, 7, r#"query = { limit = "7" }, pages = "auto""#, true),
        (Paging::Link, 30, r#"pages = "link""#, true),
        (Paging::Link, 29, r#"pages = "link""#, false),
        (Paging::Number, 30, r#"pages = { number = { send_as = "page" } }"#, false),
        // Without `pages` nobody has said that there are any.
        (Paging::None, 100, "", false),
    ] {
        let api = Api::start(Behaviour { paging, orders: orders(count), ..Behaviour::default() });
        let workplace = Workplace::new(&config(&api, settings));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{settings}: {ended:?}");
        assert_eq!(arrived(&workplace).len(), count);
        assert_eq!(ended.stderr.contains(WARNING), is_warned, "{settings} {count}: {}", ended.stderr);
    }
}

#[test]
fn a_page_that_is_no_list_is_given_up_and_not_taken_for_an_empty_one() {
    let server = Server::saying(json_reply(r#"{"error":"try later"}"#));
    let behaviour = Behaviour::default();
    let api = Api::start(behaviour);
    let text = config(&api, r#"pages = "auto""#).replace(&api.server.url("/"), &server.url("/"));
    let workplace = Workplace::new(&text);
    assert_eq!(workplace.run_once().code(), Some(1));
    let dead = workplace.dead_letters();
    let message = dead[0]["fault"]["message"].as_str().unwrap();
    assert!(message.starts_with("`items` failed: "), "{message}");
}
