//! What filters answer, what they may not do, and what is said of mistakes in them.

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
        ("sqrt, floor, pow(.; 2), (. | tostring)", "4.0", "2 4 16 \"4.0\""),
        ("floor, round, ceil, (-. | floor), (. * 1e15 | floor)", "372.0", "372 372 372 -372 372000000000000000"),
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
        ("{id: .id, x: 'a'}", "text stands in double quotes", "'"),
        ("[.a, .b && .c]", "this has no meaning in a filter; write `and`", "&"),
        (".a && .b", "this has no meaning in a filter; write `and`", "&"),
        (".a || .b", "`||` has no meaning in a filter; write `or`", "||"),
        ("if .a then 1", "the filter ends where `else` or `end` should stand", ""),
        ("[.a, .b", "the closing bracket for this is missing", "["),
        ("{a: (.b}", "the closing parenthesis for this is missing", "("),
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
