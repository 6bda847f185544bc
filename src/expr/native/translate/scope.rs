//! What names mean at a place in a filter.

use std::rc::Rc;

use jaq_core::load::parse::{Def, Term};

use crate::expr::metered::Metered;

/// A place in a filter, or in a definition that is written out in it.
#[derive(Clone)]
pub(super) struct Place<'t> {
    /// What was named last, and before it.
    scope: Rc<Scope<'t>>,
    /// How many variables are bound when the filter runs here.
    bound: usize,
    nesting: usize,
}

enum Scope<'t> {
    /// The library, so many of its definitions.
    Library(usize),
    Named(Named<'t>, Rc<Scope<'t>>),
}

pub(super) enum Named<'t> {
    /// A variable whose value is known, with its `$`.
    Constant(&'t str, Metered),
    /// The variable that is bound after so many others.
    Variable(&'t str, usize),
    Definition(&'t Def<&'t str>),
    /// A filter that was handed to a definition, and where.
    Argument(&'t str, &'t Term<&'t str>, Place<'t>),
}

/// What a call refers to.
pub(super) enum Meaning<'t> {
    Argument(&'t Term<&'t str>, Place<'t>),
    /// A definition, and where its body stands.
    Definition(&'t Def<&'t str>, Place<'t>),
    /// One of so many definitions of the library, or what is written in Rust.
    Library(usize),
}

impl<'t> Place<'t> {
    pub(super) fn beginning(definitions: usize) -> Self {
        Self { scope: Rc::new(Scope::Library(definitions)), bound: 0, nesting: 0 }
    }

    /// In the body of a definition of the library, which sees itself and those before it.
    pub(super) fn in_library(&self, definitions: usize) -> Self {
        Self { scope: Rc::new(Scope::Library(definitions)), ..*self }
    }

    pub(super) fn with(&self, named: Named<'t>) -> Self {
        Self { scope: Rc::new(Scope::Named(named, self.scope.clone())), ..*self }
    }

    /// Where `name` is bound to a value that is not known yet.
    pub(super) fn binding(&self, name: &'t str) -> Self {
        Self { bound: self.bound + 1, ..self.with(Named::Variable(name, self.bound)) }
    }

    /// Names as at `other`, but here.
    pub(super) fn seeing(&self, other: &Self) -> Self {
        Self { scope: other.scope.clone(), ..*self }
    }

    /// These names, where as many variables are bound as at `other`.
    pub(super) fn level_with(&self, other: &Self) -> Self {
        Self { bound: other.bound, ..self.clone() }
    }

    /// One step further in, unless that is too deep.
    pub(super) fn deeper(&self, limit: usize) -> Option<Self> {
        (self.nesting < limit).then(|| Self { nesting: self.nesting + 1, ..self.clone() })
    }

    /// How many bindings ago the variable was bound, or its value if that is known.
    pub(super) fn variable(&self, name: &str) -> Option<Result<usize, Metered>> {
        let mut scope = &*self.scope;
        while let Scope::Named(named, outer) = scope {
            match named {
                Named::Constant(known, value) if *known == name => return Some(Err(value.clone())),
                Named::Variable(known, before) if *known == name => return Some(Ok(self.bound - 1 - before)),
                _ => scope = outer,
            }
        }
        None
    }

    pub(super) fn meaning(&self, name: &str, arity: usize) -> Meaning<'t> {
        let mut scope = &self.scope;
        loop {
            match &**scope {
                Scope::Library(definitions) => return Meaning::Library(*definitions),
                Scope::Named(Named::Argument(known, term, place), _) if *known == name && arity == 0 => {
                    return Meaning::Argument(term, self.seeing(place));
                }
                Scope::Named(Named::Definition(definition), _)
                    if definition.name == name && definition.args.len() == arity =>
                {
                    return Meaning::Definition(definition, Self { scope: scope.clone(), ..*self });
                }
                Scope::Named(_, outer) => scope = outer,
            }
        }
    }
}
