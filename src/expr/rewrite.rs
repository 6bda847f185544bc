//! Small changes to a filter's text before jaq compiles it.

use std::ops::Range;

use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};

/// How deep brackets may nest, and how many minus signs may follow each other.
const NESTING: usize = 64;

/// The text with two changes, and nothing if it needs none:
/// - `labels.NAME` becomes `labels("NAME")`, which does not make the other labels;
/// - a call of an own definition that takes filters is kept from being a tail call. jaq keeps a chain of the filters
///   that such calls hand on, and drops it recursively: an endless tail call would overflow the stack.
///
/// The error is the place of brackets that nest too deeply.
pub(super) fn rewrite(source: &str) -> Result<Option<String>, Range<usize>> {
    let Ok(tokens) = Lexer::new(source).lex() else { return Ok(None) };
    let mut walk = Walk { source, taking_filters: Vec::new(), own_labels: false, changes: Vec::new() };
    walk.definitions(&tokens, NESTING)?;
    walk.calls(&tokens);
    if walk.changes.is_empty() {
        return Ok(None);
    }
    walk.changes.sort_by_key(|(at, _)| at.start);
    let mut text = String::with_capacity(source.len() + 16 * walk.changes.len());
    let mut done = 0;
    for (at, new) in walk.changes {
        text.push_str(&source[done..at.start]);
        text.push_str(&new);
        done = at.end;
    }
    text.push_str(&source[done..]);
    Ok(Some(text))
}

struct Walk<'s> {
    source: &'s str,
    taking_filters: Vec<&'s str>,
    own_labels: bool,
    changes: Vec<(Range<usize>, String)>,
}

impl<'s> Walk<'s> {
    fn span(&self, part: &str) -> Range<usize> {
        jaq_core::load::span(self.source, part)
    }

    /// Finds what the text itself defines.
    fn definitions(&mut self, tokens: &[Token<&'s str>], nesting: usize) -> Result<(), Range<usize>> {
        let mut signs = 0;
        for (index, Token(text, token)) in tokens.iter().enumerate() {
            signs = if *text == "-" { signs + 1 } else { 0 };
            if nesting == 0 || signs > NESTING {
                return Err(self.span(text));
            }
            if let ([Token("def", Tok::Word), Token(name, _), rest @ ..], true) = (&tokens[index..], *text == "def") {
                self.own_labels |= *name == "labels";
                if let Some(Token(_, Tok::Block(parameters))) = rest.first()
                    && parameters.iter().any(|Token(_, parameter)| matches!(parameter, Tok::Word))
                {
                    self.taking_filters.push(name);
                }
            }
            for inner in blocks(token) {
                self.definitions(inner, nesting - 1)?;
            }
        }
        Ok(())
    }

    fn calls(&mut self, tokens: &[Token<&'s str>]) {
        for (index, Token(text, token)) in tokens.iter().enumerate() {
            let before = index.checked_sub(1).map_or("", |before| tokens[before].0);
            if let (Tok::Word, Some(Token(next, next_token))) = (token, tokens.get(index + 1)) {
                let (here, after) = (self.span(text), self.span(next));
                if before != "def" && self.taking_filters.contains(text) && next.starts_with('(') {
                    self.changes.push((here.start..here.start, "(".to_owned()));
                    self.changes.push((after.end..after.end, " | .)".to_owned()));
                }
                let is_key = next.len() > 1 && next.starts_with('.') && *next != ".." && matches!(next_token, Tok::Sym);
                let names_labels = *text == "labels" && !self.own_labels && !matches!(before, "def" | "." | "?");
                if names_labels && is_key && here.end == after.start {
                    self.changes.push((after.clone(), format!("(\"{}\")", &next[1..])));
                }
            }
            blocks(token).for_each(|inner| self.calls(inner));
        }
    }
}

/// The tokens that stand inside a token.
fn blocks<'t, 's>(token: &'t Tok<&'s str>) -> impl Iterator<Item = &'t [Token<&'s str>]> {
    let (block, parts): (Option<&[_]>, &[_]) = match token {
        Tok::Block(tokens) => (Some(tokens), &[]),
        Tok::Str(parts) => (None, parts),
        _ => (None, &[]),
    };
    block.into_iter().chain(parts.iter().filter_map(|part| match part {
        StrPart::Term(token) => Some(std::slice::from_ref(token)),
        _ => None,
    }))
}
