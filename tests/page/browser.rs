//! A headless Chromium, driven as the WebDriver standard says (<https://www.w3.org/TR/webdriver2/>).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{connect, exchange};
use crate::support::gatherd::Running;
use crate::support::{LIMIT, comes_true_within, skip, wait_until};

/// Where screenshots go, for people to look at.
const SCREENSHOTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/page");

/// What stands for an element in requests and replies.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that are no letters (WebDriver, section 17.4.2).
pub(crate) const TAB: char = '\u{E004}';
pub(crate) const ENTER: char = '\u{E007}';
pub(crate) const SHIFT: char = '\u{E008}';

/// A browser with one window; both end when this is dropped.
pub(crate) struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Running,
    _profile: TempDir,
}

impl Browser {
    /// Nothing if there is none here, which is said.
    pub(crate) fn start() -> Option<Self> {
        if Command::new("chromedriver").arg("--version").output().is_err() {
            skip("chromedriver is not installed; tests/run installs it");
            return None;
        }
        let mut command = Command::new("chromedriver");
        command.args(["--port=0", "--allowed-ips=127.0.0.1"]);
        let mut process = Running::start(command);
        const STARTED: &str = "started successfully on port ";
        let started = comes_true_within(LIMIT, || process.stdout_so_far().contains(STARTED) || process.is_over());
        let said = process.stdout_so_far();
        assert!(started, "chromedriver: {said}{}", process.log());
        let port = said.split_once(STARTED).and_then(|(_, after)| after.split(['.', '\n']).next()?.trim().parse().ok());
        let driver = SocketAddr::from(([127, 0, 0, 1], port.unwrap_or_else(|| panic!("chromedriver: {said}"))));
        let profile = tempfile::tempdir().unwrap();
        let profile_flag = format!("--user-data-dir={}", profile.path().display());
        let flags = [
            &profile_flag,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let asked = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = ask(driver, "POST", "/session", &asked)["sessionId"].as_str().unwrap().to_owned();
        Some(Self { driver, session, _process: process, _profile: profile })
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("url", &json!({"url": url}));
    }

    /// What the body of a function in the page returns, or its promise.
    pub(crate) fn script(&self, body: &str) -> Value {
        self.post("execute/sync", &json!({"script": body, "args": []}))
    }

    /// Waits until an expression in the page is true, and all that it looks at is there.
    #[track_caller]
    pub(crate) fn wait_for(&self, expression: &str) {
        let is_true =
            || self.script(&format!("try {{ return Boolean({expression}); }} catch {{ return false; }}")) == true;
        if !comes_true_within(LIMIT, is_true) {
            panic!("waited {LIMIT:?} for {expression} in a page that shows:\n{}", self.text("body"));
        }
    }

    /// What an element shows.
    pub(crate) fn text(&self, selector: &str) -> String {
        let element = self.element(selector);
        self.get(&format!("element/{element}/text")).as_str().unwrap().to_owned()
    }

    /// Clicks in the middle of an element, once it is there and nothing covers it.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        wait_until(&format!("a click on {selector}"), || {
            let found = self.try_post("element", &json!({"using": "css selector", "value": selector}));
            let Ok(found) = found else { return false };
            let element = found[ELEMENT].as_str().unwrap();
            self.try_post(&format!("element/{element}/click"), &json!({})).is_ok()
        });
    }

    /// Types into an element.
    pub(crate) fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("element/{element}/value"), &json!({"text": text}));
    }

    /// Presses keys one after the other and lets them go in the other order, wherever the focus is.
    pub(crate) fn press(&self, keys: &[char]) {
        let down = keys.iter().map(|key| json!({"type": "keyDown", "value": key}));
        let up = keys.iter().rev().map(|key| json!({"type": "keyUp", "value": key}));
        let actions: Vec<Value> = down.chain(up).collect();
        self.post("actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}));
    }

    /// Looks as a screen so wide looks, and as a person likes it who asks for `scheme`: `light` or `dark`.
    pub(crate) fn look_like(&self, width: u32, height: u32, scheme: &str) {
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Keeps a picture of the whole page, for people.
    pub(crate) fn picture(&self, name: &str) {
        let asked = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.devtools("Page.captureScreenshot", &asked);
        let bytes = BASE64.decode(picture["data"].as_str().unwrap().as_bytes()).unwrap();
        fs::create_dir_all(SCREENSHOTS).unwrap();
        fs::write(Path::new(SCREENSHOTS).join(format!("{name}.png")), bytes).unwrap();
    }

    /// What the console has said since this was asked last.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({"type": "browser"}));
        entries.as_array().unwrap().iter().map(Value::to_string).collect()
    }

    /// Where requests went since this was asked last.
    pub(crate) fn requests(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({"type": "performance"}));
        let messages = entries.as_array().unwrap().iter().map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            message["message"].clone()
        });
        let sent = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        let urls = sent.map(|message| message["params"]["request"]["url"].as_str().unwrap().to_owned());
        // The browser's own page, with which it starts.
        urls.filter(|url| !url.starts_with("chrome://")).collect()
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("element", &json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    fn get(&self, path: &str) -> Value {
        ask(self.driver, "GET", &format!("/session/{}/{path}", self.session), &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        try_ask(self.driver, "POST", &format!("/session/{}/{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session; a driver that has gone takes it along.
        let _ = try_ask(self.driver, "DELETE", &format!("/session/{}", self.session), &Value::Null);
    }
}

fn ask(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    try_ask(driver, method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// The value of a reply, or what the driver says is wrong.
fn try_ask(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head =
        format!("{method} {path} HTTP/1.1\nHost: {driver}\nConnection: close\nContent-Length: {}\n\n", body.len());
    let reply = exchange(connect(driver), &format!("{head}{body}"));
    let value = reply.json()["value"].clone();
    if reply.status == 200 { Ok(value) } else { Err(value["message"].to_string()) }
}
