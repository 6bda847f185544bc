//! Who listens where: several may share an address, each with a path of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_lite::future::Boxed;
use http::header::{ALLOW, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};

use super::listener::{ListenAddress, Listener};
use super::server::{Asked, Handler, serve};
use crate::runtime::{self, Clock};

/// How many connections one address has at most, unless it is said otherwise.
const CONNECTIONS: usize = 512;

/// After how many seconds a client may come again that nobody answers any more.
const RETRY_SECONDS: u16 = 1;

/// The servers of a process. A clone shares them.
#[derive(Clone)]
pub struct Listeners(Arc<All>);

struct All {
    clock: Clock,
    /// How many connections one address has at most.
    connections: usize,
    servers: Mutex<HashMap<ListenAddress, Server>>,
    /// Those of each address, as long as a server or a request that waits has them: one that waits for the end of a change
    /// finds who is there then, though another server has the address by that time.
    routes: Mutex<HashMap<ListenAddress, Weak<Mutex<Vec<Route>>>>>,
    turnover: Arc<Turnover>,
    /// Held by every connection; closed once nobody holds the other end.
    alive: Mutex<Option<Sender<Infallible>>>,
    ended: Receiver<Infallible>,
}

/// One address, and what is there.
struct Server {
    bound: ListenAddress,
    routes: Arc<Mutex<Vec<Route>>>,
    _stop: Sender<Infallible>,
}

/// Which requests somebody takes.
#[derive(Clone)]
pub struct Route {
    pub method: Method,
    /// A path such as `/hook`; with `/*` at its end, everything below.
    pub path: String,
    pub handler: Handler,
}

/// What those who listen are about to do.
#[derive(Default)]
struct Turnover {
    /// Closed once the last change is over.
    change: Mutex<Option<Receiver<Infallible>>>,
    is_closing: AtomicBool,
}

/// A change of those who listen, until it is dropped.
pub struct Change(#[expect(dead_code, reason = "closed when it is dropped")] Sender<Infallible>);

/// Takes the requests of a route until it is dropped; what has been asked by then is answered all the same.
pub struct Listening {
    all: Arc<All>,
    address: ListenAddress,
    handler: Handler,
}

impl Listeners {
    pub fn new(clock: Clock) -> Self {
        Self::with_connections(clock, CONNECTIONS)
    }

    /// With at most so many connections to one address.
    pub fn with_connections(clock: Clock, connections: usize) -> Self {
        let (alive, ended) = async_channel::bounded(1);
        let (servers, routes, turnover) = (Mutex::default(), Mutex::default(), Arc::default());
        let alive = Mutex::new(Some(alive));
        Self(Arc::new(All { clock, connections, servers, routes, turnover, alive, ended }))
    }

    /// Listens at `address`, beside those who do so already. Of two that have the same method and path, the later one
    /// gets the requests.
    pub fn listen(&self, address: &ListenAddress, route: Route) -> io::Result<Listening> {
        let all = &self.0;
        let handler = route.handler.clone();
        let mut servers = lock(&all.servers);
        match servers.get(address) {
            Some(server) => lock(&server.routes).push(route),
            None => {
                let listener = Listener::bind(address)?;
                let bound = listener.address().clone();
                let routes = all.routes_of(address);
                lock(&routes).push(route);
                let (stop, stopped) = async_channel::bounded(1);
                let alive = lock(&all.alive).clone();
                let handler = by_route(routes.clone(), all.turnover.clone());
                runtime::spawn(serve(listener, all.clock.clone(), stopped, alive, all.connections, handler));
                servers.insert(address.clone(), Server { bound, routes, _stop: stop });
            }
        }
        Ok(Listening { all: all.clone(), address: address.clone(), handler })
    }

    /// While the answer is held, those who listen change: a request that nobody takes waits for the end of it, since
    /// somebody may be about to. One change at a time.
    pub fn change(&self) -> Change {
        let (change, over) = async_channel::bounded(1);
        *lock(&self.0.turnover.change) = Some(over);
        Change(change)
    }

    /// From now on those who listen go: a request that nobody takes any more is to come again.
    pub fn close(&self) {
        self.0.turnover.is_closing.store(true, Ordering::Relaxed);
    }

    /// Once nobody listens any more: waits at most `limit` until the last replies are on their way.
    pub async fn finished(&self, limit: Duration) {
        let all = &self.0;
        lock(&all.alive).take();
        // Nothing is ever sent: it is closed when the last connection has ended.
        let _ = all.clock.timeout(limit, all.ended.recv()).await;
    }
}

impl All {
    fn routes_of(&self, address: &ListenAddress) -> Arc<Mutex<Vec<Route>>> {
        let mut all = lock(&self.routes);
        if let Some(routes) = all.get(address).and_then(Weak::upgrade) {
            return routes;
        }
        let routes = Arc::default();
        all.insert(address.clone(), Arc::downgrade(&routes));
        routes
    }
}

impl Listening {
    /// Where it listens, with the port that the system chose if the address asked for port 0.
    pub fn bound(&self) -> ListenAddress {
        lock(&self.all.servers).get(&self.address).map_or_else(|| self.address.clone(), |server| server.bound.clone())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut servers = lock(&self.all.servers);
        let is_last = servers.get(&self.address).is_some_and(|server| {
            let mut routes = lock(&server.routes);
            routes.retain(|route| !Arc::ptr_eq(&route.handler, &self.handler));
            routes.is_empty()
        });
        if is_last {
            servers.remove(&self.address);
        }
    }
}

/// Hands each request to whoever takes it, if need be once a change is over.
fn by_route(routes: Arc<Mutex<Vec<Route>>>, turnover: Arc<Turnover>) -> Handler {
    Arc::new(move |asked: Asked| -> Boxed<Response<Bytes>> {
        if let Ok(handler) = taker(&lock(&routes), &asked.head) {
            return handler(asked);
        }
        let (routes, turnover) = (routes.clone(), turnover.clone());
        Box::pin(async move {
            let change = lock(&turnover.change).clone();
            if let Some(change) = change {
                // Nothing is ever sent: it is closed when the change is over.
                let _ = change.recv().await;
            }
            let taker = taker(&lock(&routes), &asked.head);
            match taker {
                Ok(handler) => handler(asked).await,
                Err(nobody) => refuse(asked, nobody, &turnover).await,
            }
        })
    })
}

/// A request that nobody takes: the methods that its path takes, if somebody is there.
struct Nobody {
    methods: Vec<Method>,
}

/// Whoever is at the longest path that fits, and takes the method.
fn taker(routes: &[Route], asked: &Parts) -> Result<Handler, Nobody> {
    let path = asked.uri.path();
    let longest = routes.iter().filter(|route| route.is_for(path)).map(|route| route.path.len()).max();
    let here = || routes.iter().filter(|route| route.is_for(path) && Some(route.path.len()) == longest);
    let taker = here().rfind(|route| route.method == asked.method);
    taker
        .map(|route| route.handler.clone())
        .ok_or_else(|| Nobody { methods: here().map(|route| route.method.clone()).collect() })
}

async fn refuse(asked: Asked, Nobody { methods }: Nobody, turnover: &Turnover) -> Response<Bytes> {
    if turnover.is_closing.load(Ordering::Relaxed) {
        let mut response = asked.refuse(StatusCode::SERVICE_UNAVAILABLE, "nobody is here any more; come again").await;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        return response;
    }
    if methods.is_empty() {
        return asked.refuse(StatusCode::NOT_FOUND, "there is nothing here").await;
    }
    let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let allowed = HeaderValue::from_str(&methods.join(", "));
    let mut response = asked.refuse(StatusCode::METHOD_NOT_ALLOWED, "this takes another method").await;
    response.headers_mut().extend(allowed.map(|allowed| (ALLOW, allowed)));
    response
}

impl Route {
    fn is_for(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(folder) => path.starts_with(folder),
            None => path == self.path,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use super::super::server::reply;
    use super::*;

    /// The status line of a reply to a request for this path.
    fn ask(socket: &Path, path: &str) -> impl FnOnce() -> String + use<> {
        let mut stream = UnixStream::connect(socket).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        move || {
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            reply.lines().next().unwrap_or_default().to_owned()
        }
    }

    fn route(path: &str) -> Route {
        let handler: Handler = Arc::new(|_| Box::pin(async { reply(StatusCode::OK, "here") }));
        Route { method: Method::GET, path: path.to_owned(), handler }
    }

    #[test]
    fn a_request_that_nobody_takes_waits_for_a_change_and_is_to_come_again_once_all_go() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let address = ListenAddress::Unix(socket.clone());
        let listeners = Listeners::new(Clock::system());
        let change = listeners.change();
        let first = listeners.listen(&address, route("/first")).unwrap();
        let (second, nobody) = (ask(&socket, "/second"), ask(&socket, "/nobody"));
        assert_eq!(ask(&socket, "/first")(), "HTTP/1.1 200 OK", "who is there answers meanwhile");
        let _second = listeners.listen(&address, route("/second")).unwrap();
        drop(change);
        assert_eq!(second(), "HTTP/1.1 200 OK");
        assert_eq!(nobody(), "HTTP/1.1 404 Not Found");
        listeners.close();
        drop(first);
        assert_eq!(ask(&socket, "/first")(), "HTTP/1.1 503 Service Unavailable");
    }

    #[test]
    fn a_request_that_waits_finds_who_is_there_after_a_change_though_nobody_was_for_a_moment() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let address = ListenAddress::Unix(socket.clone());
        let listeners = Listeners::new(Clock::system());
        let before = listeners.listen(&address, route("/before")).unwrap();
        let change = listeners.change();
        let waiting = ask(&socket, "/after");
        assert_eq!(ask(&socket, "/before")(), "HTTP/1.1 200 OK");
        drop(before);
        // The address is free once the server there has noticed.
        let _after = loop {
            match listeners.listen(&address, route("/after")) {
                Ok(after) => break after,
                Err(_) => std::thread::yield_now(),
            }
        };
        drop(change);
        assert_eq!(waiting(), "HTTP/1.1 200 OK");
    }
}
