//! What can go wrong between a request and its reply.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use gatherd::model::{Fault, FaultKind, Verdict};

use crate::harness::{fetch, label};
use crate::server::{Connection, Seen, Server, closed_port, drip, json, pour, reply};

const RETRY: Verdict = Verdict::Retry { not_before: None };

fn check(what: &str, result: Result<gatherd::model::Item, Fault>, kind: FaultKind, verdict: Verdict, cause: &str) {
    let fault = match result {
        Err(fault) => fault,
        Ok(item) => panic!("{what}: passed with {:?}", item.value),
    };
    assert_eq!((fault.kind, fault.verdict), (kind, verdict), "{what}: {fault}");
    assert!(fault.message.contains(cause), "{what}: {fault}");
}

/// A `get` of `server` with these options.
fn get(server: &Server, options: &str) -> Result<gatherd::model::Item, Fault> {
    fetch(&format!("get = {{ url = '{}', {options} }}", server.url("/x")))
}

#[test]
fn a_connection_that_fails_says_how() {
    let refused = fetch(&format!("get = 'http://127.0.0.1:{}/x?key=secret'", closed_port()));
    let message = refused.as_ref().unwrap_err().message.clone();
    assert!(message.starts_with("cannot get `http://127.0.0.1:") && !message.contains("secret"), "{message}");
    check("refused", refused, FaultKind::Connect, RETRY, "connection refused");

    let unknown = fetch("get = 'http://no-such-host.invalid/'");
    check("no such name", unknown, FaultKind::Dns, RETRY, "`no-such-host.invalid` cannot be resolved");

    let resetting = Server::start(|_, connection| {
        connection.reset_at_end();
        Err(io::ErrorKind::Other.into())
    });
    let reset = fetch(&format!("get = '{}'", resetting.url("/")));
    check("reset", reset, FaultKind::Disconnect, RETRY, "the connection broke: Connection reset by peer");

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let limits = "timeouts = { connect = '200ms', first_byte = '300ms', whole = '10s' }";
    let result = fetch(&format!("get = {{ url = 'http://{address}/', {limits} }}"));
    check("no answer", result, FaultKind::Timeout, RETRY, "no reply came within 300ms");
    let result = fetch(&format!("get = {{ url = 'https://{address}/', {limits} }}"));
    check("no handshake", result, FaultKind::Timeout, RETRY, "no connection came about within 200ms");
}

type Play = fn(&Seen, &mut dyn Connection) -> io::Result<()>;

#[test]
fn a_broken_reply_is_a_fault_that_says_what_is_broken() {
    let cases: &[(&str, Play, FaultKind, Verdict, &str)] = &[
        (
            "ends at once",
            |_, _| Err(io::ErrorKind::Other.into()),
            FaultKind::Disconnect,
            RETRY,
            "the connection ended before a reply came",
        ),
        (
            "ends in the head",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-")?;
                Err(io::ErrorKind::Other.into())
            },
            FaultKind::Disconnect,
            RETRY,
            "the connection ended before a reply came",
        ),
        (
            "no HTTP",
            |_, connection| {
                connection.write_all(b"220 mail.example ESMTP\r\n\r\n")?;
                Err(io::ErrorKind::Other.into())
            },
            FaultKind::Disconnect,
            RETRY,
            "the reply is not HTTP",
        ),
        (
            "shorter than its length",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort")?;
                Err(io::ErrorKind::Other.into())
            },
            FaultKind::Body,
            RETRY,
            "the body was cut short",
        ),
        (
            "a chunk is cut",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\n")?;
                Err(io::ErrorKind::Other.into())
            },
            FaultKind::Body,
            RETRY,
            "the body was cut short",
        ),
        (
            "the last chunk is missing",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
                Err(io::ErrorKind::Other.into())
            },
            FaultKind::Body,
            RETRY,
            "the body was cut short",
        ),
        (
            "drips for ever",
            |_, connection| drip(connection, "HTTP/1.1 200 OK\r\n\r\n"),
            FaultKind::Timeout,
            RETRY,
            "the reply was not whole within 500ms",
        ),
        (
            "a head that drips for ever",
            |_, connection| drip(connection, "HTTP/1.1 200 OK\r\na: "),
            FaultKind::Timeout,
            RETRY,
            "within 500ms",
        ),
        (
            "endless",
            |_, connection| pour(connection, b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 65_536]),
            FaultKind::Body,
            Verdict::Reject,
            "the body is larger than 1MiB; `max_body` raises that limit",
        ),
        (
            "announced too large",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")?;
                std::thread::sleep(Duration::from_secs(5));
                Ok(())
            },
            FaultKind::Body,
            Verdict::Reject,
            "the body is larger than 1MiB",
        ),
        (
            "JSON 10,000 deep",
            |_, connection| connection.write_all(&json(&"[".repeat(10_000))),
            FaultKind::Body,
            Verdict::Reject,
            "nested deeper than 256",
        ),
        (
            "JSON cut short by its author",
            |_, connection| connection.write_all(&json("{\"a\": ")),
            FaultKind::Body,
            Verdict::Reject,
            "the body is not JSON at byte 6",
        ),
        (
            "invalid UTF-8 in JSON",
            |_, connection| {
                connection.write_all(&reply("200 OK", &["content-type: application/json; charset=utf-8"], b"\"\xff\""))
            },
            FaultKind::Body,
            Verdict::Reject,
            "not JSON",
        ),
        (
            "nothing where JSON should be",
            |_, connection| connection.write_all(&json("")),
            FaultKind::Body,
            Verdict::Reject,
            "the body is empty where JSON should be",
        ),
        (
            "an unknown coding",
            |_, connection| connection.write_all(&reply("200 OK", &["content-encoding: rot13"], "uryyb")),
            FaultKind::Body,
            Verdict::Reject,
            "encoded as `rot13`",
        ),
        (
            "no gzip at all",
            |_, connection| connection.write_all(&reply("200 OK", &["content-encoding: gzip"], "hello, world")),
            FaultKind::Body,
            Verdict::Reject,
            "the body cannot be expanded",
        ),
    ];
    for (what, play, kind, verdict, cause) in cases {
        let server = Server::start(*play);
        let limits = "max_body = '1MiB', timeouts = { first_byte = '500ms', whole = '500ms' }";
        let started = Instant::now();
        check(what, get(&server, limits), *kind, *verdict, cause);
        assert!(started.elapsed() < Duration::from_secs(3), "{what} took {:?}", started.elapsed());
    }
}

#[test]
fn a_gzip_bomb_is_stopped_at_the_limit_for_what_it_expands_to() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..512 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "it fits within the limit for what comes over the wire");
    let server = Server::saying(reply("200 OK", &["content-encoding: gzip"], bomb));
    check("bomb", get(&server, "max_body = '1MiB'"), FaultKind::Body, Verdict::Reject, "larger than 1MiB");
}

#[test]
fn a_compressed_stream_that_expands_to_nothing_is_stopped_too() {
    let mut empty = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    empty.flush().unwrap();
    let empty = empty.finish().unwrap().repeat(1000);
    let server = Server::start(move |_, connection| {
        pour(connection, b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", &empty)
    });
    check("nothing", get(&server, "max_body = '1MiB'"), FaultKind::Body, Verdict::Reject, "larger than 1MiB");
}

#[test]
fn a_compressed_body_that_ends_early_is_cut_short() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"hello, world, hello, world").unwrap();
    let whole = encoder.finish().unwrap();
    let server = Server::saying(reply("200 OK", &["content-encoding: gzip"], &whole[..whole.len() - 10]));
    check("cut", get(&server, ""), FaultKind::Body, RETRY, "cut short");
}

#[test]
fn a_status_decides_by_default_whether_another_try_is_worth_it() {
    for (status, verdict, message) in [
        ("404 Not Found", Verdict::Reject, "the server answered 404 Not Found: no such thing"),
        ("400 Bad Request", Verdict::Reject, "400 Bad Request"),
        ("401 Unauthorized", Verdict::Reject, "401 Unauthorized"),
        ("304 Not Modified", Verdict::Reject, "304 Not Modified"),
        ("302 Found", Verdict::Reject, "302 Found"),
        ("408 Request Timeout", RETRY, "408 Request Timeout"),
        ("425 Too Early", RETRY, "425 Too Early"),
        ("429 Too Many Requests", RETRY, "429 Too Many Requests"),
        ("500 Whatever", RETRY, "500 Internal Server Error"),
        ("503 Service Unavailable", RETRY, "503 Service Unavailable"),
        ("520 Web Server Returned an Unknown Error", RETRY, "answered 520"),
        ("999 Request Denied", RETRY, "answered 999"),
    ] {
        let body = if status.starts_with("304") { "" } else { "no such\n  thing" };
        let server = Server::saying(reply(status, &[], body));
        check(status, get(&server, ""), FaultKind::Status, verdict, message);
    }
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it() {
    let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    for (asked, least, most) in [("30", 29, 30), (date.as_str(), 28, 30), ("86400", 3599, 3600)] {
        let server = Server::saying(reply("429 Too Many Requests", &[&format!("retry-after: {asked}")], ""));
        let started = Instant::now();
        let fault = get(&server, "").unwrap_err();
        let Verdict::Retry { not_before: Some(when) } = fault.verdict else { panic!("{asked}: {fault:?}") };
        let pause = when - started;
        assert!((Duration::from_secs(least)..=Duration::from_secs(most + 1)).contains(&pause), "{asked}: {pause:?}");
    }
}

#[test]
fn the_error_policy_sees_status_fault_and_value_and_its_first_match_wins() {
    let refusing = Server::saying(reply("404 Not Found", &["content-type: application/json"], r#"{"code":7}"#));
    let on = |server: &Server, rules: &str| fetch(&format!("get = '{}'\non = [{rules}]", server.url("/")));
    let passed =
        on(&refusing, "{ when = '.code == 8', do = 'reject' }, { when = 'labels.status == 404', do = 'pass' }");
    let passed = passed.unwrap();
    assert_eq!((passed.value.to_string(), label(&passed, "status").as_i64()), (r#"{"code":7}"#.to_owned(), Some(404)));
    let retried = on(&refusing, "{ when = '.code == 7', do = 'retry' }, { when = 'true', do = 'pass' }");
    check("retry", retried, FaultKind::Status, RETRY, "on which the rule `.code == 7` acts");

    let refused = format!("get = 'http://127.0.0.1:{}/'", closed_port());
    let passed = fetch(&format!("{refused}\non = [{{ when = 'labels.fault == \"connect\"', do = 'pass' }}]")).unwrap();
    assert_eq!((label(&passed, "fault").as_text(), label(&passed, "status").as_i64()), (Some("connect"), None));
    let rejected = fetch(&format!("{refused}\non = [{{ when = 'labels.fault', do = 'reject' }}]"));
    check("reject", rejected, FaultKind::Connect, Verdict::Reject, "connection refused");

    let fine = Server::saying(json(r#"{"error":"later"}"#));
    let retried = on(&fine, "{ when = '.error', do = 'retry' }");
    check("a fault within a good reply", retried, FaultKind::Status, RETRY, "200 OK, on which the rule `.error` acts");
    let broken = on(&fine, "{ when = 'error(\"oh\")', do = 'retry' }");
    check("a broken rule", broken, FaultKind::Filter, Verdict::Reject, "`when` failed");
}
