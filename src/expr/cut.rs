//! Cuts a template into text and filters.

use std::ops::Range;

use super::SyntaxError;

/// A piece of a template, by its place in the source.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Stands as it is. Of `{{` and `}}` only one brace is in here.
    Text(Range<usize>),
    /// `${…}` or `$${…}`, to be filled in.
    Reference(Range<usize>),
    /// What stands between `{` and the `}` that balances it.
    Filter(Range<usize>),
}

pub(super) fn cut(source: &str) -> Result<Vec<Piece>, SyntaxError> {
    let bytes = source.as_bytes();
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut text_start = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        // What the piece is, where the source goes on after it.
        let (piece, next) = match rest {
            [b'{', b'{', ..] | [b'}', b'}', ..] => (Some(Piece::Text(at..at + 1)), at + 2),
            [b'$', b'$', b'{', ..] => {
                // Without an end it is no reference, and the literal ends with the brace.
                let end = reference_end(bytes, at + 3).unwrap_or(at + 3);
                (Some(Piece::Reference(at..end)), end)
            }
            [b'$', b'{', ..] => {
                let end = reference_end(bytes, at + 2).ok_or_else(|| SyntaxError {
                    message: "the `}` for this is missing; write `$${` if it shall stand as it is".to_owned(),
                    span: at..at + 2,
                })?;
                (Some(Piece::Reference(at..end)), end)
            }
            [b'{', ..] => {
                let end = balancing_brace(source, at)?;
                (Some(Piece::Filter(at + 1..end)), end + 1)
            }
            [b'}', ..] => {
                let message = "this closes nothing; write `}}` for a brace".to_owned();
                return Err(SyntaxError { message, span: at..at + 1 });
            }
            _ => (None, at + 1),
        };
        if let Some(piece) = piece {
            if text_start < at {
                pieces.push(Piece::Text(text_start..at));
            }
            pieces.push(piece);
            text_start = next;
        }
        at = next;
    }
    if text_start < bytes.len() {
        pieces.push(Piece::Text(text_start..bytes.len()));
    }
    Ok(pieces)
}

/// Where a reference ends whose name begins at `start`: after the next `}`, unless another brace comes first.
fn reference_end(bytes: &[u8], start: usize) -> Option<usize> {
    let length = bytes[start..].iter().position(|byte| matches!(byte, b'{' | b'}'))?;
    (bytes[start + length] == b'}').then_some(start + length + 1)
}

/// Where the `}` stands that balances the `{` at `open`, by the tokens of jq: text with filters in it, comments,
/// brackets of all kinds.
fn balancing_brace(source: &str, open: usize) -> Result<usize, SyntaxError> {
    let bytes = source.as_bytes();
    // What would close each thing that is open, the outermost first, and where it was opened.
    let mut closers = vec![(b'}', open)];
    let mut at = open + 1;
    while let (Some((closer, _)), Some(byte)) = (closers.last(), bytes.get(at)) {
        if bytes[at..].starts_with(b"${") {
            return Err(no_references_in_filters(at));
        }
        match (closer, byte) {
            (b'"', b'\\') => {
                at += 1;
                if bytes.get(at) == Some(&b'(') {
                    closers.push((b')', at));
                }
            }
            (b'"', b'"') => drop(closers.pop()),
            (b'"', _) => {}
            (_, b'"') => closers.push((b'"', at)),
            (_, b'(') => closers.push((b')', at)),
            (_, b'[') => closers.push((b']', at)),
            (_, b'{') => closers.push((b'}', at)),
            (_, b'#') => at = comment_end(bytes, at) - 1,
            (closer, byte @ (b')' | b']' | b'}')) if closer == byte => {
                closers.pop();
                if closers.is_empty() {
                    return Ok(at);
                }
            }
            (_, b')' | b']' | b'}') => {
                let message = "this closes nothing; remove it".to_owned();
                return Err(SyntaxError { message, span: at..at + 1 });
            }
            _ => {}
        }
        at += 1;
    }
    let innermost = closers.last().map_or(open, |(_, at)| *at);
    let message = match source[innermost..].chars().next() {
        Some('"') => "the closing quote for this is missing; add `\"`".to_owned(),
        Some('{') if innermost == open => {
            "the `}` for this is missing; write `{{` if it shall stand as it is".to_owned()
        }
        Some('(') => "the closing parenthesis for this is missing; add `)`".to_owned(),
        Some('[') => "the closing bracket for this is missing; add `]`".to_owned(),
        _ => "the closing brace for this is missing; add `}`".to_owned(),
    };
    Err(SyntaxError { message, span: innermost..innermost + 1 })
}

/// Where the line after a comment begins. A backslash at the end of a line takes the next one into the comment.
fn comment_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let Some(length) = memchr::memchr(b'\n', &bytes[at..]) else { return bytes.len() };
        let line = bytes[at..at + length].strip_suffix(b"\r").unwrap_or(&bytes[at..at + length]);
        at += length + 1;
        if line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0 {
            return at;
        }
    }
}

/// `${…}` at `place` in a filter.
pub(super) fn no_references_in_filters(place: usize) -> SyntaxError {
    SyntaxError {
        message: "`${…}` is not filled in inside a filter; give the pipeline a variable, such as \
                  `vars = { site = \"${SITE}\" }`, and write `$site` here"
            .to_owned(),
        span: place..place + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces as text: `'text'`, `<filter>`, `(reference)`; or the error and what it points at.
    #[track_caller]
    fn check(source: &str, expected: &str) {
        let shown = match cut(source) {
            Ok(pieces) => pieces
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(at) => format!("'{}'", &source[at]),
                    Piece::Reference(at) => format!("({})", &source[at]),
                    Piece::Filter(at) => format!("<{}>", &source[at]),
                })
                .collect(),
            Err(error) => {
                format!("! {} @ {}", error.message.split(';').next().unwrap_or(""), &source[error.span.start..])
            }
        };
        assert_eq!(shown, expected, "{source}");
    }

    #[test]
    fn a_filter_ends_at_the_brace_that_balances_it() {
        for (source, expected) in [
            ("", ""),
            ("plain", "'plain'"),
            ("a{.b}c", "'a'<.b>'c'"),
            ("{.a}{.b}", "<.a><.b>"),
            ("{ {a: 1} | .a}", "< {a: 1} | .a>"),
            ("{{a}}", "'{''a''}'"),
            ("{.a}}}", "<.a>'}'"),
            ("{\"}\"}", "<\"}\">"),
            ("{\"\\\"}\"}", "<\"\\\"}\">"),
            ("{\"a\\(.b | \"}\")}\"}x", "<\"a\\(.b | \"}\")}\">'x'"),
            ("{.a # }\n}x", "<.a # }\n>'x'"),
            ("{.a # \\\n}\n}x", "<.a # \\\n}\n>'x'"),
            ("{.[\"a\"][0]}", "<.[\"a\"][0]>"),
            ("ä{.ö}ü", "'ä'<.ö>'ü'"),
            ("a${B}{.c}${secret:D}", "'a'(${B})<.c>(${secret:D})"),
            ("$${A} $${ $$ $A", "($${A})' '($${)' $$ $A'"),
            ("$${a{.b}", "($${)'a'<.b>"),
            ("{.a", "! the `}` for this is missing @ {.a"),
            ("a}b", "! this closes nothing @ }b"),
            ("{.a)}", "! this closes nothing @ )}"),
            ("{(.a}", "! this closes nothing @ }"),
            ("{\"a}", "! the closing quote for this is missing @ \"a}"),
            ("{.a[}", "! this closes nothing @ }"),
            ("{.a[", "! the closing bracket for this is missing @ ["),
            ("${A", "! the `}` for this is missing @ ${A"),
            ("{.a # }", "! the `}` for this is missing @ {.a # }"),
            ("{\"${A}\"}", "! `${…}` is not filled in inside a filter @ ${A}\"}"),
            ("{.a + ${A}}", "! `${…}` is not filled in inside a filter @ ${A}}"),
            ("{\"\\", "! the closing quote for this is missing @ \"\\"),
        ] {
            check(source, expected);
        }
    }
}
