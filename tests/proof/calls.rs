//! The calls by which gatherd asks the system for something, one of which goes wrong: by strace(1), which can kill at a call
//! or answer it with an error.
//!
//! strace counts the calls of each thread for itself, so the one that goes wrong is that of the thread which first comes to
//! the number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process::Command;

use super::support::gatherd::{Ended, Running, Workplace};

/// A call on a file of a workplace, or on its folder (an empty path).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Below the workplace's folder.
    pub(crate) path: String,
    /// Counted for each thread, from 1.
    number: usize,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of `{}`", self.name, self.number, self.path)
    }
}

/// What gatherd is run with: one round, with a short patience for sinks.
pub(crate) const ONCE: [&str; 5] = ["run", "--once", "--give-up", "1s", "gatherd.toml"];

/// Whether strace works here.
pub(crate) fn can_trace() -> bool {
    Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).output().is_ok_and(|done| done.status.success())
}

/// Runs gatherd to its end, and answers the calls of these names as strace writes them.
pub(crate) fn trace(workplace: &Workplace, names: &str) -> String {
    let trace = workplace.path("trace");
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--quiet=all", "--decode-fds=path", "--seccomp-bpf", "--trace", names, "--output"]);
    strace.arg(&trace);
    let ended = Running::start(workplace.command_under(strace, &ONCE)).end();
    assert!(ended.code().is_some(), "{ended:?}");
    let lines = String::from_utf8_lossy(&std::fs::read(&trace).unwrap()).into_owned();
    std::fs::remove_file(trace).unwrap();
    lines
}

/// Runs gatherd to its end, and answers the calls of these names that it made.
pub(crate) fn made(workplace: &Workplace, names: &str) -> Vec<Call> {
    let lines = trace(workplace, names);
    let folder = workplace.path("");
    let mut counts: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut calls = BTreeSet::new();
    for line in lines.lines() {
        let Some((process, name, path)) = read_call(line, folder.to_str().unwrap()) else { continue };
        let number = counts.entry((process, name, path)).or_default();
        *number += 1;
        calls.insert(Call { name: name.to_owned(), path: path.to_owned(), number: *number });
    }
    calls.into_iter().collect()
}

/// The process, the name of the call and the file of a line such as `7 fsync(8</folder/file>) = 0` or
/// `7 unlink("/folder/file") = 0`.
fn read_call<'a>(line: &'a str, folder: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (process, call) = line.split_once(' ')?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    let path = match arguments.split_once('"') {
        Some((before, path)) if before.is_empty() || before.starts_with("AT_FDCWD") => path.split('"').next()?,
        _ => arguments.split_once('<')?.1.split(['>', '(']).next()?,
    };
    let folder = folder.trim_end_matches('/');
    let path = path.strip_prefix(folder)?;
    (path.is_empty() || path.starts_with('/')).then(|| (process, name, path.trim_start_matches('/')))
}

/// Runs gatherd with `wrong`, such as `signal=SIGKILL` or `error=EIO`, at that call. Also answers whether it came to that
/// call: how many there are is also a matter of time, since what waits is joined.
pub(crate) fn run_with(workplace: &Workplace, call: &Call, wrong: &str) -> (Ended, bool) {
    let Call { name, path, number } = call;
    let path = workplace.path(path);
    let path = path.to_str().unwrap().trim_end_matches('/');
    let trace = workplace.path("trace");
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--quiet=all", "--trace-path", path, "--trace", name, "--output"]).arg(&trace);
    strace.arg(format!("--inject={name}:{wrong}:when={number}"));
    let ended = Running::start(workplace.command_under(strace, &ONCE)).end();
    let lines = std::fs::read(&trace).unwrap();
    std::fs::remove_file(trace).unwrap();
    (ended, String::from_utf8_lossy(&lines).contains("(INJECTED)"))
}
