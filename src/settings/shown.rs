//! Values as they are shown: TOML 1.1, on one line as long as it is short.

use super::tree::key_to_toml;

/// A value that can be laid out as TOML.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// TOML on one line.
    Plain(String),
    List(Vec<Shown>),
    Table(Vec<(String, Shown)>),
}

/// Longer lines are broken.
const WIDTH: usize = 110;

/// How much further each level of a broken value stands to the right.
const INDENT: usize = 2;

impl Shown {
    pub fn on_one_line(&self) -> String {
        match self {
            Shown::Plain(text) => text.clone(),
            Shown::List(elements) => {
                format!("[{}]", elements.iter().map(Shown::on_one_line).collect::<Vec<_>>().join(", "))
            }
            Shown::Table(entries) if entries.is_empty() => "{}".to_owned(),
            Shown::Table(entries) => {
                let entries =
                    entries.iter().map(|(key, value)| format!("{} = {}", key_to_toml(key), value.on_one_line()));
                format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// On as many lines as it takes. `before` is what stands before it on its first line, indent included.
    pub fn laid_out(&self, before: &str) -> String {
        let line = self.on_one_line();
        if before.chars().count() + line.chars().count() <= WIDTH {
            return line;
        }
        let indent = before.chars().take_while(|char| *char == ' ').count();
        let inner = " ".repeat(indent + INDENT);
        let (open, lines, close): (_, Vec<String>, _) = match self {
            Shown::Plain(_) => return line,
            Shown::List(elements) => ('[', elements.iter().map(|value| value.laid_out(&inner)).collect(), ']'),
            Shown::Table(entries) => {
                let entry = |(key, value): &(String, Shown)| {
                    let key = format!("{} = ", key_to_toml(key));
                    format!("{key}{}", value.laid_out(&format!("{inner}{key}")))
                };
                ('{', entries.iter().map(entry).collect(), '}')
            }
        };
        let lines: String = lines.iter().map(|line| format!("{inner}{line},\n")).collect();
        format!("{open}\n{lines}{}{close}", " ".repeat(indent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_broken_and_its_short_parts_are_not() {
        let entry = |key: &str, length: usize| (key.to_owned(), Shown::Plain(format!("\"{}\"", "x".repeat(length))));
        let inner = Shown::Table(vec![entry("b", 3), entry("c d", 3)]);
        let table = Shown::Table(vec![entry("a", 100), ("t".to_owned(), inner.clone())]);
        assert_eq!(inner.laid_out("x = "), "{ b = \"xxx\", \"c d\" = \"xxx\" }");
        let expected =
            format!("{{\n    a = \"{}\",\n    t = {{ b = \"xxx\", \"c d\" = \"xxx\" }},\n  }}", "x".repeat(100));
        assert_eq!(table.laid_out("  x = "), expected);
    }
}
