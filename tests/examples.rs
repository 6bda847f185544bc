//! Every config in `config/` does what its comment says, run through the real binary against a server on loopback.

#![expect(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// One example: what it is given, and what comes of it. `{server}` stands for the address of the server.
struct Example {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    /// Files in its folder, by path.
    files: &'static [(&'static str, &'static str)],
    /// What the server replies, by path; everything that is posted is taken.
    replies: &'static [(&'static str, &'static str)],
    /// How many times it is run.
    runs: usize,
    /// How many items each file holds in the end (`*` stands for a name that changes), and parts of them in order.
    written: &'static [(&'static str, usize, &'static [&'static str])],
    /// The rows of a query in the end, each as text.
    rows: Option<(&'static str, &'static str, &'static [&'static str])>,
    /// What was posted, by path, in order; `%` stands for anything.
    posted: &'static [(&'static str, &'static str)],
}

const EXAMPLE: Example = Example {
    name: "",
    variables: &[("API", "{server}")],
    files: &[],
    replies: &[],
    runs: 1,
    written: &[],
    rows: None,
    posted: &[],
};

const EXAMPLES: &[Example] = &[
    Example {
        name: "new_orders",
        replies: &[
            ("/v1/orders", r#"{"data": [{"id": 1, "updated_at": "2026-03-01T10:00:00Z"}], "next": "/v1/orders/2"}"#),
            ("/v1/orders/2", r#"{"data": [{"id": 2, "updated_at": "2026-03-01T11:00:00Z"}], "next": null}"#),
        ],
        runs: 2,
        rows: Some((
            "orders.db",
            "SELECT id || ' ' || updated_at FROM orders ORDER BY id",
            &["1 2026-03-01T10:00:00Z", "2 2026-03-01T11:00:00Z"],
        )),
        ..EXAMPLE
    },
    Example { name: "../gatherd", written: &[("heartbeat.ndjson", 1, &["alive_since"])], ..EXAMPLE },
    Example {
        name: "status_page",
        variables: &[("STATUS", "{server}"), ("CHAT", "{server}/chat")],
        replies: &[("/api/v2/status.json", r#"{"status": {"indicator": "minor", "description": "Slow"}}"#)],
        // The state is the same at the second run, so that it is told once.
        runs: 2,
        written: &[("status.ndjson", 1, &["minor"])],
        posted: &[("/chat", r#"{"text":"The status is now minor: Slow"}"#)],
        ..EXAMPLE
    },
    Example {
        name: "api_to_sqlite",
        replies: &[(
            "/products",
            r#"{"products": [{"id": 1, "name": "tea", "price": 2.5, "stock": 3}, {"id": 2, "name": "salt", "price": 1, "stock": 0}]}"#,
        )],
        runs: 2,
        rows: Some(("products.db", "SELECT id || name || in_stock FROM products ORDER BY id", &["1tea1", "2salt0"])),
        ..EXAMPLE
    },
    Example {
        name: "csv_of_urls",
        files: &[("urls.csv", "url,name\n{server}/a,first\n{server}/none,\"second, gone\"\n")],
        replies: &[("/a", "<html><title>Page A</title></html>")],
        runs: 2,
        written: &[("pages.ndjson", 2, &[r#""title":"Page A""#, r#""status":404"#])],
        ..EXAMPLE
    },
    Example {
        name: "list_then_details",
        replies: &[
            ("/orders", r#"{"orders": [{"id": 7}, {"id": 8}]}"#),
            ("/orders/7", r#"{"customer": "Ada", "lines": [{"price": 3}, {"price": 4}]}"#),
        ],
        // 8 is gone, and 7 is not fetched again.
        runs: 2,
        written: &[("orders/*", 1, &[r#"{"id":7,"customer":"Ada","total":7}"#])],
        ..EXAMPLE
    },
    Example {
        name: "host_monitoring",
        variables: &[("WEB", "{server}"), ("SHOP", "{closed}"), ("CHAT", "{server}/chat")],
        replies: &[("/", "welcome")],
        rows: Some((
            "hosts.db",
            "SELECT up || coalesce(status, '') || coalesce(fault, '') FROM measurements ORDER BY up",
            &["0connect", "1200"],
        )),
        posted: &[("/chat", r#"{"text":"{closed} is down: connect"}"#)],
        ..EXAMPLE
    },
    Example {
        name: "fan_out",
        variables: &[
            ("API", "{server}"),
            ("CHAT", "{server}/chat"),
            ("TICKETS", "{server}/tickets"),
            ("ARCHIVE", "{server}/archive"),
        ],
        replies: &[(
            "/events",
            r#"{"events": [{"id": 1, "severity": "info", "message": "up"}, {"id": 2, "severity": "critical", "message": "fire"}]}"#,
        )],
        runs: 2,
        posted: &[
            (
                "/archive",
                r#"[{"id":1,"severity":"info","message":"up"},{"id":2,"severity":"critical","message":"fire"}]"#,
            ),
            ("/chat", r#"{"text":"critical: fire"}"#),
            ("/tickets", r#"{"title":"fire","event":2}"#),
        ],
        ..EXAMPLE
    },
    Example {
        name: "nightly_report",
        replies: &[("/report", r#"{"orders": 12}"#)],
        written: &[("reports/*", 1, &[r#"{"orders":12}"#])],
        ..EXAMPLE
    },
    // `tests/crawl.rs` crawls a larger site, and kills gatherd meanwhile.
    Example {
        name: "crawl",
        variables: &[("SITE", "{server}/")],
        replies: &[
            ("/", r#"<a href="tea">Tea</a> <a href="/salt#fine">Salt</a> <a href="/">Here</a>"#),
            ("/tea", r#"<a href="/">Back</a> <a href="/none">Gone</a>"#),
            ("/salt", "no links"),
        ],
        runs: 2,
        rows: Some((
            "pages.db",
            "SELECT replace(url, '{server}', '') || depth FROM pages ORDER BY url",
            &["/0", "/salt1", "/tea1"],
        )),
        ..EXAMPLE
    },
    Example {
        name: "follow_logs",
        variables: &[("COLLECTOR", "{server}/logs")],
        files: &[
            ("logs/a.ndjson", "{\"level\":\"info\"}\n{\"level\":\"error\",\"id\":1}\n"),
            ("logs/b.ndjson", "{\"level\":\"error\",\"id\":2}\n"),
        ],
        runs: 2,
        posted: &[(
            "/logs",
            "{\"level\":\"error\",\"id\":1,\"file\":\"logs/a.ndjson\"}\n{\"level\":\"error\",\"id\":2,\"file\":\"logs/b.ndjson\"}\n",
        )],
        ..EXAMPLE
    },
];

#[test]
fn every_example_does_what_it_says() {
    for example in EXAMPLES {
        check(example);
    }
}

#[test]
fn no_example_is_left_out() {
    let files = fs::read_dir("config/examples").unwrap().map(|entry| entry.unwrap().path());
    let there: BTreeSet<_> = files.filter(|path| !gatherd::config::is_test(path)).collect();
    let tested: BTreeSet<_> = EXAMPLES.iter().map(config_of).filter(|path| !path.ends_with("gatherd.toml")).collect();
    assert_eq!(there, tested);
}

#[test]
fn what_the_first_config_leaves_out_can_be_taken_in_by_removing_its_number_sign() {
    let text = fs::read_to_string("config/gatherd.toml").unwrap();
    let is_setting = |line: &str| {
        let line = line.trim_start();
        line.starts_with(['[', '{'])
            || line.split_once('=').is_some_and(|(key, _)| !key.trim().contains([' ', '`', ',']))
    };
    let mut taken_in = 0;
    let whole: String = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ").filter(|rest| is_setting(rest)) {
            Some(rest) => {
                taken_in += 1;
                format!("{rest}\n")
            }
            None => format!("{line}\n"),
        })
        .collect();
    assert!(taken_in >= 8, "{whole}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gatherd.toml"), &whole).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_gatherd"))
        .args(["check", "gatherd.toml"])
        .env("acme", "a secret")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}{whole}", String::from_utf8_lossy(&checked.stderr));
}

fn config_of(example: &Example) -> PathBuf {
    match example.name.strip_prefix("../") {
        Some(name) => PathBuf::from(format!("config/{name}.toml")),
        None => PathBuf::from(format!("config/examples/{}.toml", example.name)),
    }
}

fn check(example: &Example) {
    let name = example.name;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(example.replies);
    // A port that nobody listens at.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fill = |text: &str| text.replace("{server}", &server.address).replace("{closed}", &format!("http://{closed}"));
    for (path, text) in example.files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, fill(text)).unwrap();
    }
    // Data may lead to this machine here.
    fs::write(folder.path().join("test.toml"), "[service]\nallow = [\"127.0.0.1\"]\n").unwrap();
    for _ in 0..example.runs {
        let output = Command::new(env!("CARGO_BIN_EXE_gatherd"))
            .args(["run", "--once", "--state", "state"])
            .arg(fs::canonicalize(config_of(example)).unwrap())
            .arg("test.toml")
            .envs(example.variables.iter().map(|(name, value)| (name, fill(value))))
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {said}");
    }
    for (path, count, parts) in example.written {
        let text = read(folder.path(), path);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), *count, "{name}: {text}");
        for part in *parts {
            assert!(lines.iter().any(|line| line.contains(part)), "{name}: {part} in {text}");
        }
    }
    if let Some((database, query, expected)) = example.rows {
        let database = rusqlite::Connection::open(folder.path().join(database)).unwrap();
        let mut statement = database.prepare(&fill(query)).unwrap();
        let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, expected, "{name}");
    }
    let mut posted = server.posted();
    posted.sort();
    let expected: Vec<_> = example.posted.iter().map(|(path, body)| ((*path).to_owned(), fill(body))).collect();
    assert_eq!(posted, expected, "{name}");
}

/// The text of a file; in `folder/*` the only one there.
fn read(folder: &Path, path: &str) -> String {
    let path = match path.strip_suffix("/*") {
        Some(inner) => {
            let files: Vec<_> = fs::read_dir(folder.join(inner)).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(files.len(), 1, "{files:?}");
            files[0].clone()
        }
        None => folder.join(path),
    };
    fs::read_to_string(path).unwrap()
}

/// A server that replies what it was told, and takes what is posted.
struct Server {
    address: String,
    posted: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start(replies: &'static [(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let posted = Arc::new(Mutex::new(Vec::new()));
        let taken = posted.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let taken = taken.clone();
                std::thread::spawn(move || serve(&stream.unwrap(), replies, &taken));
            }
        });
        Self { address, posted }
    }

    fn posted(&self) -> Vec<(String, String)> {
        self.posted.lock().unwrap().clone()
    }
}

/// Answers requests (RFC 9112) until the connection ends.
fn serve(stream: &TcpStream, replies: &[(&str, &str)], posted: &Mutex<Vec<(String, String)>>) {
    let mut input = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match input.read_line(&mut line) {
                Ok(length) if length > 0 && !line.trim().is_empty() => head.push(line),
                Ok(length) if length > 0 => break,
                _ => return,
            }
        }
        let Some((method, target)) = head.first().and_then(|first| {
            let mut words = first.split(' ');
            Some((words.next()?, words.next()?))
        }) else {
            return;
        };
        let length = head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        input.read_exact(&mut body).unwrap();
        let path = target.split('?').next().unwrap();
        let (status, reply) = if method == "POST" {
            posted.lock().unwrap().push((path.to_owned(), String::from_utf8(body).unwrap()));
            ("200 OK", "")
        } else {
            let found = replies.iter().find(|(known, _)| *known == path);
            found.map_or(("404 Not Found", "gone"), |(_, reply)| ("200 OK", *reply))
        };
        let kind = if reply.starts_with('{') { "application/json" } else { "text/html" };
        let length = reply.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        let mut output = stream;
        if output.write_all((head + reply).as_bytes()).is_err() {
            return;
        }
    }
}
