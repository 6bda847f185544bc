//! The types of settings, and how each is written.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::fill::{Piece, pieces};
use super::setting::{Given, Setting, Wrong};
use super::tree::{Data, Entry, Node, key_to_toml, text_to_toml};
use super::{Form, Rule};
use crate::expr::{Engine, Filter, Vars};
use crate::model::secret::{self, MASK};
use crate::model::{Number, Rate, Size, Text, Value, parse_duration, show_duration};

impl Setting for bool {
    fn expects() -> String {
        "`true` or `false`".to_owned()
    }

    fn form() -> Form {
        Form::Boolean
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

            fn form() -> Form {
                Form::Integer { least: Self::MIN as i128, most: Self::MAX as i128 }
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

    fn form() -> Form {
        Form::Number
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

    fn form() -> Form {
        Form::Text
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

    fn form() -> Form {
        Form::Text
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

    fn form() -> Form {
        Form::Text
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

    fn form() -> Form {
        Form::Duration
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

    fn form() -> Form {
        Form::Size { least: 0 }
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

    fn form() -> Form {
        Form::Rate
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

    fn form() -> Form {
        Form::Filter
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

    fn engine(&self) -> Option<Engine> {
        Some(Filter::engine(self))
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

    fn form() -> Form {
        Form::Any
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
                let entries = object.iter().map(|(key, value)| format!("{} = {}", key_to_toml(key), value.show()));
                format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
            }
            other => other.to_string(),
        }
    }

    fn placeholder() -> Self {
        Value::Null
    }
}

/// Text that is never shown, and masked in all that gatherd says.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(MASK)
    }
}

impl Setting for Secret {
    fn expects() -> String {
        "a secret such as \"${secret:NAME}\"".to_owned()
    }

    fn form() -> Form {
        Form::Text
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        let text = given.text()?;
        secret::keep(&text);
        Ok(Secret(text))
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

/// Text that belongs to a secret, such as a user's name: shown as it is written; what is filled into it is masked in
/// all that gatherd says, as a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(pub String);

impl Setting for Identity {
    fn expects() -> String {
        String::expects()
    }

    fn form() -> Form {
        Form::Text
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        let text = given.text()?;
        if given.has_names() {
            secret::keep(&text);
        }
        Ok(Identity(text))
    }

    fn show(&self) -> String {
        self.0.show()
    }

    fn placeholder() -> Self {
        Identity(String::new())
    }
}

/// Any value in which texts may be secret: those that are called so, such as `password`, are never shown, and masked
/// with all that is filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretValue(pub Value);

impl Setting for SecretValue {
    fn expects() -> String {
        Value::expects()
    }

    fn form() -> Form {
        Value::form()
    }

    fn read(given: &Given<'_>) -> Result<Self, Wrong> {
        keep_texts(given, false)?;
        Value::read(given).map(SecretValue)
    }

    fn show(&self) -> String {
        text_to_toml(MASK)
    }

    fn show_given(node: &Node) -> String {
        show_without_credentials(node, false)
    }

    fn placeholder() -> Self {
        SecretValue(Value::Null)
    }
}

/// Whether what stands under this key is a credential by its name.
pub(super) fn is_credential(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["authorization", "cookie", "token", "secret", "pass", "key"].iter().any(|word| key.contains(word))
}

/// Registers the texts of a value that are secret, or filled in.
fn keep_texts(given: &Given<'_>, is_secret: bool) -> Result<(), Wrong> {
    let inner = |node, is_secret| keep_texts(&Given { node, ..*given }, is_secret);
    match &given.node.data {
        Data::Text(_) if is_secret || given.has_names() => secret::keep(&given.text()?),
        Data::List(nodes) => nodes.iter().try_for_each(|node| inner(node, is_secret))?,
        Data::Table(table) => {
            table.iter().try_for_each(|(key, entry)| inner(&entry.node, is_secret || is_credential(key)))?;
        }
        _ => {}
    }
    Ok(())
}

fn show_without_credentials(node: &Node, is_secret: bool) -> String {
    match &node.data {
        Data::Text(_) if is_secret => Secret::show_given(node),
        Data::List(nodes) => {
            let shown = nodes.iter().map(|node| show_without_credentials(node, is_secret));
            format!("[{}]", shown.collect::<Vec<_>>().join(", "))
        }
        Data::Table(table) => {
            let shown = |(key, entry): (&str, &Entry)| {
                let is_secret = is_secret || is_credential(key);
                format!("{} = {}", key_to_toml(key), show_without_credentials(&entry.node, is_secret))
            };
            format!("{{ {} }}", table.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        _ => node.to_toml(),
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn expects() -> String {
        format!("a list, each element {}", T::expects())
    }

    fn form() -> Form {
        Form::List(Box::new(T::form()))
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
