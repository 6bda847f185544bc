//! The HTTP sink.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatherd::component::WriteFault;
use gatherd::model::{Item, Verdict};
use gatherd::runtime::block_on;

use crate::harness::{item, sink};
use crate::server::{Seen, Server, closed_port, reply};

fn items(values: &[&str]) -> Vec<Item> {
    values.iter().map(|value| item(value)).collect()
}

fn keys(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| seen.header("idempotency-key").expect("every request has a key").to_owned()).collect()
}

#[test]
fn each_item_is_a_request_with_a_key_that_stays_the_same() {
    let server = Server::saying(reply("204 No Content", &[], ""));
    let config = format!(r#"http = {{ url = "{}", json = "{{text: .name}}" }}"#, server.url("/hook/{.id}"));
    let batch = items(&[r#"{"id":1,"name":"a"}"#, r#"{"id":2,"name":"b"}"#]);
    for _ in 0..2 {
        // A sink that is opened again, as after a restart.
        block_on(sink(&config).write(&batch)).unwrap();
    }
    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|seen| format!("{} {} {}", seen.method, seen.target, seen.body)).collect();
    assert_eq!(lines[..2], [r#"POST /hook/1 {"text":"a"}"#, r#"POST /hook/2 {"text":"b"}"#]);
    let keys = keys(&seen);
    assert_eq!(keys[..2], keys[2..]);
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 2);
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
}

#[test]
fn an_item_is_sent_as_it_is_unless_a_filter_says_otherwise() {
    let server = Server::saying(reply("200 OK", &[], "thanks"));
    block_on(sink(&format!("http = '{}'", server.url("/"))).write(&items(&[r#"{"a":[1]}"#]))).unwrap();
    assert_eq!(server.seen()[0].body, r#"{"a":[1]}"#);
}

#[test]
fn a_batch_is_one_request() {
    for (format, body, content_type) in
        [("array", "[1,2,3]", "application/json"), ("ndjson", "1\n2\n3\n", "application/x-ndjson")]
    {
        let server = Server::saying(reply("200 OK", &[], ""));
        let sink = sink(&format!("http = {{ url = '{}', format = '{format}', json = '.n' }}", server.url("/")));
        let batch = items(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
        block_on(sink.write(&batch)).unwrap();
        block_on(sink.write(&batch)).unwrap();
        block_on(sink.write(&batch[..2])).unwrap();
        let seen = server.seen();
        assert_eq!((seen[0].body.as_str(), seen[0].header("content-type")), (body, Some(content_type)));
        let keys = keys(&seen);
        assert!(keys[0] == keys[1] && keys[1] != keys[2], "the same items have the same key: {keys:?}");
    }
}

#[test]
fn an_item_that_cannot_be_sent_does_not_hold_up_its_batch() {
    let server = Server::saying(reply("200 OK", &[], ""));
    let sink = sink(&format!("http = {{ url = '{}', format = 'array', json = '.n + 1' }}", server.url("/")));
    let written = block_on(sink.write(&items(&[r#"{"n":1}"#, r#"{"n":[]}"#, r#"{"n":3}"#])));
    let Err(WriteFault::Items(faults)) = written else { panic!("{written:?}") };
    assert_eq!((faults.len(), faults[0].0, faults[0].1.verdict), (1, 1, Verdict::Reject));
    assert_eq!(server.seen()[0].body, "[2,4]");
}

#[test]
fn a_refusal_is_told_apart_from_a_failing_destination() {
    enum Expected {
        Retry,
        Reject,
        Mixed,
    }
    use Expected::{Mixed, Reject, Retry};
    for (status, format, expected) in [
        ("503 Service Unavailable", "json", Retry),
        ("429 Too Many Requests", "ndjson", Retry),
        ("500 Internal Server Error", "array", Retry),
        ("408 Request Timeout", "json", Retry),
        ("400 Bad Request", "json", Reject),
        ("401 Unauthorized", "json", Reject),
        ("422 Unprocessable Content", "array", Mixed),
        ("413 Content Too Large", "ndjson", Mixed),
    ] {
        let server = Server::saying(reply(status, &[], "because"));
        let sink = sink(&format!("http = {{ url = '{}', format = '{format}' }}", server.url("/")));
        let written = block_on(sink.write(&items(&["1"]))).unwrap_err();
        let fault = match (&written, expected) {
            (WriteFault::Batch(fault), Retry) if fault.verdict == (Verdict::Retry { not_before: None }) => fault,
            (WriteFault::Batch(fault), Reject) if fault.verdict == Verdict::Reject => fault,
            (WriteFault::Mixed(fault), Mixed) => fault,
            _ => panic!("{status} {format}: {written:?}"),
        };
        assert!(fault.message.contains("the server answered") && fault.message.ends_with("because"), "{fault}");
    }
    let refused = sink(&format!("http = 'http://127.0.0.1:{}/'", closed_port()));
    let written = block_on(refused.write(&items(&["1"])));
    assert!(matches!(written, Err(WriteFault::Batch(fault)) if fault.verdict == Verdict::Retry { not_before: None }));
}

#[test]
fn what_was_delivered_before_a_failure_is_not_sent_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_, connection| {
        let fails = count.fetch_add(1, Ordering::SeqCst) == 1;
        connection.write_all(&reply(if fails { "503 Service Unavailable" } else { "200 OK" }, &[], ""))
    });
    let sink = sink(&format!("http = '{}'", server.url("/")));
    let batch = items(&["1", "2", "3"]);
    assert!(matches!(block_on(sink.write(&batch)), Err(WriteFault::Batch(_))));
    block_on(sink.write(&batch)).unwrap();
    let bodies: Vec<_> = server.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, ["1", "2", "2", "3"]);
}

#[test]
fn a_redirect_that_would_drop_the_body_delivers_nothing() {
    let server = Server::start(|seen, connection| {
        connection.write_all(&match seen.target.as_str() {
            "/login" => reply("302 Found", &["location: /welcome"], ""),
            "/moved" => reply("308 Permanent Redirect", &["location: /new"], ""),
            _ => reply("200 OK", &[], ""),
        })
    });
    let write = |path: &str| block_on(sink(&format!("http = '{}'", server.url(path))).write(&items(&["7"])));
    assert!(matches!(write("/login"), Err(WriteFault::Batch(fault)) if fault.message.contains("302 Found")));
    assert!(write("/moved").is_ok());
    let last = server.seen().pop().unwrap();
    assert_eq!((last.method.as_str(), last.target.as_str(), last.body.as_str()), ("POST", "/new", "7"));
}

#[test]
fn a_success_counts_even_if_its_body_is_of_no_use() {
    let huge = reply("200 OK", &[], "x".repeat(1 << 20));
    let server = Server::saying(huge);
    assert!(block_on(sink(&format!("http = '{}'", server.url("/"))).write(&items(&["1"]))).is_ok());
}
