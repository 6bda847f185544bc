//! The gatherd program, run in a folder of its own.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{LIMIT, comes_true_within, wait_until};

/// A pipeline that does nothing for ever, so that the process does not end when the others have.
pub(crate) const IDLE: &str = r#"
    [pipeline.idle]
    from = { every = { period = "24h", jitter = "23h" } }
    to   = []
"#;

/// The most memory that a gatherd with nothing to do holds, in bytes.
pub(crate) fn idle_memory() -> u64 {
    Workplace::new(IDLE).start().peak_memory()
}

/// A folder with a config, where gatherd runs and leaves what it gathers.
pub(crate) struct Workplace {
    folder: TempDir,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    /// The log, and the summary at its end.
    pub(crate) stderr: String,
}

impl Ended {
    /// Nothing if a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The lines of its standard output, as JSON values.
    pub(crate) fn values(&self) -> Vec<Value> {
        values(&self.stdout)
    }
}

impl Workplace {
    /// A folder whose `gatherd.toml` is `config`.
    pub(crate) fn new(config: &str) -> Self {
        let workplace = Self { folder: tempfile::tempdir().unwrap() };
        workplace.write("gatherd.toml", config);
        workplace
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// What stands in a file; nothing if there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap_or_default()).unwrap()
    }

    /// The lines of a file, as JSON values.
    pub(crate) fn values(&self, name: &str) -> Vec<Value> {
        values(&self.read(name))
    }

    /// `gatherd` with these arguments, in the folder, told nothing by this process's environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.in_folder(Command::new(env!("CARGO_BIN_EXE_gatherd")), arguments)
    }

    /// The same under another program that takes a command as its last arguments.
    pub(crate) fn command_under(&self, mut wrapper: Command, arguments: &[&str]) -> Command {
        wrapper.arg(env!("CARGO_BIN_EXE_gatherd"));
        self.in_folder(wrapper, arguments)
    }

    fn in_folder(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for variable in [
            "RUST_LOG",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "JOURNAL_STREAM",
            "STATE_DIRECTORY",
            "NO_COLOR",
            "RUNTIME_DIRECTORY",
            "VISUAL",
            "EDITOR",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs `gatherd` with these arguments to its end.
    #[track_caller]
    pub(crate) fn gatherd(&self, arguments: &[&str]) -> Ended {
        Running::start(self.command(arguments)).end()
    }

    /// `gatherd run --once` to its end.
    #[track_caller]
    pub(crate) fn run_once(&self) -> Ended {
        self.gatherd(&["run", "--once", "--give-up", "1s", "gatherd.toml"])
    }

    /// `gatherd run`, the daemon, once it says that it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Running {
        let manager = ServiceManager::listen(&self.path("notify"));
        let mut command = self.command(&["run", "gatherd.toml"]);
        command.env("NOTIFY_SOCKET", &manager.path);
        let mut daemon = Running::start(command);
        let ready = comes_true_within(LIMIT, || manager.was_told("READY=1") || daemon.is_over());
        assert!(ready && manager.was_told("READY=1"), "is not ready; its log:\n{}", daemon.log());
        daemon
    }

    /// What `gatherd dead list --json` prints.
    #[track_caller]
    pub(crate) fn dead_letters(&self) -> Vec<Value> {
        self.dead_letters_in("gatherd-state")
    }

    /// The same for another state folder.
    #[track_caller]
    pub(crate) fn dead_letters_in(&self, state: &str) -> Vec<Value> {
        self.list_dead_letters(state).values()
    }

    /// `gatherd dead list --json` for a state folder, with its log.
    #[track_caller]
    pub(crate) fn list_dead_letters(&self, state: &str) -> Ended {
        let listed = self.gatherd(&["dead", "list", "--json", "--limit", "1000000", "--state", state]);
        assert_eq!(listed.code(), Some(0), "{listed:?}");
        listed
    }
}

fn values(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A process that runs; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    /// Starts a command. Its standard output and error are collected, unless they lead elsewhere already.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { child, stdout: Collected::from(stdout), stderr: Collected::from(stderr) }
    }

    /// What it has written to its log so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.text()
    }

    /// What it has written to its standard output so far.
    pub(crate) fn stdout_so_far(&self) -> String {
        self.stdout.text()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        let found = comes_true_within(LIMIT, || self.log().contains(text));
        assert!(found, "waited {LIMIT:?} for {text:?} in the log:\n{}", self.log());
    }

    /// Where its admin address is.
    #[track_caller]
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.wait_for_log("admin listens");
        let log = self.log();
        let (_, after) = log.split_once("admin listens address=").unwrap();
        after.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The most memory it has held so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        if !comes_true_within(LIMIT, || self.is_over()) {
            panic!("did not end within {LIMIT:?}; its log:\n{}", self.log());
        }
        let status = self.child.wait().unwrap();
        Ended { status, stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What systemd is for a service: the socket that it sends its messages to (sd_notify(3)).
pub(crate) struct ServiceManager {
    pub(crate) path: PathBuf,
    socket: UnixDatagram,
    told: Mutex<Vec<String>>,
}

impl ServiceManager {
    pub(crate) fn listen(path: &Path) -> Self {
        // One that was used before is in the way.
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { path: path.to_owned(), socket, told: Mutex::default() }
    }

    /// The lines of all messages so far.
    pub(crate) fn told(&self) -> Vec<String> {
        let mut told = self.told.lock().unwrap();
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            told.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
        told.clone()
    }

    pub(crate) fn was_told(&self, line: &str) -> bool {
        self.told().iter().any(|told| told == line)
    }
}

/// What a process writes, read as it comes.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let collected = bytes.clone();
        let reader = thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                collected.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn finish(&mut self) -> String {
        let reader = self.reader.take();
        reader.into_iter().for_each(|reader| reader.join().unwrap());
        self.text()
    }
}

/// Waits until a file of the folder has so many lines.
#[track_caller]
pub(crate) fn wait_for_lines(workplace: &Workplace, name: &str, count: usize) {
    wait_until(&format!("{count} lines in {name}"), || workplace.read(name).lines().count() >= count);
}
