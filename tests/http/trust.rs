//! Where data and redirects may lead, and where credentials may go.

use gatherd::model::{FaultKind, Verdict};

use crate::harness::{fetch, run, step};
use crate::server::{Server, closed_port, json, reply};

#[test]
fn a_url_from_data_reaches_no_private_address_however_it_is_written() {
    let canary = Server::saying(json("{}"));
    let port = canary.address.port();
    let get = step("get = '{.}'");
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "127.0.0.1.",
        "user@127.0.0.1",
    ] {
        let fault = run(&get, &format!("\"http://{host}:{port}/\"")).unwrap_err();
        assert_eq!((fault.kind, fault.verdict), (FaultKind::Forbidden, Verdict::Reject), "{host}: {fault}");
        assert!(fault.message.contains("`allow = [\""), "{host}: {fault}");
    }
    for address in ["169.254.169.254", "10.0.0.1", "192.168.1.1", "100.100.100.200", "[fd00:ec2::254]", "[fe80::1]"] {
        let fault = run(&get, &format!("\"http://{address}/latest/meta-data\"")).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Forbidden, "{address}: {fault}");
    }
    assert_eq!(canary.accepted(), 0);
}

#[test]
fn what_allow_names_can_be_reached_and_no_more() {
    let server = Server::saying(json("{}"));
    let port = server.address.port();
    for (allow, host, is_reached) in [
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.0/8", "localhost", true),
        ("localhost", "localhost", true),
        ("localhost:PORT", "localhost", true),
        ("127.0.0.1:PORT", "127.0.0.1", true),
        ("127.0.0.1:1", "127.0.0.1", false),
        ("localhost:1", "localhost", false),
        ("127.0.0.2", "127.0.0.1", false),
        ("localhost", "127.0.0.1", false),
    ] {
        let allow = allow.replace("PORT", &port.to_string());
        let get = step(&format!("get = {{ url = '{{.}}', allow = ['{allow}'] }}"));
        let result = run(&get, &format!("\"http://{host}:{port}/\""));
        assert_eq!(result.is_ok(), is_reached, "{allow} {host}: {result:?}");
    }
}

#[test]
fn a_connection_that_one_step_may_use_serves_no_other_that_may_not() {
    let server = Server::saying(json("{}"));
    let url = server.url("/");
    let client = "[http.shared]\nper_host = 4";
    let config =
        |url: &str, allow: &str| format!("get = {{ via = 'shared', url = '{url}', allow = [{allow}] }}\n{client}");
    let steps = crate::harness::steps(&[&config(&url, ""), &config("{.}", "'127.0.0.1'"), &config("{.}", "")]);
    let data = format!("\"{url}\"");
    run(&steps[0], "null").unwrap();
    run(&steps[1], &data).unwrap();
    assert_eq!(run(&steps[2], &data).unwrap_err().kind, FaultKind::Forbidden);
}

#[test]
fn a_redirect_may_lead_to_the_same_host_and_port_only() {
    let canary = Server::saying(json("{}"));
    let location = format!("location: {}", canary.url("/secret"));
    let server = Server::start(move |seen, connection| {
        let away = reply("302 Found", &[&location], "");
        let home = reply("302 Found", &["location: /home"], "");
        connection.write_all(match seen.target.as_str() {
            "/away" => &away,
            "/start" => &home,
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        })
    });
    assert!(fetch(&format!("get = '{}'", server.url("/start"))).is_ok());
    let fault = fetch(&format!("get = '{}'", server.url("/away"))).unwrap_err();
    assert_eq!((fault.kind, canary.accepted()), (FaultKind::Forbidden, 0), "{fault}");
    let allowed = format!("get = {{ url = '{}', allow = ['{}'] }}", server.url("/away"), canary.address);
    assert!(fetch(&allowed).is_ok());
}

#[test]
fn credentials_stay_with_the_hosts_that_they_belong_to() {
    let canary = Server::saying(json("{}"));
    let location = format!("location: {}", canary.url("/"));
    let server = Server::start(move |seen, connection| {
        connection.write_all(&match seen.target.as_str() {
            "/away" => reply("307 Temporary Redirect", &[&location], ""),
            "/near" => reply("307 Temporary Redirect", &["location: /end"], ""),
            _ => json("{}"),
        })
    });
    let secrets = ["k-secret", "t-secret", "s-secret", "c-secret"];
    let config = |url: &str| {
        format!(
            "post = {{ via = 'acme', url = '{url}', body = 'b', allow = ['127.0.0.0/8'],\n\
             headers = {{ X-Step = 's-secret', Cookie = 'c-secret', Accept-Language = 'de' }} }}\n\
             [http.acme]\nbase = '{}'\nheaders = {{ X-Key = 'k-secret' }}\nauth = {{ bearer = 't-secret' }}",
            server.url("/")
        )
    };
    let holds = |seen: &crate::server::Seen, secret: &str| seen.headers.iter().any(|(_, value)| value.contains(secret));

    fetch(&config("/near")).unwrap();
    let seen = server.seen().pop().unwrap();
    assert_eq!(seen.target, "/end");
    assert!(secrets.iter().all(|secret| holds(&seen, secret)), "{seen:?}");

    fetch(&config("/away")).unwrap();
    let seen = canary.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", "b"));
    assert!(!secrets.iter().any(|secret| holds(&seen, secret)), "{seen:?}");
    assert_eq!(seen.header("accept-language"), Some("de"), "what is harmless goes along");

    // A whole URL to another host: the step's own headers were written for it, the client's were not.
    fetch(&config(&canary.url("/direct"))).unwrap();
    let seen = canary.seen().pop().unwrap();
    assert!(!holds(&seen, "k-secret") && !holds(&seen, "t-secret") && holds(&seen, "s-secret"), "{seen:?}");
}

#[test]
fn no_message_shows_what_a_url_may_hide() {
    let port = closed_port();
    for url in [
        format!("http://ann:hunter2@127.0.0.1:{port}/?key=hunter2"),
        format!("http://127.0.0.1:{port}/#hunter2"),
        "http://ann:hunter2@[::1/".to_owned(),
        "hunter2@/?hunter2".to_owned(),
    ] {
        let fault = run(&step("get = { url = '{.}', allow = ['127.0.0.1'] }"), &format!("\"{url}\"")).unwrap_err();
        assert!(!fault.message.contains("hunter2"), "{fault}");
    }
}

#[test]
fn credentials_in_a_url_become_a_header() {
    let server = Server::saying(json("{}"));
    let url = server.url("/x").replace("http://", "http://ann:p%40ss@");
    let got = fetch(&format!("get = '{url}'")).unwrap();
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic YW5uOnBAc3M="));
    assert_eq!(crate::harness::label(&got, "url").as_text(), Some(server.url("/x").as_str()));
}
