//! What each kind of credentials sends, and to whom.

use crate::support::check_each;
use crate::support::gatherd::Workplace;
use crate::support::server::{Seen, Server, json, reply};

type Sees = fn(&Seen) -> bool;

fn has(seen: &Seen, header: &str, value: &str) -> bool {
    seen.header(header) == Some(value)
}

fn asks(seen: &Seen, parts: &[&str]) -> bool {
    let mut asked: Vec<&str> = seen.body.split('&').collect();
    asked.sort_unstable();
    asked == parts
}

/// What the config says; what the token end point must see, if one is asked; what the API must see.
const CASES: &[(&str, Option<Sees>, Sees)] = &[
    // base64 of `ada:open sesame`
    ("basic = { user = 'ada', password = 'open sesame' }", None, |seen| {
        has(seen, "authorization", "Basic YWRhOm9wZW4gc2VzYW1l")
    }),
    ("bearer = 'token-1'", None, |seen| has(seen, "authorization", "Bearer token-1")),
    ("bearer = { token = 'token-1' }", None, |seen| has(seen, "authorization", "Bearer token-1")),
    ("key = { header = 'X-Api-Key', value = 'key-1' }", None, |seen| has(seen, "x-api-key", "key-1")),
    ("key = { query = 'api_key', value = 'key & 1' }", None, |seen| seen.target == "/x?a=1&api_key=key+%26+1"),
    (
        "oauth2 = { token_url = '/token', id = 'my id', secret = 's:1' }",
        // base64 of `my+id:s%3A1` (RFC 6749, section 2.3.1)
        Some(|seen| {
            has(seen, "authorization", "Basic bXkraWQ6cyUzQTE=") && asks(seen, &["grant_type=client_credentials"])
        }),
        |seen| has(seen, "authorization", "Bearer issued-1"),
    ),
    (
        "oauth2 = { token_url = '/token', id = 'me', secret = 's-1', send_id_in = 'body', scope = 'a b', audience = 'api', params = { resource = 'r' } }",
        Some(|seen| {
            let expected = [
                "audience=api",
                "client_id=me",
                "client_secret=s-1",
                "grant_type=client_credentials",
                "resource=r",
                "scope=a+b",
            ];
            seen.header("authorization").is_none() && asks(seen, &expected)
        }),
        |seen| has(seen, "authorization", "Bearer issued-1"),
    ),
    (
        "oauth2 = { token_url = '/token', id = 'me', grant = 'refresh_token', refresh_token = 'r-1' }",
        Some(|seen| asks(seen, &["client_id=me", "grant_type=refresh_token", "refresh_token=r-1"])),
        |seen| has(seen, "authorization", "Bearer issued-1"),
    ),
    (
        "login = { url = '/token', json = { user = 'ada', password = 'p' }, token = '.access_token' }",
        Some(|seen| seen.method == "POST" && seen.body == r#"{"user":"ada","password":"p"}"#),
        |seen| has(seen, "authorization", "Bearer issued-1"),
    ),
    (
        "login = { url = '/token', method = 'put', form = { user = 'a b' }, token = '.access_token', header = 'X-Session', prefix = '' }",
        Some(|seen| seen.method == "PUT" && seen.body == "user=a+b"),
        |seen| has(seen, "x-session", "issued-1"),
    ),
    (
        "login = { url = '/token', form = { user = 'ada' }, cookie = true }",
        Some(|seen| seen.header("cookie").is_none()),
        |seen| has(seen, "cookie", "session=cookie-1"),
    ),
];

#[test]
fn each_kind_sends_what_its_standard_says() {
    check_each(CASES, |(auth, token_sees, api_sees)| {
        let server = Server::start(|seen, connection| {
            let issued = r#"{"access_token": "issued-1", "token_type": "Bearer"}"#;
            let headers = ["content-type: application/json", "set-cookie: session=cookie-1; HttpOnly"];
            connection.write_all(&if seen.target == "/token" { reply("200 OK", &headers, issued) } else { json("1") })
        });
        let workplace = Workplace::new(&format!(
            r#"
            [http.api]
            base = "{}"
            auth = {{ {auth} }}

            [pipeline.one]
            from  = {{ items = [1] }}
            steps = [{{ get = {{ via = "api", url = "/x?a=1" }} }}, {{ map = "labels.url" }}]
            to    = [{{ file = "out.ndjson" }}]
            "#,
            server.url("")
        ));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{auth}: {ended:?}");
        // What signs a request does not show in what comes of it.
        assert_eq!(workplace.read("out.ndjson"), format!("\"{}\"\n", server.url("/x?a=1")), "{auth}");
        let (tokens, requests): (Vec<_>, Vec<_>) = server.seen().into_iter().partition(|seen| seen.target == "/token");
        assert_eq!(requests.len(), 1, "{auth}");
        assert!(api_sees(&requests[0]), "{auth}: {:?}", requests[0]);
        assert_eq!(tokens.len(), usize::from(token_sees.is_some()), "{auth}");
        if let Some(sees) = token_sees {
            assert!(sees(&tokens[0]), "{auth}: {:?}", tokens[0]);
        }
    });
}

#[test]
fn no_other_host_is_shown_who_the_client_is() {
    let kinds = [
        "basic = { user = 'ada', password = 'open sesame' }",
        "bearer = 'token-1'",
        "key = { header = 'X-Api-Key', value = 'key-1' }",
        "key = { query = 'api_key', value = 'key-1' }",
        "oauth2 = { token_url = '/token', id = 'me', secret = 's-1' }",
        "login = { url = '/token', form = { user = 'ada' }, cookie = true }",
        "hmac = { secret = 'secret-1', message = '{.path}', headers = { X-Signature = '{.signature}' } }",
        "sigv4 = { access_key = 'AK', secret_key = 'secret-1', region = 'r', service = 's' }",
    ];
    check_each(&kinds, |auth| {
        let other = Server::start_at("127.0.0.9", |_, connection| connection.write_all(&json("1")));
        let elsewhere = format!("location: {}", other.url("/redirected"));
        let server = Server::start(move |seen, connection| {
            let issued = r#"{"access_token": "issued-1", "token_type": "Bearer"}"#;
            let headers = ["content-type: application/json", "set-cookie: session=cookie-1; HttpOnly"];
            connection.write_all(&if seen.target == "/token" {
                reply("200 OK", &headers, issued)
            } else {
                reply("307 Temporary Redirect", &[&elsewhere], "")
            })
        });
        let workplace = Workplace::new(&format!(
            r#"
            [service]
            allow = ["127.0.0.9"]

            [http.api]
            base = "{}"
            auth = {{ {auth} }}
            headers = {{ X-Own = "own" }}

            [pipeline.redirected]
            from  = {{ items = [1] }}
            steps = [{{ post = {{ via = "api", url = "/x", json = "." }} }}]

            [pipeline.direct]
            from  = {{ items = ["{}"] }}
            steps = [{{ get = {{ via = "api", url = "{{.}}" }} }}]
            "#,
            server.url(""),
            other.url("/direct")
        ));
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(0), "{auth}: {ended:?}");
        let seen = other.seen();
        assert_eq!(seen.len(), 2, "{auth}: {seen:?}");
        let harmless = ["accept", "accept-encoding", "user-agent", "host", "content-type", "content-length"];
        for seen in seen {
            let others: Vec<_> = seen.headers.iter().filter(|(name, _)| !harmless.contains(&name.as_str())).collect();
            assert!(others.is_empty() && !seen.target.contains('?'), "{auth}: {seen:?}");
        }
    });
}

#[test]
fn a_client_keeps_the_cookies_that_its_servers_set() {
    let server = Server::start(|seen, connection| {
        let headers: &[&str] = match seen.target.as_str() {
            "/set" => &["set-cookie: a=1; Path=/", "set-cookie: b=2; Path=/in"],
            "/hop" => &["set-cookie: d=4; Path=/", "location: /in/page"],
            _ => &[],
        };
        let status = if seen.target == "/hop" { "302 Found" } else { "200 OK" };
        connection.write_all(&reply(status, headers, ""))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [http.api]
        base = "{}"
        cookies = true

        [pipeline.one]
        from  = {{ items = ["set", "page", "in/page", "hop"] }}
        steps = [{{ get = {{ via = "api", url = "/{{.}}" }}, workers = 1 }}]
        "#,
        server.url("")
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let cookies: Vec<_> =
        server.seen().iter().map(|seen| (seen.target.clone(), seen.header("cookie").map(sorted))).collect();
    let text = |cookies: &str| Some(cookies.to_owned());
    assert_eq!(
        cookies,
        [
            ("/set".to_owned(), None),
            ("/page".to_owned(), text("a=1")),
            ("/in%2Fpage".to_owned(), text("a=1")),
            ("/hop".to_owned(), text("a=1")),
            ("/in/page".to_owned(), text("a=1; b=2; d=4")),
        ]
    );
}

fn sorted(cookies: &str) -> String {
    let mut cookies: Vec<&str> = cookies.split("; ").collect();
    cookies.sort_unstable();
    cookies.join("; ")
}
