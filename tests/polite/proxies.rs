//! Proxies: by CONNECT, as they are, and SOCKS 5; with credentials, with encryption inside, and from the environment.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::authority::Authority;
use crate::support::check_each;
use crate::support::gatherd::{Ended, Running, Workplace};
use crate::support::server::{Server, closed_port, json};

/// The credentials that a proxy asks for, as URLs, the Basic scheme and SOCKS have them.
const USER: &str = "ann";
const PASSWORD: &str = "hunter2 @:";
const IN_URL: &str = "ann:hunter2%20%40%3A";
const BASIC: &str = "Basic YW5uOmh1bnRlcjIgQDo=";

/// A proxy that leads every name to one server, and notes what it was asked for.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Speaks HTTP.
    fn http(server: SocketAddr, needs_credentials: bool) -> Self {
        Self::start(move |stream, asked| serve_http(stream, server, needs_credentials, asked))
    }

    fn socks(server: SocketAddr, needs_credentials: bool) -> Self {
        Self::start(move |stream, asked| serve_socks(stream, server, needs_credentials, asked))
    }

    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<String>>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let (asked, serve) = (proxy.asked.clone(), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, serve, stream) = (asked.clone(), serve.clone(), stream.unwrap());
                thread::spawn(move || serve(stream, &asked));
            }
        });
        proxy
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve_http(
    stream: TcpStream,
    server: SocketAddr,
    needs_credentials: bool,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let mut stream = stream;
    let first = head.lines().next().unwrap_or_default().to_owned();
    let is_known =
        head.lines().any(|line| line.to_ascii_lowercase().starts_with("proxy-authorization:") && line.ends_with(BASIC));
    asked.lock().unwrap().push(first.trim_end_matches(" HTTP/1.1").to_owned());
    if needs_credentials && !is_known {
        return stream.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
    }
    let mut onward = TcpStream::connect(server)?;
    if first.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        onward.write_all(head.as_bytes())?;
    }
    join(stream, onward)
}

/// RFC 1928 and RFC 1929, the part that clients of ours use.
fn serve_socks(
    mut stream: TcpStream,
    server: SocketAddr,
    needs_credentials: bool,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut byte = || -> io::Result<u8> {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    assert_eq!(byte()?, 5);
    let methods = (0..byte()?).map(|_| byte()).collect::<io::Result<Vec<_>>>()?;
    let method = if needs_credentials { 2 } else { 0 };
    if !methods.contains(&method) {
        asked.lock().unwrap().push("no method".to_owned());
        return stream.write_all(&[5, 0xff]);
    }
    stream.write_all(&[5, method])?;
    let text = |stream: &mut TcpStream| -> io::Result<String> {
        let mut length = [0];
        stream.read_exact(&mut length)?;
        let mut text = vec![0; usize::from(length[0])];
        stream.read_exact(&mut text)?;
        Ok(String::from_utf8(text).unwrap())
    };
    if needs_credentials {
        stream.read_exact(&mut [0])?;
        let (user, password) = (text(&mut stream)?, text(&mut stream)?);
        if (user.as_str(), password.as_str()) != (USER, PASSWORD) {
            asked.lock().unwrap().push("wrong credentials".to_owned());
            return stream.write_all(&[1, 1]);
        }
        stream.write_all(&[1, 0])?;
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request)?;
    let host = match request[3] {
        1 => {
            let mut address = [0; 4];
            stream.read_exact(&mut address)?;
            Ipv4Addr::from(address).to_string()
        }
        3 => text(&mut stream)?,
        _ => {
            let mut address = [0; 16];
            stream.read_exact(&mut address)?;
            Ipv6Addr::from(address).to_string()
        }
    };
    let mut port = [0; 2];
    stream.read_exact(&mut port)?;
    asked.lock().unwrap().push(format!("{host}:{}", u16::from_be_bytes(port)));
    let onward = TcpStream::connect(server)?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    join(stream, onward)
}

/// Copies both ways until one side ends.
fn join(one: TcpStream, other: TcpStream) -> io::Result<()> {
    let (mut from_one, mut to_one) = (one.try_clone()?, one);
    let (mut from_other, mut to_other) = (other.try_clone()?, other);
    let there = thread::spawn(move || {
        let _ = io::copy(&mut from_one, &mut to_other);
        let _ = to_other.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut from_other, &mut to_one);
    let _ = to_one.shutdown(Shutdown::Both);
    there.join().unwrap();
    Ok(())
}

/// Variables and their values.
type Environment<'a> = &'a [(&'a str, &'a str)];

/// Gets `url` once through a client with these settings, told so by the environment.
fn get(url: &str, client: &str, environment: Environment<'_>) -> (Workplace, Ended) {
    let workplace = Workplace::new(&format!(
        r#"
        [http.own]
        {client}

        [pipeline.only]
        from  = {{ items = ["{url}"] }}
        steps = [{{ get = {{ via = "own", url = "{{.}}" }}, retry = {{ tries = 1 }} }}]
        to    = [{{ file = "out.ndjson" }}]
        "#
    ));
    let mut command = workplace.command(&["run", "--once", "--give-up", "1s", "gatherd.toml"]);
    command.envs(environment.iter().copied());
    let ended = Running::start(command).end();
    (workplace, ended)
}

#[test]
fn requests_go_through_a_proxy_of_each_kind_with_credentials_and_encryption_inside() {
    let authority = Authority::new("Proxied");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let plain = Server::saying(json("1"));
    let encrypted = Server::start_tls(authority.certify("origin.invalid", |_| {}), |_, connection| {
        connection.write_all(&json("1"))
    });
    // The proxy's scheme, whether it asks for credentials and gets them, and whether the server encrypts.
    let mut cases = Vec::new();
    for scheme in ["http", "socks5h"] {
        for (needs, given) in [(false, false), (true, true), (true, false)] {
            for is_encrypted in [false, true] {
                cases.push((scheme, needs, given, is_encrypted));
            }
        }
    }
    check_each(&cases, |case| {
        let (scheme, needs, given, is_encrypted) = *case;
        let server = if is_encrypted { &encrypted } else { &plain };
        let proxy =
            if scheme == "http" { Proxy::http(server.address, needs) } else { Proxy::socks(server.address, needs) };
        let port = server.address.port();
        let origin = format!("origin.invalid:{port}");
        let url = format!("{}://{origin}/x", if is_encrypted { "https" } else { "http" });
        let credentials = if given { format!("{IN_URL}@") } else { String::new() };
        let client = format!("proxy = '{scheme}://{credentials}{}'\nca_file = '{}'", proxy.address, ca_file.display());
        let (workplace, ended) = get(&url, &client, &[]);
        let passes = !needs || given;
        assert_eq!(ended.code(), Some(i32::from(!passes)), "{case:?}: {ended:?} {:?}", workplace.dead_letters());
        assert!(!ended.stderr.contains("hunter2"), "{case:?}: {}", ended.stderr);
        let asked = proxy.asked();
        let expected = match (scheme, is_encrypted) {
            ("http", false) => format!("GET {url}"),
            ("http", true) => format!("CONNECT {origin}"),
            _ => origin,
        };
        if passes {
            assert_eq!(asked, [expected], "{case:?}");
        } else {
            let fault = &workplace.dead_letters()[0]["fault"];
            let said = if scheme == "http" && !is_encrypted { "407" } else { "opens no way to `origin.invalid" };
            assert!(fault["message"].as_str().unwrap().contains(said), "{case:?}: {fault}");
        }
    });
    let authorized = plain.seen().into_iter().chain(encrypted.seen());
    // The proxy here hands plain requests on as they are; what is inside a tunnel is not for the proxy.
    for seen in authorized.filter(|seen| seen.target.starts_with('/')) {
        assert_eq!(seen.header("proxy-authorization"), None, "{seen:?}");
    }
}

#[test]
fn the_environment_names_proxies_and_who_is_reached_without() {
    let server = Server::saying(json("1"));
    let port = server.address.port();
    let proxy = Proxy::http(server.address, false);
    let through = format!("http://{}", proxy.address);
    let through = through.as_str();
    let own = format!("proxy = '{through}'");
    let gone = format!("http://127.0.0.1:{}", closed_port());
    let gone = gone.as_str();
    // The client's settings, the environment, the host, and whether the proxy is asked.
    let cases: &[(&str, Environment<'_>, &str, bool)] = &[
        ("", &[("HTTP_PROXY", through)], "origin.invalid", true),
        ("", &[("http_proxy", through)], "origin.invalid", true),
        ("", &[("ALL_PROXY", through)], "origin.invalid", true),
        ("", &[("all_proxy", through)], "origin.invalid", true),
        ("", &[("HTTPS_PROXY", through)], "origin.invalid", false),
        ("", &[("HTTP_PROXY", gone), ("http_proxy", through)], "origin.invalid", true),
        ("", &[("HTTP_PROXY", through), ("NO_PROXY", "invalid")], "origin.invalid", false),
        ("", &[("HTTP_PROXY", through), ("no_proxy", "*")], "origin.invalid", false),
        ("no_proxy = ['.invalid']", &[("HTTP_PROXY", through)], "origin.invalid", false),
        ("proxy = false", &[("HTTP_PROXY", through)], "origin.invalid", false),
        (&own, &[("HTTP_PROXY", gone)], "origin.invalid", true),
        (&own, &[("NO_PROXY", "*")], "origin.invalid", true),
    ];
    for (client, environment, host, is_asked) in cases {
        let before = proxy.asked().len();
        let (_, ended) = get(&format!("http://{host}:{port}/"), client, environment);
        assert_eq!(proxy.asked().len() > before, *is_asked, "{client} {environment:?}: {ended:?}");
        // Nobody but the proxy knows that name.
        assert_eq!(ended.code(), Some(i32::from(!is_asked)), "{client} {environment:?}: {ended:?}");
    }
    let (_, ended) = get("http://origin.invalid/", "", &[("HTTP_PROXY", "ftp://hunter2@h")]);
    assert!(ended.stderr.contains("HTTP_PROXY names no proxy") && !ended.stderr.contains("hunter2"), "{ended:?}");
}

#[test]
fn through_a_proxy_data_leads_to_no_address_that_it_may_not_lead_to() {
    for scheme in ["http", "socks5", "socks5h"] {
        let canary = Server::saying(json("1"));
        let port = canary.address.port();
        let proxy =
            if scheme == "http" { Proxy::http(canary.address, false) } else { Proxy::socks(canary.address, false) };
        let client = format!("proxy = '{scheme}://{}'", proxy.address);
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0177.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
        ] {
            let (workplace, ended) = get(&format!("http://{host}:{port}/"), &client, &[]);
            assert_eq!(ended.code(), Some(1), "{scheme} {host}: {ended:?}");
            let fault = &workplace.dead_letters()[0]["fault"];
            assert_eq!(fault["kind"], "forbidden", "{scheme} {host}: {fault}");
        }
        assert_eq!((proxy.asked().len(), canary.accepted()), (0, 0), "{scheme}");
        // What `allow` names is led there.
        let (_, ended) = get(&canary.url("/"), &format!("{client}\nallow = ['127.0.0.1']"), &[]);
        assert_eq!((ended.code(), proxy.asked().len()), (Some(0), 1), "{scheme}: {ended:?}");
        // A name that does not resolve here is the affair of a proxy that resolves.
        let (workplace, ended) = get(&format!("http://origin.invalid:{port}/"), &client, &[]);
        let resolves = scheme != "socks5";
        assert_eq!(ended.code(), Some(i32::from(!resolves)), "{scheme}: {ended:?}");
        if !resolves {
            let fault = &workplace.dead_letters()[0]["fault"];
            assert!(fault["message"].as_str().unwrap().contains("socks5h://"), "{fault}");
        }
        assert_eq!(proxy.asked().len(), 1 + usize::from(resolves), "{scheme}");
    }
}
