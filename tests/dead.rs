//! Dead letters as their operator meets them: `gatherd dead`, with a daemon that runs and without one.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::gatherd::{Ended, IDLE, Running, Workplace, wait_for_lines};
use support::server::{Server, json as json_reply, reply};
use support::{comes_true_within, wait_until};

/// A destination that refuses everything that is `bad` until it is mended.
struct Destination {
    server: Server,
    is_mended: Arc<AtomicBool>,
}

impl Destination {
    fn new() -> Self {
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = is_mended.clone();
        let server = Server::start(move |seen, connection| {
            let is_bad = seen.target.contains("bad") || seen.body.contains("bad");
            let refuses = is_bad && !mended.load(Ordering::SeqCst);
            connection.write_all(&if refuses { reply("400 Bad Request", &[], "no") } else { json_reply("\"taken\"") })
        });
        Self { server, is_mended }
    }

    fn mend(&self) {
        self.is_mended.store(true, Ordering::SeqCst);
    }

    /// A pipeline whose items are looked up there one by one, and go into a file.
    fn lookups(&self, names: &[&str]) -> Workplace {
        let config = format!(
            r#"
            [pipeline.lookups]
            from  = {{ items = {} }}
            steps = [
              {{ new = "." }},
              {{ map = "{{name: .}}" }},
              {{ get = {{ url = "{}{{.name}}", into = ".reply" }} }},
            ]
            to = [{{ file = "out.ndjson", batch = 1 }}]
            {IDLE}
            "#,
            json!(names),
            self.server.url("/")
        );
        Workplace::new(&config)
    }
}

/// Makes the dead letters of a config: runs the daemon until there are so many, and stops it or lets it run on.
#[track_caller]
fn with_letters(workplace: &Workplace, count: usize, runs_on: bool) -> Option<Running> {
    let daemon = workplace.start();
    wait_until("the dead letters", || workplace.dead_letters().len() == count);
    if runs_on {
        return Some(daemon);
    }
    assert_eq!(daemon.stop().code(), Some(0));
    None
}

#[track_caller]
fn done(ended: Ended) -> String {
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    ended.stdout
}

#[track_caller]
fn dead(workplace: &Workplace, arguments: &[&str]) -> String {
    done(workplace.gatherd(&[&["dead"], arguments].concat()))
}

fn names(letters: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> = letters.iter().map(|letter| letter["value"]["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

fn ids(letters: &[Value]) -> Vec<i64> {
    letters.iter().map(|letter| letter["id"].as_i64().unwrap()).collect()
}

/// Runs the check with a daemon that runs, and without one.
fn both_ways(check: impl Fn(bool)) {
    check(true);
    check(false);
}

#[test]
fn letters_are_listed_shown_edited_exported_and_dropped_while_the_daemon_runs_and_while_it_does_not() {
    both_ways(|runs_on| {
        let destination = Destination::new();
        let workplace = destination.lookups(&["bad1", "good", "bad2", "bad3"]);
        let daemon = with_letters(&workplace, 3, runs_on);
        assert_eq!(workplace.path("gatherd-state/control.sock").exists(), runs_on);

        let letters = workplace.dead_letters();
        assert_eq!(names(&letters), ["bad1", "bad2", "bad3"]);
        let table = dead(&workplace, &["list", "--component", "get", "--fault", "status", "--limit", "2"]);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.lines().skip(1).all(|line| line.contains("lookups") && line.contains("400")), "{table}");
        for none in [["--pipeline", "other"], ["--component", "map"], ["--fault", "dns"], ["--older-than", "1h"]] {
            assert_eq!(dead(&workplace, &["list", none[0], none[1]]), "no dead letters\n", "{none:?}");
        }
        assert_eq!(dead(&workplace, &["list", "--within", "1h"]).lines().count(), 4);

        let id = ids(&letters)[0].to_string();
        assert!(dead(&workplace, &["show", &id]).contains("component  get"));
        assert_eq!(dead(&workplace, &["edit", &id, "--value", r#"{"name":"mended","n":1.50}"#]).lines().count(), 1);
        let shown: Value = serde_json::from_str(&dead(&workplace, &["show", "--json", &id])).unwrap();
        assert_eq!((&shown["value"], &shown["count"]), (&json!({"name": "mended", "n": 1.5}), &json!(1)));
        let wrong = workplace.gatherd(&["dead", "edit", &id, "--value", "{\"name\":"]);
        assert!(wrong.code() == Some(1) && wrong.stderr.contains("not JSON at byte 8"), "{wrong:?}");

        let exported = dead(&workplace, &["export"]);
        let exported: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(exported, workplace.dead_letters());
        assert_eq!(exported[0]["history"].as_array().unwrap().len(), 1);
        assert_eq!(dead(&workplace, &["export", &id]).lines().count(), 1);

        let unknown = workplace.gatherd(&["dead", "drop", "99", &id]);
        assert!(unknown.code() == Some(1) && unknown.stderr.contains("no dead letter 99"), "{unknown:?}");
        let nothing = workplace.gatherd(&["dead", "drop"]);
        assert_eq!(nothing.code(), Some(2), "what is dropped must be said: {nothing:?}");
        assert_eq!(dead(&workplace, &["drop", &id]), "dropped 1 dead letter\n");
        assert_eq!(dead(&workplace, &["drop", "--pipeline", "lookups", "--yes"]), "dropped 2 dead letters\n");
        assert_eq!(dead(&workplace, &["drop", "--all"]), "no dead letters\n");
        assert!(workplace.dead_letters().is_empty());
        assert!(daemon.is_none_or(|daemon| daemon.stop().code() == Some(0)));
    });
}

#[test]
fn a_replayed_item_arrives_once_its_destination_was_mended() {
    both_ways(|runs_on| {
        let destination = Destination::new();
        let workplace = destination.lookups(&["bad1", "good", "bad2"]);
        let daemon = with_letters(&workplace, 2, runs_on);
        destination.mend();
        let said = dead(&workplace, &["replay", "--all"]);
        let daemon = match daemon {
            Some(daemon) => {
                assert_eq!(said, "asked to replay 2 dead letters\n");
                daemon
            }
            None => {
                assert_eq!(said, "the next start replays 2 dead letters\n");
                let asked =
                    |letters: Vec<Value>| letters.iter().filter(|letter| letter["replay_asked"] == true).count();
                assert_eq!(asked(workplace.dead_letters()), 2);
                let table = dead(&workplace, &["list"]);
                assert_eq!(table.lines().filter(|line| line.contains(" asked ")).count(), 2, "{table}");
                workplace.start()
            }
        };
        // They pass `new`, although their keys were seen.
        wait_for_lines(&workplace, "out.ndjson", 3);
        wait_until("no letters", || workplace.dead_letters().is_empty());
        let mut arrived: Vec<_> = workplace.values("out.ndjson").iter().map(|value| value["name"].clone()).collect();
        arrived.sort_by_key(Value::to_string);
        assert_eq!(arrived, ["bad1", "bad2", "good"]);
        assert_eq!(daemon.stop().code(), Some(0));
    });
}

#[test]
fn a_single_run_replays_too() {
    let destination = Destination::new();
    let workplace = destination.lookups(&["bad1", "good"]);
    with_letters(&workplace, 1, false);
    destination.mend();
    dead(&workplace, &["replay", "1"]);
    let config = workplace.read("gatherd.toml").replace(IDLE, "");
    workplace.write("gatherd.toml", config);
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(workplace.read("out.ndjson").lines().count(), 2);
    assert!(workplace.dead_letters().is_empty());
}

#[test]
fn an_item_that_fails_again_is_one_letter_with_a_longer_history() {
    let destination = Destination::new();
    let workplace = destination.lookups(&["bad1", "bad2"]);
    let daemon = with_letters(&workplace, 2, true).unwrap();
    let first = workplace.dead_letters();
    for times in 2..=3 {
        dead(&workplace, &["replay", "--component", "get"]);
        let all = |letter: &Value| letter["count"] == times;
        wait_until("they fail again", || workplace.dead_letters().iter().all(all));
    }
    let again = workplace.dead_letters();
    let sorted = |letters: &[Value]| {
        let mut ids = ids(letters);
        ids.sort_unstable();
        ids
    };
    assert_eq!(sorted(&again), sorted(&first));
    for letter in &again {
        assert_eq!(letter["history"].as_array().unwrap().len(), 3, "{letter}");
        assert_eq!(letter["first"], letter["history"][0]["at"]);
        assert_eq!(letter["last"], letter["history"][2]["at"]);
    }
    // What asked for the replay is gone with it: a restart does not replay them again.
    assert_eq!(daemon.stop().code(), Some(0));
    let asked = destination.server.seen().len();
    let daemon = workplace.start();
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(destination.server.seen().len(), asked);
}

#[test]
fn an_item_that_gets_further_and_fails_there_is_still_one_letter() {
    let destination = Destination::new();
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.two]
        from  = {{ items = ["bad"] }}
        steps = [{{ get = {{ url = "{}{{.}}", into = ".reply" }} }}, {{ map = ".name.first" }}]
        to    = [{{ file = "out.ndjson", batch = 1 }}]
        {IDLE}
        "#,
        destination.server.url("/")
    ));
    let config = workplace.read("gatherd.toml");
    workplace.write(
        "gatherd.toml",
        config.replace(r#"items = ["bad"]"#, r#"items = [{ name = "bad" }]"#).replace("{.}", "{.name}"),
    );
    let _daemon = with_letters(&workplace, 1, true);
    destination.mend();
    dead(&workplace, &["replay", "1"]);
    wait_until("it fails at `map`", || {
        let letters = workplace.dead_letters();
        letters.len() == 1 && letters[0]["component"] == "map"
    });
    let letter = &workplace.dead_letters()[0];
    let kinds: Vec<_> = letter["history"].as_array().unwrap().iter().map(|fault| fault["kind"].clone()).collect();
    assert_eq!((kinds, &letter["count"]), (vec![json!("status"), json!("filter")], &json!(2)));

    let id = letter["id"].to_string();
    dead(&workplace, &["edit", &id, "--value", r#"{"name":{"first":"mended"}}"#]);
    dead(&workplace, &["replay", &id]);
    wait_for_lines(&workplace, "out.ndjson", 1);
    assert_eq!(workplace.read("out.ndjson"), "\"mended\"\n");
    wait_until("no letters", || workplace.dead_letters().is_empty());
}

#[test]
fn a_letter_of_a_sink_goes_to_that_sink_alone() {
    let destination = Destination::new();
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.work]
        from = {{ items = ["bad", "good"] }}
        to   = [{{ file = "out.ndjson", batch = 1 }}, {{ http = {{ url = "{}", json = "." }} }}]
        {IDLE}
        "#,
        destination.server.url("/")
    ));
    let daemon = with_letters(&workplace, 1, true).unwrap();
    assert_eq!(workplace.dead_letters()[0]["component"], "sink.work.http");
    destination.mend();
    let asked = destination.server.seen().len();
    dead(&workplace, &["replay", "1"]);
    wait_until("no letters", || workplace.dead_letters().is_empty());
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(destination.server.seen().len(), asked + 1);
    assert_eq!(workplace.read("out.ndjson").lines().count(), 2);
}

#[test]
fn a_replay_may_begin_at_an_earlier_step_and_one_that_cannot_be_leaves_the_letter() {
    let destination = Destination::new();
    let workplace = destination.lookups(&["bad"]);
    let daemon = with_letters(&workplace, 1, true).unwrap();
    destination.mend();
    let later = workplace.gatherd(&["dead", "replay", "1", "--from", "nowhere"]);
    assert!(later.code() == Some(1) && later.stderr.contains("has no step `nowhere`"), "{later:?}");
    daemon.wait_for_log("pipeline `lookups` has no step `nowhere`");
    assert_eq!(workplace.dead_letters().len(), 1);
    // `map` makes `{name: .}` of what the item was when `get` gave it up.
    dead(&workplace, &["drop", "--all"]);
    assert_eq!(daemon.stop().code(), Some(0));

    let config = workplace.read("gatherd.toml").replace("[\"bad\"]", "[\"bad2\"]");
    workplace.write("gatherd.toml", config);
    destination.is_mended.store(false, Ordering::SeqCst);
    let daemon = with_letters(&workplace, 1, true).unwrap();
    destination.mend();
    let id = ids(&workplace.dead_letters())[0].to_string();
    dead(&workplace, &["edit", &id, "--value", "\"by hand\""]);
    dead(&workplace, &["replay", &id, "--from", "source"]);
    wait_for_lines(&workplace, "out.ndjson", 1);
    assert_eq!(workplace.values("out.ndjson")[0]["name"], "by hand");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn letters_of_a_pipeline_or_component_that_is_gone_stay_and_are_named() {
    let destination = Destination::new();
    let workplace = destination.lookups(&["bad"]);
    with_letters(&workplace, 1, false);
    dead(&workplace, &["replay", "1"]);
    let config = workplace.read("gatherd.toml");
    for (changed, told) in [
        (config.replace("pipeline.lookups", "pipeline.others"), "pipeline is gone"),
        (config.replace("get = {", "id = \"ask\", get = {"), "pipeline `lookups` has no `get` any more"),
    ] {
        workplace.write("gatherd.toml", changed);
        let daemon = workplace.start();
        daemon.wait_for_log(told);
        assert!(ids(&workplace.dead_letters()).contains(&1));
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

#[test]
fn only_the_pipeline_at_its_limit_pauses_and_it_goes_on_when_letters_are_dropped() {
    let workplace = Workplace::new(
        r#"
        [pipeline.broken]
        from  = { items = { range = [1, 101] } }
        steps = [{ map = "error(\"broken\")", when = ". % 2 == 0" }]
        to    = [{ file = "broken.ndjson", batch = 1 }]

        [pipeline.sound]
        from = { items = { range = [1, 101] } }
        to   = [{ file = "sound.ndjson", batch = 1 }]

        # Without it the daemon would be at its end when the last letter is dropped.
        [pipeline.endless]
        from = { every = "1h" }
        to   = []

        [service]
        dead_letters = 7
        "#,
    );
    let daemon = workplace.start();
    daemon.wait_for_log("pipeline pauses until some of its dead letters are replayed or dropped");
    wait_for_lines(&workplace, "sound.ndjson", 100);
    assert_eq!(workplace.dead_letters().len(), 7);
    let before = workplace.read("broken.ndjson").lines().count();
    assert!(before <= 8, "{before}");
    let mut dropped = 0;
    while dropped < 49 {
        dropped += workplace.dead_letters().len();
        dead(&workplace, &["drop", "--all"]);
        let full_again = || workplace.dead_letters().len() == 7 || dropped == 49;
        assert!(comes_true_within(support::LIMIT, full_again), "dropped {dropped}; {}", daemon.log());
    }
    assert!(daemon.log().contains("pipeline goes on"));
    wait_for_lines(&workplace, "broken.ndjson", 50);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_single_run_stops_a_pipeline_at_its_limit() {
    let workplace = Workplace::new(
        "[pipeline.broken]\nfrom = { items = { range = [1, 101] } }\nsteps = [{ map = \"error(1)\" }]\n\
         [service]\ndead_letters = { bytes = \"1KiB\" }\n",
    );
    assert_eq!(workplace.run_once().code(), Some(1));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("its dead letters have reached their limit"), "{}", ended.stderr);
}

#[test]
fn an_editor_changes_a_value_and_what_is_not_json_is_kept() {
    let destination = Destination::new();
    let workplace = destination.lookups(&["bad"]);
    with_letters(&workplace, 1, false);
    workplace.write("editor", "#!/bin/sh\nsed -i \"$1\" \"$2\"\n");
    fs::set_permissions(workplace.path("editor"), fs::Permissions::from_mode(0o755)).unwrap();
    let edit = |script: &str| {
        let mut command = workplace.command(&["dead", "edit", "1"]);
        command.env("EDITOR", format!("./editor '{script}'"));
        Running::start(command).end()
    };
    assert_eq!(done(edit("s/x/y/")), "nothing has changed\n");
    done(edit("s/\"bad\"/\"good\"/"));
    assert_eq!(workplace.dead_letters()[0]["value"], json!({"name": "good"}));
    let broken = edit("s/\"good\"/good/");
    assert_eq!(broken.code(), Some(1));
    let kept = broken.stderr.split('`').nth(1).unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "{\n  \"name\": good\n}\n");
    fs::remove_file(kept).unwrap();
    let none = workplace.gatherd(&["dead", "edit", "1"]);
    assert!(none.stderr.contains("neither $VISUAL nor $EDITOR is set"), "{none:?}");

    let mut command = workplace.command(&["dead", "edit", "1", "--value", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"[7]").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(workplace.dead_letters()[0]["value"], json!([7]));
}

#[test]
fn the_control_socket_is_its_owners_alone_and_one_left_behind_is_replaced() {
    let destination = Destination::new();
    let workplace = destination.lookups(&["bad"]);
    let mode = |name: &str| fs::metadata(workplace.path(name)).unwrap().permissions().mode() & 0o777;
    let daemon = with_letters(&workplace, 1, true).unwrap();
    assert_eq!(mode("gatherd-state/control.sock"), 0o600);
    daemon.kill();
    assert!(workplace.path("gatherd-state/control.sock").exists());
    assert_eq!(workplace.dead_letters().len(), 1, "the store is asked where nobody listens");

    fs::create_dir(workplace.path("run")).unwrap();
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("RUNTIME_DIRECTORY", workplace.path("run"));
    let daemon = Running::start(command);
    daemon.wait_for_log("ready");
    assert_eq!(mode("run/control.sock"), 0o600);
    // Who knows only the state folder finds it there.
    assert_eq!(dead(&workplace, &["drop", "1"]), "dropped 1 dead letter\n");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!workplace.path("run/control.sock").exists());
    assert_eq!(workplace.path("gatherd-state/control.sock").symlink_metadata().map(drop).ok(), None);
}

#[test]
fn ticks_that_are_alike_are_one_letter_and_those_with_a_window_keep_their_own() {
    let workplace = Workplace::new(
        r#"
        [pipeline.alike]
        from  = { every = { period = "100ms", overlap = "queue" } }
        steps = [{ map = "error(\"broken\")" }]

        [pipeline.apart]
        from  = { every = { period = "100ms", overlap = "queue" } }
        steps = [{ map = "error(window.start)" }]
        "#,
    );
    let daemon = workplace.start();
    let of = |pipeline: &str| -> Vec<Value> {
        workplace.dead_letters().into_iter().filter(|letter| letter["pipeline"] == pipeline).collect()
    };
    wait_until("three ticks of each", || {
        of("apart").len() >= 3 && of("alike").iter().any(|letter| letter["count"].as_u64() >= Some(3))
    });
    assert_eq!(daemon.stop().code(), Some(0));
    let alike = of("alike");
    assert_eq!(alike.len(), 1);
    assert!(alike[0]["first"].as_str() < alike[0]["last"].as_str(), "{alike:?}");
    assert!(of("apart").iter().all(|letter| letter["count"] == 1 && !letter["window"].is_null()));
}
