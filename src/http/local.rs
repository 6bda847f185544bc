//! Requests to a server at a socket of this machine.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;

use super::io::Stream;
use crate::runtime::{self, UnixStream};

/// Sends one request over a connection of its own, and answers the reply once its body has come whole.
pub async fn ask_local(socket: &Path, request: Request<Bytes>) -> io::Result<Response<Bytes>> {
    let (head, LocalBody(body)) = open_local(socket, request).await?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The body of a reply that comes bit by bit.
pub struct LocalBody(Incoming);

impl LocalBody {
    /// The next bytes of it; nothing at its end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.0.frame().await?.map(hyper::body::Frame::into_data) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                // No bytes, but trailers.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(io::Error::other(error))),
            }
        }
    }
}

/// Sends one request over a connection of its own, and answers the reply once its head has come.
pub async fn open_local(socket: &Path, mut request: Request<Bytes>) -> io::Result<Response<LocalBody>> {
    let stream = UnixStream::connect(socket).await?;
    // HTTP/1.1 asks for one (RFC 9112, section 3.2); a socket has no name to put there.
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    let (mut sender, connection) = http1::handshake(Stream::Local(stream)).await.map_err(io::Error::other)?;
    // Not joined: it ends with its sender.
    drop(runtime::spawn(async move {
        if let Err(error) = connection.await {
            log::debug!(cause:% = error; "a connection to a socket of this machine ended early");
        }
    }));
    let response = sender.send_request(request.map(Full::new)).await.map_err(io::Error::other)?;
    Ok(response.map(LocalBody))
}
