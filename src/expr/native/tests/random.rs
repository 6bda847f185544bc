//! Random filters of the subset over random values.

use proptest::prelude::*;

use super::{answers, is_limit, vars};
use crate::expr::{Engine, Filter};
use crate::model::{Value, json};

/// JSON as text: small values, with the keys that the filters ask for.
fn input() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        (-3_i64..4).prop_map(|int| int.to_string()),
        Just("1.5".to_owned()),
        Just("-0.0".to_owned()),
        Just("12345678901234567890".to_owned()),
        "[ab,1ä]{0,3}".prop_map(|text| format!("\"{text}\"")),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

const LEAVES: &[&str] = &[
    ".",
    ".a",
    ".b?",
    ".a.b?",
    ".[]",
    ".[]?",
    ".[0]",
    ".[0]?",
    ".[-1:]?",
    ".[:1]",
    "0",
    "1",
    "-2",
    "2.5",
    "\"a\"",
    "\"a,b\"",
    "null",
    "true",
    "[]",
    "{}",
    "empty",
    "error",
    "error(\"x\")",
    "$x",
    "$y",
    "$site",
    "labels.status",
    "now",
    "length",
    "length?",
    "keys",
    "keys?",
    "type",
    "not",
    "add",
    "sort",
    "sort?",
    "unique?",
    "reverse",
    "tostring",
    "tonumber",
    "tonumber?",
    "tojson",
    "ascii_upcase?",
    "to_entries?",
    "from_entries?",
    "min?",
    "max?",
    "first?",
    "any?",
    "all?",
    "flatten?",
    "nan",
    "infinite",
    "test(\"a\")?",
    "join(\",\")?",
    "split(\",\")?",
    "has(\"a\")?",
    "floor?",
    "values",
    "del(.a?)",
    "del(.[0]?, .b?)",
    "del(.[]?.a?)",
    ".a? = 1",
    "@json",
    "gsub(\"a\"; \"b\")?",
    "strings",
];

const UNARY: &[&str] = &[
    "[F]",
    "(F)?",
    "-(F)",
    "map(F)",
    "map(F)?",
    "select(F)",
    "first(F)",
    "sort_by(F)?",
    "group_by(F)?",
    "min_by(F)?",
    "max_by(F)?",
    "unique_by(F)?",
    "with_entries(F)?",
    "any(F)?",
    "all(F)?",
    "isempty(F)",
    "add(F)",
    "\"x\\(F)\"",
    "\"\\(F)-\\(.)\"",
    "{a: F}",
    "{(F): 1}",
    "{a: F, b: .}",
    "try (F) catch .",
    "(F).a?",
    "(F)[]?",
    "(F)[0]?",
    ".[F]?",
    "def f: F; f, f",
    "error(F)",
    "(F) | not",
    "contains(F)?",
    "has(F)?",
    "startswith(F)?",
    "IN(F)",
    "[.[]? | F]",
    ".a? |= (F)",
    ".a? = (F)",
    ".[]? |= (F)",
    ".[0]? += (F)",
    ".b? //= (F)",
    "map_values(F)?",
    ".[F]? = 1",
    "del(.[F]?)",
];

const BINARY: &[&str] = &[
    "(F) | (G)",
    "(F) | (G)",
    "(F), (G)",
    "(F) // (G)",
    "(F) + (G)",
    "(F) - (G)",
    "(F) * (G)",
    "(F) / (G)",
    "(F) % (G)",
    "(F) == (G)",
    "(F) < (G)",
    "(F) >= (G)",
    "(F) and (G)",
    "(F) or (G)",
    "(F) as $x | (G)",
    "(F) as $y | (G)",
    "if F then G else . end",
    "if F then . else G end",
    "{a: F, b: G}",
    "{(F): G}",
    "\"\\(F),\\(G)\"",
    "[F, G]",
    "try (F) catch (G)",
    "reduce (F) as $x (.; G)",
    "reduce .[]? as $y (F; G)",
    ".[F:G]?",
    "any(F; G)",
    "all(F; G)",
    "def f(g): F | g; f(G)",
    "def f($y): F; f(G)",
    "[.[]? | select(F) | G]",
];

fn filter() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(LEAVES).prop_map(str::to_owned);
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (prop::sample::select(UNARY), inner.clone()).prop_map(|(form, part)| form.replace('F', &part)),
            (prop::sample::select(BINARY), inner.clone(), inner).prop_map(|(form, left, right)| {
                // One after the other, so that what is put in is not changed again.
                form.split('F').map(|form| form.replace('G', &right)).collect::<Vec<_>>().join(&left)
            }),
        ]
    })
}

/// Whether both engines answer the same; a limit that one of them has says nothing.
pub(in crate::expr) fn differs(source: &str, inputs: &[Value]) -> Option<String> {
    let native = Filter::compile(source, &vars()).ok()?;
    if native.engine() == Engine::Jaq {
        return None;
    }
    let jaq = Filter::compile_for_jaq(source, &vars()).ok()?;
    inputs.iter().find_map(|input| {
        let (ours, theirs) = (answers(&native, input), answers(&jaq, input));
        let limited = ours.iter().chain(&theirs).any(|answer| is_limit(answer));
        (ours != theirs && !limited).then(|| format!("{source} on {input}:\n  ours   {ours:?}\n  theirs {theirs:?}"))
    })
}

proptest! {
    // `GATHERD_CASES` asks for more than the usual number.
    #![proptest_config(ProptestConfig {
        cases: std::env::var("GATHERD_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200),
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_filters_answer_as_jaq_does(filter in filter(), inputs in prop::collection::vec(input(), 4)) {
        let source = format!(". as $x | (.a? // 1) as $y | {filter}");
        let inputs: Vec<Value> = inputs.iter().map(|text| json::parse(text.as_bytes()).expect("our own JSON")).collect();
        prop_assert_eq!(differs(&source, &inputs), None);
    }
}
