//! Servers on loopback that answer as they are told, and remember what they were asked.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// What a server writes into.
pub(crate) trait Connection: Read + Write + Send {
    /// From now on the connection ends with a reset in place of an orderly end.
    fn reset_at_end(&self);
}

impl Connection for TcpStream {
    fn reset_at_end(&self) {
        set_socket_linger(self, Some(Duration::ZERO)).unwrap();
    }
}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn reset_at_end(&self) {
        self.sock.reset_at_end();
    }
}

pub(crate) type Answer = dyn Fn(&Seen, &mut dyn Connection) -> io::Result<()> + Send + Sync;

/// A server that lives until the test process ends.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    accepted: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers each request by `answer`; a connection ends with its first error.
    pub(crate) fn start(answer: impl Fn(&Seen, &mut dyn Connection) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", None, Arc::new(answer))
    }

    pub(crate) fn start_tls(
        config: ServerConfig,
        answer: impl Fn(&Seen, &mut dyn Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on("127.0.0.1:0", Some(Arc::new(config)), Arc::new(answer))
    }

    /// Always the same reply, as it stands here.
    pub(crate) fn saying(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::start(move |_, connection| connection.write_all(&reply))
    }

    /// One on another address of loopback, such as `127.0.0.7`.
    pub(crate) fn start_at(
        address: &str,
        answer: impl Fn(&Seen, &mut dyn Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on(&format!("{address}:0"), None, Arc::new(answer))
    }

    fn start_on(address: &str, tls: Option<Arc<ServerConfig>>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            accepted: Arc::default(),
            seen: Arc::default(),
        };
        let own = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                own.accepted.fetch_add(1, Ordering::SeqCst);
                let (own, tls, answer, stream) = (own.clone(), tls.clone(), answer.clone(), stream.unwrap());
                thread::spawn(move || {
                    let _ = match tls {
                        None => own.serve(stream, &*answer),
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            own.serve(StreamOwned::new(connection, stream), &*answer)
                        }
                    };
                });
            }
        });
        server
    }

    fn serve(&self, stream: impl Connection, answer: &Answer) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let seen = read_request(&mut stream)?;
            self.seen.lock().unwrap().push(seen.clone());
            answer(&seen, stream.get_mut())?;
            stream.get_mut().flush()?;
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut impl BufRead) -> io::Result<Seen> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            None => break,
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
        }
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Seen { method, target, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// A whole reply: `status` such as `200 OK`, header lines such as `a: b`, and a body with its length.
pub(crate) fn reply(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        reply.push_str(header);
        reply.push_str("\r\n");
    }
    reply.push_str("\r\n");
    [reply.as_bytes(), body].concat()
}

pub(crate) fn json(body: &str) -> Vec<u8> {
    reply("200 OK", &["content-type: application/json"], body)
}

/// Writes one byte now and then until nobody listens any more.
pub(crate) fn drip(connection: &mut dyn Connection, head: &str) -> io::Result<()> {
    connection.write_all(head.as_bytes())?;
    loop {
        connection.write_all(b"x")?;
        connection.flush()?;
        thread::sleep(Duration::from_millis(20));
    }
}

/// Writes until nobody listens any more.
pub(crate) fn pour(connection: &mut dyn Connection, head: &[u8], chunk: &[u8]) -> io::Result<()> {
    connection.write_all(head)?;
    loop {
        connection.write_all(chunk)?;
    }
}

/// An address that neither takes a connection nor refuses it, as one behind a firewall that drops what comes.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    /// Its queue of connections is full, and nobody takes one out.
    _queue: (TcpListener, Vec<TcpStream>),
}

impl BlackHole {
    pub(crate) fn at(address: &str) -> Self {
        let hole = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let any_port: SocketAddr = format!("{address}:0").parse().unwrap();
        bind(&hole, &any_port).unwrap();
        listen(&hole, 0).unwrap();
        let hole = TcpListener::from(hole);
        let address = hole.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let filling = std::iter::from_fn(|| connect().ok()).take(16).collect();
        Self { address, _queue: (hole, filling) }
    }
}

/// A port of loopback that nobody listens on.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
