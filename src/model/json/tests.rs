use std::collections::HashSet;

use hifijson::SliceLexer;
use hifijson::num::LexWrite;
use hifijson::str::LexAlloc;
use hifijson::token::Lex;
use proptest::prelude::*;

use super::scan::Form;
use super::*;
use crate::model::{Object, Text, digest};

#[test]
fn json_comes_out_as_it_went_in() {
    for text in [
        "null",
        "true",
        "-7",
        "1.5",
        "12345678901234567890123",
        "1e999",
        r#""a\"\\\u0001é""#,
        "[]",
        r#"{"b":1,"a":[{"c":null}],"":{}}"#,
    ] {
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), text);
    }
    assert_eq!(parse(b"\xef\xbb\xbf [1]\n").unwrap(), parse(b"[1]").unwrap());
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for (text, offset) in [("", 0), ("[1,", 3), ("{\"a\" 1}", 5), ("1 2", 2), ("nul", 1), ("NaN", 0), ("[01]", 2)] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().offset, offset, "{text}");
    }
    assert!(parse(b"\"\xff\"").is_err());
}

#[test]
fn nesting_has_a_limit_instead_of_overflowing_the_stack() {
    let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().reason.contains("nested deeper"));
    assert!(parse(&nested(1_000_000)).is_err());
}

#[test]
fn a_small_part_of_a_large_text_counts_what_it_holds_and_the_parts_of_it_no_more_than_the_whole() {
    let elements: Vec<String> = (0..1000).map(|id| format!(r#"{{"id":{id},"text":"{}"}}"#, "x".repeat(50))).collect();
    let text = format!(r#"{{"next":null,"items":[{}]}}"#, elements.join(","));
    let whole = parse_bytes(text.clone().into()).unwrap();
    let size = whole.size_in_memory();
    assert!(size > text.len() && size < 8 * text.len(), "{size} of {}", text.len());
    let Some(Value::Array(items)) = whole.get("items") else { panic!("{whole}") };
    assert!(items.iter().all(|item| item.size_in_memory() < size / 500));
    let parts: usize = items.iter().map(Value::size_in_memory).sum();
    assert!(parts > size / 2 && parts < 2 * size, "{parts} of {size}");
    assert_eq!(whole.size_in_memory(), size, "it is the same after it was opened");
}

/// A plain parser of text that is known to be right: everything is open, nothing is shared.
fn opened(text: &[u8]) -> Value {
    fn value(next: u8, lexer: &mut SliceLexer<'_>) -> Value {
        match next {
            b'"' => Value::from(&*lexer.discarded().str_string().unwrap()),
            b'[' => {
                let mut values = Vec::new();
                let seen = lexer.discarded().seq(b']', Lex::ws_peek, |next, lexer| {
                    values.push(value(next, lexer));
                    Ok::<_, hifijson::Error>(())
                });
                seen.unwrap();
                Value::array(values)
            }
            b'{' => {
                let mut object = Object::default();
                let seen = lexer.discarded().seq(b'}', Lex::ws_peek, |_, lexer| {
                    let key = lexer.discarded().str_string().unwrap();
                    lexer.expect(Lex::ws_peek, b':').unwrap();
                    let next = lexer.ws_peek().unwrap();
                    object.insert(key.as_ref().into(), value(next, lexer));
                    Ok::<_, hifijson::Error>(())
                });
                seen.unwrap();
                Value::object(object)
            }
            b'-' | b'0'..=b'9' => {
                let (digits, parts) = lexer.num_string().validated().unwrap();
                let literal = || Number::Literal(digits.into());
                let float = || digits.parse().ok().filter(|float: &f64| float.is_finite()).map(Number::Float);
                Value::Number(match parts.is_int() {
                    true => digits.parse().map_or_else(|_| literal(), Number::Int),
                    false => float().unwrap_or_else(literal),
                })
            }
            _ => lexer.null_or_bool().unwrap().map_or(Value::Null, Value::Bool),
        }
    }
    SliceLexer::new(text).exactly_one(Lex::ws_peek, |next, lexer| Ok::<_, hifijson::Error>(value(next, lexer))).unwrap()
}

/// Looks into every corner of a value.
fn open(value: &Value) {
    match value {
        Value::Array(values) => values.iter().for_each(open),
        Value::Object(object) => object.iter().for_each(|(_, value)| open(value)),
        _ => {}
    }
}

/// The value with each of its objects and arrays changed, and changed back.
fn rebuilt(value: &Value) -> Value {
    match value.clone() {
        Value::Array(mut values) => {
            values.make_mut().push(Value::Null);
            values.make_mut().pop();
            values.make_mut().iter_mut().for_each(|value| *value = rebuilt(value));
            Value::Array(values)
        }
        Value::Object(mut object) => {
            object.insert("in between".into(), Value::Null);
            object.remove("in between");
            // Every other one stays as it was.
            let keys: Vec<_> = object.entries().map(|(key, _)| key).step_by(2).collect();
            for key in keys {
                let value = object.get_mut(&key).unwrap();
                *value = rebuilt(value);
            }
            Value::Object(object)
        }
        scalar => scalar,
    }
}

fn printed(value: &Value) -> String {
    String::from_utf8(to_vec(value)).unwrap()
}

fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => "[a-z é€😀/]{0,9}",
        1 => "[a-z é€😀/\u{7f}\u{80}]{14,40}",
        1 => "[\\[\\]{},: ]{1,20}",
        1 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\b", "\\t", "\\u0041", "\\u0000", "\\u001f"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\\u001F", "\\u000a", "\\u00e9", "\\u20AC", "\\ud83d\\ude00"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => "[a-d]?".prop_map(|key| format!("\"{key}\"")),
        5 => "[a-d]{5,20}".prop_map(|key| format!("\"{key}\"")),
        2 => "(a{6,9}|a{14,18})b?".prop_map(|key| format!("\"{key}\"")),
        1 => string(),
    ]
}

fn gap() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{0,3}"]
}

/// JSON text as its author may have written it.
fn text() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        "-?(0|[1-9][0-9]{0,21})",
        "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,5}",
        "-?(0|[1-9][0-9]{0,21})\\.[0-9]{1,21}([eE][+-]?[0-9]{1,3})?",
        string(),
    ];
    scalar.prop_recursive(5, 60, 30, |inner| {
        let spaced = (gap(), inner, gap()).prop_map(|(before, value, after)| format!("{before}{value}{after}")).boxed();
        let member = (gap(), key(), gap(), spaced.clone());
        let member = member.prop_map(|(before, key, after, value)| format!("{before}{key}{after}:{value}"));
        prop_oneof![
            (prop::collection::vec(spaced, 0..6), gap()).prop_map(|(values, gap)| match values.is_empty() {
                true => format!("[{gap}]"),
                false => format!("[{}]", values.join(",")),
            }),
            (prop::collection::vec(member, 0..30), gap()).prop_map(|(members, gap)| match members.is_empty() {
                true => format!("{{{gap}}}"),
                false => format!("{{{}}}", members.join(",")),
            }),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    let members = prop::collection::vec((key(), text()).prop_map(|(key, value)| format!("{key}:{value}")), 0..25);
    members.prop_map(|members| format!("{{{}}}", members.join(",")))
}

fn has_escape_in_a_key(value: &Value) -> bool {
    let is_escaped = |key: &str| key.contains(|letter: char| matches!(letter, '"' | '\\' | '\0'..' '));
    match value {
        Value::Array(values) => values.iter().any(has_escape_in_a_key),
        Value::Object(object) => object.iter().any(|(key, value)| is_escaped(key) || has_escape_in_a_key(value)),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_value_prints_the_same_whoever_has_looked_into_it(text in text(), keeps in any::<bool>()) {
        let expected = opened(text.as_bytes());
        let value = if keeps { parse_bytes(text.clone().into()) } else { parse(text.as_bytes()) }.unwrap();
        prop_assert_eq!(printed(&value), printed(&expected), "unopened");
        prop_assert_eq!(pretty(&value), pretty(&expected));
        prop_assert_eq!(digest(&value), digest(&expected));
        prop_assert_eq!(&value, &expected);
        prop_assert_eq!(&expected, &value);
        prop_assert_eq!(format!("{:?}", &value), format!("{:?}", &expected));
        open(&value);
        prop_assert_eq!(printed(&value), printed(&expected), "opened");
        let rebuilt = rebuilt(&parse(text.as_bytes()).unwrap());
        prop_assert_eq!(printed(&rebuilt), printed(&expected), "changed and changed back");
        prop_assert_eq!(&rebuilt, &value);
    }

    #[test]
    fn an_object_takes_in_another_as_if_entry_by_entry(one in object(), other in object(), is_held in any::<bool>()) {
        let [one, other] = [one, other].map(|text| match parse(text.as_bytes()) {
            Ok(Value::Object(object)) => object,
            other => panic!("{other:?}"),
        });
        let mut expected: Object = one.entries().map(|(key, value)| (key, value.clone())).collect();
        for (key, value) in other.entries() {
            expected.insert(key, value.clone());
        }
        let (before, holder) = (printed(&Value::object(one.clone())), is_held.then(|| (one.clone(), other.clone())));
        let mut sum = one;
        sum.insert_all(other);
        prop_assert_eq!(printed(&Value::object(sum)), printed(&Value::object(expected)));
        if let Some((one, _)) = holder {
            prop_assert_eq!(printed(&Value::object(one)), before);
        }
    }

    #[test]
    fn what_is_printed_is_read_again_as_it_is(text in text()) {
        let once = printed(&parse(text.as_bytes()).unwrap());
        let found = scan(&once).unwrap();
        prop_assert_eq!((found.start, found.end), (0, once.len()));
        // It is copied from then on, unless a key would have to be compared letter by letter.
        let form = if has_escape_in_a_key(&opened(once.as_bytes())) { Form::Repeating } else { Form::Canonical };
        prop_assert_eq!(found.form, form, "{}", once);
        prop_assert_eq!(printed(&parse(once.as_bytes()).unwrap()), once);
    }

    #[test]
    fn a_key_that_stands_twice_is_seen_and_no_other(
        keys in prop::collection::vec("a{0,3}|[a-z]{1,4}|[a-h]{6,9}|temperature_(max|min)|x{15,17}y?", 0..40),
        inside in any::<bool>(),
        gap in gap(),
    ) {
        let members: Vec<_> = keys.iter().map(|key| format!("\"{key}\"{gap}:[1.5,{{\"a\":\"{key}\"}}]")).collect();
        let object = format!("{{{}}}", members.join(&format!("{gap},")));
        let text = if inside { format!("[{object},{object}]") } else { object };
        let repeats = keys.iter().collect::<HashSet<_>>().len() < keys.len();
        let form = match (repeats, gap.is_empty() || keys.is_empty()) {
            (true, _) => Form::Repeating,
            (false, true) => Form::Canonical,
            (false, false) => Form::Loose,
        };
        prop_assert_eq!(scan(&text).unwrap().form, form, "{}", text);
    }

    #[test]
    fn text_is_refused_where_and_only_where_it_is_not_json(
        text in text(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\"\\{}[]:,.-+0e1u \n\0x\xff\xc3\xed".to_vec())), 0..3),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut text = text.into_bytes();
        for (index, byte) in changes {
            let place = index.index(text.len());
            text[place] = byte;
        }
        if is_cut {
            text.truncate(cut.index(text.len()));
        }
        let parsed = parse(&text);
        prop_assert_eq!(parsed.clone().err(), diagnose(&text));
        // serde_json refuses numbers that are too large for it.
        let theirs = serde_json::from_slice::<serde_json::Value>(&text);
        if !theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
            prop_assert_eq!(parsed.is_ok(), theirs.is_ok());
        }
        prop_assert_eq!(&parse_bytes(text.clone().into()), &parsed);
        if let Ok(value) = parsed {
            prop_assert_eq!(printed(&value), printed(&opened(&text)));
        }
    }
}

#[test]
fn a_glance_at_a_key_finds_what_is_there_and_leaves_the_text_closed() {
    for (text, key, expected) in [
        (r#"{"a":{"b":[1,2]},"next":"/2","z":null}"#, "next", Some(r#""/2""#)),
        (r#"{ "a" : 1 , "b" : { "c" : "}" } }"#, "b", Some(r#"{"c":"}"}"#)),
        (r#"{"a":1}"#, "b", Some("null")),
        (r#"{"a":1}"#, "", Some("null")),
        ("{}", "a", Some("null")),
        // Only the last value of a key counts, and a key may be written with escapes.
        (r#"{"a":1,"a":2}"#, "a", None),
        (r#"{"\u0061":1}"#, "a", None),
    ] {
        let Value::Object(object) = parse(text.as_bytes()).unwrap() else { panic!("{text} is an object") };
        assert_eq!(object.glance(key).map(|value| value.to_string()).as_deref(), expected, "{text} {key}");
        let seen = object.get(key).cloned().unwrap_or_default();
        assert_eq!(object.glance(key), None, "it is open now");
        assert!(expected.is_none_or(|expected| seen.to_string() == expected), "{text} {key}");
    }
}

#[test]
fn a_selection_makes_an_object_of_the_parts_of_a_text() {
    let part =
        |key: &str, path: &[&str]| (Text::from(key), Field::Part(path.iter().map(|key| Text::from(*key)).collect()));
    let fields = vec![
        part("id", &["id"]),
        part("speed", &["wind", "speed"]),
        (Text::from("unit"), Field::Constant(Value::from("m/s"))),
        part("wind", &["wind"]),
    ];
    let selection = Selection::new(&fields).unwrap();
    for (text, expected) in [
        (
            r#"{"id":7,"wind":{"gusts":null,"speed":1.5},"wide":[]}"#,
            Some(r#"{"id":7,"speed":1.5,"unit":"m/s","wind":{"gusts":null,"speed":1.5}}"#),
        ),
        (
            r#" { "wind" : { "speed" : 1.50e0 , "a" : "\u0041" } , "id" : "\/" } "#,
            Some(r#"{"id":"/","speed":1.5,"unit":"m/s","wind":{"speed":1.5,"a":"A"}}"#),
        ),
        (r#"{"wind":null,"more":[1]}"#, Some(r#"{"id":null,"speed":null,"unit":"m/s","wind":null}"#)),
        (r#"{"wind":{"speed":[1,2,3,4,5,6]}}"#, None),
        (r#"{"id":1,"wind":3}"#, None),
        (r#"{"id":1,"id":2,"wind":{"speed":3},"more":"large enough"}"#, None),
    ] {
        let Value::Object(object) = parse(text.as_bytes()).unwrap() else { unreachable!() };
        let made = object.select(&selection).map(|selected| Value::Object(selected.object));
        assert_eq!(made.as_ref().map(Value::to_string).as_deref(), expected, "{text}");
        if let (Some(made), Some(expected)) = (made, expected) {
            let parsed = parse(expected.as_bytes()).unwrap();
            assert_eq!(made, parsed, "{text}");
            assert!(made.size_in_memory().abs_diff(parsed.size_in_memory()) < parsed.size_in_memory() / 4, "{text}");
        }
    }
    let twice = vec![part("a", &["a"]), part("a", &["b"])];
    assert!(Selection::new(&twice).is_none(), "of a key that comes twice the last one counts");
}
