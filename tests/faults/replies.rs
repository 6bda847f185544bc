//! Replies that say no, lie, or are made to do harm.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::check;
use crate::support::check_each;
use crate::support::ending::Ends;
use crate::support::gatherd::{IDLE, Workplace, idle_memory};
use crate::support::server::{Server, json, pour, reply};
use crate::support::wait_until;

/// Larger than any reply here.
const PLENTY: &str = ", max_body = \"1MiB\"";

fn get(server: &Server, options: &str) -> String {
    format!(r#"get = {{ url = "{}"{options} }}"#, server.url("/x"))
}

#[test]
fn a_status_decides_whether_there_is_another_try() {
    let cases = [
        ("204 No Content", Ends::Delivered("null")),
        ("400 Bad Request", Ends::Dead("status", 1, "400 Bad Request: told why")),
        ("404 Not Found", Ends::Dead("status", 1, "404 Not Found: told why")),
        ("408 Request Timeout", Ends::Dead("status", 3, "408 Request Timeout")),
        ("418 Short And Stout", Ends::Dead("status", 1, "418")),
        ("425 Too Early", Ends::Dead("status", 3, "425 Too Early")),
        ("429 Too Many Requests", Ends::Dead("status", 3, "429 Too Many Requests")),
        ("500 Internal Server Error", Ends::Dead("status", 3, "500 Internal Server Error")),
        ("503 Service Unavailable", Ends::Dead("status", 3, "503 Service Unavailable")),
        ("520 Web Server Is Odd", Ends::Dead("status", 3, "520")),
        ("599 Beyond", Ends::Dead("status", 3, "599")),
        ("999 Far Beyond", Ends::Dead("status", 3, "999")),
    ];
    check_each(&cases, |(status, ends)| {
        let body = if status.starts_with("204") { "" } else { "told why" };
        let server = Server::saying(reply(status, &["content-type: text/plain"], body));
        check(status, &get(&server, PLENTY), "", *ends);
        let tries = if let Ends::Dead(_, tries, _) = ends { *tries } else { 1 };
        assert_eq!(server.seen().len() as u64, tries, "{status}");
    });
}

/// A server that is busy at first, and names the time when it will not be; answers whether it was asked too early.
fn asked_too_early(status: &str, retry_after: impl FnOnce() -> (String, Duration)) -> bool {
    let (header, pause) = retry_after();
    let busy = reply(status, &[&format!("retry-after: {header}")], "");
    let not_before = Instant::now() + pause;
    let times = std::sync::Arc::new(Mutex::new(Vec::new()));
    let asked = times.clone();
    let server = Server::start(move |_, connection| {
        let mut asked = asked.lock().unwrap();
        asked.push(Instant::now());
        connection.write_all(if asked.len() == 1 { &busy } else { b"HTTP/1.1 204 No Content\r\n\r\n" })
    });
    check(&header, &get(&server, ""), "", Ends::Delivered("null"));
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 2);
    times[1] < not_before
}

#[test]
fn a_server_that_names_the_time_of_the_next_try_is_not_asked_before_it() {
    let in_seconds = || ("1".to_owned(), Duration::from_secs(1));
    let as_a_date = || {
        // A date has whole seconds.
        let now = Timestamp::now();
        let date = Timestamp::from_second(now.as_second() + 2).unwrap();
        let header = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        (header, Duration::try_from(date.duration_since(now)).unwrap())
    };
    check_each(&[false, true], |date| {
        let early = match date {
            false => asked_too_early("429 Too Many Requests", in_seconds),
            true => asked_too_early("503 Service Unavailable", as_a_date),
        };
        assert!(!early, "as a date: {date}");
    });
}

#[test]
fn a_reply_is_read_as_what_it_is_or_is_a_dead_letter() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let cases: Vec<(&str, &str, Vec<u8>, Ends)> = vec![
        (
            "text that is not its charset",
            "text/plain; charset=utf-8",
            b"a\xffb".to_vec(),
            Ends::Delivered("\"a\u{fffd}b\""),
        ),
        (
            "text of a charset that nobody knows",
            "text/plain; charset=klingon",
            b"ab".to_vec(),
            Ends::Delivered("\"ab\""),
        ),
        ("text without a charset, not UTF-8", "text/plain", b"Z\xfcrich".to_vec(), Ends::Delivered("\"Zürich\"")),
        (
            "JSON that is not UTF-8",
            "application/json",
            b"{\"a\":\"\xff\"}".to_vec(),
            Ends::Dead("body", 1, "invalid utf-8"),
        ),
        (
            "JSON in Latin-1 that says so",
            "application/json; charset=iso-8859-1",
            b"\"Z\xfcrich\"".to_vec(),
            Ends::Delivered("\"Zürich\""),
        ),
        (
            "JSON that says it is UTF-16",
            "application/json; charset=utf-16",
            b"{\"a\":1}".to_vec(),
            Ends::Dead("body", 1, ""),
        ),
        ("HTML that says it is JSON", "application/json", b"<html>".to_vec(), Ends::Dead("body", 1, "")),
        ("nothing where JSON should be", "application/json", Vec::new(), Ends::Dead("body", 1, "empty")),
        ("half of JSON", "application/json", b"{\"a\":".to_vec(), Ends::Dead("body", 1, "")),
        ("JSON and more", "application/json", b"{\"a\":1} x".to_vec(), Ends::Dead("body", 1, "")),
        ("arrays 10,000 deep", "application/json", deep.into_bytes(), Ends::Dead("body", 1, "")),
        ("objects 10,000 deep", "application/json", deep_objects.into_bytes(), Ends::Dead("body", 1, "")),
        ("a number beyond all floats", "application/json", b"{\"a\":1e999}".to_vec(), Ends::Delivered("{\"a\":1e999}")),
        (
            "a large number",
            "application/json",
            b"{\"id\":12345678901234567890}".to_vec(),
            Ends::Delivered("{\"id\":12345678901234567890}"),
        ),
        ("half a surrogate pair", "application/json", b"\"\\ud800\"".to_vec(), Ends::Dead("body", 1, "")),
        ("a null character", "application/json", b"\"a\\u0000b\"".to_vec(), Ends::Delivered("\"a\\u0000b\"")),
    ];
    check_each(&cases, |(what, content_type, body, ends)| {
        let server = Server::saying(reply("200 OK", &[&format!("content-type: {content_type}")], body));
        check(what, &get(&server, PLENTY), "", *ends);
    });
}

#[test]
fn headers_that_are_not_ascii_become_labels() {
    let mut said =
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-utf8: Z\xc3\xbcrich\r\nx-latin1: Z\xfcrich\r\n\r\n".to_vec();
    let server = Server::saying(std::mem::take(&mut said));
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.only]
        from  = {{ items = ["x"] }}
        steps = [{{ get = "{}" }}, {{ map = 'labels.headers | [."x-utf8", ."x-latin1"]' }}]
        to    = [{{ file = "out.ndjson" }}]
        "#,
        server.url("/")
    ));
    let ended = workplace.run_once();
    assert_eq!(workplace.read("out.ndjson"), "[\"Zürich\",\"Z\u{fffd}rich\"]\n", "{ended:?}");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_body_larger_than_allowed_is_a_dead_letter_and_takes_no_memory() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    (0..256).for_each(|_| bomb.write_all(&[0; 1 << 20]).unwrap());
    let bomb = bomb.finish().unwrap();
    let twice = {
        let mut twice = GzEncoder::new(Vec::new(), Compression::fast());
        twice.write_all(&bomb).unwrap();
        twice.finish().unwrap()
    };
    let bombs = move |seen: &crate::support::server::Seen, connection: &mut dyn crate::support::server::Connection| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
        let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
        match &*seen.target {
            "/bomb" => connection.write_all(&reply("200 OK", &["content-encoding: gzip"], &bomb)),
            "/twice" => connection.write_all(&reply("200 OK", &["content-encoding: gzip, gzip"], &twice)),
            "/endless" => pour(connection, format!("{head}\r\n").as_bytes(), &chunk),
            "/endless-empty-members" => {
                let mut member = GzEncoder::new(Vec::new(), Compression::fast());
                member.flush().unwrap();
                let member = member.finish().unwrap();
                let chunk = [format!("{:x}\r\n", member.len()).as_bytes(), &member, b"\r\n"].concat();
                pour(connection, format!("{head}content-encoding: gzip\r\n\r\n").as_bytes(), &chunk)
            }
            _ => connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n"),
        }
    };
    let server = Server::start(bombs);
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.bombs]
        from  = {{ items = ["bomb", "twice", "endless", "endless-empty-members", "announced"] }}
        steps = [{{ get = {{ url = "{}/{{.}}", max_body = "1MiB" }} }}]
        to    = [{{ file = "out.ndjson" }}]

        {IDLE}
        "#,
        server.url("")
    ));
    let idle = idle_memory();
    let daemon = workplace.start();
    wait_until("five dead letters", || workplace.dead_letters().len() == 5);
    let peak = daemon.peak_memory();
    // Far from what the smallest of the bombs holds.
    assert!(peak < idle + (32 << 20), "{} MiB, and {} MiB when idle", peak >> 20, idle >> 20);
    assert_eq!(daemon.stop().code(), Some(0));
    for letter in workplace.dead_letters() {
        assert_eq!((&letter["fault"]["kind"], &letter["fault"]["attempts"]), (&"body".into(), &1.into()), "{letter}");
        assert!(letter["fault"]["message"].as_str().unwrap().contains("`max_body`"), "{letter}");
    }
}

#[test]
fn a_redirect_that_leads_nowhere_is_a_dead_letter() {
    let redirect = |to: &str| reply("302 Found", &[&format!("location: {to}")], "");
    let cases = [
        ("to itself", redirect("/x"), Ends::Dead("redirect", 1, "10")),
        ("without a place", reply("302 Found", &[], ""), Ends::Dead("status", 1, "302 Found")),
        ("to what is no URL", redirect("http://[::1/"), Ends::Dead("redirect", 1, "")),
        ("to a file", redirect("file:///etc/passwd"), Ends::Dead("redirect", 1, "")),
        (
            "into the network of this machine",
            redirect("http://127.0.0.99:1/"),
            Ends::Dead("forbidden", 1, "`allow = [\"127.0.0.99\"]`"),
        ),
    ];
    check_each(&cases, |(what, said, ends)| {
        let server = Server::saying(said.clone());
        check(what, &get(&server, ""), "", *ends);
    });
    let server = Server::start(|seen, connection| match &*seen.target {
        "/x" => connection.write_all(&reply("302 Found", &["location: /y"], "")),
        _ => connection.write_all(&json("{\"at\":\"y\"}")),
    });
    check("to a good place", &get(&server, ""), "", Ends::Delivered("{\"at\":\"y\"}"));
}
