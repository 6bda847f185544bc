//! The units in `systemd/` as systemd itself sees them.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what cannot be read fails the test, and a skip is said")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// The exposure that `systemd-analyze security` may find, in tenths: 1.2.
const EXPOSURE: &str = "12";

const UNITS: [&str; 2] = ["gatherd.service", "gatherd@.service"];

#[test]
fn the_units_are_hardened() {
    for unit in UNITS {
        let threshold = format!("--threshold={EXPOSURE}");
        analyze(&["security", "--offline=true", "--no-pager", &threshold, &format!("systemd/{unit}")]);
    }
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    for (unit, installed) in UNITS.into_iter().zip(["gatherd.service", "gatherd@quakes.service"]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(installed);
        // The program need not be installed for its unit to be read.
        fs::write(&path, text(unit).replace("/usr/bin/gatherd", "/bin/true")).unwrap();
        let said = analyze(&["verify", "--man=no", "--recursive-errors=no", path.to_str().unwrap()]);
        assert_eq!(said, "", "{unit}");
    }
}

#[test]
fn systemd_understands_every_line_of_the_socket_also_those_that_are_options() {
    let text = text("socket/gatherd.socket");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gatherd.service"), text_of_service()).unwrap();
    for text in
        [text.clone(), text.replace("\n#ListenStream", "\nListenStream").replace("\n#SocketMode", "\nSocketMode")]
    {
        let path = folder.path().join("gatherd.socket");
        fs::write(&path, text).unwrap();
        let said = analyze(&["verify", "--man=no", "--recursive-errors=yes", path.to_str().unwrap()]);
        assert_eq!(said, "");
    }
}

/// The program need not be installed for its unit to be read.
fn text_of_service() -> String {
    text("gatherd.service").replace("/usr/bin/gatherd", "/bin/true")
}

#[test]
fn the_units_differ_only_where_one_has_an_instance() {
    let instance = |line: &str| {
        let line = line.replace(" (%i)", "").replace("gatherd-%i", "gatherd").replace("%i.toml", "gatherd.toml");
        line.trim_end().to_owned()
    };
    let single: Vec<_> = text(UNITS[0]).lines().map(str::to_owned).collect();
    let template: Vec<_> = text(UNITS[1]).lines().map(instance).collect();
    assert_eq!(single, template);
}

#[test]
fn each_setting_stands_once() {
    for unit in UNITS {
        let text = text(unit);
        let mut seen = BTreeSet::new();
        let settings = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        // A second list of system calls takes some away from the first.
        for (name, _) in settings.filter(|(name, _)| *name != "SystemCallFilter") {
            assert!(seen.insert(name), "{unit}: {name}");
        }
    }
}

fn text(unit: &str) -> String {
    fs::read_to_string(format!("systemd/{unit}")).unwrap()
}

/// What systemd-analyze says; it must succeed. Where systemd is not installed, nothing can be told.
fn analyze(arguments: &[&str]) -> String {
    let output = match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => output,
        Err(error) if std::env::var_os("GATHERD_ALL").is_none() => {
            println!("skipped: cannot run systemd-analyze: {error}");
            return String::new();
        }
        Err(error) => panic!("cannot run systemd-analyze: {error}"),
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "systemd-analyze {arguments:?}: {said}");
    said
}
