//! What only shows below the steps: HTTP/2, and replies that wait for room in memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use futures_rustls::TlsAcceptor;
use futures_rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use futures_rustls::rustls::ServerConfig;
use futures_rustls::rustls::crypto::ring;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;

use super::io::{Executor, Stream};
use super::*;
use crate::expr::{Encoding, Template, Vars};
use crate::model::Verdict;
use crate::runtime::{self, Clock, TcpListener, block_on};
use crate::settings::read_text;

fn clients(settings: &str) -> Clients {
    let client = read_text(settings, ClientSettings::read).unwrap();
    Clients::open(HashMap::from([("own".to_owned(), client)]), Allow::default(), &Clock::system()).unwrap()
}

fn endpoint(clients: &Clients, url: &str) -> Endpoint {
    let settings = EndpointSettings { via: Some("own".to_owned()), ..EndpointSettings::default() };
    let url = Template::compile(url, Encoding::Url, &Vars::default(), &mut |_| Ok(String::new())).unwrap();
    clients.endpoint(&settings, &url)
}

/// A server on loopback that speaks HTTP/2 alone, its certificate, and how many connections it has accepted. It ends
/// the first `refusing` of them without a look at what is asked.
fn http2_server(requests: Arc<Mutex<Vec<http::Version>>>, refusing: usize) -> (u16, String, Arc<AtomicUsize>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    drop(runtime::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let is_refused = count.fetch_add(1, Ordering::SeqCst) < refusing;
            let (acceptor, requests) = (acceptor.clone(), requests.clone());
            drop(runtime::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                if is_refused {
                    return refuse(stream).await.unwrap();
                }
                let stream = Stream::Encrypted(Box::new(stream.into()));
                let answer = service_fn(move |request: http::Request<Incoming>| {
                    requests.lock().unwrap().push(request.version());
                    let path = request.uri().path().to_owned();
                    async move { Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(path)))) }
                });
                let _ = hyper::server::conn::http2::Builder::new(Executor).serve_connection(stream, answer).await;
            }));
        }
    }));
    (port, certificate.pem(), accepted)
}

/// Waits for a request and ends the connection with GOAWAY, as a server does that has had enough of it.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    // Frames (RFC 9113, section 4.1): length, type, flags, stream, payload.
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY_NONE_SEEN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&SETTINGS).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; PREFACE]).await?;
    let mut kind = 0;
    while kind != HEADERS {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        kind = head[3];
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await?;
    }
    stream.write_all(&GOAWAY_NONE_SEEN).await?;
    stream.close().await
}

#[test]
fn a_request_that_a_server_has_not_looked_at_is_sent_again() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (port, certificate, accepted) = http2_server(requests.clone(), 5);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate).unwrap();
    let url = format!("https://localhost:{port}/");
    let endpoint = endpoint(&clients(&format!("own = {{ ca_file = '{}' }}", file.path().display())), &url);
    let request = Request::new(Method::Post, endpoint.url(&url).unwrap());
    let response = block_on(endpoint.send(Box::new(request), &Meter::uncounted())).unwrap();
    assert_eq!((response.status, accepted.load(Ordering::SeqCst)), (200, 6));
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[test]
fn http2_carries_many_requests_on_one_connection() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (port, certificate, accepted) = http2_server(requests.clone(), 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate).unwrap();
    let clients = clients(&format!("own = {{ ca_file = '{}', per_host = 100 }}", file.path().display()));
    let endpoint = endpoint(&clients, &format!("https://localhost:{port}/"));
    let get = |number: usize| {
        let endpoint = endpoint.clone();
        async move {
            let url = endpoint.url(&format!("https://localhost:{port}/{number}")).unwrap();
            let response = endpoint.send(Box::new(Request::new(Method::Get, url)), &Meter::uncounted()).await.unwrap();
            assert_eq!(response.body.unwrap(), format!("/{number}"));
        }
    };
    block_on(async {
        get(0).await;
        let together: Vec<_> = (1..50).map(|number| runtime::spawn(get(number))).collect();
        for request in together {
            request.join().await.unwrap();
        }
    });
    let versions = requests.lock().unwrap().clone();
    assert_eq!(versions, vec![http::Version::HTTP_2; 50]);
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

/// Answers each request with this many bytes, after counting what they ask for.
struct Room {
    asked: Mutex<Vec<usize>>,
    wait: Duration,
}

#[async_trait::async_trait]
impl Grow for Room {
    async fn grow(&self, bytes: usize) {
        self.asked.lock().unwrap().push(bytes);
        Clock::system().sleep(self.wait).await;
    }
}

/// A server that sends a body of this many bytes, in pieces that fit into no buffer.
fn sending(length: usize) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes());
        for piece in vec![b'x'; length].chunks(9_001) {
            let _ = stream.write_all(piece);
        }
    });
    port
}

#[test]
fn a_reply_asks_for_room_before_it_grows_and_no_time_limit_counts_the_wait() {
    const LENGTH: usize = 1 << 20;
    let url = format!("http://127.0.0.1:{}/", sending(LENGTH));
    let clients = clients("own = { timeouts = { whole = '400ms' } }");
    let room = Arc::new(Room { asked: Mutex::default(), wait: Duration::from_millis(300) });
    let endpoint = endpoint(&clients, &url);
    let request = Request::new(Method::Get, endpoint.url(&url).unwrap());
    let response = block_on(endpoint.send(Box::new(request), &Meter::new(room.clone()))).unwrap();
    let body = response.body.unwrap();
    assert_eq!(body.len(), LENGTH);
    let asked = room.asked.lock().unwrap().clone();
    assert!(asked.len() >= 2, "it has waited for more than its limit: {asked:?}");
    let total: usize = asked.iter().sum();
    assert_eq!(total, body.try_into_mut().unwrap().capacity(), "it holds what it has asked for: {asked:?}");
}

#[test]
fn a_request_beyond_the_slots_of_its_host_is_told_to_come_again() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let clients = clients("own = { per_host = 1 }");
    let endpoint = endpoint(&clients, &url);
    let send = |endpoint: Endpoint| {
        let request = Request::new(Method::Get, endpoint.url(&url).unwrap());
        async move { endpoint.send(Box::new(request), &Meter::uncounted()).await }
    };
    block_on(async {
        let first = runtime::spawn(send(endpoint.clone()));
        let connection = runtime::blocking(move || silent.accept().unwrap()).await.unwrap();
        let fault = send(endpoint.clone()).await.unwrap_err();
        assert!(matches!(fault.verdict, Verdict::NotBefore(_)), "{fault:?}");
        drop(connection);
        assert!(first.join().await.unwrap().is_err());
        let fault = send(endpoint.clone()).await.unwrap_err();
        assert!(!matches!(fault.verdict, Verdict::NotBefore(_)), "the slot is free again: {fault:?}");
    });
}
