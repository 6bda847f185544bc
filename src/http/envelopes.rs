//! surf's requests and responses, used again for as long as there are exchanges.
//!
//! Each of them has channels for trailers and upgrades and a table of extensions. To make these for an exchange takes
//! longer than all else that surf does for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use surf::http::{Request, Response, StatusCode};
use url::Url;

use super::pool::Arriving;
use super::transport::Exchange;

/// So many of each are kept.
const KEPT: usize = 64;

/// Those of one client that are not on their way.
#[derive(Default)]
pub(super) struct Envelopes {
    requests: Mutex<Vec<Request>>,
    responses: Mutex<Vec<Response>>,
}

/// What an envelope carries: an extension of surf's own type, which stays there when it has been taken out.
struct Carried<T>(Option<T>);

impl Envelopes {
    /// surf's request for this exchange, which carries it along.
    pub(super) fn request(&self, exchange: Exchange, url: Url) -> surf::Request {
        let mut request = match lock(&self.requests).pop() {
            Some(mut request) => {
                request.set_method(exchange.method);
                *request.url_mut() = url;
                request
            }
            None => Request::new(exchange.method, url),
        };
        match request.ext_mut().get_mut::<Carried<Exchange>>() {
            Some(carried) => carried.0 = Some(exchange),
            None => drop(request.ext_mut().insert(Carried(Some(exchange)))),
        }
        request.into()
    }

    /// surf's response for this reply, which carries it along.
    pub(super) fn response(&self, status: StatusCode, reply: Arriving) -> Response {
        let mut response = match lock(&self.responses).pop() {
            Some(mut response) => {
                response.set_status(status);
                response
            }
            None => Response::new(status),
        };
        match response.ext_mut().get_mut::<Carried<Arriving>>() {
            Some(carried) => carried.0 = Some(reply),
            None => drop(response.ext_mut().insert(Carried(Some(reply)))),
        }
        response
    }

    /// What came of surf's response, which is used again.
    pub(super) fn open(&self, response: surf::Response) -> Arriving {
        let mut response: Response = response.into();
        let reply = Arriving::out_of(&mut response);
        keep(&self.responses, response);
        reply
    }

    /// A request that was sent is used again.
    pub(super) fn sent(&self, request: Request) {
        keep(&self.requests, request);
    }
}

fn keep<T>(envelopes: &Mutex<Vec<T>>, envelope: T) {
    let mut envelopes = lock(envelopes);
    if envelopes.len() < KEPT {
        envelopes.push(envelope);
    }
}

impl Exchange {
    pub(super) fn of(request: &surf::Request) -> &Self {
        request.ext().and_then(|Carried(exchange)| exchange.as_ref()).expect(CARRIED)
    }

    pub(super) fn of_mut(request: &mut surf::Request) -> &mut Self {
        let request: &mut Request = request.as_mut();
        request.ext_mut().get_mut().and_then(|Carried(exchange)| exchange.as_mut()).expect(CARRIED)
    }

    pub(super) fn out_of(request: &mut Request) -> Self {
        request.ext_mut().get_mut().and_then(|Carried(exchange)| exchange.take()).expect(CARRIED)
    }
}

impl Arriving {
    pub(super) fn of(response: &surf::Response) -> &Self {
        response.ext().and_then(|Carried(reply)| reply.as_ref()).expect(CARRIED)
    }

    pub(super) fn out_of(response: &mut Response) -> Self {
        response.ext_mut().get_mut().and_then(|Carried(reply)| reply.take()).expect(CARRIED)
    }
}

/// Every request comes from an endpoint, and every response from the transport.
const CARRIED: &str = "what goes through surf carries what it stands for";

/// Whole even if a holder panicked: each change is one operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
