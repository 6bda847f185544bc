//! `gatherd test` and `gatherd try`, as their user meets them.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::gatherd::{Ended, Workplace};
use support::server::{Server, closed_port, json, reply};

const QUAKES: &str = r#"
[pipeline.quakes]
from  = { every = "1m" }
steps = [
  { get  = "https://earthquake.example/all_hour.geojson" },
  { each = ".features[]" },
  { new  = ".id" },
  { map  = "{id, mag: .properties.mag}" },
]
to = ["db", "alerts"]

[pipeline.small]
from  = { every = "1m" }
steps = [{ get = { url = "https://small.example/", max_body = "16B" } }]
to    = ["beats"]

[pipeline.beat]
from  = { cron = "0 * * * *" }
steps = [{ map = 'window.start[11:16] + "-" + window.end[11:16]' }]
to    = ["beats"]

[pipeline.hook]
from  = { webhook = { path = "/hook", listen = "127.0.0.1:0" } }
steps = [{ map = "{${NAME}: .x}" }]
to    = ["beats"]

[sink.db]
sqlite = { path = "quakes.db", table = "quakes", primary_key = ["id"] }

[sink.beats]
file = "beats.ndjson"

[sink.alerts]
when = ".mag >= 5"
http = { url = "https://hooks.example/T123", json = '{text: "M\(.mag)"}', headers = { X-Key = "${secret:key}" } }
"#;

const TWO_QUAKES: &str = r#"{ to = "GET https://earthquake.example/all_hour.geojson", json = { features = [
  { id = "a", properties = { mag = 5.5 } }, { id = "b", properties = { mag = 2.5 } } ] } }"#;

/// Runs `[[test]]` with this text against the quakes.
fn tested(test: &str) -> Ended {
    let config = QUAKES.replace("{${NAME}: .x}", ".");
    let workplace = Workplace::new("");
    workplace.write("quakes.toml", config);
    workplace.write(
        "quakes.test.toml",
        format!(
            "[[test]]\nname = \"it\"\nenvironment = {{ key = \"k1\" }}\n{}",
            test.replace("TWO_QUAKES", TWO_QUAKES)
        ),
    );
    let ended = workplace.gatherd(&["test"]);
    for left in ["quakes.db", "beats.ndjson", "gatherd-state"] {
        assert!(!workplace.path(left).exists(), "{left} was left behind: {ended:?}");
    }
    ended
}

#[track_caller]
fn passes(test: &str) {
    let ended = tested(test);
    assert_eq!(ended.code(), Some(0), "{test}\n{ended:?}");
    assert!(ended.stdout.ends_with("1 passed, 0 failed\n"), "{ended:?}");
}

/// The test fails, and what is said of it has these parts.
#[track_caller]
fn fails(test: &str, parts: &[&str]) {
    let ended = tested(test);
    assert_eq!(ended.code(), Some(1), "{test}\n{ended:?}");
    for part in parts {
        assert!(ended.stdout.contains(part), "{part} is not in\n{}", ended.stdout);
    }
}

#[test]
fn the_items_that_sinks_take_are_what_is_expected_in_any_order() {
    passes(
        r#"
pipeline = "quakes"
replies = [TWO_QUAKES]
expect.items.db = [{ mag = 2.5, id = "b" }, { mag = 5.5, id = "a" }]
expect.items.alerts = '[{"id": "a", "mag": 5.5}]'
expect.requests = ["GET https://earthquake.example/all_hour.geojson"]
"#,
    );
}

#[test]
fn a_sink_that_sends_sends_to_the_replies() {
    passes(
        r#"
pipeline = "quakes"
send = ["alerts"]
replies = [TWO_QUAKES, { to = "POST https://hooks.example/T123", status = 503 },
  { to = "POST https://hooks.example/T123", status = 204 }]
expect.items.alerts = [{ id = "a", mag = 5.5 }]
expect.requests = [
  "GET https://earthquake.example/all_hour.geojson",
  { to = "POST https://hooks.example/T123", json = { text = "M5.5" }, headers = { X-Key = "k1" } },
  { to = "POST https://hooks.example/T123", json = { text = "M5.5" } },
]
"#,
    );
}

#[test]
fn schedules_tick_by_the_clock_of_the_test() {
    passes(
        r#"
pipeline = "beat"
start = 2026-11-21T09:30:00Z
run = "3h"
expect.items.beats = ["09:00-09:30", "09:30-10:00", "10:00-11:00", "11:00-12:00"]
"#,
    );
}

#[test]
fn what_was_seen_once_is_not_new_at_the_next_tick() {
    passes("pipeline = 'quakes'\nrun = '1h'\nreplies = [TWO_QUAKES]\nexpect.items.alerts = [{ id = 'a', mag = 5.5 }]");
}

#[test]
fn time_limits_and_tries_pass_without_waiting() {
    passes(
        r#"
pipeline = "quakes"
replies = [{ to = "GET https://earthquake.example/all_hour.geojson", fault = "silent" },
  { to = "GET https://earthquake.example/all_hour.geojson", fault = "refused" },
  { to = "GET https://earthquake.example/all_hour.geojson", fault = "disconnected" }, TWO_QUAKES]
expect.items.alerts = [{ id = "a", mag = 5.5 }]
"#,
    );
}

#[test]
fn items_may_stand_in_for_those_of_the_source() {
    passes("pipeline = 'hook'\nsource = [{ x = 1 }, 'two']\nexpect.items.beats = [{ x = 1 }, 'two']");
    fails("pipeline = 'hook'", &["quakes.test.toml:1:1: the source of `hook` waits for requests"]);
}

#[test]
fn what_is_given_up_is_expected_or_told() {
    let gone =
        "pipeline = 'quakes'\nreplies = [{ to = 'GET https://earthquake.example/all_hour.geojson', status = 404 }]\n";
    passes(&format!("{gone}expect.dead = ['get']"));
    fails(gone, &["quakes.test.toml:1:1: the items that were given up are others", "+ get: cannot get", "404"]);
    fails("pipeline = 'quakes'\nreplies = [TWO_QUAKES]\nexpect.dead = ['get']", &["    - get\n"]);
}

#[test]
fn a_reply_is_held_to_the_limits_that_hold_in_a_run() {
    let sent = |text: &str| {
        format!("pipeline = 'small'\nreplies = [{{ to = 'GET https://small.example/', json = '{text}' }}]\n")
    };
    passes(&format!("{}expect.items.beats = ['fourteen signs']", sent("fourteen signs")));
    passes(&format!("{}expect.dead = ['get']", sent("fifteen letters")));
}

#[test]
fn a_difference_is_shown_at_its_place() {
    fails(
        "pipeline = 'quakes'\nreplies = [TWO_QUAKES]\nexpect.items.db = [{ id = 'a', mag = 5.4 }]",
        &[
            "FAILED  it",
            "quakes.test.toml:7:14: the items of `db` are others (- expected, + came)\n",
            "    - {\"id\":\"a\",\"mag\":5.4}\n",
            "    + {\"id\":\"a\",\"mag\":5.5}\n",
            "0 passed, 1 failed\n",
        ],
    );
    fails(
        "pipeline = 'quakes'\nreplies = [TWO_QUAKES]\nexpect.requests = ['GET https://other.example']",
        &[
            "quakes.test.toml:7:8: the requests are others",
            "- GET https://other.example/\n",
            "+ GET https://earthquake",
        ],
    );
}

#[test]
fn a_request_without_a_reply_fails_the_test() {
    fails("pipeline = 'quakes'", &["there is no reply to `GET https://earthquake.example/all_hour.geojson`; add one"]);
    fails(
        "pipeline = 'quakes'\nreplies = [TWO_QUAKES]\nsend = ['alerts']",
        &["there is no reply to `POST https://hooks.example/T123`"],
    );
}

#[test]
fn a_wrong_name_is_told() {
    fails("pipeline = 'quake'", &["there is no pipeline `quake`; did you mean `quakes`?"]);
    fails("expect.items.bd = []", &["quakes.test.toml:4:14: no items go to a sink `bd`; did you mean `db`?"]);
}

#[test]
fn mistakes_in_a_test_or_in_its_config_are_answered_with_78() {
    for (test, message) in [
        ("nam = 1", "`test` has no setting `nam`"),
        ("replies = [{ to = 'x' }]", "`x` is no method and URL"),
        ("replies = [{ to = 'GET https://a.example', json = 1, body = 'x' }]", "a reply has one body"),
        ("replies = [{ to = 'GET https://a.example', file = 'gone.json' }]", "gone.json`: No such file"),
        ("start = 'noon'", "this is no time"),
        ("expect.items.db = 5", "this is no list of items"),
        ("expect.requests = [{ json = 1 }]", "does not say where it goes"),
        ("environment = {}", "`environment` is defined twice"),
    ] {
        let ended = tested(test);
        assert_eq!(ended.code(), Some(78), "{test}: {ended:?}");
        assert!(ended.stderr.contains(message), "{test}: {}", ended.stderr);
    }
    let workplace = Workplace::new("[pipeline.a]\nfrom = { evry = '1m' }\n");
    workplace.write("gatherd.test.toml", "[[test]]\nname = 'it'\n");
    let ended = workplace.gatherd(&["test", "gatherd.toml"]);
    assert_eq!(ended.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("did you mean `every`?"), "{ended:?}");
    assert_eq!(Workplace::new("").gatherd(&["test"]).code(), Some(78));
}

#[test]
fn the_tests_of_the_examples_pass() {
    let output = Command::new(env!("CARGO_BIN_EXE_gatherd")).args(["test", "config/examples"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

// ---- try

fn tried(arguments: &[&str], config: &str) -> (Value, Option<i32>) {
    let ended = Workplace::new(config).gatherd(&[&["try"], arguments].concat());
    let tried = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (tried, ended.code())
}

#[test]
fn try_shows_what_each_step_makes_of_a_reply() {
    let server = Server::start(|_, connection| {
        connection.write_all(&json(r#"{"items":[{"id":1,"name":"a"},{"id":2,"name":"b"}]}"#))
    });
    let (tried, code) = tried(
        &[&server.url("/x"), "--step", "each = '.items[]'", "--step", "{ where = '.id > 1' }", "--jq", ".name"],
        "",
    );
    assert_eq!(code, Some(0), "{tried:#}");
    let values = |step: usize| -> Vec<&Value> {
        tried["steps"][step]["items"].as_array().unwrap().iter().map(|item| &item["value"]).collect()
    };
    let names: Vec<&str> =
        tried["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["get", "each", "where", "map"]);
    assert_eq!(tried["steps"][0]["items"][0]["labels"]["status"], 200);
    assert_eq!(values(1).len(), 2);
    assert_eq!(values(2), [&serde_json::json!({"id": 2, "name": "b"})]);
    assert_eq!(values(3), [&Value::from("b")]);
    assert_eq!(tried["faults"], serde_json::json!([]));
}

#[test]
fn try_uses_the_clients_of_a_config_and_delivers_nothing() {
    let server = Server::start(|seen, connection| {
        let is_signed = seen.header("authorization") == Some("Bearer t0p");
        connection.write_all(&if is_signed { json("[1]") } else { reply("401 Unauthorized", &[], "") })
    });
    let config = format!(
        "[http.api]\nbase = '{}'\nauth = {{ bearer = 't0p' }}\n[pipeline.other]\nfrom = {{ every = '1s' }}\n\
         steps = [{{ get = {{ via = 'api', url = '/other' }} }}]\nto = [{{ file = 'out' }}]",
        server.url("")
    );
    let (tried, code) = tried(&["/mine", "--config", "gatherd.toml", "--via", "api"], &config);
    assert_eq!(code, Some(0), "{tried:#}");
    assert_eq!(tried["steps"][0]["items"][0]["value"], serde_json::json!([1]));
    assert!(server.seen().iter().all(|seen| seen.target == "/mine"));
}

#[test]
fn try_says_by_its_exit_code_how_it_ended() {
    let server = Server::saying(reply("404 Not Found", &[], "gone"));
    let (tried, code) = tried(&[&server.url("/")], "");
    assert_eq!(code, Some(1));
    assert_eq!(tried["faults"][0]["step"], "get");
    assert!(tried["faults"][0]["fault"].as_str().unwrap().contains("404"), "{tried:#}");
    let closed = closed_port();
    let (tried, code) = self::tried(&[&format!("http://127.0.0.1:{closed}/")], "");
    assert_eq!((code, tried["faults"][0]["kind"].as_str()), (Some(1), Some("connect")));
    for (arguments, expected) in [
        (vec!["try", "http://a.example", "--jq", ".["], 2),
        (vec!["try", "no url"], 2),
        (vec!["try", "127.0.0.1:80/"], 2),
        (vec!["try", "http://a.example", "--via", "x"], 2),
        (vec!["try", "/x", "--config", "gatherd.toml", "--via", "gone"], 78),
    ] {
        let ended = Workplace::new("[pipeline.a]\nfrom = { every = '1m' }").gatherd(&arguments);
        assert_eq!(ended.code(), Some(expected), "{arguments:?}: {ended:?}");
    }
}

// ---- record

#[test]
fn a_recorded_test_passes_and_holds_no_secret() {
    let server = Server::start(|seen, connection| {
        let said = match &*seen.target {
            "/oauth/token" => json(r#"{"access_token":"issued-canary-1","expires_in":60,"token_type":"bearer"}"#),
            _ if seen.header("authorization") != Some("Bearer issued-canary-1") => reply("401 Unauthorized", &[], ""),
            "/orders?key=canary-key-22" => reply(
                "200 OK",
                &["content-type: application/json", "set-cookie: session=canary-cookie", "etag: \"v1\""],
                r#"{"orders":[{"id":7,"note":null,"for":"canary-key-22"},{"id":8,"note":"${NO}"},{"id":9}]}"#,
            ),
            "/orders/7" => json(r#"{"total":3}"#),
            // The connection ends in place of a reply.
            "/orders/9" => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            _ => reply("404 Not Found", &[], ""),
        };
        connection.write_all(&said)
    });
    let config = r#"
[http.shop]
base = "${API}"
auth = { oauth2 = { token_url = "/oauth/token", id = "me", secret = "${secret:shop}" } }

[pipeline.orders]
from  = { every = "1h" }
steps = [
  { get  = { via = "shop", url = "/orders", query = { key = "${secret:key}" } } },
  { each = ".orders[]" },
  { get  = { via = "shop", url = "/orders/{.id}", into = ".detail" } },
  { map  = "{id, note, total: .detail.total, at: labels.fetched_at, took: labels.elapsed}" },
]
to = ["db"]

[sink.db]
file = "orders.ndjson"
"#;
    let workplace = Workplace::new(config);
    let environment = [("API", server.url("")), ("shop", "canary-secret-1".into()), ("key", "canary-key-22".into())];
    let mut command = workplace.command(&["record", "orders", "gatherd.toml"]);
    let output = command.envs(environment).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let recorded = workplace.read("gatherd.test.toml");
    assert!(!recorded.contains("canary"), "{recorded}");
    assert!(!workplace.path("orders.ndjson").exists());
    drop(server);
    let ended = workplace.gatherd(&["test"]);
    assert_eq!(ended.code(), Some(0), "{ended:?}\n{recorded}");
    for part in
        ["expect.dead = [\"get-2\", \"get-2\"]", "fault = \"disconnected\"", "\"total\": 3", "etag", "start = \"20"]
    {
        assert!(recorded.contains(part), "{part} is not in\n{recorded}");
    }
    let ended = workplace.gatherd(&["record", "order", "gatherd.toml"]);
    assert_eq!(ended.code(), Some(78), "{ended:?}");
}
