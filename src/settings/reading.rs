//! What all sections of one config share while they are read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::fill::{Fill, Name, Piece, pieces};
use super::{Mistakes, Node, Rule};

/// What all sections of one config share while they are read: where names are looked up, and where mistakes go.
pub struct Reading {
    pub mistakes: Mistakes,
    pub fill: Fill,
    /// A `${…}` that is not set is only a warning.
    pub unset_ok: bool,
    /// The names of all `[http.NAME]`.
    pub clients: BTreeSet<String>,
    used_clients: RefCell<BTreeSet<String>>,
    /// What an `[http.NAME]` can say: in what names a client, such a setting is in the wrong place.
    pub client_settings: fn() -> Vec<String>,
    /// The names of all `[queue.NAME]`.
    pub queues: BTreeSet<String>,
    used_queues: RefCell<BTreeSet<String>>,
    /// Nothing is read: every setting is asked what it is.
    is_describing: bool,
}

impl Reading {
    pub fn new(fill: Fill) -> Self {
        Self {
            mistakes: Mistakes::default(),
            fill,
            unset_ok: false,
            clients: BTreeSet::new(),
            used_clients: RefCell::default(),
            client_settings: Vec::new,
            queues: BTreeSet::new(),
            used_queues: RefCell::default(),
            is_describing: false,
        }
    }

    pub(super) fn describing() -> Self {
        Self { is_describing: true, ..Self::new(Fill::new(|_| None, None)) }
    }

    pub(super) fn is_describing(&self) -> bool {
        self.is_describing
    }

    pub(super) fn use_client(&self, name: &str) {
        self.used_clients.borrow_mut().insert(name.to_owned());
    }

    /// Whether a component has named this client.
    pub fn is_client_used(&self, name: &str) -> bool {
        self.used_clients.borrow().contains(name)
    }

    pub(super) fn use_queue(&self, name: &str) {
        self.used_queues.borrow_mut().insert(name.to_owned());
    }

    /// Whether a pipeline reads this queue.
    pub fn is_queue_used(&self, name: &str) -> bool {
        self.used_queues.borrow().contains(name)
    }

    /// The value of a name that stands at bytes `span` of `node`'s text. One that is not set is reported.
    pub(super) fn look_up(&self, name: &Name, node: &Node, span: std::ops::Range<usize>) -> Option<String> {
        let found = self.fill.look_up(name);
        if found.is_none() {
            let (rule, way_out) = match name {
                Name::Variable(variable) => (Rule::UnsetVariable, format!("set {variable} in the environment")),
                Name::Secret(secret) => (Rule::UnsetSecret, self.fill.ways_to_give(secret)),
            };
            let place = node.place_in_text(span);
            if self.unset_ok {
                self.mistakes.warn(rule, place, format!("`{name}` is not set"), way_out);
            } else {
                self.mistakes.report(rule, place, format!("`{name}` is not set"), way_out);
            }
        }
        found
    }

    pub(super) fn report_broken_fill(&self, node: &Node, span: std::ops::Range<usize>) {
        self.mistakes.report(
            Rule::BadFill,
            node.place_in_text(span),
            "this is no name that can be filled in",
            "write `${NAME}`, `${secret:NAME}`, or `$${` for a `${` that stays as it is",
        );
    }

    /// `text` with all names in it filled in. Nothing is reported.
    pub fn filled_quietly(&self, text: &str) -> Option<String> {
        let pieces = pieces(text).into_iter().map(|piece| match piece {
            Piece::Literal(literal) => Some(literal.to_owned()),
            Piece::Name(_, name) => self.fill.look_up(&name),
            Piece::Broken(_) => None,
        });
        pieces.collect()
    }

    /// `text`, which stands in `node`, with all names in it filled in; nothing if that cannot be, which is reported.
    pub fn filled(&self, node: &Node, text: &str) -> Option<String> {
        let mut filled = Some(String::with_capacity(text.len()));
        for piece in pieces(text) {
            let next = match piece {
                Piece::Literal(literal) => Some(literal.to_owned()),
                Piece::Name(span, name) => self.look_up(&name, node, span),
                Piece::Broken(span) => {
                    self.report_broken_fill(node, span);
                    None
                }
            };
            filled = filled.zip(next).map(|(filled, next)| filled + &next);
        }
        filled
    }
}
