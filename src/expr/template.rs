//! Text with `{filter}` in it.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::cut::{Piece, cut};
use super::{Engine, Filter, FilterError, Scope, SyntaxError, Vars};
use crate::model::{Text, Value};

/// How the results of a template's filters are written into its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// Percent-encoded for a URL; a template that begins with `{` takes its first result as a whole URL.
    Url,
    /// For a file path: a result cannot climb out of its folder. In it, `/`, `%` and control characters are
    /// percent-encoded, so it names one folder or file and never several; a name that would be empty, `.`, `..` or
    /// longer than 255 bytes is an error.
    Path,
}

/// All but the unreserved characters of RFC 3986.
const URL_DATA: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH_DATA: &AsciiSet = &CONTROLS.add(b'/').add(b'%');

/// The longest name of a file that common file systems take, in bytes.
const NAME_LIMIT: usize = 255;

/// A compiled template. A clone shares it.
#[derive(Clone)]
pub struct Template {
    source: Text,
    encoding: Encoding,
    /// Never two texts in a row.
    parts: std::sync::Arc<[Part]>,
}

enum Part {
    Text(Text),
    Filter(Filter),
}

/// Shows the source only: what was filled in may be secret.
impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Template").field(&self.source).finish()
    }
}

impl Template {
    /// Cuts `source` into text and filters. `fill` is given each `${…}` and `$${…}` of the text, braces included (and
    /// `$${` alone where no `}` follows), and answers what stands in its place, which is never read again; the span
    /// of its error counts from the `$`.
    pub fn compile(
        source: &str,
        encoding: Encoding,
        vars: &Vars,
        fill: &mut dyn FnMut(&str) -> Result<String, SyntaxError>,
    ) -> Result<Self, SyntaxError> {
        let moved =
            |error: SyntaxError, by: usize| SyntaxError { span: error.span.start + by..error.span.end + by, ..error };
        let mut parts = Vec::new();
        let mut text = String::new();
        for piece in cut(source)? {
            match piece {
                Piece::Text(at) => text.push_str(&source[at]),
                Piece::Reference(at) => {
                    text.push_str(&fill(&source[at.clone()]).map_err(|error| moved(error, at.start))?);
                }
                Piece::Filter(at) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text).into()));
                    }
                    let filter = Filter::compile(&source[at.clone()], vars).map_err(|error| {
                        let error = moved(error, at.start);
                        if error.message.contains("; ") {
                            return error;
                        }
                        // Its author may not have thought of a filter at all.
                        let message = format!("{}; write `{{{{` for a brace that stays as it is", error.message);
                        SyntaxError { message, ..error }
                    })?;
                    parts.push(Part::Filter(filter));
                }
            }
        }
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Ok(Self { source: source.into(), encoding, parts: parts.into() })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, if no filter stands in it.
    pub fn constant(&self) -> Option<&Text> {
        match &*self.parts {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first filter.
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether the text begins with a filter. With [`Encoding::Url`] even the host is data then.
    pub fn begins_with_data(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Filter(_)))
    }

    /// What runs its filters: jaq if that runs one of them, nothing if there are none.
    pub fn engine(&self) -> Option<Engine> {
        let filters = self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Filter(filter) => Some(filter.engine()),
        });
        filters.max()
    }

    pub fn render(&self, input: &Value, scope: &Scope<'_>) -> Result<Text, FilterError> {
        if let Some(text) = self.constant() {
            return Ok(text.clone());
        }
        if let ([Part::Filter(filter)], Encoding::Plain | Encoding::Url) = (&*self.parts, self.encoding) {
            return result_of(filter, input, scope);
        }
        let mut out = String::with_capacity(self.source.len() + 32);
        let mut names = Names::default();
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    out.push_str(text);
                    if self.encoding == Encoding::Path {
                        names.text_added(&out)?;
                    }
                }
                Part::Filter(filter) => {
                    let result = result_of(filter, input, scope)?;
                    match self.encoding {
                        Encoding::Url if index > 0 => out.extend(utf8_percent_encode(&result, URL_DATA)),
                        Encoding::Plain | Encoding::Url => out.push_str(&result),
                        Encoding::Path => {
                            out.extend(utf8_percent_encode(&result, PATH_DATA));
                            names.data_added(&out, filter.source());
                        }
                    }
                }
            }
        }
        if self.encoding == Encoding::Path {
            names.check(&out[names.start..])?;
        }
        Ok(out.into())
    }
}

fn result_of(filter: &Filter, input: &Value, scope: &Scope<'_>) -> Result<Text, FilterError> {
    filter.one_text(input, scope).map_err(|error| match error {
        FilterError::Failed(message) => FilterError::Failed(format!("`{{{}}}`: {message}", filter.source())),
        other => other,
    })
}

/// Watches over the names between the slashes of a path that is being written.
#[derive(Default)]
struct Names<'t> {
    /// Where the name begins that is being written.
    start: usize,
    /// How much of the path has been looked at.
    seen: usize,
    /// The last filter that wrote into this name.
    data: Option<&'t str>,
}

impl<'t> Names<'t> {
    fn data_added(&mut self, path: &str, filter: &'t str) {
        self.data = Some(filter);
        self.seen = path.len();
    }

    fn text_added(&mut self, path: &str) -> Result<(), FilterError> {
        while let Some(length) = path[self.seen..].find('/') {
            self.check(&path[self.start..self.seen + length])?;
            self.seen += length + 1;
            self.start = self.seen;
            self.data = None;
        }
        self.seen = path.len();
        Ok(())
    }

    /// Whether a name that holds data may stand; what the author wrote may be anything.
    fn check(&self, name: &str) -> Result<(), FilterError> {
        let Some(filter) = self.data else { return Ok(()) };
        let wrong = match name {
            "" => "is empty".to_owned(),
            "." | ".." => format!("is `{name}`"),
            _ if name.len() > NAME_LIMIT => format!("is longer than {NAME_LIMIT} bytes"),
            _ => return Ok(()),
        };
        Err(FilterError::Failed(format!("the file or folder name that `{{{filter}}}` makes {wrong}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::Fuel;
    use crate::model::{Labels, json};

    fn compile(source: &str, encoding: Encoding) -> Result<Template, SyntaxError> {
        let mut fill = |reference: &str| match reference {
            "${SITE}" => Ok("north".to_owned()),
            "${BRACES}" => Ok("{.a}${SITE}}}".to_owned()),
            _ if reference.starts_with("$$") => Ok(reference[1..].to_owned()),
            other => Err(SyntaxError { message: "not set".to_owned(), span: 2..other.len() - 1 }),
        };
        Template::compile(source, encoding, &Vars::default(), &mut fill)
    }

    fn render(template: &Template, input: &Value) -> Result<Text, FilterError> {
        let mut labels = Labels::default();
        labels.set("fetched_at".into(), Value::from("2026-01-02T03:04:05Z"));
        let scope = Scope { labels: &labels, window: None, now: jiff::Timestamp::UNIX_EPOCH, fuel: Fuel::Inline };
        template.render(input, &scope)
    }

    #[track_caller]
    fn check(encoding: Encoding, source: &str, input: &str, expected: &str) {
        let template = compile(source, encoding).unwrap_or_else(|error| panic!("{source}: {error:?}"));
        let shown = match render(&template, &json::parse(input.as_bytes()).expect("the test's own JSON")) {
            Ok(text) => text.to_string(),
            Err(FilterError::Failed(message)) => format!("! {message}"),
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(shown, expected, "{source} on {input}");
    }

    #[test]
    fn results_are_written_as_their_place_asks() {
        use Encoding::{Path, Plain, Url};
        for (encoding, source, input, expected) in [
            (Plain, "a{.}b", "\"x/y z\"", "ax/y zb"),
            (
                Plain,
                "{.a} {.b} {.c}",
                "{\"a\":1,\"b\":true,\"c\":123456789012345678901234567890}",
                "1 true 123456789012345678901234567890",
            ),
            (Plain, "{{{.}}}", "1", "{1}"),
            (Plain, "${SITE}{.}${BRACES}$${A}", "1", "north1{.a}${SITE}}}${A}"),
            (Plain, "{labels.fetched_at[:10]}.ndjson", "null", "2026-01-02.ndjson"),
            (Plain, "{ {a: .} | .a }", "3", "3"),
            (Plain, "/users/{.id}", "{}", "! `{.id}`: it gives null, where text, a number or a boolean should stand"),
            (
                Plain,
                "{.}",
                "[1]",
                "! `{.}`: it gives a value of type array, where text, a number or a boolean should stand",
            ),
            (Plain, "{.[]}", "[1,2]", "! `{.[]}`: it gives more than one result"),
            (Plain, "{.[]}", "[]", "! `{.[]}`: it gives nothing, where one result should stand"),
            (Plain, "{.a}", "1", "! `{.a}`: cannot index 1 with \"a\""),
            (Url, "http://a/{.}?q={.}", "\"x/y z&ü-._~\"", "http://a/x%2Fy%20z%26%C3%BC-._~?q=x%2Fy%20z%26%C3%BC-._~"),
            (Url, "{.}?q={.}", "\"http://a/b c\"", "http://a/b c?q=http%3A%2F%2Fa%2Fb%20c"),
            (Path, "out/{.}.json", "\"a/../b%\\n\"", "out/a%2F..%2Fb%25%0A.json"),
            (Path, "{.}/x", "\"..\"", "! the file or folder name that `{.}` makes is `..`"),
            (Path, "{.}{.}/x", "\".\"", "! the file or folder name that `{.}` makes is `..`"),
            (Path, "a/.{.}", "\".\"", "! the file or folder name that `{.}` makes is `..`"),
            (Path, "a/.{.}/b", "\".\"", "! the file or folder name that `{.}` makes is `..`"),
            (Path, "{.}/x", "\"\"", "! the file or folder name that `{.}` makes is empty"),
            (Path, "{.}", "\"\"", "! the file or folder name that `{.}` makes is empty"),
            (Path, "../x/{.}", "\"/etc/passwd\"", "../x/%2Fetc%2Fpasswd"),
            (Path, "{.}", "\"a\\u0000b\"", "a%00b"),
            (Path, "{.}", "\"..\\u0000\"", "..%00"),
        ] {
            check(encoding, source, input, expected);
        }
        let long = format!("\"{}\"", "x".repeat(300));
        check(Path, "{.}.json", &long, "! the file or folder name that `{.}` makes is longer than 255 bytes");
    }

    #[test]
    fn a_template_tells_what_is_constant_in_it() {
        let of = |source| compile(source, Encoding::Url).expect(source);
        assert_eq!(of("http://${SITE}/a").constant().map(|text| &**text), Some("http://north/a"));
        assert_eq!(of("").constant().map(|text| &**text), Some(""));
        assert_eq!(of("http://${SITE}/{.}").constant(), None);
        assert_eq!(of("http://${SITE}/{.}").prefix(), "http://north/");
        assert!(of("{.}/a").begins_with_data() && !of("a{.}").begins_with_data() && !of("${SITE}").begins_with_data());
        assert!(!format!("{:?}", of("http://${SITE}/")).contains("north"));
    }

    #[test]
    fn mistakes_point_into_the_template() {
        for (source, message, at) in [
            ("a{.b |}", "the filter ends where a value or a filter should stand", ""),
            ("a{mpa(.)}", "there is no filter `mpa`; did you mean `map`?", "mpa"),
            ("a ${NONE}", "not set", "NONE"),
            ("a{$b}", "there is no variable `$b`", "$b"),
            ("a{}", "the filter is empty", ""),
        ] {
            let error = compile(source, Encoding::Plain).expect_err(source);
            assert!(error.message.starts_with(message), "{source}: {}", error.message);
            assert_eq!(&source[error.span.clone()], at, "{source}");
        }
    }

    proptest! {
        #[test]
        fn cutting_never_panics_and_spans_lie_in_the_text(source in "[ -~äß\n]{0,40}|[{}$\"\\\\()#a. \n]{0,24}") {
            if let Err(error) = compile(&source, Encoding::Plain) {
                prop_assert!(source.get(error.span.clone()).is_some(), "{source}: {error:?}");
            }
        }

        #[test]
        fn any_text_can_be_written_literally(text in "\\PC*") {
            let source = text.replace('{', "{{").replace('}', "}}").replace('$', "${DOLLAR}");
            let mut fill = |_: &str| Ok("$".to_owned());
            let template = Template::compile(&source, Encoding::Plain, &Vars::default(), &mut fill).expect("escaped");
            prop_assert_eq!(template.constant().map(|text| &**text), Some(&*text));
        }

        #[test]
        fn data_in_a_url_reads_back(data in "\\PC*") {
            let template = compile("http://host/{.}?q={.}#f", Encoding::Url).expect("a good template");
            let url = url::Url::parse(&render(&template, &Value::from(&*data)).expect("text")).expect("a good URL");
            prop_assert_eq!(url.host_str(), Some("host"));
            let query: Vec<_> = url.query_pairs().collect();
            prop_assert_eq!(&*query, &[("q".into(), data.into())]);
        }

        #[test]
        fn data_in_a_path_stays_in_its_folder(data in "[./\\\\%a\u{0}]{0,6}|\\PC*") {
            let template = compile("out/{.}/x", Encoding::Path).expect("a good template");
            if let Ok(path) = render(&template, &Value::from(&*data)) {
                let path = std::path::Path::new(&*path);
                prop_assert_eq!(path.components().count(), 3);
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    }
}
