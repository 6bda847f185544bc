//! Decompression of replies (RFC 9110, section 8.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::futures::bufread::{BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter as ZstdParameter;
use bytes::Bytes;
use futures_lite::io::BufReader;
use futures_lite::{AsyncBufRead, AsyncBufReadExt, AsyncRead};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::failure::Failure;
use super::pool::ReplyBody;
use crate::model::FaultKind;

/// How much is expanded at a time, so that no thread is held for long.
const SLICE: usize = 16 << 10;

/// More codings than this on one body are refused; one is the rule.
const MAX_CODINGS: usize = 3;

/// The largest window that a zstd body may ask for: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// The codings that are understood, as the Accept-Encoding header asks for them.
pub(super) const CODINGS: &str = "gzip, deflate, br, zstd";

/// The body of a reply, expanded while it is read.
pub(super) enum Body {
    /// It came as it is.
    Plain(ReplyBody),
    Expanded(Pin<Box<dyn AsyncBufRead + Send>>),
}

impl Body {
    /// A body with these headers. The failure says why it cannot be expanded.
    pub(super) async fn of(sent: ReplyBody, headers: &HeaderMap) -> Result<Self, Failure> {
        let codings = codings(headers);
        if codings.len() > MAX_CODINGS {
            let cause = format!("the body is encoded {} times over", codings.len());
            return Err(Failure::reject(FaultKind::Body, cause));
        }
        let mut body = Self::Plain(sent);
        for coding in codings.iter().rev() {
            body = decoded(body, coding).await?;
        }
        Ok(body)
    }

    /// All of it, if that is here and need not be expanded.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Plain(body) => body.take_whole(),
            Self::Expanded(_) => None,
        }
    }
}

impl AsyncBufRead for Body {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body).poll_fill_buf(context),
            Self::Expanded(body) => body.as_mut().poll_fill_buf(context),
        }
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body).consume(amount),
            Self::Expanded(body) => body.as_mut().consume(amount),
        }
    }
}

/// [`AsyncBufRead`] stands on this; everything reads through that.
impl AsyncRead for Body {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body).poll_read(context, buffer),
            Self::Expanded(body) => body.as_mut().poll_read(context, buffer),
        }
    }
}

/// Whether the body of a reply with these headers may have to be expanded.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_ENCODING)
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
    let reader: Pin<Box<dyn AsyncRead + Send>> = match coding {
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(body);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        // The standard means the zlib format, but some servers send its bare contents.
        "deflate" if is_zlib(start) => to_the_end(ZlibDecoder::new(body), ZlibDecoder::get_mut),
        "deflate" => to_the_end(DeflateDecoder::new(body), DeflateDecoder::get_mut),
        "br" => to_the_end(BrotliDecoder::new(body), BrotliDecoder::get_mut),
        "zstd" => {
            let mut decoder = ZstdDecoder::with_params(body, &[ZstdParameter::window_log_max(ZSTD_WINDOW_LOG)]);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        other => {
            let cause = format!("the body is encoded as `{other}`, which was not asked for and cannot be read");
            return Err(Failure::reject(FaultKind::Body, cause));
        }
    };
    Ok(Body::Expanded(Box::pin(BufReader::with_capacity(SLICE, reader))))
}

/// A decoder that knows where its coding ends, and leaves what comes behind it.
struct ToTheEnd<D> {
    decoder: D,
    sent: fn(&mut D) -> &mut Body,
}

/// Has a decoder read what was sent to its end, too: else its connection could not be used again.
fn to_the_end<D: AsyncRead + Unpin + Send + 'static>(
    decoder: D,
    sent: fn(&mut D) -> &mut Body,
) -> Pin<Box<dyn AsyncRead + Send>> {
    Box::pin(ToTheEnd { decoder, sent })
}

impl<D: AsyncRead + Unpin> AsyncRead for ToTheEnd<D> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.decoder).poll_read(context, buffer))?;
        if count == 0 && !buffer.is_empty() {
            let sent = (self.sent)(&mut self.decoder);
            loop {
                let behind = ready!(Pin::new(&mut *sent).poll_fill_buf(context))?.len();
                if behind == 0 {
                    break;
                }
                Pin::new(&mut *sent).consume(behind);
            }
        }
        Poll::Ready(Ok(count))
    }
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
