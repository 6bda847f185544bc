//! A canary in each place of a config where a secret can stand, and in what servers give: none of them shows in anything
//! that gatherd says, in whatever form.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::client::{connect, exchange};
use support::gatherd::{Ended, IDLE, Running, ServiceManager, Workplace};
use support::secrets::shown;
use support::server::{Seen, Server, json, reply};
use support::wait_until;

/// Where a canary stands. Those that end in `*` stand in a URL, a header or a cookie, where not every character can.
const PLACES: [&str; 24] = [
    "basic",
    "bearer*",
    "key_header*",
    "key_query",
    "oauth2_secret",
    "oauth2_refresh",
    "login_password",
    "digest_password",
    "hmac_secret",
    "sigv4_secret",
    "sigv4_session*",
    "client_header*",
    "step_header*",
    "step_query*",
    "step_body",
    "variable",
    "proxy*",
    "sink_url*",
    "sink_header*",
    "webhook_token*",
    "admin_token*",
    "token_reply*",
    "cookie_reply*",
    "test_environment",
];

/// The canaries by the names of their places.
fn canaries() -> BTreeMap<&'static str, String> {
    let canary = |place: &&'static str| match place.strip_suffix('*') {
        Some(place) => (place, format!("canary-of_gatherd.{place}~")),
        None => (*place, format!("can/ary+of\\\"gat herd&{place}=7?%")),
    };
    PLACES.iter().map(canary).collect()
}

/// How each client signs in.
const CLIENTS: [(&str, &str); 15] = [
    ("basic", "auth = { basic = { user = 'ada', password = '${secret:basic}' } }"),
    ("bearer", "auth = { bearer = '${secret:bearer}' }"),
    ("key_header", "auth = { key = { header = 'X-Api-Key', value = '${secret:key_header}' } }"),
    ("key_query", "auth = { key = { query = 'api_key', value = '${secret:key_query}' } }"),
    (
        "oauth2_secret",
        "auth = { oauth2 = { token_url = '/token', id = 'me', secret = '${secret:oauth2_secret}', send_id_in = 'body' } }",
    ),
    (
        "oauth2_refresh",
        "auth = { oauth2 = { token_url = '/token', id = 'me', grant = 'refresh_token', refresh_token = '${secret:oauth2_refresh}' } }",
    ),
    (
        "login_password",
        "auth = { login = { url = '/token', form = { name = 'me', password = '${secret:login_password}' }, cookie = true } }",
    ),
    ("digest_password", "auth = { digest = { user = 'ada', password = '${secret:digest_password}' } }"),
    (
        "hmac_secret",
        "auth = { hmac = { secret = '${secret:hmac_secret}', message = '{.path}', headers = { X-Signature = '{.signature}' } } }",
    ),
    (
        "sigv4",
        "auth = { sigv4 = { access_key = 'AKIDEXAMPLE', secret_key = '${secret:sigv4_secret}', session_token = '${secret:sigv4_session}', region = 'r', service = 's' } }",
    ),
    ("client_header", "headers = { X-Key = '${secret:client_header}' }"),
    ("cookies", "cookies = true"),
    ("proxy", "proxy = 'http://ada:${secret:proxy}@PROXY'"),
    ("plain", ""),
    ("recorded", "headers = { X-Key = '${secret:client_header}' }"),
];

/// Takes nothing: each request is echoed in a reply of 400, which goes into the message of the fault. Tokens and cookies
/// are given, and what is asked for below `/fine` is answered.
fn server() -> Server {
    let canaries = canaries();
    Server::start(move |seen, connection| {
        let (token, cookie) = (&canaries["token_reply"], &canaries["cookie_reply"]);
        let set_cookie = format!("set-cookie: session={cookie}");
        if seen.target.starts_with("/fine") {
            return connection.write_all(&reply("200 OK", &["content-type: application/json", &set_cookie], "[1, 2]"));
        }
        if seen.target != "/token" {
            return connection.write_all(&echo(seen));
        }
        let body = format!(r#"{{"access_token": "{token}", "token_type": "Bearer", "expires_in": 3600}}"#);
        connection.write_all(&if seen.body.contains("password=") {
            reply("200 OK", &["content-type: application/json", &set_cookie], body)
        } else {
            json(&body)
        })
    })
}

fn echo(seen: &Seen) -> Vec<u8> {
    const DULL: [&str; 4] = ["accept", "accept-encoding", "user-agent", "host"];
    let told = seen.headers.iter().filter(|(name, _)| !DULL.contains(&name.as_str()));
    let headers: String = told.map(|(name, value)| format!("{name}={value};")).collect();
    reply("400 Bad Request", &["content-type: text/plain"], format!("{} {headers} {}", seen.target, seen.body))
}

fn config(server: &Server) -> String {
    let clients = CLIENTS.map(|(name, settings)| {
        let settings = settings.replace("PROXY", &server.address.to_string());
        // A proxy is not asked for this machine's own addresses.
        let base = if name == "proxy" { "http://proxied.example".to_owned() } else { server.url("") };
        let first = if name == "cookies" { "{ get = { via = 'cookies', url = '/fine' } }," } else { "" };
        format!(
            r#"
            [http.{name}]
            base = "{base}"
            {settings}

            [pipeline.{name}]
            from  = {{ items = [1, 2] }}
            steps = [ {first} {{ get = {{ via = "{name}", url = "/items/{{labels.number // 7}}" }} }} ]
            to    = []
            "#
        )
    });
    let at = server.address;
    format!(
        r#"
        [service]
        secrets = "secrets"
        admin   = {{ listen = "127.0.0.1:0", token = "${{secret:admin_token}}" }}
        {}
        [pipeline.step]
        from  = {{ items = [1] }}
        steps = [ {{ post = {{ url = "http://{at}/step?key=${{secret:step_query}}", headers = {{ X-Key = "${{secret:step_header}}" }}, body = "number={{.}}&key=${{secret:step_body}}" }} }} ]
        to    = []

        [pipeline.variable]
        vars  = {{ key = "${{secret:variable}}" }}
        from  = {{ items = [1] }}
        steps = [ {{ map = "error(\"no key \" + $key)" }} ]
        to    = []

        [pipeline.tapped]
        vars  = {{ key = "${{secret:variable}}" }}
        from  = {{ every = "100ms" }}
        steps = [ {{ map = "{{key: $key}}" }} ]
        to    = []

        [pipeline.sink]
        from  = {{ items = [1] }}
        to    = [ {{ http = {{ url = "http://{at}/sink?key=${{secret:sink_url}}", headers = {{ X-Key = "${{secret:sink_header}}" }}, json = "." }} }} ]

        [pipeline.hook]
        from  = {{ webhook = {{ listen = "unix:hook.sock", token = {{ secret = "${{secret:webhook_token}}" }} }} }}
        steps = [ {{ map = "error(\"no: \\(labels.headers)\")" }} ]
        to    = []

        [pipeline.fine]
        from  = {{ every = "24h" }}
        steps = [ {{ get = {{ via = "recorded", url = "/fine?key=${{secret:step_query}}" }} }} ]
        to    = []
        {IDLE}
        "#,
        clients.concat(),
    )
}

/// What was said, and where.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, what: &str, said: impl Into<String>) {
        self.0.push((what.to_owned(), said.into()));
    }

    fn add_ended(&mut self, what: &str, ended: &Ended) {
        self.add(what, format!("{}{}", ended.stdout, ended.stderr));
    }
}

fn workplace(server: &Server) -> Workplace {
    let workplace = Workplace::new(&config(server));
    fs::create_dir(workplace.path("secrets")).unwrap();
    for (place, canary) in canaries() {
        workplace.write(&format!("secrets/{place}"), canary);
    }
    workplace.write(
        "gatherd.test.toml",
        format!(
            r#"
            [[test]]
            name = "fails"
            pipeline = "step"
            environment = {{ step_query = "test", step_header = "test", step_body = {environment} }}
            replies = [ {{ to = "POST http://elsewhere.example/", json = 1 }} ]
            expect.requests = ["GET http://elsewhere.example/"]
            "#,
            environment = serde_json::to_string(&canaries()["test_environment"]).unwrap(),
        ),
    );
    // A mistake in a line that has a secret in it is shown with its line.
    let broken = config(server).replace("secrets = \"secrets\"", "secrets = \"secrets\"\nmemory = \"1KiB\"");
    workplace.write("broken.toml", broken.replace("/sink?key", "/sink?{.no}key"));
    workplace
}

#[test]
fn no_canary_shows_in_any_output() {
    let server = server();
    let workplace = workplace(&server);
    let mut said = Said::default();
    let canaries = canaries();
    for arguments in [
        &["check", "gatherd.toml"][..],
        &["check", "broken.toml"],
        &["explain", "gatherd.toml"],
        &["explain", "gatherd.toml", "--errors"],
        &["graph", "gatherd.toml", "--format", "dot"],
        &["plan", "gatherd.toml"],
        &["plan", "gatherd.toml", "--against", "broken.toml", "--json"],
        &["test", "gatherd.test.toml"],
        &["record", "fine", "gatherd.toml"],
    ] {
        said.add_ended(&arguments.join(" "), &workplace.gatherd(arguments));
    }
    let tests = workplace.read("gatherd.test.toml");
    let (_, recorded) = tests.split_once("name = \"as recorded\"").unwrap();
    said.add("what was recorded", recorded);
    for (client, _) in CLIENTS {
        for json in [&["--json"][..], &[]] {
            let arguments = [&["try", "/items/9", "--config", "gatherd.toml", "--via", client], json].concat();
            said.add_ended(&arguments.join(" "), &workplace.gatherd(&arguments));
        }
    }

    for format in ["text", "json"] {
        let manager = ServiceManager::listen(&workplace.path("notify"));
        let mut command = workplace.command(&["--log-format", format, "run", "gatherd.toml"]);
        command.env("NOTIFY_SOCKET", &manager.path).env("RUST_LOG", "trace");
        let daemon = Running::start(command);
        wait_until("it is ready", || manager.was_told("READY=1"));
        ask_webhook(&workplace, &canaries["webhook_token"]);
        // Of each client one for each of two items, but where tokens lead.
        wait_until("every pipeline gave items up", || {
            let letters = workplace.dead_letters();
            let from = |pipeline: &str| letters.iter().any(|letter| letter["pipeline"] == pipeline);
            let expected = CLIENTS.iter().map(|(name, _)| *name).filter(|name| *name != "recorded");
            expected.chain(["step", "variable", "sink", "hook"]).all(from)
        });
        look_everywhere(&mut said, &workplace, &daemon, &canaries["admin_token"], format);
        let lines = manager.told().len();
        wait_until("the status was told once more", || manager.told().len() > lines);
        let ended = daemon.stop();
        said.add_ended(&format!("the log as {format}"), &ended);
        said.add("the service manager", manager.told().join("\n"));
    }
    for arguments in [&["dead", "list", "--json"][..], &["dead", "export"], &["state", "list"], &["store", "stats"]] {
        said.add_ended(&format!("{} without a daemon", arguments.join(" ")), &workplace.gatherd(arguments));
    }
    check_used(&server, &canaries);
    let canaries: Vec<String> = canaries.into_values().collect();
    let findings: Vec<String> = said.0.iter().flat_map(|(what, text)| shown(what, text, &canaries)).collect();
    assert!(findings.is_empty(), "{} canaries show:\n{}", findings.len(), findings.join("\n\n"));
}

/// All that a daemon says while it runs.
fn look_everywhere(said: &mut Said, workplace: &Workplace, daemon: &Running, token: &str, format: &str) {
    let address = match format {
        "text" => Some(daemon.admin_address()),
        // Its log is JSON then.
        _ => None,
    };
    for path in ["/", "/health", "/ready", "/metrics", "/status", "/dead", "/state", "/tap?pipeline=tapped&limit=2"] {
        let Some(address) = address else { break };
        let head = format!("GET {path} HTTP/1.0\nHost: localhost\nAuthorization: Bearer {token}\n\n");
        let mut stream = connect(address);
        std::io::Write::write_all(&mut stream, head.replace('\n', "\r\n").as_bytes()).unwrap();
        let mut reply = String::new();
        std::io::Read::read_to_string(&mut stream, &mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.0 200"), "{path}: {reply}");
        said.add(path, reply);
    }
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["top"],
        &["graph", "--format", "mermaid"],
        &["plan", "gatherd.toml"],
        &["tap", "tapped", "--limit", "2"],
        &["tap", "tapped.map", "--limit", "2", "--json"],
        &["dead", "list"],
        &["dead", "list", "--json"],
        &["dead", "export"],
        &["state", "list"],
        &["state", "list", "--json"],
        &["store", "stats"],
        &["pause", "idle"],
        &["resume", "idle"],
        &["trigger", "hook"],
    ] {
        let ended = workplace.gatherd(arguments);
        assert!(ended.code() == Some(0) || arguments[0] == "trigger", "{arguments:?}: {ended:?}");
        said.add_ended(&arguments.join(" "), &ended);
    }
    for letter in workplace.dead_letters() {
        let id = letter["id"].to_string();
        said.add_ended("dead show", &workplace.gatherd(&["dead", "show", &id]));
    }
    let sound = fs::read(workplace.path("gatherd.toml")).unwrap();
    fs::copy(workplace.path("broken.toml"), workplace.path("gatherd.toml")).unwrap();
    said.add_ended("reload", &workplace.gatherd(&["reload"]));
    workplace.write("gatherd.toml", sound);
    said.add_ended("reload", &workplace.gatherd(&["reload"]));
}

fn ask_webhook(workplace: &Workplace, token: &str) {
    let socket = workplace.path("hook.sock");
    wait_until("the webhook listens", || Path::new(&socket).exists());
    for token in [token, "wrong"] {
        let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let head = format!("POST / HTTP/1.1\nHost: x\nAuthorization: Bearer {token}\nContent-Length: 1\n\n1");
        exchange(stream, &head);
    }
}

/// What was sent somewhere holds each canary that is to be sent: the test would find nothing otherwise.
fn check_used(server: &Server, canaries: &BTreeMap<&str, String>) {
    let sent: String =
        server.seen().iter().map(|seen| format!("{:?} {} {}", seen.headers, seen.target, seen.body)).collect();
    for place in [
        "bearer",
        "key_header",
        "sigv4_session",
        "client_header",
        "step_header",
        "step_query",
        "sink_url",
        "sink_header",
        "token_reply",
        "cookie_reply",
    ] {
        assert!(sent.contains(&canaries[place]), "{place} was not sent");
    }
    assert!(sent.contains("proxy-authorization") && sent.contains("api_key=") && sent.contains("password="), "{sent}");
}
