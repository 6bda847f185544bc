//! The types that a setting can have.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::fill::{Piece, pieces};
use super::tree::{Data, Node, text_to_toml};
use super::{Reading, Rule};
use crate::expr::{Filter, SyntaxError, Vars};
use crate::model::{Number, Rate, Size, Text, Value, parse_duration, show_duration};

/// A type that a setting can have.
pub trait Setting: Sized {
    /// What an author may write, for messages and `gatherd kinds`: `a duration such as "90s"`.
    fn expects() -> String;

    fn read(given: &Given<'_>) -> Result<Self, Wrong>;

    /// How it is written in TOML, for `gatherd explain`.
    fn show(&self) -> String;

    /// How the author wrote it, without what must not be shown.
    fn show_given(node: &Node) -> String {
        node.to_toml()
    }

    /// Any value of this type, for when a component is only asked what its settings are.
    fn placeholder() -> Self;
}

/// A value as the config has it.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub node: &'a Node,
    pub vars: &'a Vars,
    pub(super) reading: &'a Reading,
}

/// Why a value cannot be read.
#[derive(Debug)]
pub enum Wrong {
    /// Its type is another one.
    Type,
    /// Its type is right, what it says is not. The span counts bytes of the text.
    Content { rule: Rule, span: Option<std::ops::Range<usize>>, message: String, way_out: String },
    /// An element of it cannot be read, and that has been reported; or something that should be filled in is not set.
    Reported,
}

impl<'a> Given<'a> {
    /// The text as it is written, if it is one.
    pub fn raw_text(&self) -> Result<&'a str, Wrong> {
        match &self.node.data {
            Data::Text(text) => Ok(text),
            _ => Err(Wrong::Type),
        }
    }

    /// The text with `${…}` filled in.
    pub fn text(&self) -> Result<String, Wrong> {
        self.reading.filled(self.node, self.raw_text()?).ok_or(Wrong::Reported)
    }

    fn has_names(&self) -> bool {
        matches!(&self.node.data, Data::Text(text) if pieces(text).iter().any(|piece| matches!(piece, Piece::Name(..))))
    }

    /// Reads the text with `parse`, whose error has the form "what is wrong; the way out".
    fn parse_text<T: Setting>(&self, rule: Rule, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Wrong> {
        parse(&self.text()?).map_err(|error| {
            if self.has_names() {
                // The message would show what was filled in.
                let message = format!("filled in, {} is not {}", self.node.to_toml(), T::expects());
                return Wrong::content(Rule::BadFilledValue, message, "correct what is filled in");
            }
            match error.split_once("; ") {
                Some((message, way_out)) => Wrong::content(rule, message, way_out),
                None => Wrong::content(rule, error, format!("write {}", T::expects())),
            }
        })
    }

    /// A number or a boolean may stand in a text if it is filled in.
    fn parse_filled<T: Setting + FromStr>(&self) -> Result<T, Wrong> {
        if !self.has_names() {
            return Err(Wrong::Type);
        }
        self.parse_text(Rule::BadFilledValue, |text| text.trim().parse().map_err(|_| String::new()))
    }
}

impl Wrong {
    pub fn content(rule: Rule, message: impl Into<String>, way_out: impl Into<String>) -> Self {
        Wrong::Content { rule, span: None, message: message.into(), way_out: way_out.into() }
    }

    /// What is wrong with a filter or template.
    pub(super) fn syntax(rule: Rule, error: SyntaxError) -> Self {
        let (message, way_out) = match error.message.split_once("; ") {
            Some((message, way_out)) => (message.to_owned(), way_out.to_owned()),
            None => (error.message, "see https://jqlang.org/manual for how filters are written".to_owned()),
        };
        Wrong::Content { rule, span: Some(error.span), message, way_out }
    }
}

impl Setting for bool {
    fn expects() -> String {
        "`true` or `false`".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        match given.node.data {
            Data::Bool(value) => Ok(value),
            _ => given.parse_filled(),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn placeholder() -> Self {
        false
    }
}

macro_rules! integers {
    ($($integer:ty = $expects:literal),+ $(,)?) => { $(
        impl Setting for $integer {
            fn expects() -> String {
                $expects.to_owned()
            }

            fn read(given: &Given<'_>) -> Result<Self, Wrong> {
                match &given.node.data {
                    Data::Integer(value) => Self::try_from(*value).map_err(|_| out_of_range(value, Self::MIN, Self::MAX)),
                    Data::HugeInteger(digits) => Err(out_of_range(digits, Self::MIN, Self::MAX)),
                    _ => given.parse_filled(),
                }
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn placeholder() -> Self {
                1
            }
        }
    )+ };
}

integers!(
    u16 = "a whole number such as 100",
    u32 = "a whole number such as 100",
    u64 = "a whole number such as 100",
    usize = "a whole number such as 100",
    i64 = "a whole number such as 100",
);

fn out_of_range(found: impl std::fmt::Display, min: impl std::fmt::Display, max: impl std::fmt::Display) -> Wrong {
    Wrong::content(
        Rule::NumberOutOfRange,
        format!("{found} is out of range"),
        format!("write a whole number from {min} to {max}"),
    )
}

impl Setting for f64 {
    fn expects() -> String {
        "a number such as 0.5".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        match given.node.data {
            Data::Float(value) if value.is_finite() => Ok(value),
            Data::Float(value) => {
                let message = format!("`{value}` is no number that can be used");
                Err(Wrong::content(Rule::NumberOutOfRange, message, format!("write {}", Self::expects())))
            }
            Data::Integer(value) => Ok(value as f64),
            _ => given.parse_filled(),
        }
    }

    fn show(&self) -> String {
        toml::Value::Float(*self).to_string()
    }

    fn placeholder() -> Self {
        1.0
    }
}

impl Setting for String {
    fn expects() -> String {
        "a text".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        given.text()
    }

    fn show(&self) -> String {
        text_to_toml(self)
    }

    fn placeholder() -> Self {
        String::new()
    }
}

impl Setting for Text {
    fn expects() -> String {
        String::expects()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        Ok(given.text()?.into())
    }

    fn show(&self) -> String {
        text_to_toml(self)
    }

    fn placeholder() -> Self {
        "".into()
    }
}

impl Setting for PathBuf {
    fn expects() -> String {
        "a path".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        Ok(given.text()?.into())
    }

    fn show(&self) -> String {
        text_to_toml(&self.to_string_lossy())
    }

    fn placeholder() -> Self {
        PathBuf::new()
    }
}

impl Setting for Duration {
    fn expects() -> String {
        "a duration such as \"90s\"".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        if let Data::Integer(count) = given.node.data {
            let message = format!("`{count}` is a duration without a unit");
            return Err(Wrong::content(Rule::BadDuration, message, format!("write one such as \"{count}s\"")));
        }
        given.parse_text(Rule::BadDuration, parse_duration)
    }

    fn show(&self) -> String {
        text_to_toml(&show_duration(*self))
    }

    fn placeholder() -> Self {
        Duration::from_secs(1)
    }
}

impl Setting for Size {
    fn expects() -> String {
        "a size such as \"16MiB\"".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        match given.node.data {
            Data::Integer(bytes) => u64::try_from(bytes).map(Size).map_err(|_| out_of_range(bytes, u64::MIN, u64::MAX)),
            _ => given.parse_text(Rule::BadSize, Size::from_str),
        }
    }

    fn show(&self) -> String {
        text_to_toml(&self.to_string())
    }

    fn placeholder() -> Self {
        Size::mib(1)
    }
}

impl Setting for Rate {
    fn expects() -> String {
        "a rate such as \"10/s\"".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        given.parse_text(Rule::BadRate, Rate::from_str)
    }

    fn show(&self) -> String {
        text_to_toml(&self.to_string())
    }

    fn placeholder() -> Self {
        Rate { count: 1, per: Duration::from_secs(1) }
    }
}

impl Setting for Filter {
    fn expects() -> String {
        "a jq filter such as \".id\"".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        let source = given.raw_text()?;
        for piece in pieces(source) {
            if let Piece::Name(span, name) = piece {
                return Err(Wrong::Content {
                    rule: Rule::FillInFilter,
                    span: Some(span),
                    message: format!("`{name}` does not stand in a filter"),
                    way_out: format!("write `vars = {{ x = \"{name}\" }}` in the pipeline, and `$x` here"),
                });
            }
        }
        Filter::compile(source, given.vars).map_err(|error| Wrong::syntax(Rule::BadFilter, error))
    }

    fn show(&self) -> String {
        text_to_toml(self.source())
    }

    fn placeholder() -> Self {
        Filter::compile(".", &Vars::default()).expect("`.` is a filter")
    }
}

/// Any value, as an item could have it. Texts in it are filled in, at any depth.
impl Setting for Value {
    fn expects() -> String {
        "any value".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        let inner = |node| Value::read(&Given { node, ..*given });
        Ok(match &given.node.data {
            Data::Bool(value) => Value::Bool(*value),
            Data::Integer(value) => Value::Number(
                i64::try_from(*value).map_or_else(|_| Number::Literal(value.to_string().into()), Number::Int),
            ),
            Data::HugeInteger(digits) => Value::Number(Number::Literal(digits.as_str().into())),
            Data::Float(value) if value.is_finite() => Value::Number(Number::Float(*value)),
            Data::Float(value) => {
                let message = format!("`{value}` is no number in JSON");
                return Err(Wrong::content(Rule::NumberOutOfRange, message, "write a number such as 0.5, or a text"));
            }
            Data::Text(_) => Value::from(given.text()?),
            Data::Time(time) => Value::from(time.to_string()),
            Data::List(nodes) => Value::array(nodes.iter().map(inner).collect::<Result<_, _>>()?),
            Data::Table(table) => table
                .iter()
                .map(|(key, entry)| Ok((Text::from(key), inner(&entry.node)?)))
                .collect::<Result<Vec<_>, Wrong>>()?
                .into_iter()
                .collect(),
        })
    }

    fn show(&self) -> String {
        match self {
            Value::Text(text) => text_to_toml(text),
            Value::Array(values) => {
                format!("[{}]", values.iter().map(Setting::show).collect::<Vec<_>>().join(", "))
            }
            Value::Object(object) => {
                let entries =
                    object.iter().map(|(key, value)| format!("{} = {}", super::key_to_toml(key), value.show()));
                format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
            }
            other => other.to_string(),
        }
    }

    fn placeholder() -> Self {
        Value::Null
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

const MASK: &str = "***";

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(MASK)
    }
}

impl Setting for Secret {
    fn expects() -> String {
        "a secret such as \"${secret:NAME}\"".to_owned()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        given.text().map(Secret)
    }

    fn show(&self) -> String {
        text_to_toml(MASK)
    }

    fn show_given(node: &Node) -> String {
        let is_filled_whole = matches!(&node.data, Data::Text(text) if matches!(pieces(text)[..], [Piece::Name(..)]));
        if is_filled_whole { node.to_toml() } else { text_to_toml(MASK) }
    }

    fn placeholder() -> Self {
        Secret(String::new())
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn expects() -> String {
        format!("a list, each element {}", T::expects())
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        let Data::List(nodes) = &given.node.data else { return Err(Wrong::Type) };
        let mut elements = Vec::with_capacity(nodes.len());
        for node in nodes {
            let element = Given { node, ..*given };
            match T::read(&element) {
                Ok(value) => elements.push(value),
                Err(wrong) => element.report::<T>("an element of this list", wrong),
            }
        }
        if elements.len() == nodes.len() { Ok(elements) } else { Err(Wrong::Reported) }
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(Setting::show).collect::<Vec<_>>().join(", "))
    }

    fn show_given(node: &Node) -> String {
        match &node.data {
            Data::List(nodes) => format!("[{}]", nodes.iter().map(T::show_given).collect::<Vec<_>>().join(", ")),
            _ => T::show_given(node),
        }
    }

    fn placeholder() -> Self {
        vec![T::placeholder()]
    }
}

impl Given<'_> {
    /// Reports why this value, called `name`, is no `T`.
    pub(super) fn report<T: Setting>(&self, name: &str, wrong: Wrong) {
        self.report_as(name, &T::expects(), wrong);
    }

    pub(super) fn report_as(&self, name: &str, expects: &str, wrong: Wrong) {
        let mistakes = &self.reading.mistakes;
        match wrong {
            Wrong::Reported => {}
            Wrong::Type => mistakes.report(
                Rule::WrongType,
                self.node.place.clone(),
                format!("{name} cannot be {}", self.node.kind()),
                format!("write {expects}"),
            ),
            Wrong::Content { rule, span, message, way_out } => {
                let place = span.map_or_else(|| self.node.place.clone(), |span| self.node.place_in_text(span));
                mistakes.report(rule, place, message, way_out);
            }
        }
    }
}
