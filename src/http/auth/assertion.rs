//! `private_key_jwt`: a signed statement that shows a token end point who the client is (RFC 7523).

use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use futures_rustls::pki_types::PrivateKeyDer;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::rustls::sign::SigningKey;
use futures_rustls::rustls::{SignatureAlgorithm, SignatureScheme};
use jiff::Timestamp;
use std::sync::Arc;

use super::nonce;
use super::scheme::Denial;
use crate::http::tls::crypto_provider;
use crate::model::{Object, Text, Value, json};
use crate::runtime;
use crate::settings::Section;

/// How long a statement holds, in seconds.
const HOLDS_FOR: i64 = 300;

/// How statements are made.
#[derive(Clone, Debug)]
pub(super) struct Assertion {
    file: PathBuf,
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
    audience: Option<String>,
}

/// The ways to sign a JWT (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

const ALGORITHMS: [(&str, Algorithm, SignatureScheme); 7] = [
    ("RS256", Algorithm::Rs256, SignatureScheme::RSA_PKCS1_SHA256),
    ("RS384", Algorithm::Rs384, SignatureScheme::RSA_PKCS1_SHA384),
    ("RS512", Algorithm::Rs512, SignatureScheme::RSA_PKCS1_SHA512),
    ("PS256", Algorithm::Ps256, SignatureScheme::RSA_PSS_SHA256),
    ("ES256", Algorithm::Es256, SignatureScheme::ECDSA_NISTP256_SHA256),
    ("ES384", Algorithm::Es384, SignatureScheme::ECDSA_NISTP384_SHA384),
    ("EdDSA", Algorithm::EdDsa, SignatureScheme::ED25519),
];

impl Assertion {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        section.shorthand("file");
        let file = section.required("file", "the private key in PEM; it is read anew for each token");
        let words = ALGORITHMS.map(|(word, algorithm, _)| (word, algorithm));
        let algorithm = section.optional_choice(
            "algorithm",
            &words,
            "how it signs; by default as the key can: RS256, ES256 or ES384, or EdDSA",
        );
        let key_id = section.optional("key_id", "by which name the token end point knows the key (`kid`)");
        let audience =
            section.optional("audience", "whom the statement is for (`aud`); by default the token end point");
        Some(Self { file: file?, algorithm, key_id, audience })
    }

    /// A statement that its bearer is `client`, for the token end point at `url`.
    pub(super) async fn make(&self, client: &str, url: &str, now: Timestamp) -> Result<String, Denial> {
        let (own, client, url) = (self.clone(), client.to_owned(), url.to_owned());
        let made = runtime::blocking(move || own.sign(&client, &url, now)).await;
        made.map_err(|panic| Denial::for_now(panic.0))?
    }

    fn sign(&self, client: &str, url: &str, now: Timestamp) -> Result<String, Denial> {
        let key = read_key(&self.file)?;
        let candidates = match self.algorithm {
            Some(algorithm) => vec![algorithm],
            None => match key.algorithm() {
                SignatureAlgorithm::RSA => vec![Algorithm::Rs256],
                SignatureAlgorithm::ECDSA => vec![Algorithm::Es256, Algorithm::Es384],
                _ => vec![Algorithm::EdDsa],
            },
        };
        let fitting = ALGORITHMS.iter().filter(|(_, algorithm, _)| candidates.contains(algorithm));
        let chosen =
            fitting.filter_map(|(word, algorithm, scheme)| Some((word, algorithm, key.choose_scheme(&[*scheme])?)));
        let Some((word, algorithm, signer)) = chosen.into_iter().next() else {
            let cause =
                format!("the key in `{}` cannot sign in the way that `algorithm` asks for", self.file.display());
            return Err(Denial::permanent(cause));
        };
        let mut header = vec![("alg", Value::from(*word)), ("typ", Value::from("JWT"))];
        header.extend(self.key_id.as_deref().map(|id| ("kid", Value::from(id))));
        let claims = vec![
            ("iss", Value::from(client)),
            ("sub", Value::from(client)),
            ("aud", Value::from(self.audience.as_deref().unwrap_or(url))),
            ("jti", Value::from(nonce())),
            ("iat", Value::from(now.as_second())),
            ("exp", Value::from(now.as_second() + HOLDS_FOR)),
        ];
        let message = format!("{}.{}", part(header), part(claims));
        let signature = signer.sign(message.as_bytes()).map_err(|error| Denial::permanent(error.to_string()))?;
        let signature = match algorithm {
            Algorithm::Es256 => fixed_size(&signature, 32),
            Algorithm::Es384 => fixed_size(&signature, 48),
            _ => Some(signature),
        };
        let signature = signature.ok_or_else(|| Denial::for_now("a signature came out in a form that is not known"))?;
        Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

fn read_key(file: &Path) -> Result<Arc<dyn SigningKey>, Denial> {
    let wrong =
        |cause: String| Denial::permanent(format!("cannot read a private key from `{}`: {cause}", file.display()));
    let key = PrivateKeyDer::from_pem_file(file).map_err(|error| wrong(error.to_string()))?;
    crypto_provider().key_provider.load_private_key(key).map_err(|error| wrong(error.to_string()))
}

fn part(entries: Vec<(&str, Value)>) -> String {
    let object: Object = entries.into_iter().map(|(name, value)| (Text::from(name), value)).collect();
    BASE64URL_NOPAD.encode(&json::to_vec(&Value::object(object)))
}

/// The two numbers of an ECDSA signature (RFC 3279, section 2.2.3) side by side, each of `size` bytes, as a JWT has
/// them.
fn fixed_size(der: &[u8], size: usize) -> Option<Vec<u8>> {
    const INTEGER: u8 = 2;
    let mut fixed = Vec::with_capacity(2 * size);
    // After the tag and the length of the pair, which is short for these sizes.
    let mut rest = der.get(2..)?;
    for _ in 0..2 {
        let (&tag, after) = rest.split_first()?;
        let (&length, after) = after.split_first()?;
        let (number, after) = after.split_at_checked(length.into())?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        if tag != INTEGER || number.len() > size {
            return None;
        }
        fixed.resize(fixed.len() + size - number.len(), 0);
        fixed.extend_from_slice(number);
        rest = after;
    }
    Some(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_signature_are_filled_up_to_their_size() {
        assert_eq!(fixed_size(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 5], 2), Some(vec![0, 0x80, 0, 5]));
        assert_eq!(fixed_size(&[0x30, 7, 2, 2, 1], 2), None);
        assert_eq!(fixed_size(&[], 2), None);
    }
}
