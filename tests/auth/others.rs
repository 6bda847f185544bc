//! Signs in to servers that are not ours: signatures are checked by other people's libraries, httpbin asks for
//! digests, a FastAPI application gives tokens and sessions, and nginx asks it who may pass. `tests/run` installs them.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::support::gatherd::{Running, Workplace};
use crate::support::{LIMIT, check_each, comes_true_within, skip};

/// The virtual environments that `tests/run` makes.
const SERVERS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../auth-servers");
const HTTPBIN: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../httpbin");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/auth/servers");

/// A server in Python. It ends when this is dropped.
struct Python {
    _process: Running,
    url: String,
}

impl Python {
    /// Runs a program of a virtual environment, which says its URL after `announces`. Nothing if it is not installed,
    /// which is said.
    fn start(environment: &str, program: &str, arguments: &[&str], announces: &str) -> Option<Self> {
        let program = Path::new(environment).join("bin").join(program);
        if !program.exists() {
            skip(&format!("{} is not installed; tests/run installs it", program.display()));
            return None;
        }
        let mut command = Command::new(program);
        command.args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Running::start(command);
        process.wait_for_log(announces);
        let url = process.log().split(announces).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        Some(Self { _process: process, url })
    }

    fn application() -> Option<Self> {
        let arguments = ["--app-dir", FOLDER, "--host", "127.0.0.1", "--port", "0", "application:app"];
        Self::start(SERVERS, "uvicorn", &arguments, "Uvicorn running on ")
    }
}

/// Runs one step for one item, and compares what comes of it.
#[track_caller]
fn check(what: &str, url: &str, auth: &str, step: &str, expected: &str) {
    let workplace = Workplace::new(&format!(
        r#"
        [http.api]
        base = "{url}"
        auth = {{ {auth} }}

        [pipeline.one]
        from  = {{ items = [1] }}
        steps = [{{ {step} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#
    ));
    let ended = workplace.run_once();
    assert_eq!(workplace.read("out.ndjson"), expected, "{what}: {ended:?} {:?}", workplace.dead_letters());
    assert_eq!(ended.code(), Some(0), "{what}: {ended:?}");
}

const REQUESTS: [&str; 6] = [
    r#"get = { via = "api", url = "/plain" }"#,
    r#"get = { via = "api", url = "/a b/ü(1)~*'!/%2F?z=1&a=x+y&a=%7E&empty=&a" }"#,
    r#"get = { via = "api", url = "/query", query = { q = "{\"ü &=+/?\"}", "k[]" = "1" } }"#,
    r#"post = { via = "api", url = "/json", json = "{a: .}" }"#,
    r#"put = { via = "api", url = "/form", form = "{a: \"x y\"}" }"#,
    r#"delete = { via = "api", url = "/things/{.}" }"#,
];

#[test]
fn signatures_are_what_other_libraries_make_of_the_same_requests() {
    let keys = tempfile::tempdir().unwrap();
    let script = format!("{FOLDER}/signatures.py");
    let arguments = [script.as_str(), keys.path().to_str().unwrap()];
    let Some(server) = Python::start(SERVERS, "python", &arguments, "listening on ") else { return };
    let aws = |service: &str, more: &str| {
        format!(
            "sigv4 = {{ access_key = 'AKID', secret_key = 'secret/key+of=aws', region = 'eu-1', service = '{service}'{more} }}"
        )
    };
    let message = r#""{.method}\n{.host}\n{.path}\n{.query}\n{.time}\n{.nonce}\n{.body_sha256}""#;
    let hmac = |form: &str, more: &str| {
        format!(
            r#"hmac = {{ message = {message}, {more}, headers = {{
                X-Form = "{form}", X-Time = "{{.time}}", X-Nonce = "{{.nonce}}", Authorization = "me:{{.signature}}" }} }}"#
        )
    };
    let mut cases: Vec<(String, &str)> = Vec::new();
    for auth in [
        aws("execute-api", ""),
        aws("execute-api", ", session_token = 'token/of+session='"),
        aws("s3", ""),
        hmac("hex", r#"secret = "shared secret""#),
        hmac(
            "base64",
            r#"secret = "AP9iaW5hcnk=", secret_encoding = "base64", algorithm = "sha512", encoding = "base64""#,
        ),
    ] {
        cases.extend(REQUESTS.map(|step| (auth.clone(), step)));
    }
    for (file, key, algorithm, setting) in [
        ("rsa", "rsa", "RS256", ""),
        ("rsa-traditional", "rsa", "RS256", ""),
        ("rsa", "rsa", "RS384", ", algorithm = 'RS384'"),
        ("rsa", "rsa", "RS512", ", algorithm = 'RS512'"),
        ("rsa", "rsa", "PS256", ", algorithm = 'PS256'"),
        ("p256", "p256", "ES256", ""),
        ("p256-traditional", "p256", "ES256", ", algorithm = 'ES256'"),
        ("p384", "p384", "ES384", ""),
        ("ed25519", "ed25519", "EdDSA", ""),
    ] {
        let file = keys.path().join(format!("{file}.pem"));
        let key = format!("{{ file = '{}', key_id = '{key} {algorithm}'{setting} }}", file.display());
        cases.push((format!("oauth2 = {{ token_url = '/token', id = 'me', private_key = {key} }}"), REQUESTS[0]));
    }
    check_each(&cases, |(auth, step)| check(&format!("{auth} {step}"), &server.url, auth, step, "\"good\"\n"));
}

#[test]
fn httpbin_is_answered_with_digests() {
    let arguments = ["--listen=127.0.0.1:0", "--threads=64", "httpbin:app"];
    let Some(httpbin) = Python::start(HTTPBIN, "waitress-serve", &arguments, "Serving on ") else { return };
    let auth = "digest = { user = 'ada', password = 'sesame' }";
    let cases: Vec<String> = ["MD5", "SHA-256"]
        .iter()
        .flat_map(|algorithm| {
            ["auth", "auth-int"].map(|quality| format!("/digest-auth/{quality}/ada/sesame/{algorithm}"))
        })
        .collect();
    check_each(&cases, |path| {
        let step = format!(r#"get = {{ via = "api", url = "{path}" }}, on = []"#);
        check(path, &httpbin.url, auth, &step, "{\"authenticated\":true,\"user\":\"ada\"}\n");
    });
}

/// Gets a hundred things slowly enough that tokens and sessions end on the way.
fn gather(url: &str, auth: &str, path: &str) -> Workplace {
    let workplace = Workplace::new(&format!(
        r#"
        [http.shop]
        base = "{url}"
        rate = "20/s"
        auth = {{ {auth} }}

        [pipeline.all]
        from  = {{ items = {{ range = [1, 100] }} }}
        steps = [{{ get = {{ via = "shop", url = "{path}{{.}}" }} }}, {{ map = "labels.status" }}]
        to    = [{{ file = "out.ndjson" }}]
        "#
    ));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?} {:?}", workplace.dead_letters());
    assert_eq!(workplace.read("out.ndjson"), "200\n".repeat(100));
    workplace
}

fn counted(url: &str, what: &str) -> u64 {
    let workplace = Workplace::new(&format!(
        "[pipeline.one]\nfrom = {{ items = [1] }}\nsteps = [{{ get = '{url}/counts' }}]\nto = [{{ file = 'out.ndjson' }}]"
    ));
    workplace.run_once();
    workplace.values("out.ndjson")[0][what].as_u64().unwrap()
}

const LOGIN: &str = "login = { url = '/login', form = { user = 'ada', password = 'open sesame' }, cookie = true }";

#[test]
fn a_fastapi_application_is_gathered_from_over_the_end_of_its_tokens_and_sessions() {
    let Some(shop) = Python::application() else { return };
    let form = "{ grant_type = 'password', username = 'ada', password = 'open sesame' }";
    gather(&shop.url, &format!("login = {{ url = '/token', form = {form}, token = '.access_token' }}"), "/orders/");
    let tokens = counted(&shop.url, "tokens");
    assert!((2..=8).contains(&tokens), "{tokens} tokens in five seconds, each good for two");
    gather(&shop.url, LOGIN, "/basket/");
    let sessions = counted(&shop.url, "sessions");
    assert!((1..=8).contains(&sessions), "{sessions} sessions");
    check(
        "basic",
        &shop.url,
        "basic = { user = 'ada', password = 'open sesame' }",
        r#"get = { via = "api", url = "/basic" }"#,
        "{\"user\":\"ada\"}\n",
    );
}

#[test]
fn nginx_lets_pass_whom_the_application_knows() {
    let Some(shop) = Python::application() else { return };
    if Command::new("nginx").arg("-v").output().is_err() {
        return skip("nginx is not installed; tests/run installs it");
    }
    let pages = tempfile::tempdir().unwrap();
    fs::create_dir(pages.path().join("private")).unwrap();
    (1..=100).for_each(|number| fs::write(pages.path().join(format!("private/{number}")), "page").unwrap());
    // It cannot choose a free port by itself, and another program may take the one that was found.
    let nginx = (0..5).find_map(|_| start_nginx(&shop.url, pages.path()));
    let (_nginx, address) = nginx.expect("nginx starts on one of five ports");
    gather(&format!("http://{address}"), LOGIN, "/private/");
    assert!(counted(&shop.url, "sessions") >= 1);
}

fn start_nginx(application: &str, root: &Path) -> Option<(Running, SocketAddr)> {
    let folder = root.join("nginx");
    fs::create_dir_all(&folder).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        r#"
        daemon off; master_process off; pid nginx.pid; error_log stderr;
        events {{}}
        http {{
            client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
            access_log off;
            server {{
                listen {address};
                root {root};
                location / {{ proxy_pass {application}; }}
                location /private/ {{ auth_request /check; }}
            }}
        }}
        "#,
        root = root.display()
    );
    fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    let mut process = Running::start(command);
    let connects = || TcpStream::connect(address).is_ok();
    let started = comes_true_within(LIMIT, || connects() || process.is_over());
    (started && !process.is_over()).then_some((process, address))
}
