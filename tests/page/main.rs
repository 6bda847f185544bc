//! The page of the admin address, as a person meets it: in a real browser.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod browser;
#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use browser::{Browser, ENTER, SHIFT, TAB};
use serde_json::Value;
use support::gatherd::{IDLE, Running, Workplace, wait_for_lines};
use support::server::{Server, json as json_reply, reply};
use support::{skip, wait_until};

const TOKEN: &str = "token-of-the-page";

/// What judges how accessible a page is; tests/run installs it.
const AXE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../page/node_modules/axe-core/axe.min.js");

/// A daemon with something of everything, and a browser that looks at it.
struct Scene {
    workplace: Workplace,
    daemon: Running,
    browser: Browser,
    /// Whether the server that is asked for names takes bad ones.
    is_mended: Arc<AtomicBool>,
}

impl Scene {
    /// Nothing if there is no browser.
    fn open() -> Option<Self> {
        let browser = Browser::start()?;
        let is_mended = Arc::new(AtomicBool::new(false));
        let mended = is_mended.clone();
        let server = Server::start(move |seen, connection| {
            let refuses = seen.target.contains("bad") && !mended.load(Ordering::SeqCst);
            connection.write_all(&if refuses { reply("400 Bad Request", &[], "no") } else { json_reply("true") })
        });
        let workplace = Workplace::new(&format!(
            r#"
            [service]
            admin = {{ listen = "127.0.0.1:0", token = "{TOKEN}" }}

            [pipeline.readings]
            from  = {{ lines = {{ path = "readings", follow = true }} }}
            steps = [ {{ where = ". != \"nothing\"" }}, {{ map = "{{name: .}}" }}, {{ new = ".name" }} ]
            to    = ["kept", "far"]

            [pipeline.names]
            from  = {{ lines = {{ path = "names", follow = true }} }}
            steps = [ {{ get = {{ url = "{}{{.}}" }} }} ]
            to    = [ {{ file = "names.ndjson" }} ]

            [pipeline.silent]
            from   = {{ every = {{ period = "24h", jitter = "23h" }} }}
            expect = {{ new_within = "1s" }}
            to     = []

            [sink.kept]
            file = "kept.ndjson"

            [sink.far]
            http = "http://127.0.0.1:1/"
            {IDLE}
            "#,
            server.url("/name/"),
        ));
        workplace.write("readings", "one\nnothing\ntwo\n");
        workplace.write("names", "ada\nbad-1\nbad-2\n");
        let daemon = workplace.start();
        wait_for_lines(&workplace, "kept.ndjson", 2);
        wait_until("the dead letters", || workplace.dead_letters().len() == 2);
        browser.open(&format!("http://{}/", daemon.admin_address()));
        browser.wait_for("document.querySelectorAll('#pipelines article').length === 4");
        Some(Self { workplace, daemon, browser, is_mended })
    }

    fn read(&self, lines: &str) {
        let mut file = OpenOptions::new().append(true).open(self.workplace.path("readings")).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    /// Nothing went elsewhere, and nothing went wrong.
    fn close(self) {
        let here = format!("http://{}/", self.daemon.admin_address());
        let requests = self.browser.requests();
        assert!(requests.iter().any(|url| *url == format!("{here}status")), "{requests:?}");
        let elsewhere: Vec<_> =
            requests.iter().filter(|url| !url.starts_with(&here) && !url.starts_with("data:")).collect();
        assert!(elsewhere.is_empty(), "{elsewhere:?}");
        assert_eq!(self.browser.console(), Vec::<String>::new());
    }
}

/// The card of a pipeline.
fn card(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#pipelines article')].find((card) => card.querySelector('h3').textContent === '{name}')"
    )
}

/// The fact with this label on a pipeline's card.
fn fact(name: &str, label: &str) -> String {
    let terms = format!("[...{}.querySelectorAll('dt')]", card(name));
    format!("{terms}.find((term) => term.textContent === '{label}').nextElementSibling.textContent")
}

#[test]
fn the_way_of_the_items_is_drawn_and_its_figures_move() {
    let Some(scene) = Scene::open() else { return };
    let browser = &scene.browser;
    let drawn = browser.script(&format!(
        "return [...{}.querySelectorAll('.node b')].map((node) => node.textContent);",
        card("readings")
    ));
    assert_eq!(drawn, serde_json::json!(["lines", "where", "map", "new", "kept", "far"]));
    browser.wait_for(&format!("{} === '2'", fact("readings", "delivered")));
    let chart = format!("{}.querySelector('.chart path').getAttribute('d')", card("readings"));
    browser.wait_for(&format!("{chart}.includes('M')"));
    let before = browser.script(&format!("return {chart};"));

    for round in 0..3 {
        let lines: String = (0..200).map(|number| format!("r{round}-{number}\n")).collect();
        scene.read(&lines);
        browser.wait_for(&format!("{} === '{}'", fact("readings", "delivered"), 2 + 200 * (round + 1)));
    }
    browser.wait_for(&format!("{chart} !== {before}"));
    let label = format!("{}.querySelector('.chart svg').getAttribute('aria-label')", card("readings"));
    browser.wait_for(&format!("/^Items a second: now [0-9.]+.s, at most [1-9]/.test({label})"));
    browser.wait_for("document.querySelector('#sinks').textContent.includes('far') && document.querySelector('#sinks').textContent.includes('fails for')");
    scene.close();
}

#[test]
fn a_source_that_is_late_is_marked() {
    let Some(scene) = Scene::open() else { return };
    scene.browser.wait_for(&format!("{}.querySelector('.badge').textContent === 'stale'", card("silent")));
    scene.browser.wait_for(&format!("{}.querySelector('.notice').textContent.includes('1s')", card("silent")));
    scene.browser.wait_for(&format!("{}.querySelector('.badge').textContent === 'running'", card("readings")));
    scene.close();
}

#[test]
fn a_dead_letter_is_replayed_and_another_dropped_by_clicks() {
    let Some(scene) = Scene::open() else { return };
    let browser = &scene.browser;
    browser.write("#token", "not the token");
    browser.click("#letters-form button");
    browser.wait_for("document.querySelector('#letters-said').textContent.includes('wrong')");
    browser.write("#token", TOKEN);
    browser.click("#letters-form button");
    browser.wait_for("document.querySelectorAll('.letter').length === 2");
    let letters = browser.text("#letters");
    assert!(letters.contains("names · get: ") && letters.contains("400"), "{letters}");
    browser.click(".letter:first-child summary");
    browser.wait_for("/bad-[12]/.test(document.querySelector('.letter:first-child pre').textContent)");
    browser.click(".letter:first-child summary");

    scene.is_mended.store(true, Ordering::SeqCst);
    browser.click(".letter:first-child button[aria-label^=Replay]");
    wait_for_lines(&scene.workplace, "names.ndjson", 2);
    browser.wait_for("document.querySelectorAll('.letter').length === 1");

    browser.click(".letter button[aria-label^=Drop]");
    browser.wait_for("document.querySelector('#sure').open");
    browser.click("#sure button[value='']");
    browser.wait_for("!document.querySelector('#sure').open");
    assert_eq!(scene.workplace.dead_letters().len(), 1, "who keeps it has it still");
    browser.click(".letter button[aria-label^=Drop]");
    browser.click("#sure button[value=yes]");
    browser.wait_for("document.querySelectorAll('.letter').length === 0");
    assert_eq!(scene.workplace.dead_letters().len(), 0);
    browser.wait_for("document.querySelector('#letters-count').textContent === 'No item has been given up.'");
    let console = browser.console();
    assert!(console.len() == 1 && console[0].contains("403"), "the wrong token alone was refused: {console:?}");
    scene.close();
}

#[test]
fn all_of_it_can_be_done_by_keyboard() {
    let Some(scene) = Scene::open() else { return };
    let browser = &scene.browser;
    let focused = || {
        browser.script("const at = document.activeElement; return at.id || at.getAttribute('aria-label') || at.textContent.slice(0, 40);")
    };
    let tab_to = |what: &dyn Fn(&str) -> bool| {
        let mut passed = Vec::new();
        while passed.len() < 60 {
            browser.press(&[TAB]);
            let at = focused().as_str().unwrap().to_owned();
            if what(&at) {
                return;
            }
            passed.push(at);
        }
        panic!("cannot be reached: {passed:?}");
    };
    browser.press(&[TAB]);
    assert_eq!(focused(), "To the pipelines", "the first key leads past what stands above");
    tab_to(&|at| at == "token");
    TOKEN.chars().for_each(|letter| browser.press(&[letter]));
    browser.press(&[ENTER]);
    browser.wait_for("document.querySelectorAll('.letter').length === 2");
    tab_to(&|at| at.starts_with("names · get: "));
    let outline = browser.script("return getComputedStyle(document.activeElement).outlineStyle;");
    assert_eq!(outline, "solid", "where the focus is can be seen");
    browser.press(&[ENTER]);
    browser.wait_for("document.querySelector('.letter details').open");
    tab_to(&|at| at.starts_with("Replay"));
    tab_to(&|at| at.starts_with("Drop"));
    browser.press(&[ENTER]);
    browser.wait_for("document.querySelector('#sure').open");
    tab_to(&|at| at == "Drop it for good");
    browser.press(&[ENTER]);
    browser.wait_for("document.querySelectorAll('.letter').length === 1");
    assert_eq!(focused(), "letters-said", "the focus is where the page speaks, not lost");
    browser.press(&[SHIFT, TAB]);
    scene.close();
}

/// What axe-core finds that is serious or worse.
fn serious_findings(browser: &Browser, axe: &str) -> Vec<String> {
    let found = browser.script(&format!("{axe}; return axe.run(document, {{resultTypes: ['violations']}});"));
    let violations = found["violations"].as_array().unwrap();
    let serious = violations.iter().filter(|one| matches!(one["impact"].as_str(), Some("serious" | "critical")));
    let told = |one: &Value| {
        let nodes = one["nodes"].as_array().unwrap().iter().map(|node| node["html"].to_string());
        format!("{} {}: {}", one["id"], one["help"], nodes.collect::<Vec<_>>().join(", "))
    };
    serious.map(told).collect()
}

#[test]
fn it_fits_every_screen_and_everyone_can_use_it() {
    let Some(scene) = Scene::open() else { return };
    let axe = fs::read_to_string(Path::new(AXE));
    if axe.is_err() {
        skip("axe-core is not installed; tests/run installs it");
    }
    let browser = &scene.browser;
    let check = |when: &str| {
        let wide =
            browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth;");
        assert_eq!(wide, 0, "{when}: nothing is off to the side");
        if let Ok(axe) = &axe {
            assert_eq!(serious_findings(browser, axe), Vec::<String>::new(), "{when}");
        }
        browser.picture(when);
    };
    check("at-first");
    scene.read("three\nfour\n");
    browser.wait_for(&format!("{} === '4'", fact("readings", "delivered")));
    browser.wait_for(&format!("{}.querySelector('.badge').textContent === 'stale'", card("silent")));
    browser.write("#token", TOKEN);
    browser.click("#letters-form button");
    browser.wait_for("document.querySelectorAll('.letter').length === 2");
    browser.click(".letter:first-child summary");
    let mut backgrounds = Vec::new();
    for (device, width, height) in
        [("desktop", 1280, 900), ("tablet", 768, 1024), ("phone", 390, 844), ("small-phone", 320, 568)]
    {
        for scheme in ["light", "dark"] {
            browser.look_like(width, height, scheme);
            browser.wait_for(&format!("innerWidth === {width}"));
            check(&format!("{device}-{scheme}"));
            backgrounds.push(browser.script("return getComputedStyle(document.body).backgroundColor;"));
        }
    }
    assert!(backgrounds.chunks(2).all(|both| both[0] != both[1]), "{backgrounds:?}");
    browser.click(".letter button[aria-label^=Drop]");
    browser.wait_for("document.querySelector('#sure').open");
    check("small-phone-dark-sure");
    browser.click("#sure button[value='']");
    scene.close();
}
