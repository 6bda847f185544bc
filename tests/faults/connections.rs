//! Connections that do not come about, or end too early.

use std::io;
use std::thread;
use std::time::Duration;

use crate::check;
use crate::support::check_each;
use crate::support::ending::Ends;
use crate::support::server::{BlackHole, Connection, Seen, Server, closed_port, pour, reply};

fn get(url: &str, options: &str) -> String {
    format!(
        r#"get = {{ url = "{url}", timeouts = {{ connect = "200ms", first_byte = "300ms", whole = "400ms" }}{options} }}"#
    )
}

#[test]
fn a_connection_that_does_not_come_about_is_tried_again_and_then_a_dead_letter() {
    let hole = BlackHole::at("127.0.0.1");
    let cases = [
        ("refused", format!("http://127.0.0.1:{}/", closed_port()), ("connect", "connection refused")),
        ("blackholed", format!("http://{}/", hole.address), ("timeout", "no connection came about within 200ms")),
        ("blackholed, encrypted", format!("https://{}/", hole.address), ("timeout", "within 200ms")),
        ("a name that nobody has", "http://no-such-host.invalid/".to_owned(), ("dns", "`no-such-host.invalid`")),
    ];
    check_each(&cases, |(what, url, (fault, cause))| {
        check(what, &get(url, ""), "", Ends::Dead(fault, 3, cause));
    });
}

type Play = fn(&Seen, &mut dyn Connection) -> io::Result<()>;

/// Ends the connection.
fn hang_up() -> io::Result<()> {
    Err(io::ErrorKind::Other.into())
}

/// Keeps the connection open, and says no more.
fn fall_silent(connection: &mut dyn Connection) -> io::Result<()> {
    connection.flush()?;
    // Ends when the other side does.
    connection.read(&mut [0]).and(hang_up())
}

fn drip(connection: &mut dyn Connection, head: &str) -> io::Result<()> {
    connection.write_all(head.as_bytes())?;
    loop {
        connection.write_all(b"x")?;
        connection.flush()?;
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_connection_that_fails_before_the_reply_is_whole_is_tried_again_and_then_a_dead_letter() {
    let cases: [(&str, Play, &str, &str); 14] = [
        ("ends before the reply", |_, _| hang_up(), "disconnect", "the connection ended before a reply came"),
        (
            "reset before the reply",
            |_, connection| {
                connection.reset_at_end();
                hang_up()
            },
            "disconnect",
            "the connection broke",
        ),
        ("silent", |_, connection| fall_silent(connection), "timeout", "no reply came within 300ms"),
        (
            "ends in the head",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?;
                hang_up()
            },
            "disconnect",
            "the connection ended",
        ),
        (
            "a head that does not end",
            |_, connection| pour(connection, b"HTTP/1.1 200 OK\r\n", "a: b\r\n".repeat(4096).as_bytes()),
            "disconnect",
            "the head of the reply is too large",
        ),
        (
            "drips its head",
            |_, connection| drip(connection, "HTTP/1.1 200 OK\r\na: "),
            "timeout",
            "no reply came within 300ms",
        ),
        (
            "informs for ever",
            |_, connection| pour(connection, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
            "disconnect",
            "the head of the reply is too large",
        ),
        (
            "not HTTP",
            |_, connection| {
                connection.write_all(b"220 mail.example ESMTP\r\n\r\n")?;
                hang_up()
            },
            "disconnect",
            "the reply is not HTTP",
        ),
        (
            "shorter than its length",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")?;
                hang_up()
            },
            "body",
            "the body was cut short",
        ),
        (
            "without its last chunk",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
                hang_up()
            },
            "body",
            "the body was cut short",
        ),
        (
            "chunks that are none",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nsome\r\nhalf\r\n")?;
                fall_silent(connection)
            },
            "body",
            "the body was cut short",
        ),
        (
            "reset in the body",
            |_, connection| {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")?;
                connection.reset_at_end();
                hang_up()
            },
            "body",
            "the body was cut short",
        ),
        (
            "compressed and cut short",
            |_, connection| {
                let head = &["content-encoding: gzip"];
                connection.write_all(&reply("200 OK", head, b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b"))
            },
            "body",
            "cut short",
        ),
        (
            "drips a byte a second",
            |_, connection| drip(connection, "HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n"),
            "timeout",
            "the reply was not whole within 400ms",
        ),
    ];
    check_each(&cases, |(what, play, fault, cause)| {
        let server = Server::start(*play);
        check(what, &get(&server.url("/"), ""), "", Ends::Dead(fault, 3, cause));
        assert_eq!(server.seen().len(), 3, "{what}: {:?}", server.seen());
    });
}

#[test]
fn what_works_at_the_second_try_is_delivered() {
    let cases: [(&str, Play); 3] = [
        ("ended", |_, _| hang_up()),
        ("silent", |_, connection| fall_silent(connection)),
        ("cut short", |_, connection| {
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")?;
            hang_up()
        }),
    ];
    check_each(&cases, |(what, play)| {
        let tries = std::sync::atomic::AtomicUsize::new(0);
        let play = *play;
        let server = Server::start(move |seen, connection| {
            if tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                return play(seen, connection);
            }
            connection.write_all(&reply("200 OK", &["content-type: application/json"], "{\"a\":1}"))
        });
        check(what, &get(&server.url("/"), ""), "", Ends::Delivered("{\"a\":1}"));
    });
}
