//! jq filters.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use jaq_core::compile::Undefined;
use jaq_core::load::{Arena, File, Loader, lex, parse};
use jaq_core::{Ctx, ValT};
use jiff::Timestamp;

use super::cut::no_references_in_filters;
use super::language::{self, Context, LEFT_OUT, Language, Seen};
use super::metered::Metered;
use super::rewrite::rewrite;
use super::{SyntaxError, fuel};
use crate::model::{Item, Labels, Text, Value, Window};

/// The pipeline's own variables, `$name` to a filter. Their values are known when a filter is compiled.
pub type Vars = Arc<Vec<(Text, Value)>>;

/// What a filter can see beside its input.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub labels: &'a Labels,
    pub window: Option<Window>,
    pub now: Timestamp,
    pub fuel: Fuel,
}

impl<'a> Scope<'a> {
    pub fn of(item: &'a Item, now: Timestamp, fuel: Fuel) -> Self {
        Self { labels: &item.labels, window: item.origin.window, now, fuel }
    }
}

/// How much one run of a filter may do, so that none can hold a thread for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fuel {
    /// About two milliseconds: what may run on an executor thread.
    Inline,
    /// About five seconds: what may run on a blocking thread.
    Blocking,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FilterError {
    /// The filter failed on this input; the message is jq's.
    Failed(String),
    /// The fuel ran out. With [`Fuel::Inline`] the run is worth a second try with [`Fuel::Blocking`].
    OutOfFuel,
    /// More output than an item may make; the message names the limit.
    TooMuch(String),
}

/// How many outputs a run may have.
const OUTPUT_LIMIT: usize = 1_000_000;

/// The longest text of a filter, in bytes.
const SOURCE_LIMIT: usize = 64 << 10;

/// A compiled jq filter. A clone shares it.
#[derive(Clone)]
pub struct Filter(Arc<Compiled>);

struct Compiled {
    source: Text,
    vars: Vars,
    jaq: jaq_core::Filter<Language>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Filter").field(&self.source()).finish()
    }
}

impl Filter {
    pub fn compile(source: &str, vars: &Vars) -> Result<Self, SyntaxError> {
        let whole = 0..source.len();
        if source.len() > SOURCE_LIMIT {
            let message = format!("a filter is at most {} KiB long", SOURCE_LIMIT >> 10);
            return Err(SyntaxError { message, span: whole });
        }
        if let Some(place) = source.find("${") {
            return Err(no_references_in_filters(place));
        }
        let names: Vec<String> = vars.iter().map(|(name, _)| format!("${name}")).collect();
        // jaq's parser and compiler recurse with the text; this stack holds whatever fits into the limit above.
        let compiling = || {
            let rewritten = rewrite(source)
                .map_err(|span| SyntaxError { message: "this is nested too deeply".to_owned(), span })?;
            match rewritten {
                None => compile(source, &names),
                // An error points into the text as it was written.
                Some(text) => compile(&text, &names).or_else(|error| {
                    compile(source, &names)?;
                    Err(SyntaxError { span: whole.clone(), ..error })
                }),
            }
        };
        let jaq = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("compile a filter".to_owned()).stack_size(256 << 20);
            let compiled = thread.spawn_scoped(scope, compiling).map(std::thread::ScopedJoinHandle::join);
            compiled.map_err(|error| format!("cannot start a thread to compile the filter: {error}"))
        });
        let failed = |message: String| SyntaxError { message, span: 0..source.len() };
        let jaq = jaq.map_err(failed)?.map_err(|_| failed("the filter cannot be compiled".to_owned()))??;
        Ok(Self(Arc::new(Compiled { source: source.into(), vars: vars.clone(), jaq })))
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// All outputs.
    pub fn run(&self, input: &Value, scope: &Scope<'_>) -> Result<Vec<Value>, FilterError> {
        self.outputs(input, scope, |outputs| {
            let mut values = Vec::new();
            for output in outputs {
                if values.len() == OUTPUT_LIMIT {
                    return Err(FilterError::TooMuch(format!("it gives more than {OUTPUT_LIMIT} outputs")));
                }
                fuel::spend(3);
                values.push(output?.into_value());
            }
            Ok(values)
        })
    }

    /// The first output, if there is one. What would come after it is not computed.
    pub fn first(&self, input: &Value, scope: &Scope<'_>) -> Result<Option<Value>, FilterError> {
        self.outputs(input, scope, |outputs| Ok(outputs.next().transpose()?.map(Metered::into_value)))
    }

    /// Whether the first output is neither `false` nor `null`; no output means false.
    pub fn test(&self, input: &Value, scope: &Scope<'_>) -> Result<bool, FilterError> {
        self.outputs(input, scope, |outputs| Ok(outputs.next().transpose()?.is_some_and(|output| output.as_bool())))
    }

    /// The one output as text: it must be text, a number or a boolean, so that no null ends up in a URL or a key.
    pub fn one_text(&self, input: &Value, scope: &Scope<'_>) -> Result<Text, FilterError> {
        let failed = |what: &str| Err(FilterError::Failed(what.to_owned()));
        self.outputs(input, scope, |outputs| {
            let Some(output) = outputs.next().transpose()? else {
                return failed("it gives nothing, where one result should stand");
            };
            if outputs.next().transpose()?.is_some() {
                return failed("it gives more than one result");
            }
            match output.into_value() {
                Value::Text(text) => Ok(text),
                scalar @ (Value::Number(_) | Value::Bool(_)) => Ok(scalar.to_string().into()),
                Value::Null => failed("it gives null, where text, a number or a boolean should stand"),
                other => {
                    let kind = other.type_name();
                    failed(&format!("it gives a value of type {kind}, where text, a number or a boolean should stand"))
                }
            }
        })
    }

    fn outputs<T>(
        &self,
        input: &Value,
        scope: &Scope<'_>,
        take: impl FnOnce(&mut dyn Iterator<Item = Result<Metered, FilterError>>) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        let Compiled { vars, jaq, .. } = &*self.0;
        let seen = Seen::new(scope);
        fuel::metered(scope.fuel, || {
            let vars = jaq_core::Vars::new(vars.iter().map(|(_, value)| Metered::input(value.clone())));
            let context = Ctx::<Language>::new(Context::new(&jaq.lut, &seen), vars);
            let outputs = jaq.id.run((context, Metered::input(input.clone())));
            take(&mut outputs.map(|output| output.map_err(failure)))
        })
    }
}

/// What a filter could not do, in jq's words.
fn failure(exception: jaq_core::Exn<'_, Metered>) -> FilterError {
    let message = match exception.get_err().map(jaq_core::Error::into_val) {
        Ok(Metered { value: Value::Text(message), .. }) => message.to_string(),
        Ok(value) => format!("{value} (not a string)"),
        Err(_) => "break".to_owned(),
    };
    FilterError::Failed(shortened(&message).into_owned())
}

/// A message about large data, cut so that people can read it.
pub(super) fn shortened(message: &str) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 400;
    match message.char_indices().nth(LONGEST) {
        None => message.into(),
        Some(_) => {
            let end = message.char_indices().nth(LONGEST / 4 * 3).map_or(0, |(byte, _)| byte);
            let start = message.char_indices().nth_back(LONGEST / 4 - 1).map_or(0, |(byte, _)| byte);
            format!("{} … {}", &message[..end], &message[start..]).into()
        }
    }
}

fn compile(source: &str, vars: &[String]) -> Result<jaq_core::Filter<Language>, SyntaxError> {
    use jaq_core::load::Error;
    let arena = Arena::default();
    let definitions = language::definitions();
    let known: Vec<(String, usize)> = definitions.iter().map(|def| (def.name.to_owned(), def.args.len())).collect();
    let modules = Loader::new(definitions).load(&arena, File { code: source, path: () }).map_err(|errors| {
        let first = errors.into_iter().next().map(|(_, error)| error);
        match first {
            Some(Error::Lex(errors)) => errors.into_iter().next().map(|error| lexical(source, error)),
            Some(Error::Parse(errors)) => errors.into_iter().next().map(|error| grammatical(source, error)),
            Some(Error::Io(errors)) => errors.into_iter().next().map(|(path, _)| SyntaxError {
                message: "a filter loads no modules; write its definitions here".to_owned(),
                span: span(source, path),
            }),
            None => None,
        }
        .unwrap_or_else(|| SyntaxError { message: "this is no filter".to_owned(), span: 0..source.len() })
    })?;
    let imported = jaq_core::load::import(&modules, |import| Err((*import.path).to_owned()));
    if let Err(errors) = imported {
        let path = errors.into_iter().find_map(|(_, error)| match error {
            Error::Io(errors) => errors.into_iter().next().map(|(path, _)| span(source, path)),
            _ => None,
        });
        let message = "a filter loads no data; give it a variable with `vars`".to_owned();
        return Err(SyntaxError { message, span: path.unwrap_or(0..source.len()) });
    }
    let compiler = jaq_core::Compiler::<_, Language>::default()
        .with_funs(language::functions())
        .with_global_vars(vars.iter().map(String::as_str));
    compiler.compile(modules).map_err(|errors| {
        let mut undefined = errors.into_iter().flat_map(|(_, errors)| errors);
        let first = undefined
            .next()
            .map(|(name, kind)| SyntaxError { message: missing(name, &kind, &known, vars), span: span(source, name) });
        first.unwrap_or_else(|| SyntaxError { message: "this is no filter".to_owned(), span: 0..source.len() })
    })
}

/// Where `part` stands in `source`.
fn span(source: &str, part: &str) -> Range<usize> {
    let (whole, start) = (source.as_bytes().as_ptr_range(), part.as_ptr());
    // A part of a definition that the filter calls does not stand in its text.
    if whole.contains(&start) || start == whole.end { jaq_core::load::span(source, part) } else { 0..source.len() }
}

fn lexical(source: &str, (expected, rest): lex::Error<&str>) -> SyntaxError {
    let start = span(source, rest).start;
    let message = match expected {
        // What is missing is found at the end; the place to look at is where it was opened.
        lex::Expect::Delim(open) => {
            return SyntaxError {
                message: format!("the {} for this is missing", expected.as_str()),
                span: span(source, open),
            };
        }
        lex::Expect::Token if rest.starts_with([')', ']', '}']) => "this closes nothing".to_owned(),
        lex::Expect::Token if rest.starts_with('\'') => "text stands in double quotes".to_owned(),
        lex::Expect::Token => "this has no meaning in a filter".to_owned(),
        other if rest.is_empty() => format!("the filter ends where a {} should stand", other.as_str()),
        other => format!("here a {} should stand", other.as_str()),
    };
    SyntaxError { message, span: start..start + rest.chars().next().map_or(0, char::len_utf8) }
}

fn grammatical(source: &str, (expected, found): parse::Error<&str>) -> SyntaxError {
    let expected = match expected {
        parse::Expect::Just("") | parse::Expect::Nothing => "nothing more".to_owned(),
        parse::Expect::Just(word) => format!("`{word}`"),
        parse::Expect::Term => "a value or a filter".to_owned(),
        other => format!("a {}", other.as_str()),
    };
    let at = span(source, found);
    let mut message = if found.is_empty() {
        format!("the filter ends where {expected} should stand")
    } else {
        let first = found.chars().next().map_or(0, char::len_utf8);
        let shown = if found.len() > 20 { &found[..first] } else { found };
        format!("here stands `{shown}`, where {expected} should stand")
    };
    if source.is_empty() || source.trim().is_empty() {
        message = "the filter is empty; write `.` for the item as it is".to_owned();
    }
    SyntaxError { message, span: at }
}

/// What to say of a name that means nothing.
fn missing(name: &str, kind: &Undefined, known: &[(String, usize)], vars: &[String]) -> String {
    let near = |candidates: &mut dyn Iterator<Item = &str>| {
        let scored = candidates.map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate));
        let best = scored.min().filter(|(distance, _)| *distance <= 1 + name.len() / 4);
        best.map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
    };
    match kind {
        Undefined::Filter(arity) => {
            if let Some((_, why)) = LEFT_OUT.iter().find(|(left_out, _)| *left_out == name) {
                return format!("`{name}` is not available: {why}");
            }
            let functions: Vec<(&str, usize)> =
                language::functions().map(|(name, args, _)| (name, args.len())).collect();
            let names = || known.iter().map(|(name, arity)| (name.as_str(), *arity)).chain(functions.iter().copied());
            let mut arities: Vec<usize> = names().filter(|(known, _)| *known == name).map(|(_, arity)| arity).collect();
            arities.sort_unstable();
            arities.dedup();
            if arities.is_empty() {
                return format!("there is no filter `{name}`{}", near(&mut names().map(|(name, _)| name)));
            }
            let plural = if arities == [1] { "" } else { "s" };
            let arities: Vec<String> = arities.iter().map(usize::to_string).collect();
            format!("`{name}` takes {} argument{plural}, not {arity}", arities.join(" or "))
        }
        Undefined::Var if matches!(name, "$ENV" | "$__prog_args") => {
            format!("`{name}` is not available: {}", LEFT_OUT[0].1)
        }
        Undefined::Var => {
            let hint = near(&mut vars.iter().map(String::as_str));
            let bare = name.trim_start_matches('$');
            let hint = if hint.is_empty() {
                format!("; the pipeline's `vars = {{ {bare} = … }}` would give it")
            } else {
                hint
            };
            format!("there is no variable `{name}`{hint}")
        }
        other => format!("there is no {} `{name}`", other.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json;

    fn value(text: &str) -> Value {
        json::parse(text.as_bytes()).expect("the test's own JSON")
    }

    fn run_with(source: &str, input: &Value, fuel: Fuel) -> Result<Vec<Value>, FilterError> {
        let mut labels = Labels::default();
        labels.set("status".into(), Value::from(404));
        let time = |text: &str| text.parse().expect("the test's own time");
        let window = Some(Window { start: time("2026-01-02T03:04:05Z"), end: time("2026-01-02T03:05:05Z") });
        let scope = Scope { labels: &labels, window, now: time("2026-01-02T03:05:06Z"), fuel };
        let vars: Vars = Arc::new(vec![("site".into(), Value::from("north")), ("low".into(), Value::from(3))]);
        let filter = Filter::compile(source, &vars).unwrap_or_else(|error| panic!("{source}: {error:?}"));
        filter.run(input, &scope)
    }

    /// Runs a filter on JSON and compares its outputs, one to a line, or its error.
    #[track_caller]
    fn check(source: &str, input: &str, expected: &str) {
        let shown = match run_with(source, &value(input), Fuel::Inline) {
            Ok(values) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(" "),
            Err(FilterError::Failed(message)) => format!("! {message}"),
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(shown, expected, "{source} on {input}");
    }

    #[test]
    fn filters_answer_as_the_jq_manual_says() {
        for (source, input, expected) in [
            (".", "{\"b\":1,\"a\":2.50}", "{\"b\":1,\"a\":2.5}"),
            (".a.b", "{\"a\":{\"b\":1}}", "1"),
            (".a?", "[1]", ""),
            (".a", "null", "null"),
            (".a", "[1]", "! cannot index [1] with \"a\""),
            (".[1:], .[:-1], .[-1]", "[1,2,3]", "[2,3] [1,2] 3"),
            (".[:2], .[2:], .[-1:]", "\"äöü\"", "\"äö\" \"ü\" \"ü\""),
            (".[] | select(. > 1)", "[1,2,3]", "2 3"),
            (
                "{id, mag: .p.m, \"k\\(.id)\": 1, (.p.n): 2}",
                "{\"id\":7,\"p\":{\"m\":1.5,\"n\":\"x\"}}",
                "{\"id\":7,\"mag\":1.5,\"k7\":1,\"x\":2}",
            ),
            ("{(1): 2}", "null", "! cannot use 1 as an object key"),
            ("6 / 2, 7 / 2, 7 % 3, -7 % 3, 5.9 % 2, 1.5 * 2, 9 - 10", "null", "3 3.5 1 -1 1 3 -1"),
            ("1 / 0", "null", "! cannot calculate 1 / 0"),
            ("9223372036854775807 + 1", "null", "9.223372036854776e+18"),
            (
                "[.[], .[0] == .[1]]",
                "[123456789012345678901234567890, 123456789012345678901234567891]",
                "[123456789012345678901234567890,123456789012345678901234567891,true]",
            ),
            ("\"ab\" * 2, \"ab\" * 0, \"a,b\" / \",\"", "null", "\"abab\" null [\"a\",\"b\"]"),
            (
                "{a:{b:1}} * {a:{c:2}}, {a:1} + {b:2}, [1,2,1] - [1]",
                "null",
                "{\"a\":{\"b\":1,\"c\":2}} {\"a\":1,\"b\":2} [2]",
            ),
            (
                "sort, (map(type) | unique), min, max, add(.[] | numbers)",
                "[null,{},[],\"a\",2,1,true,false]",
                "[null,false,true,1,2,\"a\",[],{}] [\"array\",\"boolean\",\"null\",\"number\",\"object\",\"string\"] \
              null {} 3",
            ),
            (
                "keys, length, has(\"a\"), to_entries",
                "{\"b\":1,\"a\":2}",
                "[\"a\",\"b\"] 2 true [{\"key\":\"b\",\"value\":1},{\"key\":\"a\",\"value\":2}]",
            ),
            (
                "from_entries",
                "[{\"name\":\"a\",\"value\":1},{\"k\":2,\"v\":false},{\"key\":null}]",
                "{\"a\":1,\"2\":false,\"null\":null}",
            ),
            (".a.b[1] = 5", "null", "{\"a\":{\"b\":[null,5]}}"),
            (".a |= . + 1 | .b += 2 | .c //= 3", "{\"a\":1}", "{\"a\":2,\"b\":2,\"c\":3}"),
            (
                "del(.a), del(.b[0,1]), del(.x.y)",
                "{\"a\":1,\"b\":[1,2,3]}",
                "{\"b\":[1,2,3]} {\"a\":1,\"b\":[3]} {\"a\":1,\"b\":[1,2,3]}",
            ),
            (
                "[paths], [leaf_paths], getpath([\"a\",0]), pick(.a[1])",
                "{\"a\":[1,2]}",
                "[[\"a\"],[\"a\",0],[\"a\",1]] [[\"a\",0],[\"a\",1]] 1 {\"a\":[null,2]}",
            ),
            ("walk(if type == \"number\" then . + 1 else . end)", "[1,{\"a\":2}]", "[2,{\"a\":3}]"),
            (
                "test(\"B\"; \"i\"), test(\"x\"), [match(\"(?<n>b+)\") | .offset, .length, .captures[0].name]",
                "\"äbb\"",
                "true false [1,2,\"n\"]",
            ),
            (
                "capture(\"(?<y>\\\\d+)-(?<m>\\\\d+)\"), [scan(\"\\\\d\")], split(\"-\"), [splits(\"[-]\")]",
                "\"12-3\"",
                "{\"y\":\"12\",\"m\":\"3\"} [\"1\",\"2\",\"3\"] [\"12\",\"3\"] [\"12\",\"3\"]",
            ),
            (
                "sub(\"b\"; \"x\"), gsub(\"(?<l>[ab])\"; \"<\\(.l)>\"), [sub(\"a\"; \"1\", \"2\")], gsub(\"\"; \"-\")",
                "\"abc\"",
                "\"axc\" \"<a><b>c\" [\"1bc\",\"2bc\"] \"-a-b-c-\"",
            ),
            ("test(\"(\")", "\"a\"", "! invalid regex: regex parse error:\n    (\n    ^\nerror: unclosed group"),
            (
                "@csv, @tsv, @json, @base64, @uri, @html",
                "[1,\"a\\\"b\",null,true]",
                "\"1,\\\"a\\\"\\\"b\\\",,true\" \"1\\ta\\\"b\\t\\ttrue\" \"[1,\\\"a\\\\\\\"b\\\",null,true]\" \
              \"WzEsImFcImIiLG51bGwsdHJ1ZV0=\" \"%5B1%2C%22a%5C%22b%22%2Cnull%2Ctrue%5D\" \
              \"[1,&quot;a\\\\&quot;b&quot;,null,true]\"",
            ),
            ("@base64d", "\"aGk=\"", "\"hi\""),
            ("join(\"-\"), add", "[\"a\",\"b\",\"c\"]", "\"a-b-c\" \"abc\""),
            ("join(\",\")", "[1,null,true]", "\"1,,true\""),
            (
                "tonumber, (\"x\" | tonumber? // 0), tostring, tojson, (tojson | fromjson)",
                "\"12\"",
                "12 0 \"12\" \"\\\"12\\\"\" \"12\"",
            ),
            (
                "first(.[]), [limit(2; .[])], [range(0; 6; 2)], isempty(empty), any, all, flatten, reverse",
                "[1,[2]]",
                "1 [1,[2]] [0,2,4] true true true [1,2] [[2],1]",
            ),
            (
                "group_by(.a), unique_by(.a), min_by(.a), sort_by(-.a)",
                "[{\"a\":2},{\"a\":1},{\"a\":2}]",
                "[[{\"a\":1}],[{\"a\":2},{\"a\":2}]] [{\"a\":1},{\"a\":2}] {\"a\":1} [{\"a\":2},{\"a\":2},{\"a\":1}]",
            ),
            ("try error(\"x\") catch ., (.a? // \"d\"), ([.[] | tostring])", "[1]", "\"x\" \"d\" [\"1\"]"),
            ("error({a:1})", "null", "! {\"a\":1} (not a string)"),
            (
                "nan, infinite, [nan], (nan < nan), ([nan] | sort | length)",
                "null",
                "null 1.7976931348623157e+308 [null] true 1",
            ),
            ("sqrt, floor, pow(.; 2), (. | tostring)", "4.0", "2 4.0 16 \"4.0\""),
            (
                "todate, (todate | fromdate), (strftime(\"%Y\")), (gmtime | mktime), localtime[3]",
                "1700000000",
                "\"2023-11-14T22:13:20Z\" 1700000000 \"2023\" 1700000000 22",
            ),
            (
                "now, window.start, window.end, labels.status, (labels | .status), labels.none.x, $site, $low + 1",
                "null",
                "1767323106 \"2026-01-02T03:04:05Z\" \"2026-01-02T03:05:05Z\" 404 404 null \"north\" 4",
            ),
            ("def labels: {status: 1}; labels.status", "null", "1"),
            (
                "def f(g): g | g; f(. * 3), ({labels: labels.status}), \"\\(labels.status)\"",
                "2",
                "18 {\"labels\":404} \"404\"",
            ),
            ("def w(f): if type == \"array\" then map(w(f)) else f end; w(. + 1)", "[1,[2]]", "[2,[3]]"),
            (
                "[.[] as [$a, $b] | $a + $b], reduce .[][0] as $x (0; . + $x), [foreach .[][1] as $x (0; . + $x)]",
                "[[1,2],[3,4]]",
                "[3,7] 4 [2,6]",
            ),
            ("[recurse], [..] | length", "[1,[2]]", "4 4"),
            (
                "ltrimstr(\"a\"), rtrimstr(\"c\"), trim, ascii_upcase, explode, (explode | implode), ascii_downcase",
                "\"abc\"",
                "\"bc\" \"ab\" \"abc\" \"ABC\" [97,98,99] \"abc\" \"abc\"",
            ),
            (
                "IN(1, 2), ([1, 2] | index(2)), ([1,[2]] | contains([1])), ([1,5,9] | bsearch(5)), toarray",
                "2",
                "true 1 true 1 [2]",
            ),
            ("tobytes | type, tostring", "\"hi\"", "\"bytes\" \"hi\""),
            ("splits(1)", "\"a\"", "! cannot use 1 as string"),
            ("transpose, (.[0] |= empty), (to_entries | length)", "[[1],[2,3]]", "[[1,2],[null,3]] [[2,3]] 2"),
        ] {
            check(source, input, expected);
        }
    }

    /// No filter may crash the process, hold a thread or fill the memory, and `try` does not save it.
    #[test]
    fn a_filter_without_end_is_ended() {
        let small = |stack| std::thread::Builder::new().stack_size(stack);
        for source in [
            "def f: f; f",
            "def f: 1 + f; f",
            "def f: [f]; f",
            "def f: {a: f}; f",
            "def f: f | f; f",
            "def f: f, 1; f",
            "def f: (1, 2) | f; f",
            "def f: try f catch .; f",
            "def f: reduce f as $x (0; .); f",
            "def f: -f; f",
            "def f: if f then 1 else 2 end; f",
            "def f: \"\\(f)\"; f",
            "def f: .[f]; f",
            "def f: first(f); f",
            "def f: limit(1; f); f",
            "def f: path(f); f",
            "def f(g): f(g | g); f(.)",
            "def f(g): f(g + 1); f(0)",
            "def f(g): def h: f(g + 1); h; f(0)",
            "def f(g): g | f(g + 1); f(0)",
            "def f($x): f($x + 1); f(0)",
            "def f(g): [g] | f(g); f(.)",
            "def f: label $out | f; f",
            "def f: . as $x | f; f",
            "def f: def g: f; g; f",
            "def f: repeat(f); f",
            "def f: recurse(f); f",
            "def f: f // 1; f",
            "def f: f and true; f",
            "def f: .a |= f; f",
            "def f: (.a, .b) |= f; {a: 1} | f",
            "def f: . as [$x] | [[1]] | f; f",
            "[range(1e12)]",
            "[range(0; 1; 0)]",
            "last(range(1e12))",
            "[limit(1e9; repeat(1))]",
            "[repeat(1)] | length",
            "repeat(1)",
            "recurse([.])",
            "[recurse([.])]",
            "last(recurse({a: .}))",
            "reduce range(100000) as $i (0; [.])",
            "reduce range(100000) as $i (0; {a: .})",
            "reduce range(1e9) as $i (0; .[\"a\"]? // [.])",
            "reduce range(100000) as $i (null; setpath([\"a\"]; .) | {b: .})",
            "[limit(100000; repeat([[]]))] | reduce .[] as $x (0; [., $x])",
            "\"x\" * 1e12",
            "[\"x\" * 1e8, \"y\" * 1e8, \"z\" * 1e8]",
            "reduce range(1e9) as $i (\"a\"; . + .)",
            "reduce range(1e9) as $i ([1]; . + .)",
            "reduce range(1e9) as $i ({}; .[$i | tostring] = $i)",
            "null | .[1e12] = 1",
            "[][9007199254740993] = 1",
            "until(false; .)",
            "until(false; . + 1)",
            "[while(true; .)]",
            "[foreach repeat(1) as $x (0; . + 1)]",
            "reduce repeat(1) as $x (0; . + 1)",
            "reduce (def f: 1, f; f) as $x (0; 1, 2)",
            "path(repeat(.a))",
            "[path(recurse(.a))]",
            "null | last(path(recurse(.a)))",
            "[[1]] | last(path(repeat(.[0:])))",
            "null | last(path(repeat(.[0:])))",
            "(repeat(.a)) |= 1",
            "recurse(.a) |= 1",
            "[1] | combinations(1e9)",
            "[limit(40; repeat([0, 1]))] | [combinations]",
            "def f: def g: 3; [g, f]; f",
            "label $f | repeat(1) | select(. == 2) | break $f",
            "try repeat(1) catch .",
            "try last(repeat(1)) catch 1",
            "(try last(repeat(1)) catch 1)?",
            "last(repeat(1))? // 1",
            "isempty(repeat(empty))",
            "repeat(empty)",
            "any(repeat(false); .)",
            "first(repeat(1) | select(. == 2))",
            "limit(1e18; repeat(empty))",
            "skip(1e18; repeat(1))",
            "nth(1e18; repeat(1))",
            "[range(1e6)] | sort_by(last(range(1e6)))",
            "(\"a\" * 1e7) | [match(\"\"; \"g\")]",
            "(\"a\" * 1e7) | gsub(\"\"; \"bbbbbbbbbbbbbbbbbbbbbbbbbb\")",
            "(\"a\" * 1e7) | explode | implode | explode",
            "(\"ab\" * 1e7) | [splits(\"a\")] | length",
            "(\"a\" * 1e7) / \"\" | length",
            "[range(1e5)] | [.[] as $x | .[] as $y | $x + $y] | length",
            "[range(1e5)] | indices([range(1e5)])",
            "[range(1e6)] | . - . | [range(1e6)] - [range(1e6)] | map(tostring) | add | explode | group_by(.) | flatten",
            "\"a\" | test(\"(a{1000}){1000}\")",
            "\"a\" | test(\"((a{100}){100}){100}\")",
            "\"[\" * 100000 | fromjson",
            "(\"[\" * 200) + (\"]\" * 200) | fromjson | [.] | [[[[[[[[[[[[[[[[[.]]]]]]]]]]]]]]]]] | [[[[[[[[[[[[[[[[[.]]]]]]]]]]]]]]]]] | [[[[[[[[[[[[[[[[[.]]]]]]]]]]]]]]]]] | [[[[[[[[[[[[[[[[[.]]]]]]]]]]]]]]]]]",
            "[limit(1000; repeat(\"x\" * 1e6))]",
            "[range(300000)] | map(. as $x | [range(300000)])",
            "def f: {a: {b: .}} * {a: {c: .}}; last(repeat(1) as $x | 1 | f | f | f | f) ",
            "{} | until(false; . * {a: {b: ., c: .}})",
            "[] | until(false; [., .])",
            "reduce range(60) as $i ([]; [., .])",
            "reduce range(60) as $i ([]; [., .]) | tojson",
            "reduce range(60) as $i ([]; [., .]) | . == .",
            "reduce range(60) as $i ([]; [., .]) | error",
            "reduce range(60) as $i ([]; [., .]) | [.] | indices(.)",
            "reduce range(60) as $i ([]; [., .]) | walk(.)",
            "reduce range(60) as $i ([]; {a: ., b: .}) | [..] | length",
            "reduce range(60) as $i ([nan]; [., .]) | {a: .}",
            "[] | last(recurse([., .]; true))",
            "ltrimstr(repeat(\"a\"))",
            "getpath([range(1e6)])",
            "[range(1e6) | \"a\"] as $p | null | setpath($p; 1)",
            "[range(1e6) | 0] as $p | null | delpaths([$p])",
            "1e1000 * 1e1000 | ldexp(.; 1e9) | . , repeat(.)",
            "pow(2; 1e9) | range(.)",
            "walk(repeat(1))",
            "[.[]?] | walk(last(repeat(1)))",
            "tojson | last(repeat(fromjson))",
            "error(repeat(1) | select(. > 2))",
            "strftime(\"%Y\" * 1e6) | repeat(.)",
        ] {
            // The smallest stack that gatherd's threads have.
            let run = move || {
                let inline = run_with(source, &Value::Null, Fuel::Inline);
                assert!(inline.is_err(), "{source}: {inline:?}");
            };
            small(2 << 20).spawn(run).expect("a thread").join().expect(source);
        }
    }

    #[test]
    fn what_makes_too_much_names_the_limit() {
        for (source, expected) in [
            ("\"x\" * 1e12", "it makes more than 256 MiB"),
            ("null | .[1e12] = 1", "it makes more than 256 MiB"),
            ("range(1e9)", "it gives more than 1000000 outputs"),
            ("def f: (1, 2) | f; f", "more than 200000 of its parts wait for each other"),
        ] {
            let result = run_with(source, &Value::Null, Fuel::Blocking);
            assert_eq!(result, Err(FilterError::TooMuch(expected.to_owned())), "{source}");
        }
    }

    #[test]
    fn the_first_output_is_enough_for_a_test() {
        let labels = Labels::default();
        let scope = Scope { labels: &labels, window: None, now: Timestamp::UNIX_EPOCH, fuel: Fuel::Inline };
        for (source, first, test) in [
            ("1, repeat(2)", Ok(Some("1")), Ok(true)),
            ("null, 1", Ok(Some("null")), Ok(false)),
            ("false", Ok(Some("false")), Ok(false)),
            ("0, error", Ok(Some("0")), Ok(true)),
            ("empty", Ok(None), Ok(false)),
            ("error(\"no\")", Err("no"), Err("no")),
        ] {
            let filter = Filter::compile(source, &Vars::default()).expect(source);
            let failed = |message: &str| FilterError::Failed(message.to_owned());
            assert_eq!(filter.first(&Value::Null, &scope), first.map(|it| it.map(value)).map_err(failed), "{source}");
            assert_eq!(filter.test(&Value::Null, &scope), test.map_err(failed), "{source}");
        }
    }

    #[test]
    fn mistakes_point_into_the_filter() {
        let deep = format!("{}.{}", "[".repeat(100), "]".repeat(100));
        let long = ".".repeat(SOURCE_LIMIT + 1);
        for (source, message, at) in [
            (".a |", "the filter ends where a value or a filter should stand", ""),
            (".a | mpa(.b) | .c", "there is no filter `mpa`; did you mean `map`?", "mpa"),
            ("labels.status | mpa(.b)", "there is no filter `mpa`; did you mean `map`?", "mpa"),
            ("map(.; .)", "`map` takes 1 argument, not 2", "map"),
            (".a == $sit", "there is no variable `$sit`; did you mean `$site`?", "$sit"),
            ("$ENV.HOME", "`$ENV` is not available: a filter does not see the environment", "$ENV"),
            ("env.HOME", "`env` is not available: a filter does not see the environment", "env"),
            ("if . then halt else . end", "`halt` is not available: a filter cannot end the process", "halt"),
            ("inputs", "`inputs` is not available: a filter sees one item", "inputs"),
            ("debug", "`debug` is not available: a filter writes nothing", "debug"),
            ("(.a", "the closing parenthesis for this is missing", "("),
            (".a)", "this closes nothing", ")"),
            (".a == 'b'", "text stands in double quotes", "'"),
            ("include \"x\"; .", "a filter loads no modules", "x"),
            ("import \"x\" as $x; .", "a filter loads no data", "x"),
            ("  ", "the filter is empty", ""),
            (".a + ${B}", "`${…}` is not filled in inside a filter", "${"),
            (".a b", "here stands `b`, where nothing more should stand", "b"),
            (&*deep, "this is nested too deeply", "["),
            (&*long, "a filter is at most 64 KiB long", &*long),
        ] {
            let vars: Vars = Arc::new(vec![("site".into(), Value::Null)]);
            let error = Filter::compile(source, &vars).expect_err(source);
            assert!(error.message.starts_with(message), "{source}: {}", error.message);
            let shown = &source[error.span.clone()];
            assert!(shown == at || shown.starts_with('[') && at == "[", "{source}: {shown}");
        }
    }

    #[test]
    fn a_filter_as_long_as_allowed_is_compiled_and_run_or_refused() {
        for part in [".|", ".,", "-", "1+", "try ", ".a//", "def f:.;", ".[0]", "if . then ", "\"\\("] {
            let mut source = part.repeat(SOURCE_LIMIT / part.len() - 1);
            source.push('.');
            if let Ok(filter) = Filter::compile(&source, &Vars::default()) {
                let labels = Labels::default();
                let scope = Scope { labels: &labels, window: None, now: Timestamp::UNIX_EPOCH, fuel: Fuel::Inline };
                // What it answers does not matter here, that it answers does.
                let _ = filter.run(&Value::Null, &scope);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_filter_crashes(tokens in proptest::collection::vec(proptest::sample::select(TOKENS), 1..12), piped: bool) {
            let source = tokens.join(if piped { " | " } else { " " });
            if let Ok(filter) = Filter::compile(&source, &Vars::default()) {
                let labels = Labels::default();
                let scope = Scope { labels: &labels, window: None, now: Timestamp::UNIX_EPOCH, fuel: Fuel::Inline };
                for input in ["null", "[1, [2, \"a\"], {\"a\": null}]", "{\"a\": {\"b\": [true, 1.5]}}", "\"a,ä\"", "-3"] {
                    let result = filter.run(&value(input), &scope);
                    let mistaken = matches!(&result, Err(FilterError::Failed(message)) if message.contains("engine"));
                    proptest::prop_assert!(!mistaken, "{source} on {input}");
                }
            }
        }
    }

    const TOKENS: &[&str] = &[
        ".",
        "..",
        ".a",
        ".[]",
        ".[0]",
        ".[1:]",
        "[.[-1:]]",
        "|",
        "|",
        "|",
        ",",
        "//",
        "+",
        "-",
        "*",
        "/",
        "%",
        "|=",
        "=",
        "+=",
        "//=",
        "==",
        "<",
        "and",
        "or",
        "not",
        "(",
        ")",
        "[",
        "]",
        "{a: .}",
        "\"a\"",
        "\"\\(.)\"",
        "1",
        "1e18",
        "null",
        "nan",
        "infinite",
        "empty",
        "error",
        "map(.)",
        "map_values(empty)",
        "select(.)",
        "path(..)",
        "paths",
        "first(.[])",
        "limit(3; repeat(.))",
        "range(5)",
        "reduce .[] as $x (0; . + $x)",
        "try",
        "catch .",
        "?",
        "as $x |",
        "$x",
        "if . then",
        "else",
        "end",
        "def f: . ;",
        "f",
        "length",
        "keys",
        "add",
        "join(\",\")",
        "sort",
        "group_by(.)",
        "to_entries",
        "from_entries",
        "tojson",
        "fromjson",
        "tostring",
        "tonumber",
        "tobytes",
        "explode",
        "implode",
        "test(\"a\")",
        "[match(\"\"; \"g\")]",
        "gsub(\"a\"; \"b\")",
        "split(\",\")",
        "@csv",
        "@base64",
        "@base64d",
        "@sh",
        "del(.[0])",
        "del(..)",
        "delpaths([[]])",
        "setpath([0]; 1)",
        "getpath([\"a\", 0])",
        "pick(.a)",
        "walk(.)",
        "transpose",
        "combinations",
        "indices(1)",
        "contains(\"a\")",
        "has(0)",
        "bsearch(1)",
        "ltrimstr(\"a\")",
        "reverse",
        "flatten",
        "min_by(.a)",
        "todate",
        "gmtime",
        "mktime",
        "strftime(\"%Y\")",
        "ldexp(.; 3)",
        "frexp",
        "floor",
        "sqrt",
        "pow(.; 9)",
        "significand",
        "labels",
        "labels.status",
        "window.start",
        "now",
        "isvalid(.)",
        "input",
        "splits(\"\")",
        "ascii",
        "@json",
        "limit(-1; .)",
        "skip(1; .[])",
        "tojson",
        "utf8bytelength",
        "@uri",
        "@html",
        "trim",
        "abs",
        "toarray",
        "have_literal_numbers",
    ];
}
