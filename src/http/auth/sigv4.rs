//! `sigv4`: signs requests as Amazon Web Services ask for it
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use ring::hmac;
use url::form_urlencoded;

use super::Kind;
use super::outgoing::Outgoing;
use super::scheme::{Scheme, Token};
use crate::http::failure::Failure;
use crate::settings::{Identity, Secret, Section};

pub(super) const KIND: Kind = Kind { name: "sigv4", about: "signs requests as Amazon Web Services ask for it", read };

struct SigV4 {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: String,
    service: String,
}

fn read(section: &mut Section<'_>) -> Option<Arc<dyn Scheme>> {
    let access_key: Option<Identity> = section.required("access_key", "the id of the access key");
    let secret_key: Option<Secret> =
        section.required("secret_key", "the secret access key; write it as \"${secret:NAME}\"");
    let session_token: Option<Secret> = section.optional("session_token", "the token of temporary credentials");
    let region: Option<String> = section.required("region", "the region, such as \"eu-central-1\"");
    let service: Option<String> = section.required("service", "the service, such as \"execute-api\" or \"s3\"");
    Some(Arc::new(SigV4 {
        access_key: access_key?.0,
        secret_key: secret_key?.0,
        session_token: session_token.map(|token| token.0),
        region: region?,
        service: service?,
    }))
}

/// All but the unreserved characters of RFC 3986.
const DATA: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &DATA.remove(b'/');

impl Scheme for SigV4 {
    fn sign(&self, request: &mut Outgoing<'_>, _: &Token) -> Result<(), Failure> {
        let time = request.now().to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        let body = HEXLOWER.encode(digest(&SHA256, request.body()).as_ref());
        request.set_header("x-amz-date", &time)?;
        if let Some(token) = &self.session_token {
            request.set_header("x-amz-security-token", token)?;
        }
        if self.service == "s3" {
            request.set_header("x-amz-content-sha256", &body)?;
        }
        let query = canonical_query(request.url().query().unwrap_or_default());
        // Sent as it is signed, so that nobody can read it in two ways.
        request.set_query(&query);
        let path = self.canonical_path(request.url().path());
        if self.service == "s3" {
            request.set_path(&path);
        }
        let mut headers = vec![("host".to_owned(), request.host())];
        for name in ["content-type", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"] {
            headers.extend(request.header(name).map(|value| (name.to_owned(), value.trim().to_owned())));
        }
        headers.sort();
        let canonical =
            Canonical { method: &request.method(), path: &path, query: &query, headers: &headers, body: &body };
        let authorization = self.authorization(&canonical, &time);
        request.set_header("authorization", &authorization)
    }
}

/// A request in the one form in which it is signed.
struct Canonical<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    /// In order, names in lower case.
    headers: &'a [(String, String)],
    /// The body's SHA-256.
    body: &'a str,
}

impl SigV4 {
    /// Every service but S3 encodes the path once more.
    fn canonical_path(&self, path: &str) -> String {
        if self.service == "s3" {
            let decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
            return utf8_percent_encode(&decoded, PATH).to_string();
        }
        utf8_percent_encode(path, PATH).to_string()
    }

    fn authorization(&self, canonical: &Canonical<'_>, time: &str) -> String {
        let Self { access_key, region, service, .. } = self;
        let Canonical { method, path, query, headers, body } = canonical;
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body}");
        let day = &time[..8];
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let hash = HEXLOWER.encode(digest(&SHA256, request.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day, region, service, "aws4_request"] {
            key = hmac_sha256(&key, part);
        }
        let signature = HEXLOWER.encode(&hmac_sha256(&key, &to_sign));
        format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

/// Sorted, and encoded in one way.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, DATA).to_string();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<(String, String)> = pairs.map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "20150830T123600Z";

    #[track_caller]
    fn check(service: &str, method: &str, query: &str, headers: &[(&str, &str)], signature: &str) {
        let signing = SigV4 {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let query = canonical_query(query);
        let body = HEXLOWER.encode(digest(&SHA256, b"").as_ref());
        let canonical = Canonical { method, path: "/", query: &query, headers: &headers, body: &body };
        let authorization = signing.authorization(&canonical, TIME);
        assert!(authorization.ends_with(&format!("Signature={signature}")), "{authorization}");
    }

    /// The requests and signatures of AWS's own test suite and documentation.
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let plain = [("host", "example.amazonaws.com"), ("x-amz-date", TIME)];
        check("service", "GET", "", &plain, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        check("service", "POST", "", &plain, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
        let query = "Param2=value2&Param1=value1";
        check("service", "GET", query, &plain, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
        let iam = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", TIME),
        ];
        let query = "Action=ListUsers&Version=2010-05-08";
        check("iam", "GET", query, &iam, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    }

    #[test]
    fn a_query_is_sorted_and_encoded_in_one_way() {
        assert_eq!(canonical_query("b=2+3&a=%7e&a=!&c"), "a=%21&a=~&b=2%203&c=");
    }
}
