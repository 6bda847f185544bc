//! Encryption: rustls with the system's certificate authorities, and those that a client adds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_rustls::TlsConnector;
use futures_rustls::pki_types::pem::{self, PemObject};
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use futures_rustls::rustls::crypto::{CryptoProvider, ring};
use futures_rustls::rustls::sign::CertifiedKey;
use futures_rustls::rustls::{CertificateError, ClientConfig, Error as TlsError};
use rustls_platform_verifier::Verifier;

use super::failure::{Failure, root_cause};
use super::io::Stream;
use crate::model::{Fault, FaultKind};
use crate::runtime::{self, TcpStream};

/// What a client needs to encrypt. The authorities are read from disk at the first use.
pub(super) struct Tls {
    files: TlsFiles,
    http2: bool,
    state: Mutex<State>,
}

/// What a client has in files of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsFiles {
    /// Certificates of authorities to trust beside those of the system.
    pub authorities: Option<PathBuf>,
    /// What the client shows to servers that ask who it is: its certificate, and the key to it.
    pub identity: Option<(PathBuf, PathBuf)>,
}

struct State {
    material: Material,
    /// Made of it at the first use.
    connectors: Option<Connectors>,
}

/// What stands in the files.
#[derive(Clone)]
struct Material(Arc<Contents>);

struct Contents {
    extra_roots: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

#[derive(Clone)]
struct Connectors {
    /// For the client's own host.
    own: TlsConnector,
    /// For all others, which are not told who the client is.
    other: TlsConnector,
}

impl Tls {
    /// Trusts the system's certificate authorities, and those in the client's file (PEM).
    pub(super) fn new(files: TlsFiles, http2: bool) -> Result<Self, Fault> {
        let material = Material::read(&files)?;
        Ok(Self { files, http2, state: Mutex::new(State { material, connectors: None }) })
    }

    /// Reads the files again, for connections that are made from now on. What was read before stays if they cannot be
    /// read now, or do not fit together.
    pub(super) fn reload(&self) -> Result<(), Fault> {
        if self.files.authorities.is_none() && self.files.identity.is_none() {
            return Ok(());
        }
        let material = Material::read(&self.files)?;
        *self.lock() = State { material, connectors: None };
        Ok(())
    }

    /// Encrypts a connection to `host`, whose certificate must be valid for it. Only the client's own host is told who
    /// the client is.
    pub(super) async fn encrypt(&self, stream: TcpStream, host: &str, is_own: bool) -> Result<Stream, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::reject(FaultKind::Tls, format!("`{host}` cannot stand in a certificate")))?;
        let Connectors { own, other } = self.connectors().await?;
        let connector = if is_own { own } else { other };
        let encrypted = connector.connect(name, stream).await.map_err(|error| failure(&error, host))?;
        Ok(Stream::Encrypted(Box::new(encrypted.into())))
    }

    async fn connectors(&self) -> Result<Connectors, Failure> {
        let material = {
            let state = self.lock();
            if let Some(connectors) = &state.connectors {
                return Ok(connectors.clone());
            }
            state.material.clone()
        };
        let (http2, contents) = (self.http2, material.clone());
        let made = runtime::blocking(move || Connectors::make(&contents.0, http2)).await;
        let connectors = made.map_err(|panic| panic.0).and_then(|made| made.map_err(|error| error.to_string()));
        let connectors = connectors.map_err(|cause| {
            Failure::retry(FaultKind::Tls, format!("cannot read the system's certificate authorities: {cause}"))
        })?;
        let mut state = self.lock();
        // The files may have been read again in the meantime.
        if Arc::ptr_eq(&state.material.0, &material.0) {
            state.connectors = Some(connectors.clone());
        }
        Ok(connectors)
    }

    /// Whole even if a holder panicked: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Material {
    fn read(files: &TlsFiles) -> Result<Self, Fault> {
        let extra_roots = files.authorities.as_deref().map_or(Ok(Vec::new()), read_certificates)?;
        let identity = match &files.identity {
            None => None,
            Some((certificate, key)) => {
                let identity = (read_certificates(certificate)?, read_key(key)?);
                fit(&identity.0, &identity.1).map_err(|error| {
                    let (certificate, key) = (certificate.display(), key.display());
                    let message = format!("cannot use the certificate `{certificate}` with the key `{key}`: {error}");
                    Fault::stop(FaultKind::Tls, message)
                })?;
                Some(identity)
            }
        };
        Ok(Self(Arc::new(Contents { extra_roots, identity })))
    }
}

impl Connectors {
    fn make(contents: &Contents, http2: bool) -> Result<Self, TlsError> {
        let provider = crypto_provider();
        let verifier = Arc::new(Verifier::new_with_extra_roots(contents.extra_roots.clone(), provider.clone())?);
        let make = |identity: Option<&(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>| {
            let builder = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()?
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone());
            let mut config = match identity {
                None => builder.with_no_client_auth(),
                Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
            };
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            if http2 {
                config.alpn_protocols.insert(0, b"h2".to_vec());
            }
            Ok::<_, TlsError>(TlsConnector::from(Arc::new(config)))
        };
        let other = make(None)?;
        let own = if contents.identity.is_some() { make(contents.identity.as_ref())? } else { other.clone() };
        Ok(Self { own, other })
    }
}

/// Whether a certificate and a key belong together.
fn fit(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), TlsError> {
    let key = crypto_provider().key_provider.load_private_key(key.clone_key())?;
    CertifiedKey::new(chain.to_vec(), key).keys_match()
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| {
        let cause = match error {
            pem::Error::NoItemsFound => "there is none in it; PEM holds one after BEGIN PRIVATE KEY".to_owned(),
            other => other.to_string(),
        };
        Fault::stop(FaultKind::Tls, format!("cannot read a private key from `{}`: {cause}", file.display()))
    })
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

/// The one provider of cryptography, which other libraries find as the default too: two different ones would make
/// rustls panic.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
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
