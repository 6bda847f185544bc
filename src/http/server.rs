//! A small HTTP/1.1 server on gatherd's runtime.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::Boxed;
use http_body_util::{BodyExt, Full, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::io::{Stream, Timer};
use crate::runtime::{self, Clock, TcpListener};

/// Answers a request whose body has been read whole.
pub type Handler = Arc<dyn Fn(http::Request<Bytes>) -> Boxed<http::Response<Bytes>> + Send + Sync>;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves connections as they come, for as long as the future is polled. A body larger than `max_body` bytes is
/// answered with 413.
pub async fn serve(listener: TcpListener, clock: Clock, max_body: usize, handler: Handler) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (clock, handler) = (clock.clone(), handler.clone());
                runtime::spawn(async move {
                    let served = http1::Builder::new()
                        .timer(Timer(clock))
                        .header_read_timeout(HEAD_TIMEOUT)
                        .serve_connection(
                            Stream::Plain(stream),
                            service_fn(|request| answer(request, max_body, handler.clone())),
                        )
                        .await;
                    if let Err(error) = served {
                        log::debug!(cause:% = error; "a client's connection ended early");
                    }
                });
            }
            Err(error) => {
                log::warn!(cause:% = error; "a connection could not be accepted");
                // Out of descriptors, most likely: some have to close first.
                clock.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    max_body: usize,
    handler: Handler,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let response = match Limited::new(body, max_body).collect().await {
        Ok(body) => handler(http::Request::from_parts(head, body.to_bytes())).await,
        Err(_) => {
            let mut response = http::Response::new(Bytes::from_static(b"the body is too large, or was cut short\n"));
            *response.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
    };
    Ok(response.map(Full::new))
}
