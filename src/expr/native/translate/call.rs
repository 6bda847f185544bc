//! Translates calls: of words that are operations, of definitions, and of functions.

use std::sync::Arc;

use jaq_core::load::parse::{Def, Term};

use super::Translator;
use super::scope::{Meaning, Named, Place};
use crate::expr::metered::Metered;
use crate::expr::native::foreign::Foreign;
use crate::expr::native::functions::Function;
use crate::expr::native::operation::{Arrange, Node, Operation, Path};
use crate::expr::regular::Expression;
use crate::model::{Text, Value};

impl Translator {
    pub(super) fn call<'t>(&self, name: &'t str, arguments: &'t [Term<&'t str>], place: &Place<'t>) -> Option<Node> {
        match place.meaning(name, arguments.len()) {
            Meaning::Argument(term, there) => self.term(term, &there),
            Meaning::Definition(definition, body) => self.written_out(definition, arguments, place, &body),
            Meaning::Library(definitions) => {
                if let Some(node) = self.word(name, arguments, place) {
                    return node;
                }
                let fits = |known: &Def<&str>| known.name == name && known.args.len() == arguments.len();
                if let Some(index) = self.definitions[..definitions].iter().rposition(fits) {
                    let body = place.in_library(index + 1);
                    return self.written_out(&self.definitions[index], arguments, place, &body);
                }
                self.function(name, arguments, place)
            }
        }
    }

    /// The body of a definition, its arguments put in. `body` is where the definition stands.
    fn written_out<'t>(
        &self,
        definition: &'t Def<&'t str>,
        arguments: &'t [Term<&'t str>],
        place: &Place<'t>,
        body: &Place<'t>,
    ) -> Option<Node> {
        self.with_arguments(&definition.body, &definition.args, arguments, place, body)
    }

    fn with_arguments<'t>(
        &self,
        term: &'t Term<&'t str>,
        names: &'t [&'t str],
        arguments: &'t [Term<&'t str>],
        place: &Place<'t>,
        body: &Place<'t>,
    ) -> Option<Node> {
        let (Some((name, names)), Some((argument, arguments))) = (names.split_first(), arguments.split_first()) else {
            return self.term(term, body);
        };
        if !name.starts_with('$') {
            let body = body.with(Named::Argument(name, argument, place.clone()));
            return self.with_arguments(term, names, arguments, place, &body);
        }
        let value = self.term(argument, place)?;
        // What follows stands inside of the binding, the other arguments too.
        self.bind(name, value, body, |body| self.with_arguments(term, names, arguments, &place.level_with(body), body))
    }

    /// A word that is an operation of its own; the inner nothing says that jaq must run it.
    #[expect(clippy::option_option, reason = "whether it is a word, and whether it can be translated")]
    fn word<'t>(&self, name: &str, arguments: &'t [Term<&'t str>], place: &Place<'t>) -> Option<Option<Node>> {
        let by = |arrange| {
            let key = self.term(&arguments[0], place);
            key.and_then(|key| self.node(Operation::By(arrange, key.into())))
        };
        Some(match (name, arguments.len()) {
            ("empty" | "!empty", 0) => self.node(Operation::Empty),
            ("error_empty", 0) => self.node(Operation::Fail),
            ("not", 0) => self.node(Operation::Not),
            ("labels", 0) => self.node(Operation::Labels),
            ("labels", 1) => {
                self.constant_text(&arguments[0], place).and_then(|name| self.node(Operation::Label(name)))
            }
            ("window", 0) => self.node(Operation::Window),
            ("now", 0) => self.node(Operation::Now),
            ("first", 1) => self.term(&arguments[0], place).and_then(|inner| self.node(Operation::First(inner.into()))),
            ("del", 1) => {
                let mut paths = Vec::new();
                let is_all = self.term(&arguments[0], place).is_some_and(|node| add_paths(node, &mut paths));
                if is_all { self.node(Operation::Delete(paths)) } else { None }
            }
            ("sort_by", 1) => by(Arrange::Sort),
            ("group_by", 1) => by(Arrange::Group),
            ("min_by_or_empty", 1) => by(Arrange::Least),
            ("max_by_or_empty", 1) => by(Arrange::Greatest),
            ("test", 2) => {
                let texts = [&arguments[0], &arguments[1]].map(|argument| self.constant_text(argument, place));
                let [Some(pattern), Some(flags)] = texts else { return None };
                let expression = Expression::new(&pattern, &flags).ok()?;
                self.node(Operation::Test(Arc::new(expression)))
            }
            _ => return None,
        })
    }

    fn constant_text<'t>(&self, term: &'t Term<&'t str>, place: &Place<'t>) -> Option<Text> {
        match self.term(term, place)?.operation {
            Operation::Constant(Metered { value: Value::Text(text), .. }) => Some(text),
            _ => None,
        }
    }

    /// A function that is written in Rust and takes values.
    fn function<'t>(&self, name: &str, arguments: &'t [Term<&'t str>], place: &Place<'t>) -> Option<Node> {
        let arguments: Vec<Node> = arguments.iter().map(|term| self.term(term, place)).collect::<Option<_>>()?;
        if arguments.iter().any(|argument| argument.many) {
            return None;
        }
        let operation = match Function::find(name, arguments.len()) {
            Some(function) => Operation::Call(function, arguments.into_iter().next().map(Box::new)),
            None => Operation::Foreign(Foreign::find(name, arguments.len())?.into(), arguments.into()),
        };
        self.node(operation)
    }
}

/// Adds the paths that a node consists of; false if it is something else.
fn add_paths(node: Node, paths: &mut Vec<Path>) -> bool {
    match node.operation {
        Operation::Path(path) if path.starts_at_input() => {
            paths.push(*path);
            true
        }
        Operation::Comma(sides) => (*sides).into_iter().all(|side| add_paths(side, paths)),
        _ => false,
    }
}
