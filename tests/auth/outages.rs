//! Signing in that fails: the client waits, says so once, tries slowly, and loses nothing.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::api::{Api, client, items, login_client};
use crate::support::gatherd::{IDLE, Running, ServiceManager, Workplace, wait_for_lines};
use crate::support::server::{BlackHole, Server, closed_port, json, reply};
use crate::support::wait_until;

/// The daemon, and what it tells the service manager.
fn start(workplace: &Workplace) -> (Running, ServiceManager) {
    let manager = ServiceManager::listen(&workplace.path("notify"));
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("NOTIFY_SOCKET", &manager.path);
    (Running::start(command), manager)
}

fn status_has(manager: &ServiceManager, text: &str) -> bool {
    manager.told().iter().rev().find(|line| line.starts_with("STATUS=")).is_some_and(|line| line.contains(text))
}

fn count(log: &str, text: &str) -> usize {
    log.matches(text).count()
}

const NOT_FOR_NOW: &str = "client cannot sign in for now; its requests wait";
const NOT: &str = "client cannot sign in; its requests wait, and it tries again slowly";

#[test]
fn a_token_end_point_that_is_down_is_waited_for() {
    let api = Api::start();
    let port = closed_port();
    let config = format!("{}{}{IDLE}", client(&api, ""), items(20, ""));
    let workplace = Workplace::new(&config.replace("\"/token\"", &format!("\"http://127.0.0.1:{port}/token\"")));
    let (daemon, manager) = start(&workplace);
    wait_until("the status says it", || status_has(&manager, "client api cannot sign in"));
    assert_eq!(workplace.read("out.ndjson"), "");
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let got = token_of(&api);
            let _ = stream.write_all(&json(&got));
        }
    });
    wait_for_lines(&workplace, "out.ndjson", 20);
    wait_until("the status says no more", || !status_has(&manager, "cannot sign in"));
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!((count(&ended.stderr, NOT_FOR_NOW), count(&ended.stderr, NOT)), (1, 0), "{}", ended.stderr);
    assert_eq!(count(&ended.stderr, "client can sign in again"), 1, "{}", ended.stderr);
    assert!(workplace.dead_letters().is_empty());
}

/// A token of the API, asked for by this test.
fn token_of(api: &Api) -> String {
    let mut stream = std::net::TcpStream::connect(api.server.address).unwrap();
    stream.write_all(b"POST /token HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").unwrap();
    let mut reply = [0; 4096];
    let length = std::io::Read::read(&mut stream, &mut reply).unwrap();
    String::from_utf8_lossy(&reply[..length]).split("\r\n\r\n").nth(1).unwrap().to_owned()
}

#[test]
fn a_token_end_point_that_hangs_holds_no_worker() {
    let api = Api::start();
    let hole = BlackHole::at("127.0.0.1");
    let other = Server::saying(json(r#"{"path": "other"}"#));
    let client =
        client(&api, "allow = [\"127.0.0.1\"]").replace("\"/token\"", &format!("\"http://{}/\"", hole.address));
    // Both workers meet requests that cannot be signed, and go on with those that need not be.
    let config = format!(
        r#"
        {client}
        [pipeline.items]
        from  = {{ lines = "urls.txt" }}
        steps = [{{ get = {{ via = "api", url = "{{.}}" }}, workers = 2 }}, {{ map = ".path" }}]
        to    = [{{ file = "out.ndjson" }}]
        {IDLE}
        "#
    );
    let workplace = Workplace::new(&config);
    let signed = (1..=10).map(|number| api.url(&format!("/items/{number}\n")));
    let open = (1..=10).map(|number| other.url(&format!("/{number}\n")));
    workplace.write("urls.txt", signed.chain(open).collect::<String>());
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 10);
    assert_eq!(api.served(), 0);
    daemon.kill();
}

#[test]
fn a_login_that_starts_to_fail_is_an_alert_and_no_loss() {
    let api = Api::start();
    let workplace = Workplace::new(&format!("{}{}{IDLE}", login_client(&api), items(200, ", workers = 4")));
    let (daemon, manager) = start(&workplace);
    wait_until("some items were served", || api.served() >= 50);
    api.deny(Some(reply("403 Forbidden", &[], "locked")));
    api.revoke();
    wait_until("the status says it", || status_has(&manager, "client api cannot sign in: cannot post to"));
    let (served, asked) = (api.served(), api.asked());
    assert!(served < 200, "nothing was left to do");
    std::thread::sleep(Duration::from_secs(3));
    assert!(api.asked() - asked <= 3, "{} more logins in three seconds", api.asked() - asked);
    assert_eq!(api.served(), served);
    api.deny(None);
    wait_for_lines(&workplace, "out.ndjson", 200);
    let ended = daemon.stop();
    assert_eq!((count(&ended.stderr, NOT), count(&ended.stderr, NOT_FOR_NOW)), (1, 0), "{}", ended.stderr);
    assert_eq!(count(&ended.stderr, "client can sign in again"), 1, "{}", ended.stderr);
    assert!(workplace.dead_letters().is_empty());
}

#[test]
fn what_a_token_end_point_refuses_for_good_is_tried_slowly() {
    let api = Api::start();
    let refusal = r#"{"error": "invalid_client", "error_description": "no such client"}"#;
    api.deny(Some(reply("401 Unauthorized", &["content-type: application/json"], refusal)));
    let workplace = Workplace::new(&format!("{}{}{IDLE}", client(&api, ""), items(100, ", workers = 16")));
    let (daemon, manager) = start(&workplace);
    wait_until("the status says it", || status_has(&manager, "invalid_client"));
    std::thread::sleep(Duration::from_secs(4));
    assert!(api.asked() <= 5, "{} requests for a token", api.asked());
    assert_eq!(api.refused(), 0, "nothing is sent unsigned");
    // A client that waits holds up no stop.
    let stopping = Instant::now();
    let ended = daemon.stop();
    assert!(stopping.elapsed() < Duration::from_secs(20), "{:?}", stopping.elapsed());
    assert_eq!(count(&ended.stderr, NOT), 1, "{}", ended.stderr);
    assert!(workplace.dead_letters().is_empty());
    // Nothing was lost: the next start has them all.
    api.deny(None);
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 100);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_server_that_refuses_fresh_tokens_holds_its_client_back() {
    let api = Api::start();
    api.forbid("*");
    let workplace = Workplace::new(&format!("{}{}{IDLE}", client(&api, ""), items(100, ", workers = 16")));
    let (daemon, manager) = start(&workplace);
    wait_until("the status says it", || status_has(&manager, "the server refuses a token that was just issued"));
    std::thread::sleep(Duration::from_secs(4));
    assert!(api.asked() <= 6, "{} requests for a token", api.asked());
    assert!(api.refused() <= 40, "{} requests in vain", api.refused());
    api.allow_all();
    wait_for_lines(&workplace, "out.ndjson", 100);
    let ended = daemon.stop();
    assert_eq!(count(&ended.stderr, NOT), 1, "{}", ended.stderr);
    assert_eq!(count(&ended.stderr, "client is signed in again"), 1, "{}", ended.stderr);
    assert!(workplace.dead_letters().is_empty());
}

#[test]
fn credentials_that_never_change_are_held_back_too() {
    let api = Api::start();
    let workplace = Workplace::new(&format!(
        r#"
        [http.api]
        base = "{}"
        auth = {{ bearer = "a-token-that-is-not-good" }}
        {}
        {IDLE}
        "#,
        api.url(""),
        items(50, ", workers = 8")
    ));
    let (daemon, manager) = start(&workplace);
    wait_until("the status says it", || status_has(&manager, "client api cannot sign in: the server refuses the cred"));
    assert!(api.refused() <= 30, "{} requests in vain", api.refused());
    let ended = daemon.stop();
    assert_eq!(count(&ended.stderr, NOT), 1, "{}", ended.stderr);
    assert!(workplace.dead_letters().is_empty());
}

#[test]
fn a_single_run_gives_up_what_its_client_cannot_sign_and_loses_nothing() {
    let api = Api::start();
    api.deny(Some(reply("400 Bad Request", &[], r#"{"error": "invalid_grant"}"#)));
    let workplace = Workplace::new(&format!("{}{}", client(&api, ""), items(5, "")));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("5 abandoned"), "{}", ended.stderr);
    assert!(workplace.dead_letters().is_empty());
    api.deny(None);
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    wait_for_lines(&workplace, "out.ndjson", 5);
}

#[test]
fn the_time_that_a_client_waits_is_none_in_which_its_items_failed() {
    let api = Api::start();
    // The item fails once; then its client cannot sign in for longer than the item may fail.
    api.answer_next(vec![reply("503 Service Unavailable", &[], ""), reply("503 Service Unavailable", &[], "")]);
    let retry = r#", retry = { tries = 10, within = "2s", base = "10ms", cap = "10ms" }"#;
    api.set_lifetime(None);
    let workplace = Workplace::new(&format!("{}{}{IDLE}", client(&api, ""), items(1, retry)));
    let down = reply("503 Service Unavailable", &[], "");
    std::thread::spawn({
        let api = api.clone();
        move || {
            wait_until("a token was given", || api.issued() == 1);
            api.deny(Some(down));
            api.revoke();
        }
    });
    let daemon = workplace.start();
    wait_until("the token end point is down", || api.asked() >= 3 || api.served() > 0);
    std::thread::sleep(Duration::from_secs(3));
    api.deny(None);
    wait_for_lines(&workplace, "out.ndjson", 1);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(workplace.dead_letters().is_empty());
}

#[test]
fn a_sink_waits_for_its_client_as_a_step_does() {
    let api = Api::start();
    api.deny(Some(reply("401 Unauthorized", &[], r#"{"error": "invalid_client"}"#)));
    let workplace = Workplace::new(&format!(
        r#"
        {}
        [pipeline.out]
        from = {{ items = {{ range = [1, 20] }} }}
        to   = [{{ http = {{ via = "api", url = "/items/{{.}}" }} }}]
        {IDLE}
        "#,
        client(&api, "")
    ));
    let daemon = workplace.start();
    daemon.wait_for_log("client cannot sign in");
    api.deny(None);
    wait_until("all were delivered", || api.served() == 20);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(workplace.dead_letters().is_empty());
}
