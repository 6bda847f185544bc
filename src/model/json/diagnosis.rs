//! Why text is not JSON, and where.

use std::fmt;

use hifijson::SliceLexer;
use hifijson::num::LexWrite;
use hifijson::str::LexAlloc;
use hifijson::token::{Expect, Lex};

use super::{JsonError, MAX_DEPTH};

/// What is wrong with text that is not exactly one JSON value; nothing if it is.
pub(super) fn diagnose(text: &[u8]) -> Option<JsonError> {
    let mut lexer = SliceLexer::new(text);
    let looked = lexer.exactly_one(Lex::ws_peek, |next, lexer| look_at_value(next, lexer, MAX_DEPTH));
    // A value cut short is the usual case; the lexer then stands at the end.
    let offset = text.len() - lexer.as_slice().len();
    looked.err().map(|reason| JsonError { offset, reason: reason.to_string() })
}

enum Wrong {
    Lexer(hifijson::Error),
    Depth,
}

impl<E: Into<hifijson::Error>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Wrong::Lexer(error.into())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Lexer(error) => write!(formatter, "{error}"),
            Wrong::Depth => write!(formatter, "nested deeper than {MAX_DEPTH}"),
        }
    }
}

/// Looks at the value that begins with `next`, the byte at the lexer.
fn look_at_value(next: u8, lexer: &mut SliceLexer<'_>, depth: usize) -> Result<(), Wrong> {
    match next {
        b'n' | b't' | b'f' => {
            lexer.null_or_bool().ok_or(Expect::Value)?;
        }
        b'"' => look_at_string(lexer)?,
        b'-' | b'0'..=b'9' => {
            lexer.num_string().validated().map_err(hifijson::Error::Num)?;
        }
        b'[' => {
            let depth = depth.checked_sub(1).ok_or(Wrong::Depth)?;
            lexer.discarded().seq(b']', Lex::ws_peek, |next, lexer| look_at_value(next, lexer, depth))?;
        }
        b'{' => {
            let depth = depth.checked_sub(1).ok_or(Wrong::Depth)?;
            lexer.discarded().seq(b'}', Lex::ws_peek, |next, lexer| {
                if next != b'"' {
                    return Err(Expect::String.into());
                }
                look_at_string(lexer)?;
                lexer.expect(Lex::ws_peek, b':').ok_or(Expect::Colon)?;
                let next = lexer.ws_peek().ok_or(Expect::Value)?;
                look_at_value(next, lexer, depth)
            })?;
        }
        _ => return Err(Expect::Value.into()),
    }
    Ok(())
}

fn look_at_string(lexer: &mut SliceLexer<'_>) -> Result<(), Wrong> {
    lexer.discarded().str_string().map_err(hifijson::Error::Str)?;
    Ok(())
}
