//! From an offset in a text as TOML decodes it, back to where it stands in the file.

/// Where byte `offset` of the decoded text stands in `literal`, the text as it is written with its quotes
/// (TOML 1.1, section "String").
pub(super) fn in_literal(literal: &str, offset: usize) -> usize {
    let bytes = literal.as_bytes();
    let quote = match bytes.first() {
        Some(quote @ (b'"' | b'\'')) => *quote,
        // A value that its author forgot to quote.
        _ => return offset.min(bytes.len()),
    };
    let is_multi_line = bytes.starts_with(&[quote; 3]) && bytes.len() >= 6;
    let quotes = if is_multi_line { 3 } else { 1 };
    let end = bytes.len().saturating_sub(quotes).max(quotes);
    let mut at = quotes;
    if is_multi_line {
        at += line_break(&bytes[at..]);
    }
    let mut decoded = 0;
    while at < end {
        let (written, means) = if quote == b'"' && bytes[at] == b'\\' { escape(&bytes[at..end]) } else { (1, 1) };
        if decoded + means > offset {
            return at;
        }
        at += written;
        decoded += means;
    }
    end.min(bytes.len())
}

/// How many bytes a line break at the start takes; 0 if there is none.
fn line_break(bytes: &[u8]) -> usize {
    match bytes {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => 0,
    }
}

/// How many bytes the escape at the start takes, and how many it stands for.
fn escape(bytes: &[u8]) -> (usize, usize) {
    let digits = match bytes.get(1) {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            let blank = bytes[1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            return (1 + blank, 0);
        }
        _ => return (2.min(bytes.len()), 1),
    };
    let written = (2 + digits).min(bytes.len());
    let code = std::str::from_utf8(&bytes[2..written]).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    (written, code.and_then(char::from_u32).map_or(1, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every plain character of the decoded text must be found at its own place in the file.
    fn check(literal: &str) {
        let document = format!("x = {literal}\n");
        let (table, errors) = toml::de::DeTable::parse_recoverable(&document);
        assert!(errors.is_empty(), "{literal}: {errors:?}");
        let decoded = table.get_ref().get("x").unwrap().get_ref().as_str().unwrap().to_owned();
        for (offset, char) in decoded.char_indices() {
            let written = literal[in_literal(literal, offset)..].chars().next().unwrap();
            assert!(written == char || written == '\\', "{literal}: {char:?} at {offset} is {written:?}");
        }
        assert_eq!(&literal[in_literal(literal, decoded.len())..][..1], &literal[..1], "{literal}");
    }

    #[test]
    fn an_offset_in_a_decoded_text_is_found_in_the_file() {
        for literal in [
            r#""plain""#,
            r"'literal \n'",
            r#""a\tb\"c\u00e9d\U0001F600e\x41f""#,
            "'''\none\n  two'''",
            "\"\"\"\r\none\n  two \\\n     three\"\"\"",
            "\"\"\"no break \\\"\\\"\"\"\"",
            "\"\"",
            r#""é{.x}""#,
        ] {
            check(literal);
        }
    }

    #[test]
    fn a_text_without_quotes_stands_where_it_is() {
        assert_eq!(in_literal("90s", 1), 1);
        assert_eq!(in_literal("", 5), 0);
        assert_eq!(in_literal("\"", 5), 1);
    }
}
