//! What a pool does with connections that wait, end, or are given up.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use futures_lite::AsyncReadExt;
use jiff::Timestamp;

use super::super::connector::Reach;
use super::super::proxy::Proxies;
use super::super::resolver::Resolver;
use super::super::tls::{Tls, TlsFiles};
use super::*;
use crate::runtime::block_on;

const PATIENCE: Duration = Duration::from_secs(20);

fn pool(clock: &Clock) -> Pool {
    Pool::new(Connector {
        resolver: Arc::new(Resolver::new(clock.clone())),
        tls: Arc::new(Tls::new(TlsFiles::default(), false).unwrap()),
        clock: clock.clone(),
        proxies: Proxies::default(),
        reach: Reach::Everywhere,
        limit: PATIENCE,
        own: None,
    })
}

/// A server that hands out each connection it accepts, and where it is.
fn server() -> (Url, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/x?y", listener.local_addr().unwrap())).unwrap();
    let (sender, accepted) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if sender.send(stream).is_err() {
                break;
            }
        }
    });
    (url, accepted)
}

/// Reads a request's head and answers it.
fn answer(stream: &mut TcpStream, reply: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(reply.as_bytes()).unwrap();
    String::from_utf8(head).unwrap()
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const NOTHING: &str = "HTTP/1.1 204 No Content\r\n\r\n";

async fn post(pool: &Pool, url: &Url) -> Result<String, Failure> {
    send(pool, url, Method::POST, HeaderMap::new()).await
}

async fn send(pool: &Pool, url: &Url, method: Method, headers: HeaderMap) -> Result<String, Failure> {
    let outgoing = Outgoing { method, url, headers: &headers, body: &Bytes::new() };
    let mut reply = pool.send(&outgoing, Size::mib(1)).await?;
    let mut text = String::new();
    reply.body.read_to_string(&mut text).await.unwrap();
    Ok(text)
}

#[test]
fn one_connection_serves_request_after_request() {
    let (url, accepted) = server();
    let served = std::thread::spawn(move || {
        let mut stream = accepted.recv().unwrap();
        let heads: Vec<_> = [HELLO, CHUNKED, NOTHING, HELLO].map(|reply| answer(&mut stream, reply)).into();
        assert!(accepted.try_recv().is_err(), "there is no second connection");
        heads
    });
    let pool = pool(&Clock::system());
    block_on(async {
        for expected in ["hello", "hello", "", "hello"] {
            assert_eq!(post(&pool, &url).await.unwrap(), expected);
        }
    });
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    for head in served.join().unwrap() {
        assert!(
            head.starts_with("POST /x?y HTTP/1.1\r\n") && head.contains(&format!("host: {authority}\r\n")),
            "{head}"
        );
    }
}

#[test]
fn what_the_server_has_ended_meanwhile_serves_no_further_request() {
    let (url, accepted) = server();
    let pool = pool(&Clock::system());
    block_on(async {
        for _ in 0..5 {
            let served = runtime::spawn({
                let (pool, url) = (pool.clone(), url.clone());
                async move { post(&pool, &url).await }
            });
            let mut stream = accepted.recv_timeout(PATIENCE).expect("each request needs a new connection");
            answer(&mut stream, HELLO);
            assert_eq!(served.join().await.unwrap().unwrap(), "hello");
            drop(stream);
            // The end takes its time to arrive; nothing is to be seen of it from outside before the next request.
            Clock::system().sleep(Duration::from_millis(100)).await;
        }
    });
}

/// What becomes of a request over a connection that its server ends when it has come, after so much of a reply; and
/// whether it came again, over another connection, where it is answered.
fn met_the_end(method: Method, headers: HeaderMap, reply: &'static str) -> (Result<String, Failure>, bool) {
    let (url, accepted) = server();
    let (repeats, came_again) = channel();
    std::thread::spawn(move || {
        let mut stream = accepted.recv().unwrap();
        answer(&mut stream, HELLO);
        answer(&mut stream, reply);
        drop(stream);
        let mut stream = accepted.recv_timeout(PATIENCE).unwrap();
        repeats.send(()).unwrap();
        answer(&mut stream, HELLO);
    });
    let sent = block_on(async {
        let pool = pool(&Clock::system());
        send(&pool, &url, Method::GET, HeaderMap::new()).await.unwrap();
        send(&pool, &url, method, headers).await
    });
    (sent, came_again.try_recv().is_ok())
}

#[test]
fn a_request_that_met_the_end_of_its_connection_is_sent_once_more_if_that_is_harmless() {
    let keyed = HeaderMap::from_iter([(IDEMPOTENCY_KEY, HeaderValue::from_static("7"))]);
    for (method, headers, reply, is_repeated) in [
        (Method::GET, HeaderMap::new(), "", true),
        (Method::PUT, HeaderMap::new(), "", true),
        (Method::POST, keyed, "", true),
        (Method::POST, HeaderMap::new(), "", false),
        (Method::PATCH, HeaderMap::new(), "", false),
        (Method::GET, HeaderMap::new(), "HTTP/1.1 200 OK\r\n", false),
        (Method::GET, HeaderMap::new(), "HTTP/1.1 103 Early Hints\r\n\r\n", false),
    ] {
        let what = format!("{method} {headers:?} after {reply:?}");
        let (sent, came_again) = met_the_end(method, headers, reply);
        assert_eq!((sent.is_ok(), came_again), (is_repeated, is_repeated), "{what}: {sent:?}");
    }
}

#[test]
fn a_connection_that_waits_for_too_long_is_ended() {
    let (url, accepted) = server();
    let clock = Clock::turned_by_hand(Timestamp::UNIX_EPOCH);
    let pool = pool(&clock);
    let mut stream = block_on(async {
        let served = runtime::spawn({
            let (pool, url) = (pool.clone(), url.clone());
            async move { post(&pool, &url).await }
        });
        let mut stream = accepted.recv_timeout(PATIENCE).unwrap();
        answer(&mut stream, HELLO);
        served.join().await.unwrap().unwrap();
        stream
    });
    while clock.next_sleeper().is_none() {
        std::thread::yield_now();
    }
    assert!(clock.next_sleeper().unwrap() <= IDLE);
    clock.advance(IDLE);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it is closed");
}

#[test]
fn a_request_that_is_given_up_takes_its_connection_with_it() {
    let (url, accepted) = server();
    let pool = pool(&Clock::system());
    // Before the reply, and in the middle of it.
    for reply in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"] {
        let mut stream = block_on(async {
            let given_up = runtime::spawn({
                let (pool, url) = (pool.clone(), url.clone());
                async move { post(&pool, &url).await }
            });
            let mut stream = accepted.recv_timeout(PATIENCE).unwrap();
            answer(&mut stream, reply);
            given_up.cancel().await;
            stream
        });
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "it is closed after {reply:?}");
    }
}

#[test]
fn what_goes_to_the_server_has_no_credentials_and_no_fragment() {
    let url = Url::parse("https://user:pass@[::1]:8443/a?b=c#d").unwrap();
    assert_eq!(target(&url).unwrap().to_string(), "https://[::1]:8443/a?b=c");
    assert_eq!(path_and_query(&url), "/a?b=c");
    assert_eq!(target(&Url::parse("http://a").unwrap()).unwrap().to_string(), "http://a/");
}

#[test]
fn every_url_can_be_sent() {
    for character in (0..=0x10_ffff).step_by(7).chain(0..0x200).filter_map(char::from_u32) {
        for text in [format!("http://a/x{character}y"), format!("http://a/?x{character}y")] {
            let url = Url::parse(&text).unwrap();
            assert!(target(&url).is_ok(), "{text:?}");
            assert!(path_and_query(&url).bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
        }
    }
}
