//! Encryption: rustls with the system's certificate authorities, and those that a client adds.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures_rustls::TlsConnector;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::crypto::{CryptoProvider, ring};
use futures_rustls::rustls::{CertificateError, ClientConfig, Error as TlsError};
use rustls_platform_verifier::Verifier;

use super::failure::{Failure, root_cause};
use super::io::Stream;
use crate::model::{Fault, FaultKind};
use crate::runtime::{self, TcpStream};

/// What a client needs to encrypt. The authorities are read from disk at the first use.
pub(super) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    http2: bool,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    /// Trusts the system's certificate authorities, and those in `ca_file` (PEM).
    pub(super) fn new(ca_file: Option<&Path>, http2: bool) -> Result<Self, Fault> {
        let extra_roots = ca_file.map_or(Ok(Vec::new()), read_certificates)?;
        Ok(Self { extra_roots, http2, connector: OnceLock::new() })
    }

    /// Encrypts a connection to `host`, whose certificate must be valid for it.
    pub(super) async fn encrypt(&self, stream: TcpStream, host: &str) -> Result<Stream, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::reject(FaultKind::Tls, format!("`{host}` cannot stand in a certificate")))?;
        let connector = self.connector().await?;
        let encrypted = connector.connect(name, stream).await.map_err(|error| failure(&error, host))?;
        Ok(Stream::Encrypted(Box::new(encrypted.into())))
    }

    async fn connector(&self) -> Result<TlsConnector, Failure> {
        if let Some(connector) = self.connector.get() {
            return Ok(connector.clone());
        }
        let extra_roots = self.extra_roots.clone();
        let http2 = self.http2;
        let made = runtime::blocking(move || make_connector(extra_roots, http2)).await;
        let connector = made.map_err(|panic| panic.0).and_then(|made| made.map_err(|error| error.to_string()));
        let connector = connector.map_err(|cause| {
            Failure::retry(FaultKind::Tls, format!("cannot read the system's certificate authorities: {cause}"))
        })?;
        Ok(self.connector.get_or_init(|| connector).clone())
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let wrong = |cause: String| {
        Fault::stop(FaultKind::Tls, format!("cannot read certificates from `{}`: {cause}", file.display()))
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong(
            "there is none in it; PEM holds them between BEGIN CERTIFICATE and END CERTIFICATE".to_owned(),
        ));
    }
    Ok(certificates)
}

fn make_connector(extra_roots: Vec<CertificateDer<'static>>, http2: bool) -> Result<TlsConnector, TlsError> {
    let provider = crypto_provider();
    let verifier = Verifier::new_with_extra_roots(extra_roots, provider.clone())?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The one provider of cryptography, which other libraries find as the default too: two different ones would make
/// rustls panic.
fn crypto_provider() -> Arc<CryptoProvider> {
    if let Some(provider) = CryptoProvider::get_default() {
        return provider.clone();
    }
    // Losing a race against another thread is as good as winning it.
    let _ = ring::default_provider().install_default();
    CryptoProvider::get_default().expect("it was installed just now").clone()
}

/// What the verifier calls a server that shows the certificate of an authority, as many self-signed ones are; it has
/// no type for it that could be named here.
const AUTHORITY_AS_SERVER: &str = "CaUsedAsEndEntity";

/// Says what is wrong with a certificate in words that lead to the way out.
fn failure(error: &io::Error, host: &str) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    let Some(tls) = tls else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                Failure::retry(FaultKind::Tls, "the connection ended while its encryption was agreed on")
            }
            _ => Failure::retry(FaultKind::Tls, root_cause(error)),
        };
    };
    let cause = match tls {
        TlsError::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate of `{host}` has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the certificate of `{host}` is not valid yet; is the clock of this machine right?")
            }
            CertificateError::NotValidForName => format!("the certificate is not for `{host}`"),
            CertificateError::NotValidForNameContext { presented, .. } => {
                format!("the certificate is not for `{host}` but for {}", presented.join(", "))
            }
            // A bad signature is that of another authority with the name of one that is known.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the certificate of `{host}` is signed by an authority that this machine does not know; if you trust \
                 that authority, name its certificate with `ca_file` in an `[http.NAME]`"
            ),
            CertificateError::Revoked => format!("the certificate of `{host}` has been revoked"),
            CertificateError::Other(other) if other.0.to_string() == AUTHORITY_AS_SERVER => format!(
                "`{host}` shows the certificate of an authority, which cannot stand for a server; give the server one \
                 of its own (`basicConstraints = CA:FALSE`)"
            ),
            CertificateError::Other(other) => format!("the certificate of `{host}` is not valid: {}", other.0),
            other => format!("the certificate of `{host}` is not valid: {other}"),
        },
        TlsError::InvalidMessage(_) => format!("`{host}` does not speak TLS on this port; is it `http://`?"),
        other => other.to_string(),
    };
    Failure::retry(FaultKind::Tls, cause)
}
