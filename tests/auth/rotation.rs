//! Refresh tokens that change with each use, over SIGKILL.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::gatherd::{IDLE, Workplace};
use crate::support::server::{Server, json, reply};
use crate::support::wait_until;

/// What a token end point knows that gives a new refresh token with each access token. A refresh token is good until
/// the one that followed it is used; whoever comes with an older one is locked out for good, as RFC 9700 (section
/// 4.14.2) asks for.
#[derive(Default)]
struct Family {
    /// The number of the newest refresh token.
    newest: usize,
    /// Of the newest that was used.
    used: usize,
    is_locked: bool,
    refreshes: usize,
    accepted: usize,
}

fn start(family: Arc<Mutex<Family>>) -> Server {
    Server::start(move |seen, connection| {
        let mut family = family.lock().unwrap();
        if seen.target != "/token" {
            family.accepted += 1;
            return connection.write_all(&json("{}"));
        }
        let given = seen.body.split('&').find_map(|pair| pair.strip_prefix("refresh_token=refresh-token-"));
        let given: usize = given.unwrap().parse().unwrap();
        if family.is_locked || given < family.used {
            family.is_locked = true;
            return connection.write_all(&reply("400 Bad Request", &[], r#"{"error": "invalid_grant"}"#));
        }
        family.used = given;
        family.newest += 1;
        family.refreshes += 1;
        let newest = family.newest;
        connection.write_all(&json(&format!(
            r#"{{"access_token": "access-token-{newest}", "token_type": "Bearer", "expires_in": 0.4,
                "refresh_token": "refresh-token-{newest}"}}"#
        )))
    })
}

#[test]
fn a_refresh_token_that_changes_is_never_lost_to_a_kill() {
    let kills = 20;
    let family = Arc::new(Mutex::new(Family::default()));
    let server = start(family.clone());
    let workplace = Workplace::new(&format!(
        r#"
        [http.api]
        base = "{}"
        auth = {{ oauth2 = {{ token_url = "/token", id = "me", grant = "refresh_token", refresh_token = "refresh-token-0" }} }}

        [pipeline.items]
        from  = {{ every = "20ms" }}
        steps = [{{ get = {{ via = "api", url = "/items" }} }}]
        to    = []
        {IDLE}
        "#,
        server.url("")
    ));
    for kill in 0..kills {
        let daemon = workplace.start();
        let before = {
            let family = family.lock().unwrap();
            (family.refreshes, family.accepted)
        };
        wait_until("it works with a new token", || {
            let family = family.lock().unwrap();
            assert!(!family.is_locked, "locked out after {kill} kills: a refresh token was used before it was kept");
            family.refreshes > before.0 && family.accepted > before.1
        });
        let moment = Instant::now() + Duration::from_millis(fastrand::u64(0..500));
        wait_until("the moment", || Instant::now() >= moment);
        daemon.signal(Signal::KILL);
        daemon.kill();
    }
    let family = family.lock().unwrap();
    assert!(!family.is_locked && family.refreshes > kills, "{} refreshes", family.refreshes);
}

#[test]
fn another_refresh_token_in_the_config_is_a_new_beginning() {
    let family = Arc::new(Mutex::new(Family::default()));
    let server = start(family.clone());
    let config = |first: &str| {
        format!(
            r#"
            [http.api]
            base = "{}"
            auth = {{ oauth2 = {{ token_url = "/token", id = "me", grant = "refresh_token", refresh_token = "{first}" }} }}

            [pipeline.items]
            from  = {{ items = [1] }}
            steps = [{{ get = {{ via = "api", url = "/items" }} }}]
            to    = []
            "#,
            server.url("")
        )
    };
    let workplace = Workplace::new(&config("refresh-token-0"));
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(family.lock().unwrap().used, 0);
    workplace.write("gatherd.toml", config("refresh-token-7").replace("[1]", "[2]"));
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(family.lock().unwrap().used, 7);
}
