//! Tokens that end, or are taken back: one new one for all that wait, and every request signed anew.

use std::time::Duration;

use crate::api::{Api, client, items, login_client};
use crate::support::gatherd::{IDLE, Workplace, wait_for_lines};
use crate::support::server::reply;
use crate::support::wait_until;

fn paths(workplace: &Workplace) -> usize {
    let mut paths: Vec<String> = workplace.read("out.ndjson").lines().map(str::to_owned).collect();
    let count = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), count, "an item came twice");
    count
}

#[test]
fn a_hundred_requests_in_flight_whose_token_is_taken_back_lead_to_one_new_token() {
    let api = Api::start();
    api.set_delay(Duration::from_millis(200));
    let wide = "per_host = 100";
    let config = format!("{}{}", client(&api, wide), items(1000, ", workers = 100"));
    let workplace = Workplace::new(&config);
    let revoked = std::thread::spawn({
        let api = api.clone();
        move || {
            wait_until("many items were served", || api.served() >= 300);
            api.revoke();
        }
    });
    let ended = workplace.run_once();
    revoked.join().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(paths(&workplace), 1000);
    assert!(api.refused() > 0, "the token was not taken back in flight");
    assert_eq!(api.issued(), 2, "one for the start, one for all that were refused");
    assert_eq!(api.asked(), 2);
}

#[test]
fn a_token_is_replaced_before_it_ends() {
    let api = Api::start();
    api.set_lifetime(Some(Duration::from_secs(2)));
    let config = format!("{}{}", client(&api, "rate = '20/s'"), items(120, ""));
    let workplace = Workplace::new(&config);
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(paths(&workplace), 120);
    assert_eq!(api.refused(), 0, "a token was used after its end");
    // Six seconds, with a new token after three quarters of two at the latest.
    assert!((3..=10).contains(&api.issued()), "{} tokens", api.issued());
}

#[test]
fn a_request_is_signed_anew_after_its_back_off() {
    let api = Api::start();
    api.set_lifetime(Some(Duration::from_secs(2)));
    api.answer_next(vec![reply("503 Service Unavailable", &["retry-after: 3"], "")]);
    let workplace = Workplace::new(&format!("{}{}", client(&api, ""), items(1, "")));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(paths(&workplace), 1);
    let requests: Vec<_> = api.server.seen().into_iter().filter(|seen| seen.target == "/items/1").collect();
    let signed: Vec<_> = requests.iter().map(|seen| seen.header("authorization").unwrap()).collect();
    assert_eq!(signed, ["Bearer issued-token-1", "Bearer issued-token-2"]);
}

#[test]
fn a_session_that_the_server_forgets_is_begun_again() {
    let api = Api::start();
    let workplace = Workplace::new(&format!("{}{}{IDLE}", login_client(&api), items(300, ", workers = 4")));
    let daemon = workplace.start();
    wait_until("some items were served", || api.served() >= 100);
    api.revoke();
    wait_for_lines(&workplace, "out.ndjson", 300);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(paths(&workplace), 300);
    assert_eq!(api.issued(), 2);
}

#[test]
fn the_sign_of_a_refusal_is_the_config_s_to_say() {
    let api = Api::start();
    api.refuse_with(reply("403 Forbidden", &["content-type: application/json"], r#"{"error": "session is over"}"#));
    let auth = |more: &str| {
        client(&api, "").replace("secret = \"secret-of-me\" } }", &format!("secret = \"secret-of-me\" }}{more} }}"))
    };
    for sign in ["labels.status == 403", ".error? == \\\"session is over\\\""] {
        let config = format!("{}{}", auth(&format!(", refresh_when = \"{sign}\"")), items(50, ", workers = 1"));
        let workplace = Workplace::new(&config);
        let before = api.issued();
        let revoked = std::thread::spawn({
            let (api, served) = (api.clone(), api.served());
            move || {
                wait_until("some items were served", || api.served() >= served + 10);
                api.revoke();
            }
        });
        let ended = workplace.run_once();
        revoked.join().unwrap();
        assert_eq!(ended.code(), Some(0), "{sign}: {ended:?}");
        assert_eq!((paths(&workplace), api.issued() - before), (50, 2), "{sign}");
    }
}

#[test]
fn a_step_may_say_that_its_client_is_to_sign_in_anew() {
    let api = Api::start();
    // It answers with a good status that the token is over.
    api.refuse_with(reply("200 OK", &["content-type: application/json"], r#"{"error": "token expired"}"#));
    let on = r#", on = [{ when = ".error? == \"token expired\"", do = "refresh_auth" }], workers = 1"#;
    let workplace = Workplace::new(&format!("{}{}{IDLE}", client(&api, ""), items(100, on)));
    let daemon = workplace.start();
    wait_until("some items were served", || api.served() >= 20);
    api.revoke();
    wait_for_lines(&workplace, "out.ndjson", 100);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!((paths(&workplace), api.issued()), (100, 2));
    assert!(workplace.dead_letters().is_empty());
}

#[test]
fn a_reply_that_refuses_one_request_alone_is_that_request_s_own() {
    let api = Api::start();
    api.forbid("/items/5");
    api.forbid("/items/15");
    let workplace = Workplace::new(&format!("{}{}{IDLE}", client(&api, ""), items(1000, ", workers = 4")));
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 998);
    // Others have to be accepted for it to show: one that is left alone waits for the next.
    let more =
        "[pipeline.more]\nfrom = { every = '200ms' }\nsteps = [{ get = { via = 'api', url = '/more' } }]\nto = []\n";
    workplace.write("gatherd.toml", workplace.read("gatherd.toml") + more);
    daemon.signal(rustix::process::Signal::HUP);
    wait_until("both are given up", || workplace.dead_letters().len() == 2);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(paths(&workplace), 998);
    let dead = workplace.dead_letters();
    assert!(dead.iter().all(|letter| letter["fault"]["message"].as_str().unwrap().contains("401 Unauthorized")));
    assert!(api.issued() <= 12, "{} tokens", api.issued());
}
