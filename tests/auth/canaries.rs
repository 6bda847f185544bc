//! A canary for each kind of secret: it reaches the server that it is for, and shows in nothing that gatherd says.

use std::sync::Mutex;

use crate::support::check_each;
use crate::support::gatherd::{Running, ServiceManager, Workplace};
use crate::support::secrets::check_silent;
use crate::support::server::{Seen, Server, json, reply};
use crate::support::wait_until;

/// With characters that every encoding but the plainest changes.
const CANARY: &str = "can/ary+\"of\\gatherd=7?&%";
/// What can stand in a cookie and a bearer token.
const TOKEN: &str = "canary-token_of~gatherd/7+=";

struct Case {
    kind: &'static str,
    auth: &'static str,
    /// More settings of the client.
    more: &'static str,
}

const fn case(kind: &'static str, auth: &'static str) -> Case {
    Case { kind, auth, more: "" }
}

const CASES: &[Case] = &[
    case("basic", "{ basic = { user = '${USER_CANARY}', password = '${CANARY}' } }"),
    case("basic, a secret", "{ basic = { user = 'ada', password = '${secret:canary}' } }"),
    case("bearer", "{ bearer = '${CANARY}' }"),
    case("bearer from a file", "{ bearer = { token_file = 'token' } }"),
    case("a key in a header", "{ key = { header = 'X-Api-Key', value = '${CANARY}' } }"),
    case("a key in the query", "{ key = { query = 'api_key', value = '${CANARY}' } }"),
    case(
        "oauth2, id and secret in the header",
        "{ oauth2 = { token_url = '/token', id = 'me', secret = '${CANARY}' } }",
    ),
    case(
        "oauth2, id and secret in the body",
        "{ oauth2 = { token_url = '/token', id = 'me', secret = '${CANARY}', send_id_in = 'body' } }",
    ),
    case(
        "oauth2, a refresh token",
        "{ oauth2 = { token_url = '/token', id = 'me', grant = 'refresh_token', refresh_token = '${CANARY}' } }",
    ),
    case(
        "login by a form",
        "{ login = { url = '/token', form = { name = 'me', password = '${CANARY}' }, cookie = true } }",
    ),
    case(
        "login by JSON",
        "{ login = { url = '/token', json = { password = '${CANARY}' }, token = '.access_token', header = 'X-Token', prefix = '' } }",
    ),
    case("digest", "{ digest = { user = 'ada', password = '${CANARY}' } }"),
    case(
        "hmac",
        "{ hmac = { secret = '${CANARY}', message = '{.path}', headers = { X-Signature = '{.signature}' } } }",
    ),
    case(
        "sigv4",
        "{ sigv4 = { access_key = 'AKIDEXAMPLE', secret_key = '${CANARY}', session_token = '${CANARY}', region = 'r', service = 's' } }",
    ),
    Case {
        kind: "a header of the client",
        auth: "{ bearer = 'another-canary-token' }",
        more: "headers = { X-Key = '${secret:canary}' }",
    },
];

/// Everything that was asked, echoed as a bad request: such a reply goes into the fault's message.
fn echo(seen: &Seen) -> Vec<u8> {
    let headers: String = seen
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "accept" | "accept-encoding" | "user-agent" | "host"))
        .map(|(name, value)| format!("{name}={value};"))
        .collect();
    reply("400 Bad Request", &["content-type: text/plain"], format!("{headers} {} {}", seen.target, seen.body))
}

fn server() -> Server {
    let grants = Mutex::new(0);
    Server::start(move |seen, connection| {
        if seen.target != "/token" {
            return connection.write_all(&echo(seen));
        }
        *grants.lock().unwrap() += 1;
        // The second time signing in fails too, with an echo of what was sent.
        if *grants.lock().unwrap() > 1 {
            return connection.write_all(&echo(seen));
        }
        let body = format!(
            r#"{{"access_token": "{TOKEN}", "token_type": "Bearer", "expires_in": 3, "refresh_token": "refresh-{TOKEN}"}}"#
        );
        let cookie = format!("set-cookie: session={TOKEN}");
        connection.write_all(&if seen.body.contains("password=") {
            reply("200 OK", &["content-type: application/json", &cookie], body)
        } else {
            json(&body)
        })
    })
}

const SECRETS: [&str; 5] = [CANARY, TOKEN, "user-canary-of-gatherd", "another-canary-token", "file-canary-token"];

#[test]
fn no_secret_shows_in_anything_that_gatherd_says() {
    check_each(CASES, |Case { kind, auth, more }| {
        let server = server();
        let workplace = Workplace::new(&format!(
            r#"
            [service]
            secrets = "secrets"

            [http.api]
            base = "{}"
            auth = {auth}
            {more}

            [pipeline.items]
            from  = {{ items = {{ range = [1, 3] }} }}
            steps = [{{ get = {{ via = "api", url = "/items/{{.}}" }} }}]

            [pipeline.beat]
            from  = {{ every = "500ms" }}
            steps = [{{ post = {{ via = "api", url = "/beat", json = "1" }} }}]
            to    = []
            "#,
            server.url("")
        ));
        workplace.write("token", "file-canary-token");
        std::fs::create_dir(workplace.path("secrets")).unwrap();
        workplace.write("secrets/canary", CANARY);
        let command = |arguments: &[&str]| {
            let mut command = workplace.command(arguments);
            command.env("CANARY", CANARY).env("USER_CANARY", "user-canary-of-gatherd");
            command
        };
        let mut outputs = Vec::new();
        for arguments in [&["explain", "gatherd.toml"][..], &["check", "gatherd.toml"]] {
            let ended = Running::start(command(arguments)).end();
            assert_eq!(ended.code(), Some(0), "{kind}: {ended:?}");
            outputs.push(format!("{}{}", ended.stdout, ended.stderr));
        }
        for format in ["text", "json"] {
            let manager = ServiceManager::listen(&workplace.path("notify"));
            let mut run = command(&["--log-format", format, "run", "gatherd.toml"]);
            run.env("NOTIFY_SOCKET", &manager.path).env("RUST_LOG", "trace");
            let daemon = Running::start(run);
            let before = server.seen().len();
            wait_until("requests were made", || server.seen().len() >= before + 6);
            // Long enough for a token to end, and for the status to be told again.
            let lines = manager.told().len();
            wait_until("the status was told", || manager.told().len() > lines);
            for arguments in [&["dead", "list"][..], &["dead", "list", "--json"]] {
                let ended = Running::start(command(arguments)).end();
                outputs.push(format!("{}{}", ended.stdout, ended.stderr));
            }
            let ids: Vec<String> = workplace.dead_letters().iter().map(|letter| letter["id"].to_string()).collect();
            for id in &ids {
                let ended = Running::start(command(&["dead", "show", id])).end();
                outputs.push(format!("{}{}", ended.stdout, ended.stderr));
            }
            let ended = daemon.stop();
            outputs.extend([ended.stdout, ended.stderr, manager.told().join("\n")]);
        }
        // What the store has is looked at without the daemon too, which knows the secrets.
        let ended = workplace.gatherd(&["dead", "list", "--json"]);
        outputs.push(format!("{}{}", ended.stdout, ended.stderr));
        let used = server.seen().iter().any(|seen| {
            let sent = format!("{:?} {} {}", seen.headers, seen.target, seen.body);
            sent.contains("authorization")
                || sent.contains("api_key")
                || sent.contains("x-")
                || sent.contains("assw")
                || sent.contains("refresh")
        });
        assert!(used || *kind == "digest", "{kind}: nothing was signed");
        outputs.iter().for_each(|output| check_silent(kind, output, &SECRETS));
    });
}
