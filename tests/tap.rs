//! `gatherd tap`: items as they pass, seen from outside.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;

use rustix::process::Signal;
use serde_json::Value;
use support::gatherd::{IDLE, Running, Workplace, wait_for_lines};
use support::wait_until;

const SECRET: &str = "canary/of\"the tap";

/// Lines that are added to a file, in three steps into two sinks.
fn lines() -> Workplace {
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.lines]
        vars  = {{ key = "${{secret:key}}" }}
        from  = {{ lines = {{ path = "in", follow = true }} }}
        steps = [
          {{ map = "{{n: tonumber, key: $key}}" }},
          {{ each = "., (.n += 1000)" }},
          {{ where = ".n != 2" }},
        ]
        to = ["all", "large"]

        [sink.all]
        file = "all.ndjson"

        [sink.large]
        when = ".n > 1000"
        file = "large.ndjson"
        {IDLE}
        "#
    ));
    workplace.write("key", SECRET);
    workplace.write("in", "0\n");
    workplace
}

fn start(workplace: &Workplace) -> Running {
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("CREDENTIALS_DIRECTORY", workplace.path(""));
    let daemon = Running::start(command);
    wait_for_lines(workplace, "all.ndjson", 2);
    daemon
}

fn add(workplace: &Workplace, numbers: impl IntoIterator<Item = u32>) {
    let mut file = OpenOptions::new().append(true).open(workplace.path("in")).unwrap();
    let lines: String = numbers.into_iter().map(|number| format!("{number}\n")).collect();
    file.write_all(lines.as_bytes()).unwrap();
}

/// A tap that shows what passes, once it is known to be there.
fn tap(workplace: &Workplace, arguments: &[&str]) -> Running {
    let tap = Running::start(workplace.command(&[&["tap"], arguments].concat()));
    // An item that passes before the tap is there is not seen, so some are sent until one is.
    wait_until("the tap shows something", || {
        add(workplace, [500]);
        !tap.stdout_so_far().is_empty()
    });
    tap
}

fn values(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn what_passes_after_each_component_is_shown() {
    let workplace = lines();
    let _daemon = start(&workplace);
    let cases: [(&str, &[i64]); 6] = [
        ("lines.lines", &[1, 2]),
        ("lines.map", &[1, 2]),
        ("lines.each", &[1, 2, 1001, 1002]),
        ("lines.where", &[1, 1001, 1002]),
        ("lines", &[1, 1001, 1002]),
        ("lines.sink.large", &[1001, 1002]),
    ];
    for (place, expected) in cases {
        let tap = tap(&workplace, &[place, "--json", "--rate", "1000000000/s"]);
        let number = |shown: &Value| {
            let value = &shown["value"];
            value["n"].as_i64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
        };
        let seen = || {
            let text = tap.stdout_so_far();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole).to_owned();
            let numbers: BTreeSet<i64> = values(&whole).iter().map(number).collect();
            numbers.into_iter().filter(|number| ![500, 1500].contains(number)).collect::<Vec<_>>()
        };
        wait_until(&format!("{expected:?} after {place}"), || {
            add(&workplace, [1, 2]);
            seen() == expected
        });
        tap.signal(Signal::INT);
        assert_eq!(tap.end().code(), Some(0));
    }
}

#[test]
fn a_tap_is_a_sample_that_masks_secrets_and_ends_after_its_limit() {
    let workplace = lines();
    let _daemon = start(&workplace);
    let tap = tap(&workplace, &["lines.map", "--json", "--rate", "2/s", "--limit", "3"]);
    wait_until("three are shown", || {
        add(&workplace, 0..100);
        tap.stdout_so_far().lines().count() == 3
    });
    let ended = tap.end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let shown = values(&ended.stdout);
    assert!(shown.iter().skip(1).all(|one| one["passed"].as_i64().unwrap() > 1), "{shown:?}");
    assert!(shown.iter().all(|one| one["value"]["key"] == "***" && one["lost"] == 0), "{shown:?}");
    assert!(shown[0]["item"].as_str().unwrap().starts_with("lines-"), "{shown:?}");
}

#[test]
fn a_tap_for_people_says_what_it_did_not_show_and_why_it_ends() {
    let workplace = lines();
    let daemon = start(&workplace);
    let tap = tap(&workplace, &["lines.where", "--rate", "1000/s"]);
    wait_until("the item is shown", || {
        add(&workplace, [7]);
        tap.stdout_so_far().contains(r#"{"n":7,"key":"***"}"#)
    });
    daemon.stop();
    let ended = tap.end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("the pipeline has ended") && ended.stderr.contains(" shown"), "{ended:?}");
    assert!(!ended.stdout.contains("canary"), "{ended:?}");
}

#[test]
fn what_cannot_be_tapped_is_refused_with_the_way_out() {
    let workplace = lines();
    let refused = workplace.gatherd(&["tap", "lines"]);
    assert!(refused.code() == Some(1) && refused.stderr.contains("no gatherd runs"), "{refused:?}");
    let _daemon = start(&workplace);
    for (place, why) in [
        ("other", "there is no pipeline `other`"),
        ("lines.mpa", "no component `mpa`; it has `lines`, `map`, `each`, `where`, `sink.all`, `sink.large`"),
    ] {
        let refused = workplace.gatherd(&["tap", place]);
        assert!(refused.code() == Some(1) && refused.stderr.contains(why), "{refused:?}");
    }
}

#[test]
fn a_tap_that_nobody_reads_holds_up_nothing() {
    let workplace = lines();
    let _daemon = start(&workplace);
    let stuck = tap(&workplace, &["lines.map", "--json", "--rate", "1000000/s"]);
    stuck.signal(Signal::STOP);
    add(&workplace, 1000..21_000);
    wait_for_lines(&workplace, "all.ndjson", 40_000);
    stuck.signal(Signal::CONT);
    let lost = || {
        let text = stuck.stdout_so_far();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole).to_owned();
        values(&whole).iter().any(|one| one["lost"].as_i64().unwrap() > 0)
    };
    wait_until("it is told what it lost", || {
        add(&workplace, [1]);
        lost()
    });
}
