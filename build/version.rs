//! Tells the program its version: that of the package, and the commit that it was built from if that is known.
//!
//! The commit comes from `GATHERD_COMMIT`, else from git, else from what `cargo package` has noted. None of them need be
//! there: a source archive without git builds as well.

use std::env;
use std::fs;
use std::process::Command;

pub(super) fn tell() {
    println!("cargo::rerun-if-env-changed=GATHERD_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // While someone works on it, a commit is no reason to compile everything anew.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit =
        env::var("GATHERD_COMMIT").ok().or_else(|| if is_release { of_git().or_else(of_package) } else { None });
    match commit.filter(|commit| !commit.is_empty()) {
        Some(commit) => println!("cargo::rustc-env=GATHERD_VERSION={version} ({commit})"),
        None => println!("cargo::rustc-env=GATHERD_VERSION={version}"),
    }
}

/// The commit that is checked out; marked if files have been changed since.
fn of_git() -> Option<String> {
    // The repository must be ours: an archive may have been unpacked inside of another one.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = fs::canonicalize(env::var("CARGO_MANIFEST_DIR").ok()?).ok()?;
    if fs::canonicalize(top).ok()? != here {
        return None;
    }
    for file in ["HEAD", "logs/HEAD", "index"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|status| !status.is_empty());
    Some(if is_changed { format!("{commit}, changed") } else { commit })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The commit that `cargo package` has noted, in a file such as `{"git": {"sha1": "…"}}`.
fn of_package() -> Option<String> {
    let note = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, after) = note.split_once("\"sha1\"")?;
    let commit = after.split('"').nth(1)?;
    Some(commit.chars().take(12).collect())
}
