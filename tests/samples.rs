//! The sample of every component is run, and does what it says. `tests/commands.rs` checks and explains them all, and
//! `tests/examples.rs` runs the files in `config/`.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::Value;
use support::check_each;
use support::gatherd::{Ended, Running, Workplace};
use support::server::{Connection, Seen, Server, json, reply};

/// What a sample leaves behind: parts of each, in order.
enum Leaves {
    /// Items in the log.
    Log(&'static [&'static str]),
    /// Lines on standard output.
    Output(&'static [&'static str]),
    /// Files, by name, with their lines.
    Files(&'static [(&'static str, &'static [&'static str])]),
    /// Rows of a table in a database, as text.
    Rows(&'static str, &'static str, &'static [&'static str]),
    /// Requests, as method, path and body.
    Requests(&'static [&'static str]),
}

use Leaves::{Files, Log, Output, Requests, Rows};

const SAMPLES: &[(&str, Leaves)] = &[
    ("every", Log(&[r#"{"since":"20"#])),
    ("cron", Log(&[r#"{"since":"20"#])),
    (
        "items",
        Log(&[
            r#"{"number":1,"square":1}"#,
            r#"{"number":2,"square":4}"#,
            r#"{"number":3,"square":9}"#,
            r#"{"number":4,"square":16}"#,
            r#"{"number":5,"square":25}"#,
            r#"{"number":6,"square":36}"#,
            r#"{"number":7,"square":49}"#,
            r#"{"number":8,"square":64}"#,
            r#"{"number":9,"square":81}"#,
            r#"{"number":10,"square":100}"#,
        ]),
    ),
    ("lines", Log(&[r#"{"page":"/","visitors":3}"#, r#"{"page":"/about","visitors":1}"#])),
    ("long_poll", Log(&[r#"{"id":1}"#, r#"{"id":2}"#])),
    ("queue", Output(&["1", "4", "9", "16", "25"])),
    ("get", Log(&[r#"{"id":1,"detail":{"name":"Ada"}}"#])),
    ("post", Log(&[r#"{"query":"open","since":"20"#])),
    ("put", Log(&[r#"{"id":1,"name":"a"}"#])),
    ("patch", Log(&[r#"{"state":"closed"}"#])),
    ("delete", Log(&["null"])),
    ("head", Log(&[r#"{"status":200,"seconds":0."#])),
    ("request", Log(&[r#""GET, HEAD""#])),
    ("each", Log(&[r#"{"id":"a"}"#, r#"{"id":"b"}"#])),
    ("map", Log(&[r#"{"id":1,"mag":4.5,"where":"AT SEA"}"#])),
    ("where", Log(&[r#"{"mag":6.1}"#])),
    ("new", Log(&[r#"{"id":"a"}"#, r#"{"id":"b"}"#])),
    ("changed", Log(&[r#"{"id":1,"price":10}"#, r#"{"id":2,"price":10}"#, r#"{"id":1,"price":11}"#])),
    ("set", Log(&[r#"{"id":1,"from":"north"}"#])),
    ("limit", Log(&[r#""a""#, r#""b""#])),
    ("parse", Log(&[r#"{"id":"1","name":"Ada"}"#, r#"{"id":"2","name":"Bo"}"#])),
    ("links", Log(&[r#"/tea""#, r#"/salt?fine""#])),
    // A single run takes no requests; `tests/webhook.rs` sends some.
    ("webhook", Log(&[])),
    ("log", Log(&[r#"{"hello":"world"}"#, r#"{"hello":"moon"}"#])),
    ("stdout", Output(&[r#"{"hello":"world"}"#, r#"{"hello":"moon"}"#])),
    (
        "file",
        Files(&[
            ("greetings/world.ndjson", &[r#"{"to":"world","word":"hello"}"#]),
            ("greetings/moon.ndjson", &[r#"{"to":"moon","word":"good night"}"#]),
            ("greetings.csv", &["to,word", "world,hello", "moon,good night"]),
        ]),
    ),
    (
        "sqlite",
        Rows("stations.db", "SELECT id || ' ' || name || ' ' || mag FROM stations", &["1 north 2.5", "2 south 4.0"]),
    ),
    ("http", Requests(&[r#"POST /readings {"start":"20"#])),
];

/// What every sample's servers say: those of an API of users and tickets.
fn answer(seen: &Seen, connection: &mut dyn Connection) -> io::Result<()> {
    let said = match (&*seen.method, &*seen.target) {
        ("GET", "/") => reply(
            "200 OK",
            &["content-type: text/html"],
            r#"<nav><a href="tea#top">Tea</a> <a href="/salt?fine">Salt</a> <a href="//other.example/">Other</a></nav>"#,
        ),
        ("GET", "/events?since=0&wait=60") => json(r#"{"events":[{"id":1},{"id":2}],"next":2}"#),
        ("GET", "/events?since=2&wait=60") => json(r#"{"events":[],"next":2}"#),
        ("GET", "/users") => json(r#"{"users":[{"id":1},{"id":2}]}"#),
        ("GET", "/users/1") => json(r#"{"name":"Ada"}"#),
        ("GET", _) => reply("404 Not Found", &[], ""),
        ("HEAD", _) => reply("200 OK", &["content-type: text/html"], ""),
        ("OPTIONS", _) => reply("204 No Content", &["allow: GET, HEAD"], ""),
        ("DELETE", _) => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => json(&seen.body),
    };
    connection.write_all(&said)
}

#[test]
fn every_component_has_a_sample_that_does_what_it_says() {
    let sources = gatherd::sources::KINDS.iter().map(|kind| (kind.name, kind.sample));
    let steps = gatherd::steps::KINDS.iter().map(|kind| (kind.name, kind.sample));
    let sinks = gatherd::sinks::KINDS.iter().map(|kind| (kind.name, kind.sample));
    let samples: Vec<(&str, &str)> = sources.chain(steps).chain(sinks).collect();
    let names: BTreeSet<&str> = samples.iter().map(|(name, _)| *name).collect();
    let known: BTreeSet<&str> = SAMPLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "each has its row in the table above");
    check_each(&samples, |(name, sample)| {
        let (_, leaves) = SAMPLES.iter().find(|(known, _)| known == name).unwrap();
        check(name, sample, leaves);
    });
}

#[test]
fn every_config_that_we_hand_out_can_be_checked_before_its_variables_are_set() {
    let folders = ["config", "config/examples"].map(|folder| fs::read_dir(folder).unwrap());
    let entries = folders.into_iter().flatten().map(|entry| fs::canonicalize(entry.unwrap().path()).unwrap());
    let is_config = |path: &PathBuf| path.extension().is_some_and(|it| it == "toml") && !gatherd::config::is_test(path);
    let configs: Vec<PathBuf> = entries.filter(is_config).collect();
    assert!(!configs.is_empty());
    check_each(&configs, |config| {
        let ended = Workplace::new("").gatherd(&["check", "--unset-ok", config.to_str().unwrap()]);
        assert_eq!(ended.code(), Some(0), "{}: {ended:?}", config.display());
    });
}

fn check(name: &str, sample: &str, leaves: &Leaves) {
    let server = Server::start(answer);
    let config = ["api", "www", "archive", "hooks"]
        .iter()
        .fold(sample.to_owned(), |config, host| config.replace(&format!("https://{host}.example"), &server.url("")));
    assert!(!config.contains(".example"), "{name} would leave this machine:\n{config}");
    let workplace = Workplace::new(&config);
    workplace.write("visits.csv", "page,count\n/,3\n/about,1\n");
    let ended = Running::start(workplace.command(&["--log-format", "json", "run", "--once", "gatherd.toml"])).end();
    assert_eq!(ended.code(), Some(0), "{name}: {ended:?}");
    match leaves {
        Log(items) => compare(name, &logged(&ended), items),
        Output(lines) => compare(name, &lines_of(&ended.stdout), lines),
        Files(files) => {
            for (file, lines) in *files {
                compare(name, &lines_of(&workplace.read(file)), lines);
            }
        }
        Rows(file, query, rows) => {
            let database = rusqlite::Connection::open(workplace.path(file)).unwrap();
            let mut query = database.prepare(query).unwrap();
            let found = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<String>>();
            compare(name, &found, rows);
        }
        Requests(requests) => {
            let seen: Vec<_> =
                server.seen().iter().map(|it| format!("{} {} {}", it.method, it.target, it.body)).collect();
            compare(name, &seen, requests);
        }
    }
}

#[track_caller]
fn compare(name: &str, found: &[String], parts: &[&str]) {
    let fits = found.len() == parts.len() && found.iter().zip(parts).all(|(found, part)| found.contains(part));
    assert!(fits, "the sample of `{name}` left {found:#?}");
}

/// The items that a `log` sink has logged.
fn logged(ended: &Ended) -> Vec<String> {
    let records = ended.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let items =
        records.filter(|record| record["target"].as_str().is_some_and(|target| target.starts_with("gatherd::sink::")));
    items.map(|record| record["message"].as_str().unwrap().to_owned()).collect()
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
