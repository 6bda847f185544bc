//! Cookies that a client keeps (RFC 6265).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cookie_store::{CookieStore, RawCookie};
use http::HeaderValue;
use http::header::{COOKIE, SET_COOKIE};
use surf::middleware::{Middleware, Next};
use surf::{Client, Request, Response};
use url::Url;

use super::pool::Arriving;
use super::transport::Exchange;
use crate::model::secret;

/// A cookie of more bytes than this is not kept, and neither are more cookies than this (RFC 6265, section 6.1).
const LARGEST: usize = 4096;
const MOST: usize = 3000;

/// Shorter values are not treated as secrets unless the server hides the cookie from scripts.
const SECRET_LENGTH: usize = 12;

/// The cookies of one client.
#[derive(Default)]
pub(super) struct Cookies {
    store: Mutex<CookieStore>,
}

impl Cookies {
    /// The value of the Cookie header for a request to this URL.
    fn header(&self, url: &Url) -> Option<String> {
        let store = self.lock();
        let cookies: Vec<String> =
            store.get_request_values(url).map(|(name, value)| format!("{name}={value}")).collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }

    /// Keeps a cookie that a reply from this URL sets. One that is not allowed is ignored, as browsers do.
    fn set(&self, line: &str, url: &Url) {
        let Ok(cookie) = RawCookie::parse(line) else { return };
        let mut cookie = cookie.into_owned();
        if let Some(domain) = cookie.domain().map(|domain| domain.trim_start_matches('.').to_ascii_lowercase())
            && is_public_suffix(&domain)
        {
            // A host that is a suffix itself has its own; nobody sets one for all hosts below a suffix.
            if url.host_str() != Some(&domain) {
                return;
            }
            cookie.unset_domain();
        }
        if cookie.name().len() + cookie.value().len() > LARGEST || HeaderValue::from_str(cookie.value()).is_err() {
            return;
        }
        if cookie.http_only() == Some(true) || cookie.value().len() >= SECRET_LENGTH {
            secret::keep_passing(&format!("cookie {}", cookie.name()), cookie.value());
        }
        let mut store = self.lock();
        if store.iter_any().count() < MOST {
            // What is refused belongs to another host.
            let _ = store.insert_raw(&cookie, url);
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().iter_unexpired().next().is_none()
    }

    /// Whole even if a holder panicked: each change is one call.
    fn lock(&self) -> MutexGuard<'_, CookieStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a domain is one below which anybody can have names, such as `com` or `co.uk` (<https://publicsuffix.org>).
fn is_public_suffix(domain: &str) -> bool {
    psl::suffix_str(domain) == Some(domain)
}

/// Adds the client's cookies to each request, and keeps those that the reply sets. Stands below the redirects, so that
/// each host gets and sets its own.
pub(super) struct KeepCookies(pub Arc<Cookies>);

#[async_trait]
impl Middleware for KeepCookies {
    async fn handle(&self, mut request: Request, client: Client, next: Next<'_>) -> surf::Result<Response> {
        let url = request.url().clone();
        if let Some(kept) = self.0.header(&url) {
            let headers = Arc::make_mut(&mut Exchange::of_mut(&mut request).headers);
            let own = headers.get(COOKIE).and_then(|own| own.to_str().ok());
            let cookies = own.map_or_else(|| kept.clone(), |own| format!("{own}; {kept}"));
            // Names were not looked at before.
            if let Ok(cookies) = HeaderValue::from_str(&cookies) {
                headers.insert(COOKIE, cookies);
            }
        }
        let response = next.run(request, client).await?;
        for line in Arriving::of(&response).headers.get_all(SET_COOKIE) {
            if let Ok(line) = line.to_str() {
                self.0.set(line, &url);
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is set by which URL, and which cookies a request to another URL has then.
    #[test]
    fn a_cookie_goes_where_its_attributes_say() {
        let cases: &[(&str, &str, &str, Option<&str>)] = &[
            ("a=1", "https://a.example.com/x", "https://a.example.com/y", Some("a=1")),
            ("a=1", "https://a.example.com/x", "https://b.example.com/x", None),
            ("a=1", "https://example.com/", "https://a.example.com/", None),
            ("a=1; Domain=example.com", "https://a.example.com/", "https://b.example.com/", Some("a=1")),
            ("a=1; Domain=.example.com", "https://a.example.com/", "https://example.com/", Some("a=1")),
            ("a=1; Domain=other.com", "https://a.example.com/", "https://other.com/", None),
            ("a=1; Domain=b.example.com", "https://a.example.com/", "https://b.example.com/", None),
            ("a=1; Domain=com", "https://example.com/", "https://other.com/", None),
            ("a=1; Domain=co.uk", "https://shop.co.uk/", "https://bank.co.uk/", None),
            ("a=1; Domain=github.io", "https://me.github.io/", "https://you.github.io/", None),
            ("a=1; Domain=github.io", "https://github.io/", "https://github.io/", Some("a=1")),
            ("a=1; Domain=github.io", "https://github.io/", "https://you.github.io/", None),
            ("a=1; Path=/api", "https://a.example/", "https://a.example/api/x", Some("a=1")),
            ("a=1; Path=/api", "https://a.example/", "https://a.example/apix", None),
            ("a=1", "https://a.example/in/here", "https://a.example/in/there", Some("a=1")),
            ("a=1", "https://a.example/in/here", "https://a.example/out", None),
            ("a=1; Secure", "https://a.example/", "http://a.example/", None),
            ("a=1; Secure", "https://a.example/", "https://a.example/", Some("a=1")),
            ("a=1; Max-Age=0", "https://a.example/", "https://a.example/", None),
            ("a=1; Max-Age=1000", "https://a.example/", "https://a.example/", Some("a=1")),
            ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "https://a.example/", "https://a.example/", None),
            ("a=1; Expires=Thu, 01 Jan 2970 00:00:00 GMT", "https://a.example/", "https://a.example/", Some("a=1")),
            ("a=1; HttpOnly", "https://a.example/", "https://a.example/", Some("a=1")),
            ("a=1", "http://127.0.0.1:81/", "http://127.0.0.1:82/", Some("a=1")),
            ("no cookie", "https://a.example/", "https://a.example/", None),
        ];
        for (line, from, to, expected) in cases {
            let cookies = Cookies::default();
            cookies.set(line, &Url::parse(from).unwrap());
            let found = cookies.header(&Url::parse(to).unwrap());
            assert_eq!(found.as_deref(), *expected, "{line} from {from} to {to}");
        }
    }

    #[test]
    fn a_cookie_that_is_set_again_takes_the_place_of_the_first() {
        let (cookies, url) = (Cookies::default(), Url::parse("https://a.example/").unwrap());
        cookies.set("a=1; Path=/", &url);
        cookies.set("a=2; Path=/", &url);
        assert_eq!(cookies.header(&url).as_deref(), Some("a=2"));
        cookies.set("a=; Path=/; Max-Age=0", &url);
        assert!(cookies.is_empty());
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let (cookies, url) = (Cookies::default(), Url::parse("https://a.example/").unwrap());
        cookies.set(&format!("a={}", "x".repeat(LARGEST)), &url);
        assert!(cookies.is_empty());
    }
}
