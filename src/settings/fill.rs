//! `${NAME}` and `${secret:NAME}`: what stands outside of a config and is filled into its texts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::model::secret;

/// Where filled-in values come from.
pub struct Fill {
    variables: Box<Variables>,
    /// systemd's folder of credentials, then the config's own folder of secrets.
    folders: Vec<PathBuf>,
    variables_first: bool,
    /// What has been looked up, so that no message ever shows it.
    known: RefCell<BTreeMap<Name, Option<String>>>,
}

/// How a variable of the environment is found.
type Variables = dyn Fn(&str) -> Option<String>;

/// What a `${…}` asks for. Shown as it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Variable(String),
    Secret(String),
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Variable(name) => write!(formatter, "${{{name}}}"),
            Name::Secret(name) => write!(formatter, "${{secret:{name}}}"),
        }
    }
}

/// A piece of a text that may hold `${…}`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece<'t> {
    Literal(&'t str),
    /// Bytes of the text, and what they ask for.
    Name(Range<usize>, Name),
    /// A `${` that no name follows.
    Broken(Range<usize>),
}

impl Fill {
    /// Fills from this process: its environment and its credentials.
    pub fn of_process() -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::new(|name| std::env::var(name).ok(), credentials)
    }

    pub fn new(variables: impl Fn(&str) -> Option<String> + 'static, credentials: Option<PathBuf>) -> Self {
        let folders = credentials.into_iter().collect();
        Self { variables: Box::new(variables), folders, variables_first: false, known: RefCell::default() }
    }

    /// The variables go before what the folders hold, also for secrets: who gives them means them.
    pub fn of_test(variables: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Self { variables_first: true, ..Self::new(variables, None) }
    }

    /// Looks for secrets in the files of `folder` too.
    pub fn add_secrets(&mut self, folder: PathBuf) {
        self.folders.push(folder);
    }

    pub fn look_up(&self, name: &Name) -> Option<String> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        let found = match name {
            Name::Variable(name) => (self.variables)(name),
            Name::Secret(name) => {
                let read = || self.folders.iter().find_map(|folder| read_secret(folder, name));
                let given = || (self.variables)(name);
                if self.variables_first { given().or_else(read) } else { read().or_else(given) }
            }
        };
        if let (Name::Secret(_), Some(value)) = (name, &found) {
            secret::keep(value);
        }
        self.known.borrow_mut().insert(name.clone(), found.clone());
        found
    }

    /// How a secret of this name can be given, for messages.
    pub fn ways_to_give(&self, name: &str) -> String {
        let files = self.folders.iter().map(|folder| folder.join(name).display().to_string());
        let mut files: Vec<String> = files.map(|file| format!("the file `{file}`")).collect();
        if files.is_empty() {
            files.push(format!("a file `{name}` in the folder of `[service] secrets`"));
        }
        format!("put it into {}, or into the variable {name} of the environment", files.join(" or "))
    }

    /// `message` with every filled-in value in it replaced by what the config says in its place.
    pub fn mask(&self, message: &str) -> String {
        // Shorter values stand in too many words by chance, and tell too little.
        const SHORTEST: usize = 4;
        let known = self.known.borrow();
        let mut values: Vec<_> = known.iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let mut masked = message.to_owned();
        for (name, value) in values.into_iter().filter(|(_, value)| value.len() >= SHORTEST) {
            masked = masked.replace(value, &name.to_string());
        }
        masked
    }
}

/// A file's text without the line break that editors put at its end.
fn read_secret(folder: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Some(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Cuts a text at its `${…}`. `$${` is the literal `${`.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut literal = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let dollar = at + found;
        if text[..dollar].ends_with('$') && dollar > at {
            // The first of the two dollars goes.
            pieces.push(Piece::Literal(&text[literal..dollar - 1]));
            literal = dollar;
            at = dollar + 2;
            continue;
        }
        if literal < dollar {
            pieces.push(Piece::Literal(&text[literal..dollar]));
        }
        let end = text[dollar..].find('}').map_or(text.len(), |length| dollar + length + 1);
        let inner = text[dollar + 2..end].strip_suffix('}').unwrap_or_default();
        pieces.push(match name(inner) {
            Some(name) => Piece::Name(dollar..end, name),
            None => Piece::Broken(dollar..end),
        });
        literal = end;
        at = end;
    }
    if literal < text.len() {
        pieces.push(Piece::Literal(&text[literal..]));
    }
    pieces
}

/// What stands between `${` and `}`, if it is a name.
pub(super) fn name(inner: &str) -> Option<Name> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    match inner.strip_prefix("secret:") {
        // Such a name is a file in a folder, and cannot climb out of it.
        Some(name) if name.chars().all(|char| is_word(char) || matches!(char, '-' | '.')) => {
            name.chars().any(is_word).then(|| Name::Secret(name.to_owned()))
        }
        Some(_) => None,
        None => (inner.chars().all(is_word) && inner.starts_with(|char: char| !char.is_ascii_digit()))
            .then(|| Name::Variable(inner.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_names() {
        use Piece::{Broken, Literal};
        let variable = |span, name: &str| Piece::Name(span, Name::Variable(name.to_owned()));
        let secret = |span, name: &str| Piece::Name(span, Name::Secret(name.to_owned()));
        for (text, expected) in [
            ("", vec![]),
            ("plain $5 {.x}", vec![Literal("plain $5 {.x}")]),
            ("${A}", vec![variable(0..4, "A")]),
            (
                "x${A_1}y${secret:a-b.c}",
                vec![Literal("x"), variable(1..7, "A_1"), Literal("y"), secret(8..23, "a-b.c")],
            ),
            ("a$${B}c", vec![Literal("a"), Literal("${B}c")]),
            ("$${A}${B}", vec![Literal(""), Literal("${A}"), variable(5..9, "B")]),
            ("${}", vec![Broken(0..3)]),
            ("${1A}x", vec![Broken(0..5), Literal("x")]),
            ("${A", vec![Broken(0..3)]),
            ("${secret:../x}", vec![Broken(0..14)]),
            ("${secret:..}", vec![Broken(0..12)]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_is_a_credential_then_a_file_then_a_variable() {
        let folder = |secrets: &[(&str, &str)]| {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in secrets {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            folder
        };
        let credentials = folder(&[("a", "credential\n")]);
        let files = folder(&[("a", "file"), ("b", "file\r\n")]);
        let mut fill = Fill::new(|name| Some(format!("variable {name}")), Some(credentials.path().to_owned()));
        fill.add_secrets(files.path().to_owned());
        let secret = |name: &str| fill.look_up(&Name::Secret(name.to_owned())).unwrap();
        assert_eq!(secret("a"), "credential");
        assert_eq!(secret("b"), "file");
        assert_eq!(secret("c"), "variable c");
        assert_eq!(fill.mask("got credential"), "got ${secret:a}");
    }
}
