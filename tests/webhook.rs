//! Webhooks through the real program: who may send, what is refused, and that a sender is told of success only once its
//! item is safe.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use support::gatherd::{Running, Workplace, wait_for_lines};
use support::server::{Server, reply};
use support::{LIMIT, wait_until};

/// A pipeline from a webhook to a file.
fn to_file(webhook: &str) -> Workplace {
    Workplace::new(&format!(
        r#"
        [pipeline.orders]
        from  = {{ webhook = {{ listen = "127.0.0.1:0", {webhook} }} }}
        steps = [ {{ map = "{{value: ., labels: labels}}" }} ]
        to    = [ {{ file = "orders.ndjson" }} ]
        "#
    ))
}

/// A pipeline from a webhook, with what stands beside it, to a server.
fn to_server(server: &Server, webhook: &str, beside: &str) -> Workplace {
    Workplace::new(&format!(
        r#"
        [pipeline.orders]
        from = {{ webhook = {{ listen = "127.0.0.1:0", {webhook} }}{beside} }}
        to   = ["shop"]

        [sink.shop]
        http  = {{ url = "{}" }}
        retry = {{ base = "5ms", cap = "5ms" }}

        [service]
        drain = "50ms"
        "#,
        server.url("/orders"),
    ))
}

/// Where the webhook of a daemon listens.
fn address(daemon: &Running) -> SocketAddr {
    daemon.wait_for_log("webhook listens");
    let log = daemon.log();
    let (_, after) = log.split_once("address=").unwrap();
    after.split_whitespace().next().unwrap().parse().unwrap()
}

/// A server that is well while it is told to be.
struct Shop {
    server: Server,
    is_well: Arc<AtomicBool>,
}

impl Shop {
    fn start(is_well: bool) -> Self {
        let is_well = Arc::new(AtomicBool::new(is_well));
        let well = is_well.clone();
        let server = Server::start(move |_, connection| {
            let status = if well.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" };
            connection.write_all(&reply(status, &[], ""))
        });
        Self { server, is_well }
    }

    fn set_well(&self, is_well: bool) {
        self.is_well.store(is_well, Ordering::SeqCst);
    }

    /// Waits until it was sent a body.
    #[track_caller]
    fn wait_for(&self, body: &str) {
        wait_until(&format!("{body} reaches the shop"), || self.server.seen().iter().any(|seen| seen.body == body));
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().contains(header)
    }
}

/// A whole request; `headers` are lines.
fn request(method_and_path: &str, headers: &[&str], body: &str) -> String {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method_and_path} HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n{lines}\r\n{body}", body.len())
}

fn send(address: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read_reply(stream)
}

fn read_reply(stream: impl Read) -> Reply {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "the connection ended without a reply: {head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    Reply { status, head, body: String::from_utf8(body).unwrap() }
}

fn post(address: SocketAddr, body: &str) -> Reply {
    send(address, &request("POST /", &["content-type: application/json"], body))
}

/// Posts, and waits for the reply beside the test.
fn post_beside(address: SocketAddr, body: &'static str) -> JoinHandle<Reply> {
    thread::spawn(move || post(address, body))
}

#[test]
fn a_request_is_an_item_with_labels() {
    let workplace = to_file(r#"path = "/orders/*", token = "s3cret""#);
    let daemon = workplace.start();
    let headers = ["content-type: application/json", "authorization: Bearer s3cret", "x-shop: Bergen"];
    let reply = send(address(&daemon), &request("POST /orders/new?of=tea&of=salt", &headers, "[{\"id\": 1}]"));
    assert_eq!(reply.status, 202, "{reply:?}");
    let items = workplace.values("orders.ndjson");
    assert_eq!(items.len(), 1);
    let labels = &items[0]["labels"];
    assert_eq!(items[0]["value"], serde_json::json!([{ "id": 1 }]));
    assert_eq!(labels["method"], "POST");
    assert_eq!(labels["path"], "/orders/new");
    assert_eq!(labels["query"], serde_json::json!({ "of": "tea, salt" }));
    assert_eq!(labels["remote"], "127.0.0.1");
    assert_eq!(labels["headers"]["x-shop"], "Bergen");
    assert_eq!(labels["headers"]["authorization"], serde_json::Value::Null, "a credential is no label");
    assert!(labels["received_at"].as_str().unwrap().starts_with("20"));
}

#[test]
fn what_is_not_right_is_refused_and_makes_no_item() {
    const CODE: &str = "x-hub-signature-256: sha256=9307b3b915efb5171ff14d8cb55fbcc798c6c0ef1456d66ded1a6aa723a58b7b";
    let workplace = to_file(r#"path = "/hook", token = "s3cret", hmac = { secret = "key" }, max_body = "100B""#);
    let daemon = workplace.start();
    let address = address(&daemon);
    let token = "authorization: Bearer s3cret";
    let json = "content-type: application/json";
    let long = "x".repeat(101);
    let long_chunked = format!(
        "POST /hook HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n{token}\r\n{CODE}\r\n\r\n65\r\n{long}\r\n0\r\n\r\n"
    );
    for (asked, status) in [
        (request("POST /hook", &[CODE], "hello"), 401),
        (request("POST /hook", &["authorization: Bearer wrong", CODE], "hello"), 403),
        (request("POST /hook", &[token], "hello"), 401),
        (request("POST /hook", &[token, CODE], "hello!"), 403),
        (request("POST /hook", &[token, CODE], &long), 413),
        (long_chunked, 413),
        (request("POST /hook", &[token, CODE, json], "hello"), 400),
        (request("POST /hook", &[token, CODE, "content-encoding: gzip"], "hello"), 415),
        (request("POST /other", &[token, CODE], "hello"), 404),
        (request("PUT /hook", &[token, CODE], "hello"), 405),
        (request("POST /hook", &[token, CODE], "hello"), 202),
    ] {
        let reply = send(address, &asked);
        assert_eq!(reply.status, status, "{asked}\n{reply:?}");
        assert_eq!(reply.has("www-authenticate: bearer"), status == 401, "{reply:?}");
        assert_eq!(reply.has("allow: post"), status == 405, "{reply:?}");
        assert!(!reply.body.is_empty(), "{reply:?}");
    }
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(workplace.read("orders.ndjson").lines().count(), 1, "only the last of them is an item");
    assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
}

#[test]
fn success_is_told_only_once_the_item_has_settled() {
    let shop = Shop::start(false);
    let workplace = to_server(&shop.server, "", "");
    let daemon = workplace.start();
    let told = post_beside(address(&daemon), "1");
    wait_until("the sink tries again and again", || shop.server.seen().len() > 3);
    assert!(!told.is_finished(), "told before it was delivered: {:?}", told.join());
    shop.set_well(true);
    assert_eq!(told.join().unwrap().status, 202);
}

#[test]
fn one_request_too_many_is_told_to_come_back() {
    let shop = Shop::start(false);
    let workplace = to_server(&shop.server, "waiting = 1", "");
    let daemon = workplace.start();
    let address = address(&daemon);
    let first = post_beside(address, "1");
    shop.wait_for("1");
    let second = post(address, "2");
    assert_eq!(second.status, 429, "{second:?}");
    assert!(second.has("retry-after: "), "{second:?}");
    shop.set_well(true);
    assert_eq!(first.join().unwrap().status, 202);
    assert_eq!(post(address, "3").status, 202);
}

#[test]
fn a_durable_webhook_answers_from_disk_and_loses_nothing_to_a_kill() {
    let shop = Shop::start(false);
    let workplace = to_server(&shop.server, "", ", durable = true");
    for body in ["1", "2", "3"] {
        let daemon = workplace.start();
        let reply = post(address(&daemon), body);
        daemon.kill();
        assert_eq!(reply.status, 202, "told while the shop is down: {reply:?}");
    }
    shop.set_well(true);
    let daemon = workplace.start();
    for body in ["1", "2", "3"] {
        shop.wait_for(body);
    }
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(workplace.dead_letters(), [] as [serde_json::Value; 0]);
}

#[test]
fn an_item_whose_sender_hangs_up_is_delivered() {
    let shop = Shop::start(false);
    let workplace = to_server(&shop.server, "", "");
    let daemon = workplace.start();
    let address = address(&daemon);
    let long = format!("\"{}\"", "x".repeat(200_000));
    for body in ["1", &long] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request("POST /", &["content-type: application/json"], body).as_bytes()).unwrap();
    }
    wait_until("the sink tries", || !shop.server.seen().is_empty());
    shop.set_well(true);
    shop.wait_for("1");
    shop.wait_for(&long);
    drop(daemon);
}

#[test]
fn a_body_that_is_cut_short_is_no_item() {
    let workplace = to_file("");
    let daemon = workplace.start();
    let address = address(&daemon);
    let whole = request("POST /", &[], "hello");
    drop(TcpStream::connect(address).unwrap().write_all(&whole.as_bytes()[..whole.len() - 1]));
    assert_eq!(send(address, &whole).status, 202);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(workplace.read("orders.ndjson").lines().count(), 1);
}

#[test]
fn at_a_stop_who_still_waits_is_told_to_send_again() {
    let shop = Shop::start(false);
    let workplace = to_server(&shop.server, "", "");
    let daemon = workplace.start();
    let told = post_beside(address(&daemon), "1");
    shop.wait_for("1");
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let reply = told.join().unwrap();
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.has("retry-after: "), "{reply:?}");
}

#[test]
fn webhooks_share_an_address_and_a_socket_is_one() {
    let workplace = Workplace::new(
        r#"
        [pipeline.orders]
        from = { webhook = { listen = "unix:hook.sock", path = "/orders" } }
        to   = [ { file = "orders.ndjson" } ]

        [pipeline.invoices]
        from = { webhook = { listen = "unix:hook.sock", path = "/invoices", method = "PUT" } }
        to   = [ { file = "invoices.ndjson" } ]
        "#,
    );
    // A socket that a killed process left behind is in nobody's way.
    workplace.start().kill();
    let daemon = workplace.start();
    let ask = |asked: String| -> io::Result<u16> {
        let mut stream = UnixStream::connect(workplace.path("hook.sock"))?;
        stream.write_all(asked.as_bytes())?;
        Ok(read_reply(stream).status)
    };
    assert_eq!(ask(request("POST /orders", &[], "tea")).unwrap(), 202);
    assert_eq!(ask(request("PUT /invoices", &[], "4.50")).unwrap(), 202);
    assert_eq!(ask(request("POST /invoices", &[], "4.50")).unwrap(), 405);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(workplace.read("orders.ndjson"), "\"tea\"\n");
    assert_eq!(workplace.read("invoices.ndjson"), "\"4.50\"\n");
    assert!(!workplace.path("hook.sock").exists(), "the socket goes with the daemon");
}

#[test]
fn who_sends_to_a_webhook_that_a_reload_changes_waits_for_it() {
    let shop = Shop::start(false);
    let config = |step: &str| {
        format!(
            r#"
            [pipeline.invoices]
            from = {{ webhook = {{ listen = "unix:hook.sock", path = "/invoices" }} }}
            to   = [ {{ file = "invoices.ndjson" }} ]

            [pipeline.orders]
            from  = {{ webhook = {{ listen = "unix:hook.sock", path = "/orders" }} }}
            steps = [ {{ map = "{step}" }} ]
            to    = ["shop"]

            [sink.shop]
            http  = {{ url = "{}" }}
            retry = {{ base = "5ms", cap = "5ms" }}

            [service]
            drain = "500ms"
            "#,
            shop.server.url("/orders")
        )
    };
    let workplace = Workplace::new(&config("."));
    let _daemon = workplace.start();
    let path = workplace.path("hook.sock");
    let ask = move |asked: String| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(asked.as_bytes()).unwrap();
        read_reply(stream).status
    };
    let waiting = thread::spawn({
        let ask = ask.clone();
        move || ask(request("POST /orders", &[], "1"))
    });
    shop.wait_for("\"1\"");

    workplace.write("gatherd.toml", config("[.]"));
    let mut reload = Running::start(workplace.command(&["reload"]));
    // What stops here runs dry first, for as long as it may.
    while !reload.is_over() {
        assert_eq!(ask(request("GET /orders", &[], "")), 405, "somebody is there, and takes another method");
    }
    assert_eq!(reload.end().code(), Some(0));
    assert_eq!(waiting.join().unwrap(), 503, "what had come before is to be sent again");
    shop.set_well(true);
    assert_eq!(ask(request("POST /orders", &[], "2")), 202);
    shop.wait_for("[\"2\"]");
}

#[test]
fn an_address_in_use_is_said_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let workplace = Workplace::new(&format!("[pipeline.orders]\nfrom = {{ webhook = \"{address}\" }}\nto = []\n"));
    let ended = workplace.gatherd(&["run", "gatherd.toml"]);
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&format!("cannot listen at `{address}`, the `webhook` of pipeline `")), "{ended:?}");
}

#[test]
fn the_sample_does_what_it_says() {
    let kind = gatherd::component::find(gatherd::sources::KINDS, "webhook").unwrap();
    let workplace = Workplace::new(&kind.sample.replace("127.0.0.1:8080", "127.0.0.1:0"));
    let daemon = workplace.start();
    let headers = ["content-type: application/json", "authorization: Bearer change me"];
    let orders = r#"{"orders": [{"id": 7}, {"id": 8}]}"#;
    assert_eq!(send(address(&daemon), &request("POST /orders", &headers, orders)).status, 202);
    for id in [7, 8] {
        daemon.wait_for_log(&format!(r#"{{"id":{id},"from":"127.0.0.1","at":"20"#));
    }
}

#[test]
fn explain_says_what_is_promised_and_keeps_secrets() {
    for (beside, promise) in [("", "lost if the process dies"), (", durable = true", "from when it is on disk")] {
        let workplace = Workplace::new(&format!(
            r#"
            [pipeline.orders]
            from = {{ webhook = {{ listen = "127.0.0.1:0", token = "hunter2", hmac = {{ secret = "hunter2" }} }}{beside} }}
            "#
        ));
        let explained = workplace.gatherd(&["explain", "gatherd.toml"]);
        assert!(explained.stdout.contains(promise), "{explained:?}");
        assert!(!explained.stdout.contains("hunter2"), "{explained:?}");
    }
}

#[test]
fn lines_of_json_are_one_item_that_can_be_taken_apart() {
    let workplace = Workplace::new(
        r#"
        [pipeline.readings]
        from  = { webhook = "127.0.0.1:0" }
        steps = [ { each = ".[]" } ]
        to    = [ { file = "readings.ndjson" } ]
        "#,
    );
    let daemon = workplace.start();
    let asked = request("POST /", &["content-type: application/x-ndjson"], "{\"id\":1}\n{\"id\":2}\n");
    assert_eq!(send(address(&daemon), &asked).status, 202);
    wait_for_lines(&workplace, "readings.ndjson", 2);
}
