//! What a config says of clients: `[http.NAME]`, and what a component says about its own requests.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::admission::{Caller, Courtesy};
use super::auth::AuthSettings;
use super::proxy::ProxyChoice;
use super::tls::TlsFiles;
use super::trust::Allow;
use crate::expr::{Encoding, Template};
use crate::model::{Fingerprint, Size};
use crate::settings::Section;

/// The limits of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For resolving the name, connecting and agreeing on encryption.
    pub connect: Duration,
    /// From the start until the reply begins.
    pub first_byte: Duration,
    /// From the start to the reply's last byte, redirects included.
    pub whole: Duration,
    /// For the body as it is after decompression.
    pub max_body: Size,
    /// How many redirects are followed.
    pub redirects: usize,
}

impl Limits {
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        first_byte: Duration::from_secs(30),
        whole: Duration::from_secs(60),
        max_body: Size::mib(16),
        redirects: 10,
    };
}

impl Courtesy {
    const DEFAULT: Self =
        Self { per_host: 16, rate: None, per_host_rate: None, burst: None, adapt: None, rate_headers: true };
}

/// The settings of an `[http.NAME]`.
#[derive(Clone)]
pub struct ClientSettings {
    pub(super) base: Option<Url>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) auth: Option<AuthSettings>,
    pub(super) cookies: bool,
    pub(super) courtesy: Courtesy,
    pub(super) limits: Limits,
    pub(super) tls: TlsFiles,
    pub(super) allow: Allow,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) http2: bool,
    /// Of all that the config says of it; the default client has none.
    pub(super) fingerprint: Option<Fingerprint>,
    /// Whether steps ask the robots.txt of a site first.
    pub(super) robots: bool,
    pub(super) proxy: ProxyChoice,
    /// The hosts that are reached without a proxy.
    pub(super) no_proxy: Vec<String>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            base: None,
            headers: Vec::new(),
            auth: None,
            cookies: false,
            courtesy: Courtesy::DEFAULT,
            limits: Limits::DEFAULT,
            tls: TlsFiles::default(),
            allow: Allow::default(),
            user_agent: None,
            http2: true,
            fingerprint: None,
            robots: false,
            proxy: ProxyChoice::Environment,
            no_proxy: Vec::new(),
        }
    }
}

impl ClientSettings {
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let base = read_base(section);
        let headers = read_constant_headers(section);
        let auth = section.table(
            "auth",
            "how the client signs in; its credentials go to the host of `base` and to no other",
            AuthSettings::read,
        );
        if auth.is_some() && !section.has("base") {
            section.mistake(
                "auth",
                "credentials belong to a host, and this client names none",
                "add `base = \"https://…\"` with the host that they are for",
            );
        }
        let cookies = section.or("cookies", false, "whether cookies that servers set are kept and sent back to them");
        let courtesy = read_courtesy(section);
        let time = section.group("timeouts", "time limits of each request", |section| {
            let default = Limits::DEFAULT;
            Some((
                section.or("connect", default.connect, CONNECT),
                section.or("first_byte", default.first_byte, FIRST_BYTE),
                section.or("whole", default.whole, WHOLE),
            ))
        });
        let default = Limits::DEFAULT;
        let (connect, first_byte, whole) = time.unwrap_or((default.connect, default.first_byte, default.whole));
        let max_body = section.or("max_body", default.max_body, MAX_BODY);
        let redirects = section.or("redirects", default.redirects, REDIRECTS);
        let tls = read_tls(section);
        let allow = read_allow(section);
        let user_agent = section.optional::<String>("user_agent", "the User-Agent header, by default gatherd's");
        let user_agent = user_agent.and_then(|text| {
            let value = HeaderValue::from_str(&text);
            if value.is_err() {
                section.mistake("user_agent", "this cannot stand in a header", "use visible ASCII characters");
            }
            value.ok()
        });
        let http2 = section.or("http2", true, "whether HTTP/2 is offered to servers that encrypt");
        let robots = section.or("robots", false, ROBOTS);
        let proxy: Option<ProxyChoice> = section.optional(
            "proxy",
            "the proxy that requests take, or `false` for none; by default what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and \
             NO_PROXY say, for hosts other than this machine. What a proxy connects to is its own affair: gatherd refuses \
             the addresses and names that it can see to lead where data may not lead",
        );
        let no_proxy = section.or(
            "no_proxy",
            Vec::new(),
            "hosts, addresses and networks that are reached without a proxy; a host stands for those below it too",
        );
        Some(Self {
            base,
            headers,
            auth,
            cookies,
            courtesy,
            limits: Limits { connect, first_byte, whole, max_body, redirects },
            tls,
            allow,
            user_agent,
            http2,
            fingerprint: None,
            robots,
            proxy: proxy.unwrap_or_default(),
            no_proxy,
        })
    }

    pub fn with_fingerprint(self, fingerprint: Fingerprint) -> Self {
        Self { fingerprint: Some(fingerprint), ..self }
    }
}

/// Reads `ca_file` and `tls`.
fn read_tls(section: &mut Section<'_>) -> TlsFiles {
    let authorities =
        section.optional("ca_file", "certificates in PEM of authorities to trust beside those of the system");
    let identity = section.table(
        "tls",
        "the certificate that the client shows to the host of `base` and to no other (mutual TLS); both files are read \
         again on SIGHUP",
        |section| {
            let certificate: Option<PathBuf> =
                section.required("cert_file", "the client's certificate in PEM, with those that lead to its authority");
            let key: Option<PathBuf> = section.required("key_file", "the private key to it in PEM");
            Some((certificate?, key?))
        },
    );
    if identity.is_some() && !section.has("base") {
        section.mistake(
            "tls",
            "a certificate shows who the client is to a host, and this client names none",
            "add `base = \"https://…\"` with the host that it is for",
        );
    }
    TlsFiles { authorities, identity }
}

/// How hard the client's hosts may be worked.
fn read_courtesy(section: &mut Section<'_>) -> Courtesy {
    let default = Courtesy::DEFAULT;
    let per_host = section.or("per_host", default.per_host, "how many requests to one host are on their way at once");
    if per_host == 0 {
        section.mistake("per_host", "with 0 no request could ever be sent", "write 1 or more");
    }
    let rate = section.optional("rate", "how many requests the client sends at most, such as \"10/s\"");
    let per_host_rate = section.optional("per_host_rate", "how many requests it sends to each host at most");
    let burst = section.optional(
        "burst",
        "how many requests a rate lets pass at once after a pause; by default what it allows in a second",
    );
    if burst == Some(0) {
        section.mistake("burst", "with 0 no request could ever be sent", "write 1 or more");
    }
    if burst.is_some()
        && rate.is_none()
        && per_host_rate.is_none()
        && !section.has("rate")
        && !section.has("per_host_rate")
    {
        section.mistake(
            "burst",
            "there is no rate that lets a burst pass",
            "add `rate` or `per_host_rate`, or remove it",
        );
    }
    let adapt = section.optional(
        "adapt",
        "whether the number of requests on their way to a host follows how quickly it answers, up to `per_host`; by \
         default for sinks alone",
    );
    let rate_headers = section.or(
        "rate_headers",
        default.rate_headers,
        "whether what replies say about the rest of a rate limit (RateLimit, X-RateLimit-…) is kept to",
    );
    Courtesy { per_host, rate, per_host_rate, burst, adapt, rate_headers }
}

const ROBOTS: &str = "whether a site's robots.txt is kept to: what it asks not to fetch is filtered";
const CONNECT: &str = "for resolving the name, connecting and agreeing on encryption";
const FIRST_BYTE: &str = "from the start until the reply begins";
const WHOLE: &str = "from the start to the reply's last byte, redirects included";
const MAX_BODY: &str = "the largest body that is read, counted after decompression";
const REDIRECTS: &str = "how many redirects are followed; with 0 the redirect itself is the reply";

/// What a component says about its own requests; what it leaves out is as its client has it.
#[derive(Clone, Default)]
pub struct EndpointSettings {
    pub(super) via: Option<String>,
    pub(super) limits: LimitsInstead,
    pub(super) allow: Allow,
    pub(super) caller: Caller,
    /// In place of the client's.
    pub(super) robots: Option<bool>,
}

/// Limits that stand in place of the client's.
#[derive(Clone, Copy, Default)]
pub(super) struct LimitsInstead {
    connect: Option<Duration>,
    first_byte: Option<Duration>,
    whole: Option<Duration>,
    max_body: Option<Size>,
    redirects: Option<usize>,
}

impl LimitsInstead {
    pub(super) fn of(self, client: Limits) -> Limits {
        Limits {
            connect: self.connect.unwrap_or(client.connect),
            first_byte: self.first_byte.unwrap_or(client.first_byte),
            whole: self.whole.unwrap_or(client.whole),
            max_body: self.max_body.unwrap_or(client.max_body),
            redirects: self.redirects.unwrap_or(client.redirects),
        }
    }
}

impl EndpointSettings {
    /// Reads `via`, `timeouts`, `max_body`, `redirects`, `allow` and `robots`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let robots = section.optional("robots", ROBOTS);
        Self { robots, ..Self::read_basic(section) }
    }

    fn read_basic(section: &mut Section<'_>) -> Self {
        let via = section.client("via", "the `[http.NAME]` that sends the request");
        let mut limits = section
            .table("timeouts", "time limits in place of the client's", |section| {
                Some(LimitsInstead {
                    connect: section.optional("connect", CONNECT),
                    first_byte: section.optional("first_byte", FIRST_BYTE),
                    whole: section.optional("whole", WHOLE),
                    ..LimitsInstead::default()
                })
            })
            .unwrap_or_default();
        limits.max_body = section.optional("max_body", MAX_BODY);
        limits.redirects = section.optional("redirects", REDIRECTS);
        Self { via, limits, allow: read_allow(section), caller: Caller::Step, robots: None }
    }

    /// Reads the same for a sink, which is no crawler.
    pub fn read_for_sink(section: &mut Section<'_>) -> Self {
        Self { caller: Caller::Sink, ..Self::read_basic(section) }
    }

    /// These settings for a server that may hold its reply back so long, where no other limit is given.
    pub fn with_patience(mut self, first_byte: Duration) -> Self {
        let first_byte = *self.limits.first_byte.get_or_insert(first_byte);
        self.limits.whole.get_or_insert(first_byte + Limits::DEFAULT.whole);
        self
    }

    /// These settings, with a limit for bodies where none is given.
    pub fn with_max_body(mut self, max_body: Size) -> Self {
        self.limits.max_body.get_or_insert(max_body);
        self
    }
}

/// Reads `allow`, also for `[service]`.
pub fn read_allow(section: &mut Section<'_>) -> Allow {
    const ABOUT: &str = "hosts, addresses and networks that data and redirects may lead to, beside public ones";
    let entries: Vec<String> = section.or("allow", Vec::new(), ABOUT);
    Allow::parse(&entries).unwrap_or_else(|wrong| {
        let (message, way_out) = wrong.split_once("; ").unwrap_or((&wrong, "list host names, addresses or networks"));
        section.mistake("allow", message, way_out);
        Allow::default()
    })
}

/// Reads `headers` as templates. Names that cannot be sent, or that the transport sets itself, are mistakes.
pub fn read_headers(section: &mut Section<'_>) -> Vec<(HeaderName, Template)> {
    let mut headers = Vec::new();
    for (name, template) in section.templates("headers", Encoding::Plain, "headers to send, by name") {
        match name.parse::<HeaderName>() {
            Err(_) => section.mistake(
                &format!("headers.{name}"),
                format!("`{name}` is not the name of a header"),
                "use letters, digits and hyphens",
            ),
            Ok(known) if SET_BY_TRANSPORT.contains(&known.as_str()) => {
                section.mistake(&format!("headers.{name}"), format!("gatherd sets `{name}` itself"), "remove it");
            }
            Ok(known) => {
                let unsendable = template.constant().is_some_and(|text| HeaderValue::from_str(text).is_err());
                if unsendable {
                    let message = format!("the value of `{name}` cannot stand in a header");
                    section.mistake(&format!("headers.{name}"), message, "use visible ASCII characters");
                }
                headers.push((known, template));
            }
        }
    }
    headers
}

/// Reports credentials that cannot stand in a header.
pub(super) fn check_header_value(section: &mut Section<'_>, key: &str, value: &str) {
    if HeaderValue::from_str(value).is_err() {
        section.mistake(
            key,
            "the credentials hold a character that cannot stand in a header",
            "use visible ASCII characters; a secret's file may end in a line break too many",
        );
    }
}

/// Reads the name of a header.
pub(super) fn read_header_name(
    section: &mut Section<'_>,
    key: &'static str,
    about: &'static str,
) -> Option<HeaderName> {
    let name: String = section.optional(key, about)?;
    let header = name.parse().ok().filter(|name: &HeaderName| !SET_BY_TRANSPORT.contains(&name.as_str()));
    if header.is_none() {
        section.mistake(key, format!("`{name}` is not the name of a header to set"), "write one such as \"X-Api-Key\"");
    }
    header
}

/// Reads a URL that belongs to the client, and may be a path below its base.
pub(super) fn read_own_url(section: &mut Section<'_>, key: &'static str, about: &'static str) -> Option<String> {
    let text: String = section.required(key, about)?;
    let is_absolute = Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_absolute && !text.starts_with('/') {
        let way_out = "write one such as \"https://login.example/token\", or a path such as \"/token\"";
        section.mistake(key, format!("`{text}` is neither a URL nor a path"), way_out);
    }
    Some(text)
}

/// Headers that say how a message is framed.
const SET_BY_TRANSPORT: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

fn read_constant_headers(section: &mut Section<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, template) in read_headers(section) {
        match template.constant() {
            // A value that cannot be sent has been reported.
            Some(text) => headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value))),
            None => section.mistake(
                "headers",
                format!("`{name}` holds a filter, but a client has no item to run it on"),
                "write the header in the step, or `{{` and `}}` for braces",
            ),
        }
    }
    headers
}

fn read_base(section: &mut Section<'_>) -> Option<Url> {
    let text: String = section.optional("base", "the URL that relative URLs are appended to")?;
    let wrong = match Url::parse(&text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host().is_none() => {
            format!("`{text}` does not begin with http:// or https://")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            format!("`{text}` has a query or fragment, which cannot stand before a path")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "the base holds credentials; `auth` is the place for them".to_owned()
        }
        Ok(url) => return Some(url),
        Err(error) => format!("`{text}` is not a URL: {error}"),
    };
    section.mistake("base", wrong, "write one such as \"https://api.example/v1\"");
    None
}
