//! The functions of values that native filters call directly.

use jaq_core::{Error, ValR};
use jaq_std::ValT as _;

use crate::expr::builtins;
use crate::expr::fuel;
use crate::expr::metered::Metered;
use crate::model::Value;

/// A function of the input, and of an argument if it takes one.
#[derive(Clone, Copy)]
pub(super) enum Function {
    Of(fn(Metered) -> ValR<Metered>),
    /// For most inputs a look is enough; the others are handed over.
    Look(fn(&Value) -> Option<Metered>, fn(Metered) -> ValR<Metered>),
    With(fn(Metered, Metered) -> ValR<Metered>),
}

impl Function {
    /// The function of this name, if it is one that takes so many arguments.
    pub(super) fn find(name: &str, arity: usize) -> Option<Self> {
        let mut known = FUNCTIONS.iter().filter(|(known, _)| *known == name).map(|(_, function)| *function);
        known.find(|function| arity == usize::from(matches!(function, Self::With(_))))
    }

    /// `argument` is there if the function takes one.
    pub(super) fn run(self, input: Metered, argument: Option<Metered>) -> ValR<Metered> {
        match self {
            Self::Of(run) | Self::Look(_, run) => run(input),
            Self::With(run) => run(input, argument.unwrap_or(Metered::scalar(Value::Null))),
        }
    }
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("add", Function::Of(builtins::add)),
    ("ascii_downcase", Function::Of(|value| ascii(value, str::make_ascii_lowercase))),
    ("ascii_upcase", Function::Of(|value| ascii(value, str::make_ascii_uppercase))),
    ("contains", Function::With(|value, part| builtins::contains(&value, &part))),
    ("endswith", Function::With(|value, end| fixed(&value, &end, <[u8]>::ends_with))),
    ("flatten", Function::Of(|value| builtins::flatten(&value, usize::MAX))),
    ("from_entries", Function::Of(builtins::from_entries)),
    ("fromjson", Function::Of(|value| builtins::from_json(&value))),
    ("has", Function::With(|value, key| builtins::has(&value, &key))),
    ("indices", Function::With(|value, part| value.indices(&part))),
    ("join", Function::With(|values, separator| builtins::join(&values, &separator))),
    ("keys", Function::Of(|value| builtins::keys(&value))),
    ("length", Function::Look(builtins::length_of, |value| builtins::length(&value))),
    ("ltrimstr", Function::With(|value, start| Ok(builtins::without_start(value, &start)))),
    ("reverse", Function::Of(|value| builtins::reverse(&value))),
    ("rtrimstr", Function::With(|value, end| Ok(builtins::without_end(value, &end)))),
    ("sort", Function::Of(sort)),
    ("startswith", Function::With(|value, start| fixed(&value, &start, <[u8]>::starts_with))),
    ("to_entries", Function::Of(builtins::to_entries)),
    ("tojson", Function::Of(|value| Ok(Metered::text(value.json())))),
    ("tonumber", Function::Of(builtins::to_number)),
    ("type", Function::Of(|value| Ok(Metered::scalar(Value::from(value.value.type_name()))))),
];

fn ascii(value: Metered, change: fn(&mut str)) -> ValR<Metered> {
    let Value::Text(text) = &value.value else { return Err(Error::typ(value, "string")) };
    let mut changed = text.to_string();
    change(&mut changed);
    Ok(Metered::text(changed))
}

fn fixed(value: &Metered, part: &Metered, test: fn(&[u8], &[u8]) -> bool) -> ValR<Metered> {
    let bytes = [value, part].map(|value| value.as_bytes().ok_or_else(|| Error::typ(value.clone(), "string")));
    let [value, part] = bytes;
    Ok(test(value?, part?).into())
}

fn sort(value: Metered) -> ValR<Metered> {
    let mut values: Vec<Metered> = value.into_seq().map_err(|value| Error::typ(value, "array"))?;
    fuel::spend(values.len());
    values.sort();
    Ok(values.into_iter().collect())
}
