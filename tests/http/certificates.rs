//! Servers whose certificates are good, and those whose are not.

use std::sync::Arc;

use futures_rustls::rustls::ServerConfig;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use gatherd::model::FaultKind;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use crate::harness::fetch;
use crate::server::{Server, json};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server with a certificate for `name`, made different by `change`.
    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        serve(&certificate, &key)
    }

    fn get(&self, url: &str) -> Result<gatherd::model::Item, gatherd::model::Fault> {
        let file = self.file.path().display();
        fetch(&format!("get = {{ via = 'own', url = '{url}' }}\n[http.own]\nca_file = '{file}'"))
    }
}

fn serve(certificate: &Certificate, key: &KeyPair) -> Server {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Server::start_tls(config, |_, connection| connection.write_all(&json("{}")))
}

/// The server's address by the name `localhost`.
fn by_name(server: &Server) -> String {
    server.url("/").replace("127.0.0.1", "localhost")
}

#[test]
fn a_certificate_of_a_trusted_authority_is_good_for_its_names() {
    let authority = Authority::new();
    assert!(authority.get(&by_name(&authority.server("localhost", |_| {}))).is_ok());
    assert!(authority.get(&authority.server("127.0.0.1", |_| {}).url("/")).is_ok());
}

#[test]
fn a_bad_certificate_is_a_fault_that_names_what_is_wrong() {
    let authority = Authority::new();
    let expired = authority.server("localhost", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let not_yet = authority.server("localhost", |params| params.not_before = date_time_ymd(3000, 1, 1));
    let other_name = authority.server("other.example", |_| {});
    let key = KeyPair::generate().unwrap();
    let self_signed = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let self_signed = serve(&self_signed, &key);
    let stranger = Authority::new().server("localhost", |_| {});
    for (server, message) in [
        (&expired, "the certificate of `localhost` has expired"),
        (&not_yet, "is not valid yet; is the clock of this machine right?"),
        (&other_name, "the certificate is not for `localhost` but for"),
        (&self_signed, "`ca_file`"),
        (&stranger, "signed by an authority that this machine does not know"),
    ] {
        let fault = authority.get(&by_name(server)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
        assert!(fault.message.contains(message), "{fault}");
        assert!(server.seen().is_empty(), "nothing is sent to a server that cannot show who it is");
    }
}

#[test]
fn a_server_that_does_not_encrypt_is_told_apart() {
    let server = Server::saying("HTTP/1.1 400 Bad Request\r\n\r\n");
    let fault = fetch(&format!("get = '{}'", server.url("/").replace("http:", "https:"))).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
}
