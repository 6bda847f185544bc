//! gatherd as the service manager sees it: sockets that outlive it, stops that take their time, and a hung executor.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test, and a skip is said")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::{connect, exchange};
use support::gatherd::{IDLE, Running, ServiceManager, Workplace, wait_for_lines};
use support::server::BlackHole;
use support::wait_until;

/// gatherd with a socket that listens already, as systemd hands it over (sd_listen_fds(3)).
fn activated(workplace: &Workplace, socket: OwnedFd) -> Running {
    let mut command = Command::new("sh");
    let hand_over = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    command.args(["-c", hand_over, env!("CARGO_BIN_EXE_gatherd"), "run", "gatherd.toml", "--state", "state"]);
    command.current_dir(workplace.path("")).stdin(Stdio::from(socket));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(command)
}

fn webhook(listen: &str) -> Workplace {
    Workplace::new(&format!(
        "[pipeline.hook]\nfrom = {{ webhook = {{ listen = \"{listen}\", path = \"/hook\" }}, durable = true }}\n\
         to = [\"items\"]\n[sink.items]\nfile = \"items.ndjson\"\n"
    ))
}

const POST: &[u8] = b"POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nconnection: close\r\n\r\n7";

fn posted(mut connection: impl Read + Write) -> String {
    connection.write_all(POST).unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).unwrap();
    reply.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn senders_wait_in_the_socket_while_gatherd_restarts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let workplace = webhook(&address.to_string());
    check_restart(
        &workplace,
        || listener.try_clone().unwrap().into(),
        move || posted(TcpStream::connect(address).unwrap()),
    );
}

#[test]
fn a_socket_of_this_machine_outlives_a_restart_too() {
    let workplace = webhook("unix:hook.sock");
    let path = workplace.path("hook.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let config = workplace.read("gatherd.toml").replace("unix:hook.sock", &format!("unix:{}", path.display()));
    workplace.write("gatherd.toml", config);
    let at = path.clone();
    check_restart(
        &workplace,
        || listener.try_clone().unwrap().into(),
        move || posted(UnixStream::connect(&at).unwrap()),
    );
    assert!(path.exists(), "the socket is not gatherd's to remove");
}

#[test]
fn who_looks_at_the_admin_address_waits_in_its_socket_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let workplace = Workplace::new(&format!("[service]\nadmin = \"{address}\"\n{IDLE}"));
    let ready = move || exchange(connect(address), &format!("GET /ready HTTP/1.1\nHost: {address}\n\n")).status;
    let first = activated(&workplace, listener.try_clone().unwrap().into());
    assert_eq!(ready(), 200, "{}", first.log());
    assert_eq!(first.stop().code(), Some(0));
    let asking = thread::spawn(ready);
    assert!(!asking.is_finished(), "it is connected, and waits");
    let second = activated(&workplace, listener.try_clone().unwrap().into());
    assert_eq!(asking.join().unwrap(), 200);
    assert_eq!(second.stop().code(), Some(0));
}

fn check_restart(
    workplace: &Workplace,
    socket: impl Fn() -> OwnedFd,
    send: impl Fn() -> String + Clone + Send + 'static,
) {
    let first = activated(workplace, socket());
    assert!(send().contains("200") || send().contains("202"), "{}", first.log());
    let ended = first.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let before = workplace.read("items.ndjson").lines().count();
    let sender = thread::spawn(send);
    // It is connected, and waits: nobody has refused it.
    assert!(!sender.is_finished());
    let second = activated(workplace, socket());
    let reply = sender.join().unwrap();
    assert!(reply.contains(" 20"), "{reply}");
    wait_for_lines(workplace, "items.ndjson", before + 1);
    assert_eq!(second.stop().code(), Some(0));
}

#[test]
fn a_stop_that_drains_asks_for_more_time_while_it_goes_on() {
    let hole = BlackHole::at("127.0.0.1");
    let workplace = Workplace::new(&format!(
        "[service]\ndrain = \"2s\"\n[pipeline.a]\nfrom = {{ items = [1] }}\nto = [{{ http = \"http://{}/\" }}]\n",
        hole.address
    ));
    let manager = ServiceManager::listen(&workplace.path("notify"));
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("NOTIFY_SOCKET", &manager.path);
    let running = Running::start(command);
    wait_until("ready", || manager.was_told("READY=1"));
    assert!(!manager.told().iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC")), "{:?}", manager.told());
    running.signal(Signal::TERM);
    wait_until("more time", || manager.was_told("EXTEND_TIMEOUT_USEC=30000000"));
    assert!(manager.was_told("STOPPING=1"));
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn a_stop_that_comes_as_two_signals_at_once_drains_all_the_same() {
    let hole = BlackHole::at("127.0.0.1");
    let workplace = Workplace::new(&format!(
        "[service]\ndrain = \"500ms\"\n[pipeline.a]\nfrom = {{ items = [1] }}\nto = [{{ http = \"http://{}/\" }}]\n",
        hole.address
    ));
    let running = workplace.start();
    running.signal(Signal::TERM);
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("the time to drain is over"), "{ended:?}");
}

/// Holds up one thread of a process at its next system call, as a call that never comes back would.
struct HeldUp(Child);

impl HeldUp {
    /// Nothing where strace may not do that.
    fn thread(id: u32) -> Option<Self> {
        let arguments = ["-qq", "-o", "/dev/null", "-e", "trace=all", "-e", "inject=all:delay_exit=600000000", "-p"];
        let child = Command::new("strace").args(arguments).arg(id.to_string()).stderr(Stdio::null()).spawn().ok()?;
        Some(Self(child))
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_executor_that_hangs_is_not_reported_as_alive() {
    let workplace = Workplace::new("[pipeline.a]\nfrom = { every = \"100ms\" }\nto = []\n");
    let manager = ServiceManager::listen(&workplace.path("notify"));
    let mut command = workplace.command(&["run", "gatherd.toml"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200000");
    let mut running = Running::start(command);
    let pings = || manager.told().iter().filter(|line| *line == "WATCHDOG=1").count();
    wait_until("pings", || pings() > 3);
    let process = running.id();
    // All other threads go on: the one that runs the tasks is called as the process is.
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|entry| entry.unwrap().file_name());
    let executor = threads.filter_map(|id| id.to_str()?.parse::<u32>().ok()).find(|id| {
        let name = fs::read_to_string(format!("/proc/{process}/task/{id}/comm")).unwrap_or_default();
        *id != process && name.trim() == "gatherd"
    });
    let Some(held) = HeldUp::thread(executor.unwrap()) else {
        println!("SKIPPED: a hung executor: strace is not installed");
        return;
    };
    let mut last = (pings(), Instant::now());
    wait_until("the pings end", || {
        let now = pings();
        if now != last.0 {
            last = (now, Instant::now());
        }
        // Ten times as long as the service manager waits.
        last.1.elapsed() > Duration::from_secs(2)
    });
    assert!(!running.is_over(), "it hangs, and has not ended: the service manager is the one to end it");
    drop(held);
    running.kill();
}
