//! Servers that cannot show who they are.

use futures_rustls::rustls::ServerConfig;
use rcgen::date_time_ymd;

use crate::check;
use crate::support::authority::{Authority, self_signed};
use crate::support::check_each;
use crate::support::ending::Ends;
use crate::support::server::{Server, json};

#[test]
fn nothing_is_sent_to_a_server_whose_certificate_is_not_good() {
    let authority = Authority::new("trusted");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("authority.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let dead = |cause| Ends::Dead("tls", 3, cause);
    let cases: [(&str, ServerConfig, Ends); 6] = [
        ("good", authority.certify("localhost", |_| {}), Ends::Delivered("{\"a\":1}")),
        (
            "expired",
            authority.certify("localhost", |params| {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            }),
            dead("the certificate of `localhost` has expired"),
        ),
        (
            "not valid yet",
            authority.certify("localhost", |params| params.not_before = date_time_ymd(3000, 1, 1)),
            dead("is not valid yet"),
        ),
        ("self-signed", self_signed("localhost"), dead("`ca_file`")),
        ("of another authority", Authority::new("stranger").certify("localhost", |_| {}), dead("`ca_file`")),
        ("for another host", authority.certify("other.example", |_| {}), dead("not for `localhost` but for")),
    ];
    check_each(&cases, |(what, config, ends)| {
        let server = Server::start_tls(config.clone(), |_, connection| connection.write_all(&json("{\"a\":1}")));
        let url = server.url("/").replace("127.0.0.1", "localhost");
        let client = format!("[http.own]\nca_file = '{}'", ca_file.display());
        check(what, &format!("get = {{ via = 'own', url = '{url}' }}"), &client, *ends);
        let asked = matches!(ends, Ends::Delivered(_));
        assert_eq!(server.seen().len(), usize::from(asked), "{what}");
    });
}
