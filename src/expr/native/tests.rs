//! Native filters answer as jaq does.

use std::sync::Arc;

use jiff::Timestamp;

use crate::expr::{Engine, Filter, FilterError, Fuel, Scope, Vars};
use crate::model::{Labels, Value, Window, json};

mod random;
mod table;

use self::table::{FILTERS, INPUTS, NOT_TRANSLATED};

pub(super) fn vars() -> Vars {
    let limits = json::parse(b"{\"top\": 9.5}").expect("the test's own JSON");
    Arc::new(vec![("site".into(), Value::from("north")), ("low".into(), Value::from(3)), ("limits".into(), limits)])
}

/// Runs `work` with labels, a window and a time.
fn in_scope<T>(fuel: Fuel, work: impl FnOnce(&Scope<'_>) -> T) -> T {
    let mut labels = Labels::default();
    labels.set("status".into(), Value::from(404));
    labels.set("fetched_at".into(), Value::from("2026-01-02T03:04:05Z"));
    let time = |text: &str| text.parse::<Timestamp>().expect("the test's own time");
    let window = Some(Window { start: time("2026-01-02T03:04:05Z"), end: time("2026-01-02T03:05:05Z") });
    work(&Scope { labels: &labels, window, now: time("2026-01-02T03:05:06.5Z"), fuel })
}

/// All that can be asked of a filter, as text.
fn answers(filter: &Filter, input: &Value) -> [String; 4] {
    fn shown<T: std::fmt::Debug>(result: Result<T, FilterError>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(FilterError::Failed(message)) => format!("! {message}"),
            Err(limit) => format!("!! {limit:?}"),
        }
    }
    in_scope(Fuel::Blocking, |scope| {
        // As text, since 1 and 1.0 are equal.
        let all = filter.run(input, scope).map(|values| values.iter().map(Value::to_string).collect::<Vec<_>>());
        let first = filter.first(input, scope).map(|value| value.map(|value| value.to_string()));
        [shown(all), shown(first), shown(filter.test(input, scope)), shown(filter.one_text(input, scope))]
    })
}

/// Whether a run ended because it was too much for this engine, which says nothing of the other.
fn is_limit(answer: &str) -> bool {
    answer.starts_with("!!") || answer.contains("is nested deeper") || answer.contains("calls itself too deeply")
}

fn parse(text: &str) -> Value {
    json::parse(text.as_bytes()).expect("the test's own JSON")
}

#[test]
fn every_construct_answers_as_jaq_does_on_every_type() {
    let inputs: Vec<Value> = INPUTS.iter().map(|text| parse(text)).collect();
    let mut different = Vec::new();
    for source in FILTERS {
        let Ok(native) = Filter::compile(source, &vars()) else {
            different.push(format!("{source} is no filter"));
            continue;
        };
        let jaq = Filter::compile_for_jaq(source, &vars()).expect(source);
        for (text, input) in INPUTS.iter().zip(&inputs) {
            let (ours, theirs) = (answers(&native, input), answers(&jaq, input));
            if ours != theirs {
                different.push(format!("{source} on {text}:\n  ours   {ours:?}\n  theirs {theirs:?}"));
            }
        }
        if native.engine() != Engine::Native {
            different.push(format!("{source} is not translated"));
        }
    }
    assert!(different.is_empty(), "{} differences:\n{}", different.len(), different.join("\n"));
}

#[test]
fn what_has_no_operation_stays_with_jaq() {
    for source in NOT_TRANSLATED {
        let filter = Filter::compile(source, &vars()).unwrap_or_else(|error| panic!("{source}: {error:?}"));
        assert_eq!(filter.engine(), Engine::Jaq, "{source}");
    }
}

#[test]
fn what_stands_as_deep_in_each_other_as_it_may_fits_the_stack() {
    let forms = [
        "[X]",
        "{a: X}",
        "(.[]?, X)",
        "(.[]? | X)",
        "\"\\(X)\"",
        "(X + 1)?",
        "try (X, error) catch .",
        "(X as $x | $x, 1)",
        "reduce (X) as $x (0; $x)",
        "[.[]? | X]",
        "(X // 1)",
        "first(X, 1)",
        "(. |= X)?",
        "if (X) then . else 1 end",
        "sort_by(X)?",
        "with_entries(X)?",
    ];
    let input = parse(&format!("{}1{}", "[".repeat(100), "]".repeat(100)));
    let mut native = 0;
    for form in forms {
        for depth in [5, 14, 20, 30, 50] {
            let source = (0..depth).fold(".".to_owned(), |inner, _| form.replace('X', &inner));
            let Ok(filter) = Filter::compile(&source, &vars()) else { continue };
            native += usize::from(filter.engine() == Engine::Native);
            let input = input.clone();
            // The smallest stack that gatherd's threads have. What it answers does not matter here, that it does, does.
            let run = move || in_scope(Fuel::Inline, |scope| drop(filter.run(&input, scope)));
            let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
            thread.expect("a thread").join().expect(&source);
        }
    }
    assert!(native > forms.len() * 2, "only {native} were native");
}
