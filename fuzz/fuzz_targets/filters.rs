//! Any bytes as a filter and a value: what is translated into native operations answers as jaq does.
//!
//! `cargo +nightly fuzz run -O -s none filters -- -dict=fuzz/filters.dict -only_ascii=1`. The first line of the input is
//! JSON, the rest is a filter.

#![no_main]

use gatherd::expr::{Engine, Filter, FilterError, Fuel, Scope, Vars};
use gatherd::model::{Labels, Value, json};
use jiff::Timestamp;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &str| -> Corpus {
    let Some((input, source)) = data.split_once('\n') else { return Corpus::Reject };
    let Ok(input) = json::parse(input.as_bytes()) else { return Corpus::Reject };
    // Compiling for jaq takes milliseconds, so what has no chance is left out first.
    let Ok(native) = Filter::compile(source, &Vars::default()) else { return Corpus::Reject };
    if native.engine() == Engine::Jaq {
        return Corpus::Keep;
    }
    let Ok(jaq) = Filter::compile_for_jaq(source, &Vars::default()) else { return Corpus::Reject };
    let (ours, theirs) = (answer(&native, &input), answer(&jaq, &input));
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        assert_eq!(ours, theirs, "{source} on {input}");
    }
    Corpus::Keep
});

/// All outputs as text, or the message; nothing if a limit ended the run, since each engine has its own.
fn answer(filter: &Filter, input: &Value) -> Option<Result<Vec<String>, String>> {
    let mut labels = Labels::default();
    labels.set("status".into(), Value::from(200));
    let scope = Scope { labels: &labels, window: None, now: Timestamp::UNIX_EPOCH, fuel: Fuel::Inline };
    match filter.run(input, &scope) {
        Ok(values) => Some(Ok(values.iter().map(Value::to_string).collect())),
        Err(FilterError::Failed(message)) if message.contains("too deeply") || message.contains("deeper than") => None,
        Err(FilterError::Failed(message)) => Some(Err(message)),
        Err(FilterError::OutOfFuel | FilterError::TooMuch(_)) => None,
    }
}
