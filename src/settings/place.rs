//! Where something stands in a config, and how that spot is shown to its author.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::model::secret;

/// The text of one config file, under the name that its author knows it by.
#[derive(Debug)]
pub struct SourceFile {
    pub name: String,
    pub text: String,
}

/// A stretch of a config file. A clone shares the file.
#[derive(Clone, Debug)]
pub struct Place {
    file: Arc<SourceFile>,
    span: Range<usize>,
}

impl Place {
    /// `span` counts bytes; one that reaches past the text is cut.
    pub fn new(file: Arc<SourceFile>, span: Range<usize>) -> Self {
        let end = span.end.min(file.text.len());
        let start = span.start.min(end);
        Self { file, span: start..end }
    }

    /// Another stretch of the same file.
    pub fn at(&self, span: Range<usize>) -> Self {
        Self::new(self.file.clone(), span)
    }

    pub fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What is written there.
    pub fn text(&self) -> &str {
        self.file.text.get(self.span.clone()).unwrap_or_default()
    }

    /// The first line is 1.
    pub fn line(&self) -> usize {
        line_of(&self.file.text, self.span.start)
    }

    pub fn last_line(&self) -> usize {
        line_of(&self.file.text, self.span.end.max(self.span.start + 1) - 1)
    }

    /// Counts characters; the first is 1.
    pub fn column(&self) -> usize {
        let before = &self.file.text.as_bytes()[self.line_start()..self.span.start];
        String::from_utf8_lossy(before).chars().count() + 1
    }

    /// The line with the spot marked below it, two lines in all. Secrets in it are masked.
    pub fn marked(&self) -> String {
        let start = self.line_start();
        let rest = &self.file.text.as_bytes()[start..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let length = rest[..length].trim_ascii_end().len();
        let number = self.line().to_string();
        let marked_to = self.span.end.min(start + length).max(self.span.start);
        let shown = |bytes: Range<usize>| {
            let text = String::from_utf8_lossy(&self.file.text.as_bytes()[bytes]);
            secret::mask(&text).into_owned()
        };
        let (before, marked) = (shown(start..self.span.start), shown(self.span.start..marked_to));
        let line = format!("{before}{marked}{}", shown(marked_to..marked_to.max(start + length)));
        let line = line.trim_end();
        let carets = "^".repeat(marked.chars().count().max(1));
        // Tabs stay tabs, so that the carets stand below the spot however wide a tab is.
        let padding: String = before.chars().map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
        let gutter = " ".repeat(number.len());
        format!("  {number} | {line}\n  {gutter} | {padding}{carets}")
    }

    fn line_start(&self) -> usize {
        let before = &self.file.text.as_bytes()[..self.span.start];
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }
}

/// `quakes.toml:5:3`, as editors and terminals know how to open it.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file.name, self.line(), self.column())
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, marked: &str) -> Place {
        let start = text.find(marked).unwrap();
        let file = Arc::new(SourceFile { name: "a.toml".to_owned(), text: text.to_owned() });
        Place::new(file, start..start + marked.len())
    }

    #[test]
    fn a_place_knows_its_line_and_counts_columns_in_characters() {
        let place = place("a = 1\nü = \"é\" # x\n", "\"é\"");
        assert_eq!(place.to_string(), "a.toml:2:5");
        assert_eq!(place.marked(), "  2 | ü = \"é\" # x\n    |     ^^^");
    }

    #[test]
    fn tabs_do_not_push_the_mark_aside() {
        assert_eq!(place("\tx = 1", "x").marked(), "  1 | \tx = 1\n    | \t^");
    }

    #[test]
    fn a_spot_over_many_lines_is_marked_on_its_first() {
        let place = place("x = [\n  1,\n]\n", "[\n  1,\n]");
        assert_eq!(place.marked(), "  1 | x = [\n    |     ^");
        assert_eq!((place.line(), place.last_line()), (1, 3));
    }

    #[test]
    fn the_end_of_a_file_is_a_place() {
        let file = Arc::new(SourceFile { name: "a.toml".to_owned(), text: "a = ".to_owned() });
        let place = Place::new(file, 4..9);
        assert_eq!(place.to_string(), "a.toml:1:5");
        assert_eq!(place.marked(), "  1 | a =\n    |     ^");
    }
}
