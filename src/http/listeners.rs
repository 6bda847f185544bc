//! Who listens where: several may share an address, each with a path of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_lite::future::Boxed;
use http::header::ALLOW;
use http::{HeaderValue, Method, Response, StatusCode};

use super::listener::{ListenAddress, Listener};
use super::server::{Asked, Handler, serve};
use crate::runtime::{self, Clock};

/// How many connections one address has at most, unless it is said otherwise.
const CONNECTIONS: usize = 512;

/// The servers of a process. A clone shares them.
#[derive(Clone)]
pub struct Listeners(Arc<All>);

struct All {
    clock: Clock,
    /// How many connections one address has at most.
    connections: usize,
    servers: Mutex<HashMap<ListenAddress, Server>>,
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
        Self(Arc::new(All { clock, connections, servers: Mutex::default(), alive: Mutex::new(Some(alive)), ended }))
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
                let routes = Arc::new(Mutex::new(vec![route]));
                let (stop, stopped) = async_channel::bounded(1);
                let alive = lock(&all.alive).clone();
                let handler = by_route(routes.clone());
                runtime::spawn(serve(listener, all.clock.clone(), stopped, alive, all.connections, handler));
                servers.insert(address.clone(), Server { bound, routes, _stop: stop });
            }
        }
        Ok(Listening { all: all.clone(), address: address.clone(), handler })
    }

    /// Once nobody listens any more: waits at most `limit` until the last replies are on their way.
    pub async fn finished(&self, limit: Duration) {
        let all = &self.0;
        lock(&all.alive).take();
        // Nothing is ever sent: it is closed when the last connection has ended.
        let _ = all.clock.timeout(limit, all.ended.recv()).await;
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

/// Hands each request to whoever takes it.
fn by_route(routes: Arc<Mutex<Vec<Route>>>) -> Handler {
    Arc::new(move |asked: Asked| -> Boxed<Response<Bytes>> {
        let path = asked.head.uri.path();
        let routes = lock(&routes);
        let longest = routes.iter().filter(|route| route.is_for(path)).map(|route| route.path.len()).max();
        let here: Vec<&Route> =
            routes.iter().filter(|route| route.is_for(path) && Some(route.path.len()) == longest).collect();
        match here.iter().rev().find(|route| route.method == asked.head.method) {
            Some(route) => (route.handler)(asked),
            None if here.is_empty() => Box::pin(asked.refuse(StatusCode::NOT_FOUND, "there is nothing here")),
            None => {
                let methods: Vec<&str> = here.iter().map(|route| route.method.as_str()).collect();
                let allowed = HeaderValue::from_str(&methods.join(", "));
                Box::pin(async move {
                    let mut response = asked.refuse(StatusCode::METHOD_NOT_ALLOWED, "this takes another method").await;
                    response.headers_mut().extend(allowed.map(|allowed| (ALLOW, allowed)));
                    response
                })
            }
        }
    })
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
