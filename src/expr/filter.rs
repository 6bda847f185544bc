//! jq filters.

use std::fmt;
use std::sync::Arc;

use jaq_core::Ctx;
use jiff::Timestamp;

use super::compile::compile;
use super::cut::no_references_in_filters;
use super::language::{Context, Language, Seen};
use super::metered::Metered;
use super::native::{self, Answer, Flow, Halt};
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

/// The outputs of a run. Most have one, which needs no list.
#[derive(Clone, Debug, PartialEq)]
pub enum Results {
    None,
    One(Value),
    Many(Vec<Value>),
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
    program: Program,
}

enum Program {
    Native(native::Program),
    Jaq { jaq: jaq_core::Filter<Language>, vars: Vars },
}

/// What runs a filter; the faster one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// gatherd's own operations.
    Native,
    /// The jq interpreter jaq, which knows all of jq and takes several times as long.
    Jaq,
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Filter").field(&self.source()).finish()
    }
}

impl Filter {
    /// Compiles to native operations if there are some for all of it, else for jaq.
    pub fn compile(source: &str, vars: &Vars) -> Result<Self, SyntaxError> {
        Self::compile_for(source, vars, Engine::Native)
    }

    /// Compiles for jaq whatever the filter is, to compare the two.
    pub fn compile_for_jaq(source: &str, vars: &Vars) -> Result<Self, SyntaxError> {
        Self::compile_for(source, vars, Engine::Jaq)
    }

    fn compile_for(source: &str, vars: &Vars, best: Engine) -> Result<Self, SyntaxError> {
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
            let text = rewritten.as_deref().unwrap_or(source);
            // An error points into the text as it was written.
            let jaq = compile(text, &names).or_else(|error| match rewritten {
                None => Err(error),
                Some(_) => {
                    compile(source, &names)?;
                    Err(SyntaxError { span: whole.clone(), ..error })
                }
            })?;
            let native = match best {
                Engine::Native => native::Program::translate(text, vars),
                Engine::Jaq => None,
            };
            Ok(native.map_or_else(|| Program::Jaq { jaq, vars: vars.clone() }, Program::Native))
        };
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("compile a filter".to_owned()).stack_size(256 << 20);
            let compiled = thread.spawn_scoped(scope, compiling).map(std::thread::ScopedJoinHandle::join);
            compiled.map_err(|error| format!("cannot start a thread to compile the filter: {error}"))
        });
        let failed = |message: String| SyntaxError { message, span: 0..source.len() };
        let program = compiled.map_err(failed)?.map_err(|_| failed("the filter cannot be compiled".to_owned()))??;
        Ok(Self(Arc::new(Compiled { source: source.into(), program })))
    }

    /// What runs it.
    pub fn engine(&self) -> Engine {
        match self.0.program {
            Program::Native(_) => Engine::Native,
            Program::Jaq { .. } => Engine::Jaq,
        }
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// All outputs.
    pub fn run(&self, input: &Value, scope: &Scope<'_>) -> Result<Vec<Value>, FilterError> {
        Ok(match self.results(input, scope)? {
            Results::None => Vec::new(),
            Results::One(value) => vec![value],
            Results::Many(values) => values,
        })
    }

    /// All outputs, without a list if there is one at most.
    #[inline]
    pub fn results(&self, input: &Value, scope: &Scope<'_>) -> Result<Results, FilterError> {
        if let Some(program) = self.single() {
            let one = self.one(program, input, scope, |answer| answer.into_value())?;
            return Ok(one.map_or(Results::None, Results::One));
        }
        let mut results = Results::None;
        let mut too_many = false;
        self.outputs(input, scope, &mut |output| {
            too_many = matches!(&results, Results::Many(values) if values.len() == OUTPUT_LIMIT);
            if too_many {
                return Err(Halt::Enough);
            }
            fuel::spend(3);
            let output = output.into_value();
            results = match std::mem::replace(&mut results, Results::None) {
                Results::None => Results::One(output),
                Results::One(first) => Results::Many(vec![first, output]),
                Results::Many(mut values) => {
                    values.push(output);
                    Results::Many(values)
                }
            };
            Ok(())
        })?;
        match too_many {
            false => Ok(results),
            true => Err(FilterError::TooMuch(format!("it gives more than {OUTPUT_LIMIT} outputs"))),
        }
    }

    /// The first output, if there is one. What would come after it is not computed.
    pub fn first(&self, input: &Value, scope: &Scope<'_>) -> Result<Option<Value>, FilterError> {
        if let Program::Native(program) = &self.0.program
            && let (Some(key), Value::Object(object)) = (program.key(), input)
            && let Some(value) = object.glance(key)
        {
            return Ok(Some(value));
        }
        if let Some(program) = self.single() {
            return self.one(program, input, scope, |answer| answer.into_value());
        }
        let mut first = None;
        self.outputs(input, scope, &mut |output| {
            first = Some(output.into_value());
            Err(Halt::Enough)
        })?;
        Ok(first)
    }

    /// Whether the first output is neither `false` nor `null`; no output means false.
    pub fn test(&self, input: &Value, scope: &Scope<'_>) -> Result<bool, FilterError> {
        if let Some(program) = self.single() {
            return Ok(self.one(program, input, scope, |answer| answer.is_true())?.unwrap_or(false));
        }
        let mut first = false;
        self.outputs(input, scope, &mut |output| {
            first = output.is_true();
            Err(Halt::Enough)
        })?;
        Ok(first)
    }

    /// The one output as text: it must be text, a number or a boolean, so that no null ends up in a URL or a key.
    pub fn one_text(&self, input: &Value, scope: &Scope<'_>) -> Result<Text, FilterError> {
        let failed = |what: &str| Err(FilterError::Failed(what.to_owned()));
        let (mut one, mut more) = (None, false);
        if let Some(value) = self.short_glance(input) {
            one = Some(value);
        } else if let Some(program) = self.single() {
            one = self.one(program, input, scope, |answer| answer.into_value())?;
        } else {
            self.outputs(input, scope, &mut |output| {
                more = one.is_some();
                if more {
                    return Err(Halt::Enough);
                }
                one = Some(output.into_value());
                Ok(())
            })?;
        }
        match one {
            None => failed("it gives nothing, where one result should stand"),
            Some(_) if more => failed("it gives more than one result"),
            Some(Value::Text(text)) => Ok(text),
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Ok(scalar.to_string().into()),
            Some(Value::Null) => failed("it gives null, where text, a number or a boolean should stand"),
            Some(other) => {
                let kind = other.type_name();
                failed(&format!("it gives a value of type {kind}, where text, a number or a boolean should stand"))
            }
        }
    }

    /// What the filter gives, if it is one key of a short text that nobody has looked into.
    fn short_glance(&self, input: &Value) -> Option<Value> {
        match (&self.0.program, input) {
            (Program::Native(program), Value::Object(object)) => object.short_glance(program.key()?),
            _ => None,
        }
    }

    /// The program, if it is a native one that has at most one output.
    fn single(&self) -> Option<&native::Program> {
        match &self.0.program {
            Program::Native(program) if program.is_single() => Some(program),
            _ => None,
        }
    }

    /// What is made of the output of such a program.
    #[inline]
    fn one<T>(
        &self,
        program: &native::Program,
        input: &Value,
        scope: &Scope<'_>,
        make: impl FnOnce(Answer<'_>) -> T,
    ) -> Result<Option<T>, FilterError> {
        let seen = Seen::new(scope);
        fuel::metered(scope.fuel, || program.one(input, &seen, make))
    }

    /// Hands each output to `take`, until that wants no more.
    fn outputs(
        &self,
        input: &Value,
        scope: &Scope<'_>,
        take: &mut dyn FnMut(Answer<'_>) -> Flow,
    ) -> Result<(), FilterError> {
        let seen = Seen::new(scope);
        fuel::metered(scope.fuel, || match &self.0.program {
            Program::Native(program) => program.run(input, &seen, take),
            Program::Jaq { jaq, vars } => {
                let vars = jaq_core::Vars::new(vars.iter().map(|(_, value)| Metered::input(value.clone())));
                let context = Ctx::<Language>::new(Context::new(&jaq.lut, &seen), vars);
                for output in jaq.id.run((context, Metered::input(input.clone()))) {
                    let broken = |_| FilterError::Failed("break".to_owned());
                    let output = output.map_err(|failure| failure.get_err().map_or_else(broken, failed))?;
                    if take(Answer::New(output)).is_err() {
                        break;
                    }
                }
                Ok(())
            }
        })
    }
}

/// What a filter could not do, in jq's words.
pub(super) fn failed(error: jaq_core::Error<Metered>) -> FilterError {
    let message = match error.into_val() {
        Metered { value: Value::Text(message), .. } => message.to_string(),
        value => format!("{value} (not a string)"),
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
