//! Conversations with servers that say what they like, in pieces of any length.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_fn;
use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::runtime::{self, block_on};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a server that plays this.
fn connect(play: impl FnOnce(TcpStream) + Send + 'static) -> (Box<Http1>, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        play(stream);
    });
    let stream = block_on(runtime::TcpStream::connect(address)).unwrap();
    (Http1::open(Stream::Plain(stream)), served)
}

/// Sends a request and reads the reply to its end: its status and body.
async fn ask(connection: &mut Http1, method: Method, body: Bytes) -> Result<(u16, Vec<u8>), Broken> {
    let (host, headers) = (HeaderValue::from_static("a.example"), HeaderMap::new());
    let request =
        Request { method: &method, target: "/x", host: &host, headers: &headers, authorization: None, body: &body };
    connection.begin(&request)?;
    let begun = poll_fn(|context| connection.poll_head(context)).await?;
    let mut content = begun.first.to_vec();
    while !connection.is_over() {
        content.extend_from_slice(&poll_fn(|context| connection.poll_body(context)).await?);
    }
    Ok((begun.status, content))
}

/// Reads a request's head, and answers it.
fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_reply_is_the_same_however_it_is_cut() {
    // The body, and whether the connection can be used again.
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\na: b\r\n\r\n",
            "hello",
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "",
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", "hello", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, and more", "hello", false),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "hello", false),
    ];
    for (reply, body, persists) in cases {
        for piece in [1, 2, 7, 30, reply.len()] {
            let (mut connection, served) = connect(move |mut stream| {
                read_head(&mut stream);
                for bytes in reply.as_bytes().chunks(piece) {
                    // Whoever is told that the connection ends need not read to the end.
                    if stream.write_all(bytes).is_err() {
                        return;
                    }
                }
                // Whether the connection stays is the client's affair, unless the end of the reply is its end.
                if persists || reply.contains("more") {
                    let _ = stream.read(&mut [0]);
                }
            });
            let (status, content) = block_on(ask(&mut connection, Method::GET, Bytes::new())).unwrap();
            assert_eq!((status / 100, content.as_slice()), (2, body.as_bytes()), "{piece}: {reply}");
            // What is too much may come later, and is then seen when the connection is to be used again.
            if persists || !reply.contains("more") || piece == reply.len() {
                assert_eq!(connection.rest(), persists, "{piece}: {reply}");
            }
            drop(connection);
            served.join().unwrap();
        }
    }
}

#[test]
fn a_reply_to_head_has_no_body_whatever_it_announces() {
    let (mut connection, served) = connect(|mut stream| {
        for announced in ["content-length: 5", "transfer-encoding: chunked"] {
            assert!(read_head(&mut stream).starts_with("HEAD /x HTTP/1.1\r\nhost: a.example\r\n"));
            write!(stream, "HTTP/1.1 200 OK\r\n{announced}\r\n\r\n").unwrap();
        }
    });
    for _ in 0..2 {
        let (status, content) = block_on(ask(&mut connection, Method::HEAD, Bytes::new())).unwrap();
        assert_eq!((status, content.len()), (200, 0));
    }
    served.join().unwrap();
}

#[test]
fn a_request_arrives_whole_whatever_its_length() {
    for length in [0, 1, 8 << 10, (8 << 10) + 1, 20 << 20] {
        let body: Bytes = (0..length).map(|index: u32| index.to_le_bytes()[0]).collect();
        let expected = body.clone();
        let (mut connection, served) = connect(move |mut stream| {
            let head = read_head(&mut stream);
            assert!(head.contains(&format!("\r\ncontent-length: {length}\r\n")), "{head}");
            let mut read = vec![0; expected.len()];
            stream.read_exact(&mut read).unwrap();
            assert!(read == expected);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            let _ = stream.read(&mut [0]);
        });
        let (status, content) = block_on(ask(&mut connection, Method::POST, body)).unwrap();
        assert_eq!((status, content.as_slice()), (200, &b"ok"[..]));
        assert!(connection.rest(), "{length}");
        drop(connection);
        served.join().unwrap();
    }
}

#[test]
fn a_reply_before_all_of_the_request_was_read_counts() {
    let (over, is_over) = channel::<()>();
    let (mut connection, served) = connect(move |mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!").unwrap();
        let _ = is_over.recv_timeout(PATIENCE);
    });
    let reply = block_on(ask(&mut connection, Method::POST, Bytes::from(vec![0; 20 << 20]))).unwrap();
    assert_eq!(reply, (413, b"no!".to_vec()));
    assert!(!connection.rest(), "the next request would be taken for a part of this one");
    drop(over);
    served.join().unwrap();
}

#[test]
fn a_reply_and_a_request_that_are_both_long_do_not_wait_for_each_other() {
    const LENGTH: usize = 20 << 20;
    let (mut connection, served) = connect(|mut stream| {
        read_head(&mut stream);
        // Echoes while it reads, as a stream processor does.
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").unwrap();
        let (mut buffer, mut left) = (vec![0; 64 << 10], LENGTH);
        while left > 0 {
            let count = stream.read(&mut buffer).unwrap();
            stream.write_all(&buffer[..count]).unwrap();
            left -= count;
        }
        let _ = stream.read(&mut [0]);
    });
    let (status, content) = block_on(ask(&mut connection, Method::POST, Bytes::from(vec![7; LENGTH]))).unwrap();
    assert_eq!((status, content.len()), (200, LENGTH));
    assert!(content.iter().all(|byte| *byte == 7));
    assert!(connection.rest());
    drop(connection);
    served.join().unwrap();
}

/// Why there is no reply from a server that plays this behind the head of a request.
fn broken_by(play: impl FnOnce(&mut TcpStream) + Send + 'static) -> Broken {
    let (mut connection, served) = connect(|mut stream| {
        read_head(&mut stream);
        play(&mut stream);
    });
    let broken = block_on(ask(&mut connection, Method::GET, Bytes::new())).unwrap_err();
    drop(connection);
    served.join().unwrap();
    broken
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let broken = broken_by(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\na: ");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert!(matches!(broken, Broken::TooLarge), "{broken:?}");
}

#[test]
fn what_comes_before_a_reply_has_an_end() {
    for endless in ["HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", "HTTP/1.1 100\r\n\r\n", "\r\n", "\n"] {
        let broken = broken_by(move |stream| while stream.write_all(endless.repeat(100).as_bytes()).is_ok() {});
        assert!(matches!(broken, Broken::TooLarge), "{endless:?}: {broken:?}");
    }
}

#[test]
fn what_is_no_reply_is_known_before_the_server_ends_it() {
    let broken = broken_by(|stream| {
        // The client may have hung up before the last byte.
        let _ = b"SSH-2.0-x\r\n".iter().try_for_each(|byte| stream.write_all(&[*byte]));
        let _ = stream.read(&mut [0]);
    });
    assert!(matches!(broken, Broken::NotHttp(_)), "{broken:?}");
}

#[test]
fn a_connection_that_its_server_has_ended_is_known() {
    let (mut connection, served) = connect(drop);
    served.join().unwrap();
    // The end takes its time to arrive.
    let is_open = connection.rest();
    block_on(async {
        while is_open && connection.has_stayed_ready(false) {
            runtime::yield_now().await;
        }
    });
    assert!(!connection.rest());
}
