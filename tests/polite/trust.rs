//! Where data may not lead: each form of server-side request forgery, before listeners that nobody may reach.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::gatherd::{Running, Workplace};
use crate::support::server::{Server, json, reply};
use crate::support::{check_each, skip};

/// A listener on both families' loopback, at one port, that counts who comes.
struct Canary {
    port: u16,
    hits: Arc<AtomicUsize>,
}

impl Canary {
    fn new() -> Self {
        // The port that one family gives may be taken in the other.
        (0..20).find_map(|_| Self::on_both()).unwrap()
    }

    fn on_both() -> Option<Self> {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let hits = Arc::<AtomicUsize>::default();
        let mut listeners = vec![first];
        // A machine without IPv6 has nothing to reach there.
        match TcpListener::bind(format!("[::1]:{port}")) {
            Ok(second) => listeners.push(second),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return None,
            Err(_) => {}
        }
        for listener in listeners {
            let hits = hits.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    drop(stream);
                    hits.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Some(Self { port, hits })
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// Ways to write an address that leads into this machine or its network. `PORT` is the canary's.
const ADDRESSES: [(&str, &str); 28] = [
    ("loopback", "127.0.0.1:PORT"),
    ("loopback, another address", "127.255.255.254:PORT"),
    ("loopback by name", "localhost:PORT"),
    ("loopback by name, in capitals with a dot", "LOCALHOST.:PORT"),
    ("decimal", "2130706433:PORT"),
    ("hexadecimal", "0x7f000001:PORT"),
    ("octal", "0177.0.0.1:PORT"),
    ("octal, whole", "017700000001:PORT"),
    ("mixed", "0x7f.0.0.01:PORT"),
    ("short, two parts", "127.1:PORT"),
    ("short, three parts", "127.0.1:PORT"),
    ("with a dot behind", "127.0.0.1.:PORT"),
    ("in full-width digits", "１２７.０.０.１:PORT"),
    ("with encoded letters", "127%2E0%2E0%2E1:PORT"),
    ("any address", "0.0.0.0:PORT"),
    ("zero", "0:PORT"),
    ("IPv6 loopback", "[::1]:PORT"),
    ("IPv6 any", "[::]:PORT"),
    ("mapped", "[::ffff:127.0.0.1]:PORT"),
    ("mapped, in hexadecimal", "[::ffff:7f00:1]:PORT"),
    ("compatible", "[::127.0.0.1]:PORT"),
    ("NAT64", "[64:ff9b::7f00:1]:PORT"),
    ("6to4", "[2002:7f00:1::1]:PORT"),
    ("behind a user", "example.com@127.0.0.1:PORT"),
    ("metadata", "169.254.169.254:PORT"),
    ("metadata by IPv6", "[fd00:ec2::254]:PORT"),
    ("private network", "10.0.0.1:PORT"),
    ("shared address space", "100.100.100.200:PORT"),
];

/// Fetches a URL from data, and expects that it is refused. `steps` stand before the step that fetches.
#[track_caller]
fn is_refused(what: &str, items: &str, steps: &str, canary: &Canary) {
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.only]
        from  = {{ items = [{items}] }}
        steps = [{steps} {{ get = {{ url = "{{.}}", timeouts = {{ connect = "2s" }} }}, retry = {{ tries = 1 }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#
    ));
    let ended = workplace.run_once();
    let dead = workplace.dead_letters();
    assert_eq!((ended.code(), dead.len()), (Some(1), 1), "{what}: {ended:?} {dead:?}");
    // Some are no URL at all for us, or a name that does not resolve, which is as good.
    let kind = dead[0]["fault"]["kind"].as_str().unwrap();
    assert!(matches!(kind, "forbidden" | "request" | "dns"), "{what}: {dead:?}");
    assert_eq!(canary.hits(), 0, "{what}");
}

#[test]
fn no_form_of_an_address_in_data_leads_into_this_network() {
    let canary = Canary::new();
    check_each(&ADDRESSES, |(what, address)| {
        let url = format!("http://{}/", address.replace("PORT", &canary.port.to_string()));
        is_refused(what, &format!("'{url}'"), "", &canary);
    });
    assert_eq!(canary.hits(), 0);
}

#[test]
fn no_redirect_link_or_base_element_leads_into_this_network() {
    let canary = Canary::new();
    let port = canary.port;
    let server = Server::start(move |seen, connection| {
        let path = seen.target.trim_start_matches('/');
        let (form, address) = path.split_once('/').unwrap_or((path, ""));
        let address = percent_decoded(address);
        connection.write_all(&match form {
            "redirect" => reply("302 Found", &[&format!("location: http://{address}/")], ""),
            "redirect-near" => reply("302 Found", &[&format!("location: //{address}/")], ""),
            "redirect-twice" => reply("307 Temporary Redirect", &[&format!("location: /redirect/{address}")], ""),
            "link" => html(&format!("<a href='http://{address}/'>x</a>")),
            "base" => html(&format!("<base href='http://{address}/'><a href='/x'>x</a>")),
            "end" => json("1"),
            _ => reply("404 Not Found", &[], ""),
        })
    });
    let own = server.address;
    let mut cases = Vec::new();
    for (what, address) in ADDRESSES.iter().filter(|(_, address)| !address.contains(['%', '@', '１'])) {
        for form in ["redirect", "redirect-near", "redirect-twice", "link", "base"] {
            cases.push((*what, form, address.replace("PORT", &port.to_string())));
        }
    }
    // One program gathers through all of them: what is refused is a dead letter each.
    let urls: String = cases.iter().map(|(_, form, address)| format!("http://{own}/{form}/{address}\n")).collect();
    let workplace = Workplace::new(&format!(
        r#"
        [service.http]
        allow = ["{own}"]

        [pipeline.redirects]
        from  = {{ lines = "redirects.txt" }}
        steps = [{{ get = {{ url = "{{.}}", timeouts = {{ connect = "2s" }} }}, retry = {{ tries = 1 }} }}]
        to    = [{{ file = "out.ndjson" }}]

        [pipeline.pages]
        from  = {{ lines = "pages.txt" }}
        steps = [
          {{ get = "{{.}}" }},
          {{ links = {{}} }},
          {{ get = {{ url = "{{.}}", timeouts = {{ connect = "2s" }} }}, retry = {{ tries = 1 }} }},
        ]
        to    = [{{ file = "out.ndjson" }}]
        "#
    ));
    let (redirects, pages): (Vec<&str>, Vec<&str>) = urls.lines().partition(|url| url.contains("/redirect"));
    workplace.write("redirects.txt", redirects.join("\n"));
    workplace.write("pages.txt", pages.join("\n"));
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert_eq!(workplace.read("out.ndjson"), "", "nothing was reached");
    let dead = workplace.dead_letters();
    assert_eq!(dead.len(), cases.len(), "{}", ended.stderr);
    for letter in &dead {
        let kind = letter["fault"]["kind"].as_str().unwrap();
        assert!(matches!(kind, "forbidden" | "dns"), "{letter}");
    }
    assert_eq!(canary.hits(), 0);
}

fn html(body: &str) -> Vec<u8> {
    reply("200 OK", &["content-type: text/html"], body)
}

fn percent_decoded(text: &str) -> String {
    text.replace("%5B", "[").replace("%5D", "]")
}

/// Answers every question for an IPv4 address with those of `names` whose name it begins with, in turn, and with none for
/// any other question (RFC 1035).
fn serve_names(socket: &UdpSocket, names: &[(&str, &[[u8; 4]])]) {
    let mut asked = 0;
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let question = &question[..length];
        // Behind the header of twelve bytes: labels, each after its length; a zero; type and class.
        let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap();
        let label = String::from_utf8_lossy(&question[13..13 + usize::from(question[12])]).to_lowercase();
        let is_v4 = question[name_end + 1..name_end + 3] == [0, 1];
        let addresses = names.iter().find(|(name, _)| *name == label).map_or(&[][..], |(_, addresses)| addresses);
        let answer = if is_v4 && !addresses.is_empty() {
            asked += 1;
            // One that rebinds changes with every question; the others give all that they have.
            if label == "rebinding" { &addresses[(asked - 1) % addresses.len()..][..1] } else { addresses }
        } else {
            &[]
        };
        let mut reply = question[..2].to_vec();
        reply.extend([0x81, 0x80, 0, 1, 0, answer.len() as u8, 0, 0, 0, 0]);
        reply.extend(&question[12..name_end + 5]);
        for address in answer {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            reply.extend(address);
        }
        socket.send_to(&reply, from).unwrap();
    }
}

/// Names that lead into this network, now or after a while, by a name server of our own: its address takes the place of
/// the system's in a mount namespace, which needs root.
#[test]
fn no_name_leads_into_this_network_even_if_it_changes_where_it_leads() {
    const PRIVATE: [u8; 4] = [127, 0, 0, 1];
    // An address for documentation: nobody answers there, and it counts as not public. 1.1.1.1 counts as public.
    const PUBLIC: [u8; 4] = [1, 1, 1, 1];
    let address: SocketAddr = "127.0.0.153:53".parse().unwrap();
    let Ok(socket) = UdpSocket::bind(address) else {
        return skip("the port of name servers cannot be bound here: it needs root");
    };
    let can_mount = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !can_mount {
        return skip("mount namespaces cannot be made here: they need root");
    }
    thread::spawn(move || {
        let names: &[(&str, &[[u8; 4]])] = &[
            ("private", &[PRIVATE]),
            ("metadata", &[[169, 254, 169, 254]]),
            ("several", &[PRIVATE, [10, 0, 0, 1]]),
            ("rebinding", &[PUBLIC, PRIVATE]),
        ];
        serve_names(&socket, names);
    });
    let canary = Canary::new();
    let port = canary.port;
    let workplace = Workplace::new(&format!(
        r#"
        [service.http]
        timeouts = {{ connect = "500ms" }}

        [pipeline.names]
        from  = {{ items = ["private", "metadata", "several", "rebinding"] }}
        steps = [{{ get = "http://{{.}}.attacker.example:{port}/", retry = {{ tries = 3, base = "10ms", cap = "10ms" }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#
    ));
    workplace.write("resolv.conf", format!("nameserver {}\noptions timeout:1 attempts:1\n", address.ip()));
    let gatherd = workplace.command(&["run", "--once", "--give-up", "1s", "gatherd.toml"]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount --bind resolv.conf /etc/resolv.conf && exec \"$@\"", "sh"]);
    command.arg(gatherd.get_program()).args(gatherd.get_args()).current_dir(workplace.path(""));
    let ended = Running::start(command).end();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let dead = workplace.dead_letters();
    assert_eq!(dead.len(), 4, "{ended:?}");
    for letter in &dead {
        let kind = letter["fault"]["kind"].as_str().unwrap();
        // The address that was public when it was looked up does not answer here, or is not to be reached at all.
        let expected: &[&str] =
            if letter["value"] == "rebinding" { &["timeout", "connect", "forbidden"] } else { &["forbidden"] };
        assert!(expected.contains(&kind), "{letter}");
    }
    assert_eq!(canary.hits(), 0);
}
