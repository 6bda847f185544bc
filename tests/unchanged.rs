//! Replies that have not changed, through the real program: they are not passed on again, and nothing is hidden by that,
//! over restarts, failing sinks, kills and edits of the config.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use support::gatherd::{Ended, Running, Workplace};
use support::server::{Seen, Server, reply};
use support::{check_each, wait_until};

/// What a server has at `/doc`.
#[derive(Clone, Debug)]
struct Document {
    status: &'static str,
    headers: &'static [&'static str],
    body: &'static str,
}

const fn document(headers: &'static [&'static str], body: &'static str) -> Document {
    Document { status: "200 OK", headers, body }
}

/// A server that keeps to RFC 9110 for whatever document it has.
#[derive(Clone)]
struct Api {
    server: Server,
    document: Arc<Mutex<Document>>,
}

impl Api {
    fn start() -> Self {
        let current = Arc::new(Mutex::new(document(&[], "[]")));
        let served = current.clone();
        let server = Server::start(move |seen, connection| {
            let Document { status, headers, body } = served.lock().unwrap().clone();
            let is_asked = status == "200 OK" && is_known(seen, headers);
            let status = if is_asked { "304 Not Modified" } else { status };
            let headers = [&["content-type: application/json"], headers].concat();
            let mut reply = reply(status, &headers, if is_asked { "" } else { body });
            if is_asked || seen.method == "HEAD" {
                let head = String::from_utf8(reply).unwrap();
                let end = head.find("\r\n\r\n").unwrap() + 4;
                reply = head[..end].replace("content-length: 0\r\n", "").into_bytes();
            }
            connection.write_all(&reply)
        });
        Self { server, document: current }
    }

    fn has(&self, document: Document) {
        *self.document.lock().unwrap() = document;
    }

    /// What the requests from number `from` on asked for, apart from all they always say.
    fn conditions(&self, from: usize) -> Vec<String> {
        self.server.seen()[from..].iter().map(condition).collect()
    }
}

fn header<'h>(headers: &[&'h str], name: &str) -> Option<&'h str> {
    headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn is_known(seen: &Seen, headers: &[&str]) -> bool {
    match seen.header("if-none-match") {
        Some(asked) => header(headers, "etag") == Some(asked),
        None => seen.header("if-modified-since").is_some_and(|asked| header(headers, "last-modified") == Some(asked)),
    }
}

fn condition(seen: &Seen) -> String {
    let said = ["if-none-match", "if-modified-since"].map(|name| Some(format!("{name}: {}", seen.header(name)?)));
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A pipeline that gets the document with these settings, inside and beside, takes these steps, and writes to
/// `out.ndjson`.
fn config(api: &Api, settings: &str, beside: &str, steps: &str) -> String {
    format!(
        r#"
        [pipeline.p]
        from  = {{ every = "1h" }}
        steps = [ {{ get = {{ url = "{}", {settings} }}, {beside} }}, {steps} ]
        to    = [ {{ file = "out.ndjson" }} ]
        "#,
        api.server.url("/doc")
    )
}

/// Runs once, and answers what was delivered beside what was asked.
#[track_caller]
fn run(api: &Api, workplace: &Workplace) -> (Vec<String>, Vec<String>, Ended) {
    let (asked, lines) = (api.server.seen().len(), workplace.read("out.ndjson").lines().count());
    let ended = workplace.run_once();
    let delivered = workplace.read("out.ndjson").lines().skip(lines).map(str::to_owned).collect();
    (delivered, api.conditions(asked), ended)
}

/// A document, what is asked when it is there, and what is delivered of it.
type Round = (Document, &'static str, &'static [&'static str]);

struct Case {
    rule: &'static str,
    settings: &'static str,
    beside: &'static str,
    steps: &'static str,
    rounds: &'static [Round],
}

const NEW: &str = "{ each = '.[]' }, { new = '.' }";
const SKIP: &str = "unchanged = 'skip'";
const CHANGED: &str = "last-modified: Sun, 06 Nov 1994 08:49:37 GMT";
const SINCE: &str = "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT";

#[test]
fn a_list_whose_cursor_a_person_reset_comes_again_though_it_has_not_changed() {
    let api = Api::start();
    api.has(document(&["etag: \"a\""], "[1,2]"));
    let list = "items = '.[]', new_by = { cursor = '.', send_as = 'since' }";
    let workplace = Workplace::new(&config(&api, list, "", "{ map = '.' }"));
    for asked in ["", "", "if-none-match: \"a\""] {
        assert_eq!(run(&api, &workplace).1, [asked]);
    }
    assert_eq!(workplace.gatherd(&["state", "reset", "p", "get"]).code(), Some(0));
    let (delivered, asked, _) = run(&api, &workplace);
    assert_eq!((&delivered[..], &asked[..]), (&["1".to_owned(), "2".to_owned()][..], &[String::new()][..]));
}

#[test]
fn what_has_not_changed_is_not_passed_on_again_and_what_has_changed_is() {
    const CASES: &[Case] = &[
        Case {
            rule: "the server is asked by its entity tag",
            settings: "",
            beside: "",
            steps: NEW,
            rounds: &[
                (document(&["etag: \"a\""], "[1,2]"), "", &["1", "2"]),
                (document(&["etag: \"a\""], "[1,2]"), "if-none-match: \"a\"", &[]),
                (document(&["etag: \"b\""], "[1,2,3]"), "if-none-match: \"a\"", &["3"]),
                (document(&["etag: \"b\""], "[1,2,3]"), "if-none-match: \"b\"", &[]),
            ],
        },
        Case {
            rule: "a list without pages is asked for at its cursor",
            settings: "items = '.[]', new_by = { cursor = '.', send_as = 'since' }",
            beside: "",
            steps: "{ map = '.' }",
            rounds: &[
                (document(&["etag: \"a\""], "[1,2]"), "", &["1", "2"]),
                (document(&["etag: \"a\""], "[1,2]"), "", &[]),
                (document(&["etag: \"a\""], "[1,2]"), "if-none-match: \"a\"", &[]),
                (document(&["etag: \"b\""], "[1,2,3]"), "if-none-match: \"a\"", &["3"]),
            ],
        },
        Case {
            rule: "a list with pages is fetched whole",
            settings: "items = '.[]', pages = 'auto', new_by = { cursor = '.', send_as = 'since' }",
            beside: "",
            steps: "{ map = '.' }",
            rounds: &[
                (document(&["etag: \"a\""], "[1,2]"), "", &["1", "2"]),
                (document(&["etag: \"a\""], "[1,2]"), "", &[]),
            ],
        },
        Case {
            rule: "a weak entity tag is sent back as it is",
            settings: "",
            beside: "",
            steps: NEW,
            rounds: &[
                (document(&["etag: W/\"a\""], "[1]"), "", &["1"]),
                (document(&["etag: W/\"a\""], "[1]"), "if-none-match: W/\"a\"", &[]),
            ],
        },
        Case {
            rule: "the server is asked by the time of the last change",
            settings: SKIP,
            beside: "",
            steps: "",
            rounds: &[
                (document(&[CHANGED, "date: Sun, 06 Nov 1994 08:49:38 GMT"], "1"), "", &["1"]),
                (document(&[CHANGED, "date: Sun, 06 Nov 1994 08:49:39 GMT"], "1"), SINCE, &[]),
            ],
        },
        Case {
            rule: "a change in the second of the last one is seen",
            settings: SKIP,
            beside: "",
            steps: "",
            rounds: &[
                (document(&[CHANGED, "date: Sun, 06 Nov 1994 08:49:37 GMT"], "1"), "", &["1"]),
                (document(&[CHANGED, "date: Sun, 06 Nov 1994 08:49:38 GMT"], "2"), "", &["2"]),
            ],
        },
        Case {
            rule: "a reply that varies by everything is told by its body alone",
            settings: SKIP,
            beside: "",
            steps: "",
            rounds: &[
                (document(&["etag: \"a\"", "vary: *"], "1"), "", &["1"]),
                (document(&["etag: \"a\"", "vary: *"], "1"), "", &[]),
                (document(&["etag: \"a\"", "vary: *"], "2"), "", &["2"]),
            ],
        },
        Case {
            rule: "without validators the body tells",
            settings: SKIP,
            beside: "",
            steps: "",
            rounds: &[
                (document(&[], "1"), "", &["1"]),
                (document(&[], "1"), "", &[]),
                (document(&[], "2"), "", &["2"]),
                (document(&[], "1"), "", &["1"]),
            ],
        },
        Case {
            rule: "the same body by another entity tag is the same, and is asked for by the new one",
            settings: SKIP,
            beside: "",
            steps: "",
            rounds: &[
                (document(&["etag: \"a\""], "1"), "", &["1"]),
                (document(&["etag: \"b\""], "1"), "if-none-match: \"a\"", &[]),
                (document(&["etag: \"b\""], "1"), "if-none-match: \"b\"", &[]),
            ],
        },
        Case {
            rule: "after a reply of another status that goes on, the one before it goes on again",
            settings: SKIP,
            beside: "on = [{ when = 'labels.status == 404', do = 'pass' }]",
            steps: "",
            rounds: &[
                (document(&["etag: \"a\""], "1"), "", &["1"]),
                (Document { status: "404 Not Found", headers: &[], body: "0" }, "if-none-match: \"a\"", &["0"]),
                (document(&["etag: \"a\""], "1"), "", &["1"]),
            ],
        },
        Case {
            rule: "after a reply of another status that ends, nothing has changed",
            settings: SKIP,
            beside: "",
            steps: "",
            rounds: &[
                (document(&["etag: \"a\""], "1"), "", &["1"]),
                (Document { status: "404 Not Found", headers: &[], body: "0" }, "if-none-match: \"a\"", &[]),
                (document(&["etag: \"a\""], "1"), "if-none-match: \"a\"", &[]),
            ],
        },
        Case {
            rule: "items that were given up have settled: they are dead letters once",
            settings: "",
            beside: "",
            steps: "{ each = '.[]' }, { map = '.a' }, { new = '.' }",
            rounds: &[
                (document(&["etag: \"a\""], "[1,{\"a\":2}]"), "", &["2"]),
                (document(&["etag: \"a\""], "[1,{\"a\":2}]"), "if-none-match: \"a\"", &[]),
            ],
        },
    ];
    check_each(CASES, |Case { rule, settings, beside, steps, rounds }| {
        let api = Api::start();
        let workplace = Workplace::new(&config(&api, settings, beside, steps));
        for (number, (document, asked, delivered)) in rounds.iter().enumerate() {
            api.has(document.clone());
            let (lines, conditions, ended) = run(&api, &workplace);
            assert_eq!(lines, *delivered, "{rule}, round {number}: {}", ended.stderr);
            assert_eq!(conditions, [*asked], "{rule}, round {number}");
        }
    });
}

#[test]
fn what_did_not_come_again_is_counted() {
    let api = Api::start();
    let workplace = Workplace::new(&config(&api, "", "", NEW));
    api.has(document(&["etag: \"a\""], "[1,    2]"));
    workplace.run_once();
    let ended = workplace.run_once();
    assert!(ended.stderr.contains("0 delivered, 1 filtered (unchanged 1), 9B not fetched again"), "{}", ended.stderr);
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn requests_are_conditional_by_default_only_where_a_skip_cannot_change_the_result() {
    // The settings of `get`, what stands beside them and what behind, and whether the second request is conditional.
    let cases = [
        ("", "", "{ new = '.' }", true),
        ("", "", "{ map = '{a: .}' }, { where = '.a > 0' }, { each = '.a' }, { new = '.' }", true),
        ("", "", "{ changed = { of = '.', key = '1' } }", true),
        ("", "", "{ map = '.' }, { changed = '.' }", true),
        ("", "", "{ each = '1, 2' }, { changed = '.' }", false),
        ("query = { a = '{window.start | 1}' }", "", "{ changed = '.' }", false),
        ("", "", "{ new = { of = '.', keep = '30d' } }", false),
        ("", "", "{ new = '.', when = '. > 5' }", false),
        ("", "", "{ limit = 1 }, { new = '.' }", false),
        ("", "", "{ map = '[., now]' }, { new = '.' }", false),
        ("", "", "{ new = 'labels.status' }", false),
        ("", "", "{ new = 'window.end' }", false),
        ("", "", "{ get = 'URL' }, { new = '.' }", false),
        ("", "", "", false),
        ("unchanged = 'skip'", "", "", true),
        ("unchanged = 'pass'", "", "{ new = '.' }", false),
        ("headers = { if-none-match = '\"own\"' }", "", "{ new = '.' }", false),
        ("unchanged = 'skip'", "when = 'true'", "", true),
        ("", "when = 'true'", "{ new = '.' }", false),
    ];
    check_each(&cases, |(settings, beside, steps, expected)| {
        let api = Api::start();
        api.has(document(&["etag: \"a\""], "1"));
        let steps = steps.replace("URL", &api.server.url("/doc"));
        let workplace = Workplace::new(&config(&api, settings, beside, &steps));
        run(&api, &workplace);
        let (_, conditions, ended) = run(&api, &workplace);
        let is_conditional = conditions.first().map(String::as_str) == Some("if-none-match: \"a\"");
        assert_eq!(is_conditional, *expected, "{settings} {beside} {steps}: {conditions:?}\n{}", ended.stderr);
        let explained = workplace.gatherd(&["explain", "gatherd.toml"]).stdout;
        let first = explained.lines().find(|line| line.contains("# stage 1:")).unwrap();
        let says = first.contains("; an item whose reply has not changed ends here");
        let is_own = settings.contains("own");
        assert_eq!(says, *expected || is_own, "{explained}");
    });
}

#[test]
fn what_is_asked_for_once_leaves_nothing_behind_unless_its_author_says_so() {
    // The source, the URL, the settings beside it, and whether replies are remembered.
    let cases = [
        ("items = ['doc']", "{.}", "", false),
        ("items = ['doc']", "{.}", ", unchanged = 'skip'", true),
        ("items = ['doc']", "doc", "", true),
        ("lines = 'urls.txt'", "{.}", "", false),
        ("every = '1h'", "{\"doc\"}", "", true),
        ("cron = '@hourly'", "{\"doc\"}", "", true),
    ];
    check_each(&cases, |(source, path, settings, expected)| {
        let config = format!(
            "[pipeline.p]\nfrom = {{ {source} }}\nto = []\n\
             steps = [{{ get = {{ url = 'http://api.example/{path}'{settings} }} }}, {{ new = '.' }}]"
        );
        let workplace = Workplace::new(&config);
        let explained = workplace.gatherd(&["explain", "gatherd.toml"]).stdout;
        let first = explained.lines().find(|line| line.contains("# stage 1:")).unwrap_or(&explained);
        assert_eq!(first.contains("; an item whose reply has not changed ends here"), *expected, "{explained}");
    });
}

#[test]
fn an_edit_of_anything_that_decides_what_becomes_of_a_reply_lets_it_through_once() {
    const BEFORE: &str = r#"
        [pipeline.p]
        vars  = { most = 5 }
        from  = { every = "1h" }
        steps = [
          { get = { url = "/doc", via = "api", unchanged = "skip" } },
          { where = ". <= $most" },
          { map = ".", when = ". > 5" },
        ]
        to    = ["out"]

        [sink.out]
        when = ". < 7"
        file = "out.ndjson"

        [http.api]
        base = "BASE"
        user_agent = "${AGENT}"
    "#;
    // What is edited, and into what; and whether the reply goes on again.
    let cases = [
        ("", "", false),
        ("   [http.api]", "[http.api]", false),
        ("every = \"1h\"", "every = \"2h\"", false),
        ("{ map = \".\", when = \". > 5\" },", "", true),
        ("{ where = \". <= $most\" },", "{ where = \". <= $most and true\" },", true),
        ("when = \". > 5\"", "when = \". > 4\"", true),
        ("most = 5", "most = 6", true),
        ("when = \". < 7\"", "when = \". < 8\"", true),
        ("to    = [\"out\"]", "to    = [\"out\", { log = {} }]", true),
        ("unchanged = \"skip\"", "unchanged = \"skip\", as = \"json\"", true),
        ("user_agent = \"${AGENT}\"", "user_agent = \"other\"", true),
        ("AGENT", "OTHER_AGENT", true),
    ];
    check_each(&cases, |(from, to, expected)| {
        let api = Api::start();
        api.has(document(&["etag: \"a\""], "1"));
        let before = BEFORE.replace("BASE", &api.server.url(""));
        let workplace = Workplace::new("");
        let run = || {
            let lines = workplace.read("out.ndjson").lines().count();
            let mut command = workplace.command(&["run", "--once", "gatherd.toml"]);
            command.env("AGENT", "one").env("OTHER_AGENT", "another");
            let ended = Running::start(command).end();
            assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
            workplace.read("out.ndjson").lines().count() - lines
        };
        workplace.write("gatherd.toml", &before);
        assert_eq!(run(), 1);
        assert_eq!(run(), 0);
        workplace.write("gatherd.toml", before.replace(from, to));
        assert_eq!(run(), usize::from(*expected), "{from} -> {to}");
        assert_eq!(run(), 0, "{from} -> {to}");
    });
}

#[test]
fn a_reply_whose_items_did_not_arrive_is_fetched_and_passed_on_again() {
    let api = Api::start();
    api.has(document(&["etag: \"a\""], "[1,2]"));
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let shop = Server::start(move |_, connection| {
        let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
        connection.write_all(&reply(status, &[], ""))
    });
    let config = config(&api, "unchanged = 'skip'", "", "{ each = '.[]' }")
        .replace("{ file = \"out.ndjson\" }", &format!("{{ http = {{ url = \"{}\", json = \".\" }} }}", shop.url("/")));
    let workplace = Workplace::new(&config);
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);

    // It dies while the sink has the items.
    for _ in 0..5 {
        let (asked, before) = (api.server.seen().len(), shop.seen().len());
        let daemon = workplace.start();
        wait_until("the sink fails", || shop.seen().len() > before);
        daemon.kill();
        assert_eq!(api.conditions(asked)[0], "");
    }

    is_well.store(true, Ordering::SeqCst);
    let (asked, before) = (api.server.seen().len(), shop.seen().len());
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(api.conditions(asked), [""]);
    let mut arrived: Vec<_> = shop.seen()[before..].iter().map(|seen| seen.body.clone()).collect();
    arrived.sort();
    assert_eq!(arrived, ["1", "2"]);

    let before = shop.seen().len();
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(api.conditions(asked + 1), ["if-none-match: \"a\""]);
    assert_eq!(shop.seen().len(), before);
}

#[test]
fn a_replayed_item_goes_on_though_its_reply_has_not_changed() {
    let api = Api::start();
    api.has(document(&["etag: \"a\""], "1"));
    let steps = "{ map = 'if . == 1 then error(\"no\") else . end' }";
    let workplace = Workplace::new(&config(&api, "unchanged = 'skip'", "", steps));
    run(&api, &workplace);
    let (_, conditions, _) = run(&api, &workplace);
    assert_eq!(conditions, ["if-none-match: \"a\""], "what is a dead letter has settled");
    assert_eq!(workplace.dead_letters().len(), 1);
    let asked = api.server.seen().len();
    let replayed = workplace.gatherd(&["dead", "replay", "--from", "get", "--all"]);
    assert_eq!(replayed.code(), Some(0), "{}", replayed.stderr);
    run(&api, &workplace);
    assert!(api.conditions(asked).contains(&String::new()), "{:?}", api.conditions(asked));
    assert_eq!(workplace.dead_letters()[0]["history"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_server_that_contradicts_itself_is_asked_for_everything() {
    // It always says that nothing has changed, but of another reply.
    let body = Arc::new(Mutex::new("1"));
    let served = body.clone();
    let server = Server::start(move |seen, connection| {
        let body = *served.lock().unwrap();
        let etag = format!("etag: \"{body}\"");
        let status = if seen.header("if-none-match").is_some() { "304 Not Modified" } else { "200 OK" };
        let reply = reply(status, &[&etag], if status.starts_with('2') { body } else { "" });
        connection.write_all(&reply)
    });
    let config = format!(
        "[pipeline.p]\nfrom = {{ every = \"1h\" }}\nsteps = [{{ get = {{ url = \"{}\", unchanged = \"skip\" }} }}]\n\
         to = [{{ file = \"out.ndjson\" }}]\n\n[http.slow]\nrate = \"1/s\"\n",
        server.url("/")
    );
    for config in [config.clone(), config.replace("unchanged =", "via = \"slow\", unchanged =")] {
        *body.lock().unwrap() = "1";
        let workplace = Workplace::new(&config);
        for (served, delivered) in [("1", 1), ("1", 1), ("2", 2), ("2", 2)] {
            *body.lock().unwrap() = served;
            let ended = workplace.run_once();
            assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
            assert_eq!(workplace.read("out.ndjson").lines().count(), delivered, "{}", ended.stderr);
        }
    }
}

#[test]
fn the_same_entity_tag_at_another_place_is_another_reply() {
    let place = Arc::new(Mutex::new("/one"));
    let current = place.clone();
    let server = Server::start(move |seen, connection| {
        let location = format!("location: {}", *current.lock().unwrap());
        let status = if seen.header("if-none-match").is_some() { "304 Not Modified" } else { "200 OK" };
        connection.write_all(&match (seen.target.as_str(), status) {
            ("/", _) => reply("302 Found", &[&location], ""),
            (_, "304 Not Modified") => reply(status, &["etag: \"a\""], ""),
            (target, _) => reply(status, &["etag: \"a\""], target),
        })
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.p]
        from  = {{ every = "1h" }}
        steps = [ {{ get = {{ url = "{}", unchanged = "skip" }} }} ]
        to    = [ {{ file = "out.ndjson" }} ]
        "#,
        server.url("/")
    ));
    for (at, lines) in [("/one", 1), ("/one", 1), ("/two", 2), ("/two", 2)] {
        *place.lock().unwrap() = at;
        assert_eq!(workplace.run_once().code(), Some(0));
        assert_eq!(workplace.read("out.ndjson").lines().count(), lines, "at {at}");
    }
}

#[test]
fn a_server_that_answers_304_to_no_condition_is_refused() {
    let server = Server::saying(reply("304 Not Modified", &[], ""));
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.p]
        from  = {{ every = "1h" }}
        steps = [ {{ get = {{ url = "{}", unchanged = "skip" }} }} ]
        "#,
        server.url("/")
    ));
    assert_eq!(workplace.run_once().code(), Some(1));
    let letters = workplace.dead_letters();
    assert!(letters[0].to_string().contains("the server answered 304 Not Modified"), "{letters:?}");
}

#[test]
fn items_that_share_a_reply_are_told_apart_by_what_they_carry() {
    let api = Api::start();
    api.has(document(&["etag: \"a\""], "1"));
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.p]
        from  = {{ every = "1h" }}
        steps = [
          {{ each = "({{id: 1}}, {{id: 2}})" }},
          {{ get = {{ url = "{}", into = ".reply" }} }},
          {{ new = ".id" }},
        ]
        to    = [ {{ file = "out.ndjson" }} ]
        "#,
        api.server.url("/doc")
    ));
    let (mut delivered, ..) = run(&api, &workplace);
    delivered.sort();
    assert_eq!(delivered, [r#"{"id":1,"reply":1}"#, r#"{"id":2,"reply":1}"#]);
    let (delivered, conditions, _) = run(&api, &workplace);
    assert_eq!(delivered, [""; 0]);
    assert_eq!(conditions, ["if-none-match: \"a\""; 2]);
}

#[test]
fn the_head_of_a_page_is_skipped_by_what_the_server_says_of_it_alone() {
    let api = Api::start();
    let head = |settings: &str| config(&api, settings, "", "{ map = 'labels.status' }").replace("get = ", "head = ");
    for (headers, asked, delivered) in
        [(&["etag: \"a\""][..], "if-none-match: \"a\"", 1), (&[][..], "", 2)] as [(&'static [&'static str], _, _); 2]
    {
        api.has(Document { headers, ..document(&[], "1") });
        let workplace = Workplace::new(&head("unchanged = 'skip'"));
        run(&api, &workplace);
        let (_, conditions, _) = run(&api, &workplace);
        assert_eq!(conditions, [asked]);
        assert_eq!(workplace.read("out.ndjson").lines().count(), delivered);
    }
}

#[test]
fn every_missed_window_is_asked_for_though_the_replies_are_alike() {
    let api = Api::start();
    api.has(document(&["etag: \"a\""], "1"));
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.p]
        from  = {{ every = {{ period = "10ms", missed = "all" }} }}
        steps = [ {{ get = {{ url = "{}?from={{window.start}}&to={{window.end}}", unchanged = "skip" }} }} ]
        to    = [ {{ file = "out.ndjson" }} ]
        "#,
        api.server.url("/doc")
    ));
    run(&api, &workplace);
    let (delivered, conditions, ended) = run(&api, &workplace);
    assert!(delivered.len() > 1, "{}", ended.stderr);
    assert_eq!(conditions, vec![""; delivered.len()]);
    let windows: Vec<_> = api.server.seen().iter().map(|seen| seen.target.clone()).collect();
    for pair in windows.windows(2) {
        let end = pair[0].split_once("to=").unwrap().1;
        assert!(pair[1].contains(&format!("from={end}")), "{windows:?}");
    }
}
