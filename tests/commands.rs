//! `gatherd check`, `explain` and `kinds`, as their user meets them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gatherd::assemble::describe_kinds;
use tempfile::TempDir;

fn gatherd(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatherd"));
    command.current_dir(folder).env_clear();
    command
}

/// Runs a command in a folder that holds these files.
fn run(files: &[(&str, &str)], arguments: &[&str], environment: &[(&str, &str)]) -> (String, String, i32) {
    let folder = folder_of(files);
    read(&gatherd(folder.path()).args(arguments).envs(environment.iter().copied()).output().unwrap())
}

fn folder_of(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn read(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

const QUAKES: &str = r#"
[pipeline.quakes]
vars = { least = "${LEAST}" }
from = { cron = "0 6 * * *" }
steps = [
  { get = { via = "usgs", url = "/{.region}/all_hour.geojson" }, on = [{ when = "labels.status == 404", do = "filter" }] },
  { parse = "json" },
  { each = ".features[]" },
  { where = ".mag >= ($least | tonumber)", when = ".mag != null" },
]
to = ["db", { stdout = {} }]

[pipeline.beat]
from = { every = "1m" }

[sink.db]
file = "quakes.ndjson"
batch = 500

[http.usgs]
base = "https://${HOST}"
auth = { basic = { user = "me", password = "hunter2" } }
headers = { X-Api-Key = "${secret:usgs}", Authorization = "open sesame" }
"#;

const ENVIRONMENT: [(&str, &str); 3] = [("LEAST", "5"), ("HOST", "quakes.example"), ("usgs", "geheim")];

#[test]
fn a_good_config_is_counted_and_passes() {
    let (out, err, code) = run(&[("a.toml", QUAKES)], &["check", "a.toml"], &ENVIRONMENT);
    assert_eq!((out.as_str(), err.as_str(), code), ("ok: 2 pipelines, 3 sinks\n", "", 0));
}

#[test]
fn a_config_may_be_spread_over_folders_and_files() {
    let (pipelines, rest) = QUAKES.split_once("[sink.db]").unwrap();
    let files = [("conf/10.toml", pipelines), ("conf/20.toml", "[sink.db]"), ("more.toml", rest)];
    let rest = format!("[sink.db]{rest}");
    let files = [files[0], ("conf/notes.txt", "x"), ("more.toml", &rest)];
    let (out, err, code) = run(&files, &["check", "conf", "more.toml", "more.toml"], &ENVIRONMENT);
    assert_eq!((out.as_str(), err.as_str(), code), ("ok: 2 pipelines, 3 sinks\n", "", 0));
}

#[test]
fn what_is_not_set_is_a_mistake_or_with_unset_ok_a_warning() {
    let (_, err, code) = run(&[("a.toml", QUAKES)], &["check", "a.toml"], &[]);
    assert_eq!(code, 78, "{err}");
    assert_eq!(err.matches("is not set").count(), 3, "{err}");
    assert!(err.ends_with("3 mistakes: the config cannot be used\n"), "only what is not set is reported: {err}");

    let (out, err, code) = run(&[("a.toml", QUAKES)], &["check", "--unset-ok", "a.toml"], &[]);
    assert_eq!((out.as_str(), code), ("ok: 2 pipelines, 3 sinks\n", 0), "{err}");
    assert_eq!(err.matches("warning: `${").count(), 3, "{err}");
}

#[test]
fn a_secret_comes_from_the_credentials_then_the_folder_then_the_environment() {
    let config = "[pipeline.a]\nfrom = { items = [1] }\nsteps = [{ get = { via = 'a', url = '/' } }]\n\
                  [http.a]\nbase = 'https://a.example'\nauth = { bearer = '${secret:key}' }\n\
                  [service]\nsecrets = '${SECRETS}'";
    let files = [("a.toml", config), ("secrets/key", "x"), ("credentials/key", "x")];
    for (environment, code) in [
        ([("SECRETS", "nowhere"), ("CREDENTIALS_DIRECTORY", "credentials")], 0),
        ([("SECRETS", "secrets"), ("OTHER", "x")], 0),
        ([("SECRETS", "nowhere"), ("key", "x")], 0),
        ([("SECRETS", "nowhere"), ("OTHER", "x")], 78),
    ] {
        let (_, err, found) = run(&files, &["check", "a.toml"], &environment);
        assert_eq!(found, code, "{environment:?}: {err}");
    }
}

#[test]
fn a_wrong_path_is_named() {
    let (_, err, code) = run(&[], &["check", "nowhere.toml"], &[]);
    assert_eq!(code, 78);
    assert!(err.contains("cannot read `nowhere.toml`") && err.contains("; check the path"), "{err}");
}

#[test]
fn explain_fills_in_every_default_and_shows_no_secret() {
    let (out, err, code) = run(&[("a.toml", QUAKES)], &["explain", "a.toml"], &ENVIRONMENT);
    assert_eq!((err.as_str(), code), ("", 0));
    for shown in [
        "# next ticks: ",
        "zone = \"UTC\", jitter = \"0s\", missed = \"latest\", overlap = \"skip\"",
        "# promise: every item is delivered at least once, also over a crash",
        "# stage 1: a queue of 256 items, and 16 workers",
        "retry = { tries = 5, within = \"5m\", base = \"1s\", cap = \"1m\" }",
        "retry = { tries = 5, within = \"5m\", base = \"1s\", cap = \"5m\" }",
        "batch = { items = 500, ",
        "# no `to` is given, so the items are logged",
        "X-Api-Key = \"${secret:usgs}\"",
        "base = \"https://${HOST}\"",
        "memory = \"256MiB\"",
        "drain = \"30s\"",
    ] {
        assert!(out.contains(shown), "`{shown}` is not in\n{out}");
    }
    let ticks = out.lines().find(|line| line.starts_with("# next ticks: ")).unwrap();
    assert_eq!(ticks.matches("T06:00:00Z").count(), 5, "{ticks}");
    assert!(ticks.ends_with("; before them one within 5 s of its first start"), "{ticks}");
    for hidden in ["hunter2", "geheim", "open sesame", "quakes.example"] {
        assert!(!out.contains(hidden), "`{hidden}` is shown in\n{out}");
    }
}

#[test]
fn what_explain_prints_is_the_same_config() {
    let (first, _, _) = run(&[("a.toml", QUAKES)], &["explain", "a.toml"], &ENVIRONMENT);
    let (second, err, code) = run(&[("a.toml", &first)], &["explain", "a.toml"], &ENVIRONMENT);
    let without_ticks = |text: &str| -> String {
        let lines =
            text.lines().filter(|line| !line.starts_with("# next ticks") && !line.contains("so the items are logged"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(code, 0, "{err}");
    assert_eq!(without_ticks(&second), without_ticks(&first), "{err}");
}

#[test]
fn explain_shows_one_pipeline_with_what_it_names() {
    let (out, _, code) = run(&[("a.toml", QUAKES)], &["explain", "a.toml", "quakes"], &ENVIRONMENT);
    assert_eq!(code, 0);
    assert!(out.contains("[pipeline.quakes]") && out.contains("[sink.db]") && out.contains("[http.usgs]"), "{out}");
    assert!(!out.contains("[pipeline.beat]") && !out.contains("[service]"), "{out}");

    let (_, err, code) = run(&[("a.toml", QUAKES)], &["explain", "a.toml", "quake"], &ENVIRONMENT);
    assert_eq!((err.as_str(), code), ("gatherd: there is no pipeline `quake`; did you mean `quakes`?\n", 2));
}

#[test]
fn explain_says_that_items_are_discarded_and_that_standard_input_cannot_be_asked_again() {
    let config = "[pipeline.a]\nfrom = { lines = '-' }\nto = []";
    let (out, _, _) = run(&[("a.toml", config)], &["explain", "a.toml"], &[]);
    assert!(out.contains("# the items are discarded\nto = []\n"), "{out}");
    assert!(out.contains("cannot be asked again"), "{out}");
}

#[test]
fn explain_says_what_runs_each_filter() {
    let config = "[pipeline.a]\nfrom = { items = [1] }\nsteps = [\n  { map = '{id, name: (.name // \"\")}', when = '.. == 1' },\n  \
                  { get = 'https://a.example/{.id}' },\n]\nto = [{ file = 'out/{.day | walk(.)}.ndjson' }]";
    let (out, err, _) = run(&[("a.toml", config)], &["explain", "a.toml"], &[]);
    for shown in [
        "  # filters: `filter` native, `when` in jaq\n  { map",
        "16 workers; filters: `url` native\n",
        "1 worker; filters: `path` in jaq\n",
    ] {
        assert!(out.contains(shown), "`{shown}` is not in\n{out}{err}");
    }
}

#[test]
fn explain_prints_the_error_table_of_each_network_step() {
    let (out, _, code) = run(&[("a.toml", QUAKES)], &["explain", "--errors", "a.toml", "quakes"], &ENVIRONMENT);
    assert_eq!(code, 0);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "quakes, step get: the first line that fits counts");
    assert!(lines[1].contains("labels.status == 404") && lines[1].ends_with("filter"), "{out}");
    assert!(out.contains("Retry-After"), "{out}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = folder_of(&[]);
    let mut child = gatherd(folder.path()).arg("kinds").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn kinds_lists_every_component_and_shows_each_with_a_sample() {
    let (list, _, code) = run(&[], &["kinds"], &[]);
    assert_eq!(code, 0);
    for kind in describe_kinds() {
        assert!(list.contains(&format!("\n  {} ", kind.name)), "{} is not in\n{list}", kind.name);
        let (out, _, code) = run(&[], &["kinds", kind.name], &[]);
        assert_eq!(code, 0);
        assert!(out.contains("\nSample:\n") && out.contains(kind.sample.trim().lines().next().unwrap()), "{out}");
        for record in kind.settings.iter().chain(&kind.beside) {
            assert!(out.contains(&format!("  {}: {}", record.key, record.expects)), "{} is not in\n{out}", record.key);
        }
    }
    let (webhook, _, _) = run(&[], &["kinds", "webhook"], &[]);
    assert!(webhook.contains("  token: a table, or its `secret` alone\n"), "{webhook}");
    let (_, err, code) = run(&[], &["kinds", "gte"], &[]);
    assert_eq!(
        (err.as_str(), code),
        ("gatherd: there is no source, step, sink or section `gte`; did you mean `get`?\n", 2)
    );
}

#[test]
fn every_sample_is_a_config_without_a_mistake_and_so_is_what_explain_makes_of_it() {
    for kind in describe_kinds() {
        let (_, err, code) = run(&[("a.toml", kind.sample)], &["check", "a.toml"], &[("USER", "x"), ("acme", "x")]);
        assert_eq!((code, err.as_str()), (0, ""), "the sample of `{}`:\n{}", kind.name, kind.sample);
        let (expanded, _, _) = run(&[("a.toml", kind.sample)], &["explain", "a.toml"], &[("USER", "x"), ("acme", "x")]);
        let (_, err, code) = run(&[("a.toml", &expanded)], &["check", "a.toml"], &[("USER", "x"), ("acme", "x")]);
        assert_eq!((code, err.as_str()), (0, ""), "the sample of `{}`, explained:\n{expanded}", kind.name);
    }
}

#[test]
fn a_new_config_can_be_used_as_it_stands() {
    let names: Vec<&str> = describe_kinds().iter().map(|kind| kind.noun()).collect();
    for arguments in names.iter().map(|name| vec!["new", name]).chain([vec!["new"]]) {
        let (config, stderr, code) = run(&[], &arguments, &[]);
        assert_eq!((stderr.as_str(), code), ("", 0), "{arguments:?}");
        let (_, stderr, code) = run(&[("gatherd.toml", &config)], &["check", "--unset-ok", "gatherd.toml"], &[]);
        assert_eq!(code, 0, "{arguments:?}: {stderr}\n{config}");
    }
    let (config, ..) = run(&[], &["new", "get"], &[]);
    assert!(config.contains("#     # how many redirects are followed"), "{config}");
    let (_, stderr, code) = run(&[], &["new", "gett"], &[]);
    assert_eq!(
        (stderr.as_str(), code),
        ("gatherd: there is no source, step, sink or section `gett`; did you mean `get`?\n", 2)
    );
}
