//! `gatherd plan`: what another config would change.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::net::TcpListener;

use serde_json::Value;
use support::gatherd::{Ended, IDLE, Workplace};

#[track_caller]
fn plan(workplace: &Workplace, arguments: &[&str]) -> String {
    let Ended { stdout, stderr, status } = workplace.gatherd(&[&["plan"], arguments].concat());
    assert!(status.success(), "{stdout}{stderr}");
    stdout
}

#[test]
fn what_starts_restarts_stops_and_goes_on_is_told_as_a_reload_then_does_it() {
    let config = |first: &str, more: &str| {
        format!(
            r#"
            [pipeline.first]
            from  = {{ every = {{ period = "24h", jitter = "23h" }} }}
            steps = [ {{ map = "{first}" }} ]
            to    = []
            {more}
            {IDLE}
            "#
        )
    };
    let gone = "[pipeline.gone]\nfrom = { every = { period = '24h', jitter = '23h' } }\nto = []";
    let added = "[service]\nmemory = '512MiB'\n[pipeline.added]\nfrom = { items = [1] }\nto = []";
    let workplace = Workplace::new(&config(".", gone));
    workplace.write("new.toml", config(".a", added));
    let daemon = workplace.start();
    let told = plan(&workplace, &["new.toml"]);
    let expected = "starts    added\nrestarts  first\nstops     gone\n1 pipeline goes on as before\n\
                    `[service]` is read at the next start: memory changed\n";
    assert!(told.starts_with(expected), "{told}");
    assert!(plan(&workplace, &["gatherd.toml"]).starts_with("3 pipelines go on as before\n"));

    workplace.write("gatherd.toml", config(".a", added));
    let reloaded = workplace.gatherd(&["reload"]).stdout;
    let changed = |text: &str| {
        let lines = text.lines().take_while(|line| !line.contains("pipeline goes on"));
        let names = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let mut names: Vec<String> =
            names.map(|line| line.replacen("ed ", "s ", 1).replace("stopps ", "stops ")).collect();
        names.sort();
        names
    };
    assert_eq!(changed(&reloaded), changed(&told), "{reloaded}{told}");
    assert!(plan(&workplace, &["new.toml"]).starts_with("3 pipelines go on as before\n"));
    daemon.stop();
}

#[test]
fn state_that_no_component_of_the_new_config_would_find_is_orphaned() {
    let config = |step: &str| {
        format!(
            r#"
            [pipeline.numbers]
            from  = {{ lines = "in" }}
            steps = [ {{ {step} }}, {{ map = "if . == \"2\" then error(\"no\") else . end" }} ]
            to    = [ {{ file = "out" }} ]
            "#
        )
    };
    let workplace = Workplace::new(&config("new = \".\""));
    workplace.write("in", "1\n2\n3\n");
    workplace.run_once();
    workplace.write("new.toml", config("new = \".\", id = \"other\""));
    let row = |told: &str, of: &str| {
        let line = told.lines().find(|line| line.starts_with(of)).unwrap_or_else(|| panic!("no {of} in {told}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let same = plan(&workplace, &["gatherd.toml"]);
    assert_eq!(row(&same, "numbers.new"), "numbers.new 3 seen keys kept");
    assert_eq!(row(&same, "numbers.lines"), "numbers.lines 1 position kept");
    assert_eq!(row(&same, "numbers.map"), "numbers.map 1 dead letter kept");
    let changed = plan(&workplace, &["new.toml"]);
    assert!(row(&changed, "numbers.new").starts_with("numbers.new 3 seen keys orphaned"), "{changed}");
    assert_eq!(row(&changed, "numbers.lines"), "numbers.lines 1 position kept");
}

const BEFORE: &str = r#"
    [http.api]
    base = "https://api.example/v1"
    rate = "10/s"

    [pipeline.list]
    from  = { every = "1m" }
    steps = [
      { get = { url = "/list", via = "api" } },
      { each = "." },
      { get = { url = "/one/{.id}", via = "api" } },
      { get = "https://pictures.example:8443/{.picture}" },
      { get = "{.link}" },
    ]
    to = [ { http = "https://hook.example/" } ]
"#;

#[test]
fn a_host_that_the_environment_names_shows_as_the_config_has_it() {
    let workplace = Workplace::new(
        r#"
        [http.api]
        base = "${API}"

        [pipeline.list]
        from  = { every = "1m" }
        steps = [
          { get = { url = "/list", via = "api" } },
          { get = "https://user:x@${HOST}:8443/list" },
          { get = "https://pictures.example/${FOLDER}" },
          { get = "{.link}/${FOLDER}" },
        ]
        to = [ { http = "${CHAT}/hook" } ]
        "#,
    );
    let told = plan(&workplace, &["gatherd.toml"]);
    let asks =
        |host: &str| told.lines().find(|line| line.starts_with(host)).unwrap_or_else(|| panic!("{host}: {told}"));
    assert!(asks("${API}").ends_with("list.get"), "{told}");
    assert!(asks("${HOST}:8443").ends_with("list.get-2"), "{told}");
    assert!(asks("pictures.example").ends_with("list.get-3"), "{told}");
    assert!(asks("${CHAT}").ends_with("sink.list.http"), "{told}");
    assert!(asks("(named by data)").ends_with("list.get-4"), "{told}");
}

#[test]
fn the_load_of_each_host_is_told_before_and_after_as_far_as_it_is_known() {
    let workplace = Workplace::new(BEFORE);
    let after = BEFORE.replace("\"1m\"", "{ min = \"1m\", max = \"1h\" }").replace("rate = \"10/s\"", "");
    workplace.write("new.toml", format!("{after}\n[pipeline.nightly]\nfrom = {{ cron = \"0 3 * * *\" }}\nsteps = [ {{ get = \"https://night.example/\" }} ]\nto = []"));
    let told = plan(&workplace, &["new.toml", "--against", "gatherd.toml"]);
    let row = |host: &str| {
        let line = told.lines().find(|line| line.starts_with(host)).unwrap_or_else(|| panic!("no {host} in {told}"));
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let unknown = "unknown: data decides";
    assert_eq!(row("api.example")[1..], ["up to 36060/h", "1/h or more", "list.get, list.get-2"]);
    assert_eq!(row("night.example")[1..], ["none", "1/d", "nightly.get"]);
    assert_eq!(row("pictures.example:8443")[1..], [unknown, unknown, "list.get-3"]);
    assert_eq!(row("hook.example")[1..], [unknown, unknown, "sink.list.http"]);
    assert_eq!(row("(named by data)")[1..], [unknown, unknown, "list.get-4"]);

    let json: Value =
        serde_json::from_str(&plan(&workplace, &["new.toml", "--against", "gatherd.toml", "--json"])).unwrap();
    assert_eq!(json["against"], "config");
    assert_eq!(json["pipelines"]["starts"], serde_json::json!(["nightly"]));
    let night = json["requests_an_hour"].as_array().unwrap().iter().find(|load| load["host"] == "night.example");
    assert_eq!(night.unwrap()["before"], Value::Null);
    assert!((night.unwrap()["after"]["high"].as_f64().unwrap() - 1.0 / 24.0).abs() < 1e-9, "{json}");
}

#[test]
fn without_anything_to_compare_with_that_is_said() {
    let workplace = Workplace::new(BEFORE);
    let told = plan(&workplace, &["gatherd.toml"]);
    assert!(told.starts_with("no gatherd runs with the state folder `gatherd-state`"), "{told}");
    assert!(told.contains("`--against`") && told.contains("there is no state yet") && told.contains("api.example"));
    let json: Value = serde_json::from_str(&plan(&workplace, &["gatherd.toml", "--json"])).unwrap();
    assert!(json["against"].is_null() && json["pipelines"].is_null(), "{json}");
}

#[test]
fn a_new_config_that_is_broken_is_told_of_as_by_check() {
    let workplace = Workplace::new(IDLE);
    workplace.write("new.toml", IDLE.replace("every", "evry"));
    let ended = workplace.gatherd(&["plan", "new.toml"]);
    assert_eq!(ended.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("did you mean `every`?"), "{ended:?}");
}

#[test]
fn a_pipeline_that_could_not_start_would_start_anew() {
    let workplace = Workplace::new(IDLE);
    let daemon = workplace.start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let webhook = format!("[pipeline.hook]\nfrom = {{ webhook = \"{}\" }}\nto = []", taken.local_addr().unwrap());
    workplace.write("gatherd.toml", format!("{IDLE}{webhook}"));
    assert!(workplace.gatherd(&["reload"]).stdout.contains("cannot start hook"));
    let told = plan(&workplace, &["gatherd.toml"]);
    assert!(told.starts_with("restarts  hook\n1 pipeline goes on as before\n"), "{told}");
    daemon.stop();
}
