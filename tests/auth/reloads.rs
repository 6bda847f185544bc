//! Tokens and certificates in files, which change while gatherd runs.

use std::sync::{Arc, Mutex};

use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use futures_rustls::rustls::server::WebPkiClientVerifier;
use futures_rustls::rustls::{RootCertStore, ServerConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;

use crate::support::gatherd::{IDLE, Workplace, wait_for_lines};
use crate::support::server::{Server, json, reply};
use crate::support::wait_until;

#[test]
fn a_token_s_file_is_read_again_when_it_changes() {
    let good = Arc::new(Mutex::new("first-token-in-file".to_owned()));
    let known = good.clone();
    let server = Server::start(move |seen, connection| {
        let expected = format!("Bearer {}", known.lock().unwrap());
        if seen.header("authorization") == Some(&expected) {
            connection.write_all(&json("1"))
        } else {
            connection.write_all(&reply("401 Unauthorized", &[], ""))
        }
    });
    let workplace = Workplace::new(&format!(
        r#"
        [http.api]
        base = "{}"
        auth = {{ bearer = {{ token_file = "token" }} }}

        [pipeline.ticks]
        from  = {{ every = "50ms" }}
        steps = [{{ get = {{ via = "api", url = "/" }} }}]
        to    = [{{ file = "out.ndjson" }}]
        {IDLE}
        "#,
        server.url("")
    ));
    workplace.write("token", "first-token-in-file\n");
    let daemon = workplace.start();
    wait_for_lines(&workplace, "out.ndjson", 5);
    "second-token-in-file".clone_into(&mut good.lock().unwrap());
    daemon.wait_for_log("client cannot sign in");
    let before = workplace.read("out.ndjson").lines().count();
    workplace.write("token", "second-token-in-file\n");
    wait_for_lines(&workplace, "out.ndjson", before + 5);
    // A file that is gone for a moment is no reason not to go on.
    std::fs::remove_file(workplace.path("token")).unwrap();
    wait_for_lines(&workplace, "out.ndjson", before + 40);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(workplace.dead_letters().is_empty());
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate in PEM and DER, and its key.
    fn certify(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }
}

/// A server that takes only those who show a certificate of this authority.
fn server_for(authority: &Authority) -> Server {
    let (certificate, key) = authority.certify("localhost");
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .unwrap();
    Server::start_tls(config, |_, connection| connection.write_all(&reply("200 OK", &["connection: close"], "1")))
}

#[test]
fn a_client_s_certificate_is_shown_and_read_again_on_sighup() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = server_for(&authority);
    let workplace = Workplace::new(&format!(
        r#"
        [http.api]
        base = "{}"
        ca_file = "authority.pem"
        tls = {{ cert_file = "client.pem", key_file = "client.key" }}

        [pipeline.ticks]
        from  = {{ every = "50ms" }}
        steps = [{{ get = {{ via = "api", url = "/" }}, retry = {{ tries = 1 }} }}]
        to    = [{{ file = "out.ndjson" }}]
        {IDLE}
        "#,
        server.url("").replace("127.0.0.1", "localhost")
    ));
    let show = |(certificate, key): (rcgen::Certificate, KeyPair)| {
        workplace.write("client.pem", certificate.pem());
        workplace.write("client.key", key.serialize_pem());
    };
    workplace.write("authority.pem", authority.0.pem());
    show(stranger.certify("client"));
    let daemon = workplace.start();
    wait_until("a stranger is refused", || !workplace.dead_letters().is_empty());
    assert_eq!(workplace.read("out.ndjson"), "");
    show(authority.certify("client"));
    daemon.signal(Signal::HUP);
    wait_for_lines(&workplace, "out.ndjson", 5);
    // Files that do not fit together change nothing.
    workplace.write("client.key", stranger.certify("client").1.serialize_pem());
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("files of a client stay as they were read before");
    let before = workplace.read("out.ndjson").lines().count();
    wait_for_lines(&workplace, "out.ndjson", before + 5);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn files_that_do_not_fit_together_are_told_at_the_start() {
    let authority = Authority::new();
    let workplace = Workplace::new(
        r#"
        [http.api]
        base = "https://localhost"
        tls = { cert_file = "client.pem", key_file = "client.key" }

        [pipeline.one]
        from  = { items = [1] }
        steps = [{ get = { via = "api", url = "/" } }]
        "#,
    );
    workplace.write("client.pem", authority.certify("client").0.pem());
    for (key, cause) in [
        (
            authority.certify("client").1.serialize_pem(),
            "cannot use the certificate `client.pem` with the key `client.key`",
        ),
        ("nothing".to_owned(), "cannot read a private key from `client.key`: there is none in it"),
    ] {
        workplace.write("client.key", key);
        let ended = workplace.run_once();
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(cause), "{}", ended.stderr);
    }
}
