//! `digest`: digest access authentication (RFC 7616), also as older servers speak it (RFC 2069, RFC 2617).

use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use md5::{Digest as _, Md5};
use ring::digest::{SHA256, SHA512_256, digest};
use url::Position;

use super::Kind;
use super::basic::read_user;
use super::challenge::{Challenge, challenges};
use super::nonce;
use super::outgoing::Outgoing;
use super::scheme::{Scheme, Token};
use crate::http::failure::Failure;

pub(super) const KIND: Kind = Kind {
    name: "digest",
    about: "user and password, of which only digests are sent, as the Digest scheme has it",
    read: |section| {
        let (user, password) = read_user(section)?;
        Some(Arc::new(Digest { user, password, invitation: Mutex::default() }))
    },
};

struct Digest {
    user: String,
    password: String,
    /// The latest; requests are signed with it until the server sends another one.
    invitation: Mutex<Option<Invitation>>,
}

/// What a server asks for.
#[derive(Clone, Debug, PartialEq)]
struct Invitation {
    algorithm: Algorithm,
    is_session: bool,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    quality: Option<Quality>,
    hashes_user: bool,
    /// How many requests were signed with the nonce.
    count: u32,
}

/// In the order in which they are preferred, the best last.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Algorithm {
    Md5,
    Sha256,
    Sha512Half,
}

/// What is protected.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quality {
    Request,
    RequestAndBody,
}

/// What of a request goes into its digest.
struct Asked<'a> {
    method: &'a str,
    uri: &'a str,
    body: &'a [u8],
    /// The client's nonce.
    cnonce: &'a str,
}

impl Scheme for Digest {
    fn sign(&self, request: &mut Outgoing<'_>, _: &Token) -> Result<(), Failure> {
        let invitation = {
            let mut invitation = self.invitation.lock().unwrap_or_else(PoisonError::into_inner);
            // The first request goes unsigned; the server's answer says how.
            let Some(invitation) = invitation.as_mut() else { return Ok(()) };
            invitation.count += 1;
            invitation.clone()
        };
        let (method, body) = (request.method(), request.body().clone());
        let uri = request.url()[Position::BeforePath..Position::AfterQuery].to_owned();
        let asked = Asked { method: &method, uri: &uri, body: &body, cnonce: &nonce() };
        request.authorize(&invitation.answer(&self.user, &self.password, &asked))
    }

    fn answers_challenges(&self) -> bool {
        true
    }

    fn takes_challenge(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        let invitations = lines.flat_map(challenges).filter_map(|challenge| Invitation::of(&challenge));
        let best = invitations.reduce(|best, next| if next.algorithm > best.algorithm { next } else { best });
        let Some(best) = best else { return false };
        let mut invitation = self.invitation.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is known already has been answered, and the answer was wrong.
        let is_new = invitation.as_ref().is_none_or(|known| known.nonce != best.nonce);
        if is_new {
            *invitation = Some(best);
        }
        is_new
    }
}

impl Invitation {
    /// Nothing if it is no challenge of this scheme, or asks for something that is not known.
    fn of(challenge: &Challenge) -> Option<Self> {
        if !challenge.scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let name = challenge.get("algorithm").unwrap_or("MD5").to_ascii_uppercase();
        let (name, is_session) = name.strip_suffix("-SESS").map_or((name.as_str(), false), |name| (name, true));
        let algorithm = match name {
            "MD5" => Algorithm::Md5,
            "SHA-256" => Algorithm::Sha256,
            "SHA-512-256" => Algorithm::Sha512Half,
            _ => return None,
        };
        let quality = match challenge.get("qop") {
            None => None,
            Some(offered) => {
                let offers = |word: &str| offered.split(',').any(|offer| offer.trim().eq_ignore_ascii_case(word));
                let both = [("auth", Quality::Request), ("auth-int", Quality::RequestAndBody)];
                Some(both.into_iter().find(|(word, _)| offers(word))?.1)
            }
        };
        Some(Self {
            algorithm,
            is_session,
            realm: challenge.get("realm")?.to_owned(),
            nonce: challenge.get("nonce")?.to_owned(),
            opaque: challenge.get("opaque").map(str::to_owned),
            quality,
            hashes_user: challenge.get("userhash").is_some_and(|word| word.eq_ignore_ascii_case("true")),
            count: 0,
        })
    }

    /// The value of the Authorization header (RFC 7616, section 3.4).
    fn answer(&self, user: &str, password: &str, asked: &Asked<'_>) -> String {
        let Self { realm, nonce, algorithm, .. } = self;
        let Asked { method, uri, body, cnonce } = asked;
        let hash = |text: String| algorithm.hash(text.as_bytes());
        let mut secret = hash(format!("{user}:{realm}:{password}"));
        if self.is_session {
            secret = hash(format!("{secret}:{nonce}:{cnonce}"));
        }
        let request = match self.quality {
            Some(Quality::RequestAndBody) => hash(format!("{method}:{uri}:{}", algorithm.hash(body))),
            Some(Quality::Request) | None => hash(format!("{method}:{uri}")),
        };
        let count = format!("{:08x}", self.count);
        let response = match self.quality.map(Quality::word) {
            Some(quality) => hash(format!("{secret}:{nonce}:{count}:{cnonce}:{quality}:{request}")),
            None => hash(format!("{secret}:{nonce}:{request}")),
        };
        let name = if self.hashes_user { hash(format!("{user}:{realm}")) } else { user.to_owned() };
        let session = if self.is_session { "-sess" } else { "" };
        let mut answer = format!(
            "Digest username={}, realm={}, uri={}, algorithm={}{session}, nonce={}, response=\"{response}\"",
            quoted(&name),
            quoted(realm),
            quoted(uri),
            algorithm.word(),
            quoted(nonce),
        );
        if let Some(quality) = self.quality.map(Quality::word) {
            answer.push_str(&format!(", nc={count}, cnonce={}, qop={quality}", quoted(cnonce)));
        }
        if let Some(opaque) = &self.opaque {
            answer.push_str(&format!(", opaque={}", quoted(opaque)));
        }
        if self.hashes_user {
            answer.push_str(", userhash=true");
        }
        answer
    }
}

impl Algorithm {
    fn hash(self, bytes: &[u8]) -> String {
        match self {
            Algorithm::Md5 => HEXLOWER.encode(&Md5::digest(bytes)),
            Algorithm::Sha256 => HEXLOWER.encode(digest(&SHA256, bytes).as_ref()),
            Algorithm::Sha512Half => HEXLOWER.encode(digest(&SHA512_256, bytes).as_ref()),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512Half => "SHA-512-256",
        }
    }
}

impl Quality {
    fn word(self) -> &'static str {
        match self {
            Quality::Request => "auth",
            Quality::RequestAndBody => "auth-int",
        }
    }
}

/// A quoted string (RFC 9110, section 5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7616, section 3.9.1.
    #[test]
    fn an_answer_is_the_one_of_the_rfc() {
        let challenge = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=ALGORITHM, \
                         nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                         opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        for (algorithm, expected) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = challenges(&challenge.replace("ALGORITHM", algorithm)).remove(0);
            let invitation = Invitation { count: 1, ..Invitation::of(&challenge).unwrap() };
            let asked = Asked {
                method: "GET",
                uri: "/dir/index.html",
                body: b"",
                cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            };
            let answer = invitation.answer("Mufasa", "Circle of Life", &asked);
            let answered = challenges(&answer).remove(0);
            for (name, value) in [("response", expected), ("nc", "00000001"), ("qop", "auth"), ("algorithm", algorithm)]
            {
                assert_eq!(answered.get(name), Some(value), "{answer}");
            }
        }
    }

    /// The example of RFC 2617, section 3.5, and the older form without a quality.
    #[test]
    fn older_servers_are_answered_too() {
        let challenge = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
        let asked = Asked { method: "GET", uri: "/dir/index.html", body: b"", cnonce: "0a4f113b" };
        for (more, expected) in
            [(", qop=\"auth,auth-int\"", "6629fae49393a05397450978507c4ef1"), ("", "670fd8c2df070c60b045671b8b24ff02")]
        {
            let challenge = challenges(&format!("{challenge}{more}")).remove(0);
            let invitation = Invitation { count: 1, ..Invitation::of(&challenge).unwrap() };
            let answer = challenges(&invitation.answer("Mufasa", "Circle Of Life", &asked)).remove(0);
            assert_eq!(answer.get("response"), Some(expected));
        }
    }

    #[test]
    fn the_best_of_several_challenges_is_answered_once() {
        let digest = Digest { user: String::new(), password: String::new(), invitation: Mutex::default() };
        let mut headers = HeaderMap::new();
        headers.append(
            WWW_AUTHENTICATE,
            "Basic realm=\"a, b\", Digest realm=r, nonce=one, algorithm=MD5".parse().unwrap(),
        );
        headers.append(WWW_AUTHENTICATE, "Digest realm=r, nonce=two, algorithm=SHA-256".parse().unwrap());
        assert!(digest.takes_challenge(&headers));
        assert_eq!(digest.invitation.lock().unwrap().as_ref().unwrap().nonce, "two");
        assert!(!digest.takes_challenge(&headers), "the answer to this one was wrong");
        assert!(!digest.takes_challenge(&HeaderMap::new()));
    }
}
