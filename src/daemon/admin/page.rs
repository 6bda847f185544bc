//! The page that shows how all is doing: one file, without anything from elsewhere.

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};
use ring::digest::{SHA256, digest};

const PAGE: &str = include_str!("page.html");

/// The page's own script and style, and nothing else (Content Security Policy Level 3).
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |element| BASE64.encode(digest(&SHA256, inside(element).as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style"),
    );
    HeaderValue::from_str(&policy).expect("base64 and words are ASCII")
});

pub(super) fn response() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(PAGE.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

/// What stands in the page's only element of this name.
fn inside(element: &str) -> &'static str {
    let (opening, closing) = (format!("<{element}>"), format!("</{element}>"));
    let after = PAGE.split_once(&opening).map_or("", |(_, after)| after);
    after.split_once(&closing).map_or("", |(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_from_elsewhere() {
        for element in ["script", "style"] {
            assert!(!inside(element).trim().is_empty(), "{element}");
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
        }
        for forbidden in [" src=", "href=\"http", "@import", "url(", " style=", " onclick=", "innerHTML", "eval("] {
            assert!(!PAGE.contains(forbidden), "the page's policy forbids `{forbidden}`");
        }
    }
}
