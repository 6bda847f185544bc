//! What a package is made of: version, man pages, completions.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn gatherd(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gatherd")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_has_a_man_page_and_completions_know_it() {
    let folder = tempfile::tempdir().unwrap();
    gatherd(&["generate", folder.path().to_str().unwrap()]);
    let help = gatherd(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty() && *name != "help")
        })
        .collect();
    assert!(commands.contains(&"run") && commands.contains(&"test"), "{commands:?}");
    for command in &commands {
        let page = fs::read_to_string(folder.path().join(format!("man/gatherd-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
        for completions in ["gatherd.bash", "_gatherd", "gatherd.fish"] {
            let text = fs::read_to_string(folder.path().join("completions").join(completions)).unwrap();
            assert!(text.contains(command), "{completions} does not know {command}");
        }
    }
    assert!(folder.path().join("man/gatherd-dead-list.1").exists());
    assert!(!folder.path().join("man/gatherd-generate.1").exists(), "it is for those who package gatherd");
}

#[test]
fn the_version_names_the_commit_where_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let compiled =
        Command::new("rustc").args(["--edition=2024", "build/build.rs", "-o"]).arg(path("build")).status().unwrap();
    assert!(compiled.success());
    let version = |environment: &[(&str, &str)]| {
        let mut command = Command::new(path("build"));
        command.current_dir(folder.path()).env_remove("GATHERD_COMMIT");
        command.env("CARGO_PKG_VERSION", "1.2.3").env("CARGO_MANIFEST_DIR", folder.path()).env("PROFILE", "release");
        // Whatever holds the temporary folder is not our repository.
        command.env("GIT_CEILING_DIRECTORIES", folder.path().parent().unwrap());
        let output = command.envs(environment.iter().copied()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=GATHERD_VERSION="));
        line.unwrap().to_owned()
    };
    assert_eq!(version(&[]), "1.2.3", "from an archive, and without git");
    assert_eq!(version(&[("GATHERD_COMMIT", "abc")]), "1.2.3 (abc)");
    fs::write(path(".cargo_vcs_info.json"), r#"{"git": {"sha1": "0123456789abcdef0123"}, "path_in_vcs": ""}"#).unwrap();
    assert_eq!(version(&[("PATH", "")]), "1.2.3 (0123456789ab)");
    if !make_repository(folder.path()) {
        return;
    }
    let commit = version(&[]);
    assert!(commit.starts_with("1.2.3 (") && commit.len() == "1.2.3 (0123456789ab)".len(), "{commit}");
    assert_ne!(commit, "1.2.3 (0123456789ab)");
    fs::write(path("file"), "changed").unwrap();
    assert_eq!(version(&[]), commit.replace(')', ", changed)"));
    let told = gatherd(&["--version"]);
    assert!(told.starts_with(concat!("gatherd ", env!("CARGO_PKG_VERSION"))), "{told}");
}

/// False where git is not installed.
fn make_repository(folder: &Path) -> bool {
    fs::write(folder.join("file"), "").unwrap();
    let commit = ["-c", "user.name=n", "-c", "user.email=e@example.com", "commit", "-qm", "first"];
    for arguments in [&["init", "-q"][..], &["add", "file"], &commit] {
        let Ok(status) = Command::new("git").args(arguments).current_dir(folder).status() else { return false };
        assert!(status.success(), "git {arguments:?}");
    }
    true
}
