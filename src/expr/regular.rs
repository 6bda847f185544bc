//! Regular expressions in filters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use jaq_core::native::{Filter as Native, bome, v};
use jaq_core::{Cv, Error, RunPtr, ValR};
use regex::{Captures, Regex, RegexBuilder};

use super::builtins::object;
use super::fuel;
use super::language::Language;
use super::metered::Metered;
use crate::model::Value;

/// How large a compiled expression may be, and how many each thread keeps.
const SIZE_LIMIT: usize = 1 << 20;
const KEPT: usize = 64;

thread_local! {
    static COMPILED: RefCell<HashMap<(String, String), Rc<Expression>>> = RefCell::default();
}

pub(super) struct Expression {
    regex: Regex,
    /// Every match, not only the first.
    all: bool,
    skip_empty: bool,
}

impl Expression {
    /// The error is jq's message.
    pub(super) fn new(pattern: &str, flags: &str) -> Result<Self, String> {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT);
        let (mut all, mut skip_empty) = (false, false);
        for flag in flags.chars() {
            match flag {
                'g' => all = true,
                'n' => skip_empty = true,
                'i' => drop(builder.case_insensitive(true)),
                'x' => drop(builder.ignore_whitespace(true)),
                's' => drop(builder.dot_matches_new_line(true)),
                'm' => drop(builder.multi_line(true)),
                'p' => drop(builder.dot_matches_new_line(true).multi_line(true)),
                'l' => drop(builder.swap_greed(true)),
                other => return Err(format!("invalid regex flag: {other}")),
            }
        }
        let regex = builder.build().map_err(|error| format!("invalid regex: {error}"))?;
        Ok(Self { regex, all, skip_empty })
    }

    /// Whether it matches anywhere in this text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        // The engine is linear in the text, times the size of the expression.
        fuel::spend(20 + text.len() / 8 * (1 + self.regex.as_str().len() / 32));
        match self.skip_empty {
            false => self.regex.is_match(text),
            true => self.regex.find_iter(text).any(|found| !found.is_empty()),
        }
    }
}

/// `test`, and what `prelude.jq` builds the other words from. The flags are those of jq: `g` all matches, `n` no
/// empty ones, `i` any case, `x` extended, `s` `.` matches line breaks, `m` `^` and `$` match at lines, `p` both,
/// `l` swaps greed.
pub(super) fn functions() -> Vec<Native<RunPtr<Language>>> {
    vec![
        ("test", v(2), |cv| bome(with(cv, |text, expression| Ok(expression.is_in(text).into())))),
        // An array of matches.
        ("matches", v(2), |cv| bome(with(cv, |text, expression| Ok(matches(text, expression).collect())))),
        // An array of the text between matches, and the matches.
        ("split_matches", v(2), |cv| {
            bome(with(cv, |text, expression| {
                let mut parts = Vec::new();
                let mut at = 0;
                for (captures, found) in captures(text, expression).zip(matches(text, expression)) {
                    let whole = captures.get_match();
                    parts.extend([Metered::text(&text[at..whole.start()]), found]);
                    at = whole.end();
                }
                parts.push(Metered::text(&text[at..]));
                Ok(parts.into_iter().collect())
            }))
        }),
    ]
}

/// Runs `work` on the input text and the expression that stands in the two arguments.
fn with<'a>(mut cv: Cv<'a, Language>, work: impl FnOnce(&str, &Expression) -> ValR<Metered>) -> ValR<Metered> {
    let flags = cv.0.pop_var();
    let pattern = cv.0.pop_var();
    let Value::Text(text) = &cv.1.value else { return Err(Error::typ(cv.1, "string")) };
    let Value::Text(pattern) = &pattern.value else { return Err(Error::typ(pattern, "string")) };
    let flags = match &flags.value {
        Value::Text(flags) => flags,
        Value::Null => "",
        _ => return Err(Error::typ(flags, "string")),
    };
    // The engine is linear in the text, times the size of the expression.
    fuel::spend(20 + text.len() / 8 * (1 + pattern.len() / 32));
    work(text, &*compiled(pattern, flags)?)
}

fn compiled(pattern: &str, flags: &str) -> Result<Rc<Expression>, Error<Metered>> {
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(expression) = COMPILED.with(|compiled| compiled.borrow().get(&key).cloned()) {
        return Ok(expression);
    }
    fuel::spend(2000 + 50 * pattern.len());
    let expression = Rc::new(Expression::new(pattern, flags).map_err(Error::str)?);
    COMPILED.with(|compiled| {
        let mut compiled = compiled.borrow_mut();
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(key, expression.clone());
    });
    Ok(expression)
}

fn captures<'t>(text: &'t str, expression: &'t Expression) -> impl Iterator<Item = Captures<'t>> {
    let found = expression.regex.captures_iter(text);
    let found = found.filter(|captures| !(expression.skip_empty && captures.get_match().is_empty()));
    found.take(if expression.all { usize::MAX } else { 1 })
}

/// Each match as `{offset, length, string, captures}`, offsets and lengths in characters.
fn matches<'t>(text: &'t str, expression: &'t Expression) -> impl Iterator<Item = Metered> {
    // Matches come in order, so the characters before them are counted on from the last one.
    let (mut byte, mut character) = (0, 0);
    captures(text, expression).map(move |captures| {
        fuel::make(400);
        let start = captures.get_match().start();
        character += text[byte..start].chars().count();
        byte = start;
        let describe = |group: Option<regex::Match<'_>>| match group {
            Some(group) => {
                fuel::make(group.len());
                let before = if group.start() >= byte {
                    character + text[byte..group.start()].chars().count()
                } else {
                    text[..group.start()].chars().count()
                };
                [
                    ("offset", Value::from(before as i64)),
                    ("length", Value::from(group.as_str().chars().count() as i64)),
                    ("string", Value::from(group.as_str())),
                ]
            }
            None => [("offset", Value::from(-1)), ("length", Value::from(0)), ("string", Value::Null)],
        };
        let groups = captures.iter().zip(expression.regex.capture_names()).skip(1).map(|(group, name)| {
            fuel::make(300);
            object(describe(group).into_iter().chain([("name", name.map_or(Value::Null, Value::from))]))
        });
        let groups = Value::array(groups.collect());
        let whole = object(describe(captures.get(0)).into_iter().chain([("captures", groups)]));
        Metered::container(whole, 2)
    })
}
