//! Gathers from servers that are not ours: httpbin (<https://httpbin.org>, run on this machine), and nginx with the
//! documentation of SQLite as Debian packages it. `tests/run` installs them; without them the tests say that they are
//! skipped, and fail if `GATHERD_ALL=1` asks for everything.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::ending::{Ends, check};
use support::gatherd::{Running, Workplace};
use support::nginx::Nginx;
use support::{check_each, skip};

/// The virtual environment that `tests/run` makes.
const HTTPBIN: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../httpbin");

/// The pages of the Debian package `sqlite3-doc`.
const DOCUMENTATION: &str = "/usr/share/doc/sqlite3";

/// httpbin under waitress, on a free port. It ends when this is dropped.
struct Httpbin {
    _process: Running,
    url: String,
}

impl Httpbin {
    /// Nothing if it is not installed, which is said.
    fn start() -> Option<Self> {
        let program = Path::new(HTTPBIN).join("bin/waitress-serve");
        if !program.exists() {
            skip("httpbin is not installed; tests/run installs it");
            return None;
        }
        let mut command = Command::new(program);
        command.args(["--listen=127.0.0.1:0", "--threads=64", "--send-bytes=1", "httpbin:app"]);
        let process = Running::start(command);
        process.wait_for_log("Serving on ");
        let log = process.log();
        let url = log.split("Serving on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        Some(Self { _process: process, url })
    }
}

#[test]
fn httpbin_is_gathered_from_as_it_says() {
    let Some(httpbin) = Httpbin::start() else { return };
    // What is got, what happens to it then, and how it ends.
    let cases: &[(&str, &str, Ends)] = &[
        ("status/200", "", Ends::Delivered("null")),
        ("status/204", "", Ends::Delivered("null")),
        ("status/404", "", Ends::Dead("status", 1, "404 Not Found")),
        ("status/418", "", Ends::Dead("status", 1, "418")),
        ("status/429", "", Ends::Dead("status", 3, "429 Too Many Requests")),
        ("status/500", "", Ends::Dead("status", 3, "500 Internal Server Error")),
        ("status/503", "", Ends::Dead("status", 3, "503 Service Unavailable")),
        ("status/520", "", Ends::Dead("status", 3, "520")),
        ("delay/1", "{ map = '.args' }", Ends::Delivered("{}")),
        ("delay/10", "", Ends::Dead("timeout", 3, "within 1s 500ms")),
        ("drip?duration=1&numbytes=10&delay=0", "{ map = 'length' }", Ends::Delivered("10")),
        ("drip?duration=10&numbytes=10&delay=0", "", Ends::Dead("timeout", 3, "within 1s 500ms")),
        ("redirect/3", "{ map = 'labels.url | .[-4:]' }", Ends::Delivered("\"/get\"")),
        ("absolute-redirect/3", "{ map = 'labels.url | .[-4:]' }", Ends::Delivered("\"/get\"")),
        ("relative-redirect/3", "{ map = 'labels.url | .[-4:]' }", Ends::Delivered("\"/get\"")),
        ("redirect/10", "{ map = 'labels.status' }", Ends::Delivered("200")),
        ("redirect/11", "", Ends::Dead("redirect", 1, "10")),
        ("redirect-to?url=http%3A%2F%2F127.0.0.9%2F", "", Ends::Dead("forbidden", 1, "127.0.0.9")),
        ("gzip", "{ map = '.gzipped' }", Ends::Delivered("true")),
        ("deflate", "{ map = '.deflated' }", Ends::Delivered("true")),
        ("brotli", "{ map = '.brotli' }", Ends::Delivered("true")),
        ("encoding/utf8", "{ map = 'contains(\"∮ E⋅da = Q\") and contains(\"ᚻᛖ ᚳᚹᚫᚦ\")' }", Ends::Delivered("true")),
        ("stream/1", "{ map = '.id' }", Ends::Delivered("0")),
        ("stream/20", "", Ends::Dead("body", 1, "JSON")),
        ("bytes/1000?seed=1", "{ map = 'length' }", Ends::Delivered("1000")),
        ("stream-bytes/1000?seed=1&chunk_size=100", "{ map = 'length' }", Ends::Delivered("1000")),
        ("range/1000?chunk_size=10", "{ map = 'length' }", Ends::Delivered("1000")),
        ("links/10/0", "{ map = '[scan(\"<a href\")] | length' }", Ends::Delivered("9")),
        ("html", "{ map = 'contains(\"Herman Melville\")' }", Ends::Delivered("true")),
        ("xml", "{ map = 'startswith(\"<?xml\")' }", Ends::Delivered("true")),
        ("json", "{ map = '.slideshow.author' }", Ends::Delivered("\"Yours Truly\"")),
        ("user-agent", "{ map = '.\"user-agent\" | startswith(\"gatherd/\")' }", Ends::Delivered("true")),
        ("response-headers?x-a=1&x-a=2", "{ map = 'labels.headers.\"x-a\"' }", Ends::Delivered("\"1, 2\"")),
        ("image/png", "{ map = 'length' }", Ends::Delivered("8090")),
        ("cache/60", "{ map = 'labels.headers.\"cache-control\"' }", Ends::Delivered("\"public, max-age=60\"")),
    ];
    check_each(cases, |(path, then, ends)| {
        let options = r#"timeouts = { first_byte = "1500ms", whole = "1500ms" }"#;
        let get = format!(r#"{{ get = {{ url = "{}/{path}", {options} }}, {RETRY} }}"#, httpbin.url);
        check(path, &format!("{get}, {then}"), "", *ends);
    });
}

const RETRY: &str = r#"retry = { tries = 3, base = "5ms", cap = "5ms" }"#;

#[test]
fn httpbin_is_told_what_the_config_says() {
    let Some(httpbin) = Httpbin::start() else { return };
    // Steps with clients, and how the item ends.
    let cases: &[(&str, &str, Ends)] = &[
        (
            "JSON",
            r#"{ post = { via = "bin", url = "/anything/a", json = "{item: .}" } }, { map = "[.method, .json, .headers.\"Content-Type\"]" }"#,
            Ends::Delivered(r#"["POST",{"item":"x"},"application/json"]"#),
        ),
        (
            "a form",
            r#"{ put = { via = "bin", url = "/anything", form = "{a: ., b: \"ü &\"}" } }, { map = "[.method, .form]" }"#,
            Ends::Delivered(r#"["PUT",{"a":"x","b":"ü &"}]"#),
        ),
        (
            "text, a header, and a query",
            r#"{ patch = { via = "bin", url = "/anything?q={. + \"&/\"}", body = "text {.}", headers = { "X-Item" = "{.}" } } },
               { map = "[.data, .args.q, .headers.\"X-Item\"]" }"#,
            Ends::Delivered(r#"["text x","x&/","x"]"#),
        ),
        (
            "the right password",
            r#"{ get = { via = "bin", url = "/basic-auth/ada/secret" } }, { map = ".user" }"#,
            Ends::Delivered("\"ada\""),
        ),
        (
            "a wrong password that is left to the step",
            r#"{ get = { via = "own", url = "/basic-auth/bo/secret" } }"#,
            Ends::Dead("status", 1, "401 Unauthorized"),
        ),
        ("a token", r#"{ get = { via = "token", url = "/bearer" } }, { map = ".token" }"#, Ends::Delivered("\"t-1\"")),
        (
            "lines of JSON that say they are one document",
            r#"{ get = { via = "bin", url = "/stream/5", as = "text" } }, { parse = "ndjson" }, { where = ".id == 4" }, { map = ".id" }"#,
            Ends::Delivered("4"),
        ),
        ("deletion", r#"{ delete = { via = "bin", url = "/delete" } }, { map = ".json" }"#, Ends::Delivered("null")),
        (
            "a head",
            r#"{ head = { via = "bin", url = "/get" } }, { map = "[., labels.status]" }"#,
            Ends::Delivered("[null,200]"),
        ),
    ];
    let clients = format!(
        r#"
        [http.bin]
        base = "{url}"
        auth = {{ basic = {{ user = "ada", password = "secret" }} }}

        [http.own]
        base = "{url}"
        auth = {{ basic = {{ user = "ada", password = "secret" }}, refresh_when = "false" }}

        [http.token]
        base = "{url}"
        auth = {{ bearer = "t-1" }}
        "#,
        url = httpbin.url
    );
    check_each(cases, |(what, steps, ends)| {
        let used = clients
            .split("[http.")
            .skip(1)
            .filter(|client| steps.contains(&format!("via = \"{}\"", &client[..client.find(']').unwrap()])));
        let used: String = used.map(|client| format!("[http.{client}")).collect();
        check(what, steps, &used, *ends);
    });
}

/// All files below a folder, by their path in it.
fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner)).unwrap() {
            let path = inner.join(entry.unwrap().file_name());
            match fs::metadata(folder.join(&path)) {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(_) => drop(files.insert(path.to_str().unwrap().to_owned(), fs::read(folder.join(&path)).unwrap())),
                // A link to another package, which is not there.
                Err(_) => {}
            }
        }
    }
    files
}

#[test]
fn every_page_of_a_documentation_is_fetched_once_and_whole() {
    let pages = Path::new(DOCUMENTATION);
    if !pages.join("index.html").exists() {
        return skip("the package sqlite3-doc is not installed; tests/run installs it");
    }
    let compressed = "gzip on; gzip_min_length 1; gzip_types *;";
    let Some(nginx) = Nginx::start(compressed, &format!("root {DOCUMENTATION};")) else { return };
    let files = files_below(pages);
    assert!(files.len() > 500, "{}", files.len());
    let workplace = Workplace::new(
        r#"
        [service]
        allow = ["127.0.0.1"]

        [pipeline.whole]
        from  = { lines = "urls.txt" }
        steps = [{ get = { url = "{.}", as = "bytes" } }, { set = { path = 'labels.url | split("/")[3:] | join("/")' } }]
        to    = ["pages"]

        [sink.pages]
        file = { path = "pages/{labels.path}", format = "raw", separator = "" }

        [pipeline.read]
        from  = { lines = "urls.txt" }
        steps = [{ get = "{.}" }, { map = '{url: labels.url, status: labels.status, text: (if type == "string" then length else null end)}' }]
        to    = [{ file = "read.ndjson" }]
        "#,
    );
    let url = |path: &String| format!("http://{}/{path}", nginx.address);
    workplace.write("urls.txt", files.keys().map(|path| url(path) + "\n").collect::<String>());
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    let gathered = files_below(&workplace.path("pages"));
    assert_eq!(gathered.len(), files.len());
    for (path, bytes) in &files {
        let found = gathered.get(&path.replace('%', "%25").replace('/', "%2F")).unwrap_or_else(|| panic!("no {path}"));
        assert!(found == bytes, "{path}: {} bytes instead of {}", found.len(), bytes.len());
    }
    let mut read: Vec<String> = Vec::new();
    for value in workplace.values("read.ndjson") {
        assert_eq!(value["status"], 200, "{value}");
        let page = value["url"].as_str().unwrap();
        let path = page.splitn(4, '/').nth(3).unwrap();
        match value["text"].as_u64() {
            Some(length) => assert_eq!(length, String::from_utf8_lossy(&files[path]).chars().count() as u64, "{value}"),
            None => assert!(!path.ends_with(".html"), "{value}"),
        }
        read.push(page.to_owned());
    }
    read.sort_unstable();
    let mut urls: Vec<String> = files.keys().map(url).collect();
    urls.sort_unstable();
    assert_eq!(read, urls);
}
