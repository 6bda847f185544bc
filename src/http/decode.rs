//! Decompression of replies (RFC 9110, section 8.4).

use std::pin::Pin;

use async_compression::futures::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter as ZstdParameter;
use async_trait::async_trait;
use futures_lite::io::BufReader;
use futures_lite::{AsyncBufReadExt, AsyncRead};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use surf::http::Body;
use surf::middleware::{Middleware, Next};
use surf::{Client, Request, Response};

use super::failure::Failure;
use super::transport::Head;
use crate::model::FaultKind;

/// How much is expanded at a time, so that no thread is held for long.
const SLICE: usize = 16 << 10;

/// More codings than this on one body are refused; one is the rule.
const MAX_CODINGS: usize = 3;

/// The largest window that a zstd body may ask for: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// The codings that are understood, as the Accept-Encoding header asks for them.
pub(super) const CODINGS: &str = "gzip, deflate, br, zstd";

/// Expands compressed replies while they are read.
pub(super) struct Decode;

#[async_trait]
impl Middleware for Decode {
    async fn handle(&self, request: Request, client: Client, next: Next<'_>) -> surf::Result<Response> {
        let mut response = next.run(request, client).await?;
        let codings = codings(&Head::of(&response).headers);
        if codings.is_empty() {
            return Ok(response);
        }
        if codings.len() > MAX_CODINGS {
            let cause = format!("the body is encoded {} times over", codings.len());
            return Err(Failure::reject(FaultKind::Body, cause).into_surf());
        }
        let mut body = response.take_body();
        for coding in codings.iter().rev() {
            body = decoded(body, coding).await.map_err(Failure::into_surf)?;
        }
        response.set_body(body);
        Ok(response)
    }
}

/// The codings of a body in the order in which they were applied, in lower case.
fn codings(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(CONTENT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let codings = lines.flat_map(|line| line.split(',')).map(|coding| coding.trim().to_ascii_lowercase());
    codings.filter(|coding| !coding.is_empty() && coding != "identity").collect()
}

async fn decoded(mut body: Body, coding: &str) -> Result<Body, Failure> {
    let start = body.fill_buf().await.map_err(|error| {
        let broken = || Failure::retry(FaultKind::Body, format!("the body was cut short: {error}"));
        Failure::inside(&error).cloned().unwrap_or_else(broken)
    })?;
    // The reply to a HEAD request names the coding of a body that does not come.
    if start.is_empty() {
        return Ok(body);
    }
    let reader: Pin<Box<dyn AsyncRead + Send + Sync>> = match coding {
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(body);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        // The standard means the zlib format, but some servers send its bare contents.
        "deflate" if is_zlib(start) => Box::pin(ZlibDecoder::new(body)),
        "deflate" => Box::pin(DeflateDecoder::new(body)),
        "br" => Box::pin(BrotliDecoder::new(body)),
        "zstd" => Box::pin(ZstdDecoder::with_params(body, &[ZstdParameter::window_log_max(ZSTD_WINDOW_LOG)])),
        other => {
            let cause = format!("the body is encoded as `{other}`, which was not asked for and cannot be read");
            return Err(Failure::reject(FaultKind::Body, cause));
        }
    };
    Ok(Body::from_reader(BufReader::with_capacity(SLICE, reader), None))
}

/// Whether the first bytes are a zlib header (RFC 1950, section 2.2).
fn is_zlib(start: &[u8]) -> bool {
    match start {
        [method, flags, ..] => method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0,
        // A header cut by the chunk's end: deflate's method is the usual one.
        [method] => method & 0x0f == 8,
        [] => false,
    }
}
