//! jq filters.

use std::fmt;
use std::sync::Arc;

use jaq_core::{Ctx, ValT};
use jiff::Timestamp;

use super::compile::compile;
use super::cut::no_references_in_filters;
use super::language::{Context, Language, Seen};
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

#[cfg(test)]
mod tests;
