//! Links to the next page of a reply: `Link` headers (RFC 8288), and where a link may lead.

use http::HeaderMap;
use http::header::LINK;
use url::Url;

use super::endpoint::{Endpoint, has_same_origin};
use super::failure::shown;
use super::redirect::kept_when_straying;
use super::request::Request;
use super::trust::Pair;

/// The targets of a reply's links by their relations, such as `next`, in lower case. What is no link is passed over.
pub fn links(headers: &HeaderMap) -> Vec<(String, String)> {
    let lines = headers.get_all(LINK).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(links_of_line).collect()
}

fn links_of_line(mut rest: &str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, parameters)) = after.split_once('>') else { break };
        let (relations, end) = relations(parameters);
        links.extend(relations.into_iter().map(|relation| (relation, target.trim().to_owned())));
        rest = &parameters[end..];
    }
    links
}

/// The relations among a link's parameters, and where these end.
fn relations(parameters: &str) -> (Vec<String>, usize) {
    let mut relations = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (place, letter) in parameters.char_indices().chain([(parameters.len(), ',')]) {
        let ends = !is_quoted && matches!(letter, ';' | ',');
        if ends {
            if let Some((name, value)) = parameters[start..place].split_once('=')
                && name.trim().eq_ignore_ascii_case("rel")
                // Only the first counts (RFC 8288, section 3.3).
                && relations.is_empty()
            {
                let value = value.trim().trim_matches('"').to_ascii_lowercase();
                relations.extend(value.split_ascii_whitespace().map(str::to_owned));
            }
            start = place + 1;
            if letter == ',' {
                return (relations, place);
            }
        }
        is_quoted ^= letter == '"' && !is_escaped;
        is_escaped = is_quoted && letter == '\\' && !is_escaped;
    }
    (relations, parameters.len())
}

impl Endpoint {
    /// Where a link leads that stands in the reply from `from` to a request to `asked`. The error says why it is not
    /// followed: it leads to another host than the request did, and `allow` does not name that one.
    pub fn next_link(&self, asked: &Url, from: &Url, link: &str) -> Result<Url, String> {
        let mut next = from.join(link).map_err(|error| format!("`{link}` is not a URL: {error}"))?;
        if !matches!(next.scheme(), "http" | "https") {
            return Err(format!("`{}:` is not HTTP", next.scheme()));
        }
        // Credentials that a remote writes into a URL are not ours to send.
        let _ = next.set_username("");
        let _ = next.set_password(None);
        next.set_fragment(None);
        if asked.scheme() == "https" && next.scheme() == "http" && next.host() == asked.host() && next.port().is_none()
        {
            // What stands before a server often does not tell it that it was reached by TLS.
            let _ = next.set_scheme("https");
            let _ = next.set_port(asked.port());
        }
        if self.is_followed(asked, &next) {
            return Ok(next);
        }
        let host = Pair::of(&next).map(|pair| format!("{}:{}", pair.host, pair.port)).unwrap_or_default();
        Err(format!(
            "`{}` leads to another host than the request; write `allow = [\"{host}\"]` in the step if that is right: it gets no \
             credentials",
            shown(&next)
        ))
    }

    fn is_followed(&self, asked: &Url, next: &Url) -> bool {
        has_same_origin(asked, next) || Pair::of(next).is_some_and(|pair| self.route.allow.speaks_of(&pair))
    }
}

impl Request {
    /// The same request to `next`, which [`Endpoint::next_link`] has answered. What may be a credential does not go to
    /// another origin.
    pub fn redirected_to(&self, next: Url) -> Self {
        let headers = match has_same_origin(&self.url, &next) {
            true => self.headers.clone(),
            false => kept_when_straying(&self.headers),
        };
        let Self { method, body, keeps_body, .. } = self;
        Self { method: *method, url: next, headers, body: body.clone(), keeps_body: *keeps_body }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn links_are_read_as_servers_write_them() {
        for (line, expected) in [
            (
                r#"<https://a/?page=2>; rel="next", <https://a/?page=9>; rel="last""#,
                "next https://a/?page=2, last https://a/?page=9",
            ),
            ("</x,y;z?a=1>;rel=next", "next /x,y;z?a=1"),
            (r#"<?c=1>; title="a, <b>; rel=\"no\""; REL="Prev NEXT"; rel=last"#, "prev ?c=1, next ?c=1"),
            (r#"<a>; rel="first"; results="true"; cursor="0:0:1",<b>;rel="next""#, "first a, next b"),
            ("<a>, <b>; rel=next", "next b"),
            ("nothing", ""),
            ("<a", ""),
            ("", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_str(line).unwrap());
            let found: Vec<_> =
                links(&headers).iter().map(|(relation, target)| format!("{relation} {target}")).collect();
            assert_eq!(found.join(", "), expected, "{line}");
        }
    }
}
