//! Requests that go well: what is sent, and what becomes of the reply.

use std::io::Write;
use std::thread;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use gatherd::model::Value;

use crate::harness::{fetch, item, label, mistakes, run, step};
use crate::server::{Server, json, reply};

#[test]
fn a_reply_becomes_the_value_and_its_circumstances_labels() {
    let server = Server::saying(reply(
        "200 OK",
        &["Content-Type: application/json", "X-Kind: a", "X-Kind: b", "X-Name: Zo\u{eb}"],
        r#"{"id":1}"#,
    ));
    let got = fetch(&format!("get = '{}'", server.url("/a?b=c"))).unwrap();
    assert_eq!(got.value.to_string(), r#"{"id":1}"#);
    assert_eq!(label(&got, "url").as_text(), Some(server.url("/a?b=c").as_str()));
    assert_eq!(label(&got, "host").as_text(), Some("127.0.0.1"));
    assert_eq!(label(&got, "status").as_i64(), Some(200));
    let headers = label(&got, "headers");
    assert_eq!(headers.get("x-kind"), Some(&Value::from("a, b")));
    assert_eq!(headers.get("x-name"), Some(&Value::from("Zo\u{eb}")), "a header that is not ASCII survives");
    assert!(label(&got, "fetched_at").as_text().is_some_and(|time| time.ends_with('Z')));
    assert!(matches!(label(&got, "elapsed"), Value::Number(_)));
    assert_eq!(label(&got, "fault"), Value::Null);

    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(seen.header("host"), Some(server.address.to_string().as_str()));
    assert_eq!(seen.header("accept-encoding"), Some("gzip, deflate, br, zstd"));
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("gatherd/")));
}

#[test]
fn a_body_is_read_by_its_charset_even_if_that_lies() {
    for (content_type, body, expected) in [
        ("text/plain; charset=iso-8859-1", b"caf\xe9" as &[u8], "café"),
        ("text/plain; charset=utf-8", b"caf\xe9", "caf\u{fffd}"),
        ("text/plain; charset=klingon", "café".as_bytes(), "café"),
    ] {
        let server = Server::saying(reply("200 OK", &[&format!("content-type: {content_type}")], body));
        let got = fetch(&format!("get = '{}'", server.url("/"))).unwrap();
        assert_eq!(got.value.as_text(), Some(expected), "{content_type}");
    }
}

#[test]
fn a_large_body_is_whole() {
    let numbers: Vec<String> = (0..200_000).map(|number| number.to_string()).collect();
    let text = format!("[{}]", numbers.join(","));
    let server = Server::saying(json(&text));
    assert_eq!(fetch(&format!("get = '{}'", server.url("/"))).unwrap().value.to_string(), text);
}

fn brotli(text: &str) -> Vec<u8> {
    gatherd::runtime::block_on(async {
        let mut encoder = async_compression::futures::bufread::BrotliEncoder::new(text.as_bytes());
        let mut encoded = Vec::new();
        encoder.read_to_end(&mut encoded).await.unwrap();
        encoded
    })
}

#[test]
fn every_coding_that_is_asked_for_is_understood() {
    let text = "hello, world! ".repeat(10_000);
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let bare = {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    // A frame that only says something about the next ones (RFC 8878, section 3.1.2), and two that are to be joined.
    let frames = [
        b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(),
        zstd::encode_all(&text.as_bytes()[..70_000], 3).unwrap(),
        zstd::encode_all(&text.as_bytes()[70_000..], 3).unwrap(),
    ]
    .concat();
    let brotli = brotli(&text);
    let members = [gzip(&text.as_bytes()[..70_000]), gzip(&text.as_bytes()[70_000..])].concat();
    for (coding, encoded) in [
        ("gzip", gzip(text.as_bytes())),
        ("x-gzip", members),
        ("deflate", zlib),
        ("deflate", bare),
        ("br", brotli.clone()),
        ("zstd", zstd),
        ("zstd", frames),
        ("br, gzip", gzip(&brotli)),
        ("identity", text.clone().into_bytes()),
    ] {
        let coding_line = format!("content-encoding: {coding}");
        let server = Server::saying(reply("200 OK", &["content-type: text/plain", &coding_line], encoded));
        let got = fetch(&format!("get = '{}'", server.url("/"))).unwrap_or_else(|fault| panic!("{coding}: {fault}"));
        assert_eq!(got.value.as_text(), Some(text.as_str()), "{coding}");
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 20\r\n\r\n";
    let server = Server::saying(head);
    assert_eq!(fetch(&format!("head = '{}'", server.url("/"))).unwrap().value, Value::Null);
}

#[test]
fn connections_are_used_again() {
    let server = Server::saying(json("{}"));
    let get = step(&format!("get = '{}'", server.url("/{.}")));
    for number in 0..50 {
        run(&get, &number.to_string()).unwrap();
    }
    check_reuse(&server);

    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let server = Server::saying(chunked);
    let get = step(&format!("get = '{}'", server.url("/{.}")));
    for number in 0..50 {
        assert_eq!(run(&get, &number.to_string()).unwrap().value.as_text(), Some("hello"));
    }
    check_reuse(&server);
}

#[test]
fn a_connection_is_used_again_whatever_its_reply_was_encoded_as() {
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"hello").unwrap();
        encoder.finish().unwrap()
    };
    let deflate = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"hello").unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(&b"hello"[..], 3).unwrap();
    for (coding, encoded) in [("gzip", gzip), ("deflate", deflate), ("br", brotli("hello")), ("zstd", zstd)] {
        let server = Server::start(move |_, connection| {
            write!(connection, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: {coding}\r\n")?;
            write!(connection, "transfer-encoding: chunked\r\n\r\n{:x}\r\n", encoded.len())?;
            connection.write_all(&encoded)?;
            connection.flush()?;
            // The end comes when all of the text has been expanded.
            thread::sleep(Duration::from_millis(5));
            connection.write_all(b"\r\n0\r\n\r\n")
        });
        let get = step(&format!("get = '{}'", server.url("/{.}")));
        for number in 0..50 {
            assert_eq!(run(&get, &number.to_string()).unwrap().value.as_text(), Some("hello"), "{coding}");
        }
        check_reuse(&server);
    }
}

/// A request that follows right behind another may find its connection not yet given back, and so make one more.
fn check_reuse(server: &Server) {
    assert_eq!(server.seen().len(), 50);
    assert!(server.accepted() < 10, "{} connections for 50 requests in a row", server.accepted());
}

#[test]
fn a_request_carries_what_its_templates_and_filters_say() {
    let server = Server::saying(json("{}"));
    let sent = |config: &str, value: &str| {
        run(&step(&config.replace("URL", &server.url("/a"))), value).unwrap();
        server.seen().pop().unwrap()
    };
    let seen = sent(
        r#"post = { url = "URL/{.name}", query = { q = "{.q}", n = "1" }, headers = { X-Id = "{.id}" }, json = "{id}" }"#,
        r#"{"name":"a/b c","q":"x&y","id":7}"#,
    );
    assert_eq!(seen.target, "/a/a%2Fb%20c?q=x%26y&n=1");
    assert_eq!((seen.header("x-id"), seen.header("content-type")), (Some("7"), Some("application/json")));
    assert_eq!(seen.body, r#"{"id":7}"#);

    let seen = sent(r#"put = { url = "URL", form = "." }"#, r#"{"a":"x y","b":[1,true]}"#);
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("PUT", "a=x+y&b=1&b=true"));
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));

    let seen = sent(r#"patch = { url = "URL", body = "n={.n}", headers = { Content-Type = "text/x" } }"#, r#"{"n":1}"#);
    assert_eq!((seen.header("content-type"), seen.body.as_str()), (Some("text/x"), "n=1"));

    let seen = sent(r#"delete = "URL""#, "null");
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("DELETE", ""));
    let seen = sent(r#"post = "URL""#, "null");
    assert_eq!(seen.header("content-length"), Some("0"));
    let seen = sent(r#"request = { method = "PROPFIND", url = "URL" }"#, "null");
    assert_eq!(seen.method, "PROPFIND");
}

#[test]
fn an_item_that_no_request_can_be_made_from_is_rejected_alone() {
    let server = Server::saying(json("{}"));
    for (config, value, message) in [
        (r#"{ url = "URL", headers = { X-A = "{.}" } }"#, r#""a\r\nX-Evil: 1""#, "the header `x-a` holds a line break"),
        (r#"{ url = "URL", headers = { X-A = "{.}" } }"#, r#""a\u0000""#, "cannot be sent"),
        (r#"{ url = "URL/{.id}" }"#, r#"{"id":null}"#, "`url` failed"),
        (r#"{ url = "URL/{.id}/x" }"#, r#"{"id":".."}"#, "data put a `..` into the path"),
        (r#""{.}""#, r#""ftp://a/""#, "does not begin with http:// or https://"),
        (r#""{.}""#, r#""/x?key=secret""#, "`/x` names no host"),
        (r#"{ url = "URL", into = ".a" }"#, "[1]", "cannot put the reply into `.a`"),
    ] {
        let config = format!("get = {}", config.replace("URL", &server.url("/")));
        let fault = run(&step(&config), value).unwrap_err();
        assert!(fault.message.contains(message), "{config}: {fault}");
        assert_eq!(fault.verdict, gatherd::model::Verdict::Reject);
    }
    assert!(server.seen().is_empty(), "nothing of it has reached the server");
}

#[test]
fn a_reply_can_go_into_the_item() {
    let server = Server::saying(json(r#"{"name":"Ann"}"#));
    let get = step(&format!("get = {{ url = '{}', into = '.detail' }}", server.url("/{.id}")));
    let got = run(&get, r#"{"id":7}"#).unwrap();
    assert_eq!(got.value.to_string(), r#"{"id":7,"detail":{"name":"Ann"}}"#);
    assert_eq!(label(&got, "status").as_i64(), Some(200));
}

#[test]
fn a_host_is_known_before_the_request_is_made() {
    for (url, value, host) in [
        ("http://a.example:81/{.}", "1", "a.example:81"),
        ("{.}", r#""http://B.example/x""#, "b.example"),
        ("http://{.}/", r#""c.example""#, "c.example"),
        ("{.}", "1", ""),
    ] {
        assert_eq!(step(&format!("get = '{url}'")).aim(&item(value), None).host.as_ref(), host, "{url}");
    }
}

#[test]
fn redirects_are_followed_as_the_standard_says() {
    let server = Server::start(|seen, connection| {
        let to = |status: &str, location: &str| reply(status, &[&format!("location: {location}")], "moved");
        connection.write_all(&match seen.target.as_str() {
            "/301" => to("301 Moved Permanently", "/end"),
            "/302" => to("302 Found", "end?x=1"),
            "/303" => to("303 See Other", "/end"),
            "/307" => to("307 Temporary Redirect", "/end"),
            "/308" => to("308 Permanent Redirect", "/302"),
            "/loop" => to("302 Found", "/loop"),
            "/mail" => to("302 Found", "mailto:a@b"),
            "/bad" => to("302 Found", "http://[::1"),
            _ => json("{}"),
        })
    });
    let answer = |method: &str, path: &str| {
        let body = if method == "get" { "" } else { ", body = 'b'" };
        fetch(&format!("{method} = {{ url = '{}'{body} }}", server.url(path)))
    };
    for (method, path, expected) in [
        ("get", "/301", "GET /end "),
        ("post", "/301", "GET /end "),
        ("put", "/301", "PUT /end b"),
        ("post", "/302", "GET /end?x=1 "),
        ("put", "/303", "GET /end "),
        ("post", "/307", "POST /end b"),
        ("post", "/308", "GET /end?x=1 "),
    ] {
        let got = answer(method, path).unwrap();
        let last = server.seen().pop().unwrap();
        assert_eq!(format!("{} {} {}", last.method, last.target, last.body), expected, "{method} {path}");
        assert_eq!(label(&got, "url").as_text(), Some(server.url(&last.target).as_str()));
    }
    assert!(server.accepted() <= 14, "a redirect costs no connection: {}", server.accepted());
    let before = server.seen().len();
    let fault = answer("get", "/loop").unwrap_err();
    assert!(fault.message.contains("redirected more than 10 times"), "{fault}");
    assert_eq!((fault.kind.name(), server.seen().len() - before), ("redirect", 11));
    assert!(answer("get", "/mail").unwrap_err().message.contains("redirected to `mailto:`, which is not HTTP"));
    assert!(answer("get", "/bad").unwrap_err().message.contains("redirected to something that is no URL"));
    let kept = fetch(&format!(
        "get = {{ url = '{}', redirects = 0 }}\non = [{{ when = 'labels.status == 302', do = 'pass' }}]",
        server.url("/302")
    ));
    assert_eq!(label(&kept.unwrap(), "headers").get("location"), Some(&Value::from("end?x=1")));
}

#[test]
fn a_named_client_adds_its_base_its_headers_and_its_rate() {
    let server = Server::saying(json("{}"));
    let config = format!(
        "get = {{ via = 'acme', url = '/users/{{.}}' }}\n\
         [http.acme]\nbase = '{}'\nheaders = {{ X-Key = 'k' }}\nuser_agent = 'me/1'\nrate = '2/h'\n\
         auth = {{ basic = {{ user = 'ann', password = 'pass' }} }}",
        server.url("/v1/")
    );
    let get = step(&config);
    let address = server.url("/").replace("http://", "").replace('/', "");
    assert_eq!(*get.aim(&item("1"), None).host, *address);
    run(&get, "1").unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.target, "/v1/users/1");
    assert_eq!((seen.header("x-key"), seen.header("user-agent")), (Some("k"), Some("me/1")));
    assert_eq!(seen.header("authorization"), Some("Basic YW5uOnBhc3M="));

    let fault = run(&get, "2").unwrap_err();
    assert!(matches!(fault.verdict, gatherd::model::Verdict::NotBefore(_)), "{fault:?}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn mistakes_in_settings_are_named() {
    for (config, message) in [
        ("get = 'ftp://a/'", "does not begin with http:// or https://"),
        ("get = '/x'", "without `via` there is no base for it"),
        ("get = { url = 'http://a/', into = 'x' }", "`x` is not a path of keys"),
        ("get = { url = 'http://a/', headers = { 'a b' = 'x' } }", "`a b` is not the name of a header"),
        ("get = { url = 'http://a/', headers = { Connection = 'close' } }", "gatherd sets `Connection` itself"),
        ("get = { url = 'http://a/', allow = ['10.0.0.0/64'] }", "is no host, address or network"),
        ("get = { url = 'http://a/', json = '.' }", "`get` has no setting `json`"),
        ("post = { url = 'http://a/', json = '.', body = 'x' }", "a request has one body"),
        ("request = { method = 'GE T', url = 'http://a/' }", "`GE T` is not a method of HTTP"),
        ("get = { via = 'acme', url = '/' }\n[http.acme]\nauth = { bearer = 'x' }", "this client names none"),
        ("get = { via = 'acme', url = '/' }\n[http.acme]\nbase = 'acme.example'", "`acme.example` is not a URL"),
        ("get = { via = 'acme', url = '/' }\n[http.acme]\nheaders = { a = '{.x}' }", "a client has no item"),
        ("get = { via = 'acme', url = '/' }\n[http.acme]\nper_host = 0", "with 0 no request could ever be sent"),
        ("get = { via = 'acme', url = '/' }\n[http.acme]\nca_file = '/none.pem'", "cannot read certificates from"),
    ] {
        let found = mistakes(config);
        assert!(found.contains(message), "{config}:\n{found}");
    }
}
