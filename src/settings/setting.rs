//! The types that a setting can have.

use std::str::FromStr;

use super::fill::{Piece, pieces};
use super::tree::{Data, Node};
use super::{Form, Reading, Rule};
use crate::expr::{Engine, SyntaxError, Vars};

/// A type that a setting can have.
pub trait Setting: Sized {
    /// What an author may write, for messages and `gatherd kinds`: `a duration such as "90s"`.
    fn expects() -> String;

    /// What it looks like.
    fn form() -> Form;

    fn read(given: &Given<'_>) -> Result<Self, Wrong>;

    /// How it is written in TOML, for `gatherd explain`.
    fn show(&self) -> String;

    /// How the author wrote it, without what must not be shown.
    fn show_given(node: &Node) -> String {
        node.to_toml()
    }

    /// What runs it, if it is a filter.
    fn engine(&self) -> Option<Engine> {
        None
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

    /// Whether something is filled into the text.
    pub(super) fn has_names(&self) -> bool {
        matches!(&self.node.data, Data::Text(text) if pieces(text).iter().any(|piece| matches!(piece, Piece::Name(..))))
    }

    /// Reads the text with `parse`, whose error has the form "what is wrong; the way out".
    pub(super) fn parse_text<T: Setting>(
        &self,
        rule: Rule,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Wrong> {
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
    pub(super) fn parse_filled<T: Setting + FromStr>(&self) -> Result<T, Wrong> {
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
