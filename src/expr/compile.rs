//! Filter text to a program for jaq, or what is wrong with the text.

use std::ops::Range;

use jaq_core::compile::Undefined;
use jaq_core::load::{Arena, File, Loader, lex, parse};

use super::SyntaxError;
use super::language::{self, LEFT_OUT, Language};

/// Compiles `source`, which may use the variables `vars`, each with its `$`.
pub(super) fn compile(source: &str, vars: &[String]) -> Result<jaq_core::Filter<Language>, SyntaxError> {
    use jaq_core::load::Error;
    let arena = Arena::default();
    let definitions = language::definitions();
    let known: Vec<(String, usize)> = definitions.iter().map(|def| (def.name.to_owned(), def.args.len())).collect();
    let modules =
        Loader::new(definitions.iter().cloned()).load(&arena, File { code: source, path: () }).map_err(|errors| {
            let first = errors.into_iter().next().map(|(_, error)| error);
            match first {
                Some(Error::Lex(errors)) => errors.into_iter().next().map(|error| lexical(source, error)),
                Some(Error::Parse(errors)) => errors.into_iter().next().map(|error| grammatical(source, error)),
                Some(Error::Io(errors)) => errors.into_iter().next().map(|(path, _)| SyntaxError {
                    message: "a filter loads no modules; write its definitions here".to_owned(),
                    span: span(source, path),
                }),
                None => None,
            }
            .unwrap_or_else(|| SyntaxError { message: "this is no filter".to_owned(), span: 0..source.len() })
        })?;
    let imported = jaq_core::load::import(&modules, |import| Err((*import.path).to_owned()));
    if let Err(errors) = imported {
        let path = errors.into_iter().find_map(|(_, error)| match error {
            Error::Io(errors) => errors.into_iter().next().map(|(path, _)| span(source, path)),
            _ => None,
        });
        let message = "a filter loads no data; give it a variable with `vars`".to_owned();
        return Err(SyntaxError { message, span: path.unwrap_or(0..source.len()) });
    }
    let compiler = jaq_core::Compiler::<_, Language>::default()
        .with_funs(language::functions())
        .with_global_vars(vars.iter().map(String::as_str));
    compiler.compile(modules).map_err(|errors| {
        let mut undefined = errors.into_iter().flat_map(|(_, errors)| errors);
        let first = undefined
            .next()
            .map(|(name, kind)| SyntaxError { message: missing(name, &kind, &known, vars), span: span(source, name) });
        first.unwrap_or_else(|| SyntaxError { message: "this is no filter".to_owned(), span: 0..source.len() })
    })
}

/// Where `part` stands in `source`.
fn span(source: &str, part: &str) -> Range<usize> {
    let (whole, start) = (source.as_bytes().as_ptr_range(), part.as_ptr());
    // A part of a definition that the filter calls does not stand in its text.
    if whole.contains(&start) || start == whole.end { jaq_core::load::span(source, part) } else { 0..source.len() }
}

/// What ends what a bracket has begun.
const CLOSERS: [char; 3] = [')', ']', '}'];

fn lexical(source: &str, (expected, rest): lex::Error<&str>) -> SyntaxError {
    let start = span(source, rest).start;
    let message = match expected {
        // What is missing is found at the end; the place to look at is where it was opened.
        lex::Expect::Delim(open) if rest.is_empty() || rest.starts_with(CLOSERS) => {
            let closer = match open {
                "(" => ')',
                "[" => ']',
                "{" => '}',
                _ => '"',
            };
            return SyntaxError {
                message: format!("the {} for this is missing; add `{closer}`", expected.as_str()),
                span: span(source, open),
            };
        }
        lex::Expect::Token if rest.starts_with(CLOSERS) => "this closes nothing; remove it".to_owned(),
        lex::Expect::Token | lex::Expect::Delim(_) if rest.starts_with('\'') => {
            "text stands in double quotes; write \"…\", and the filter itself in single quotes".to_owned()
        }
        lex::Expect::Token | lex::Expect::Delim(_) if rest.starts_with("&&") => {
            "this has no meaning in a filter; write `and`".to_owned()
        }
        lex::Expect::Token | lex::Expect::Delim(_) => "this has no meaning in a filter".to_owned(),
        other if rest.is_empty() => format!("the filter ends where a {} should stand", other.as_str()),
        other => format!("here a {} should stand", other.as_str()),
    };
    SyntaxError { message, span: start..start + rest.chars().next().map_or(0, char::len_utf8) }
}

fn grammatical(source: &str, (expected, found): parse::Error<&str>) -> SyntaxError {
    let expected = match expected {
        parse::Expect::Just("") | parse::Expect::Nothing => "nothing more".to_owned(),
        parse::Expect::Just(word) => format!("`{word}`"),
        parse::Expect::Term => "a value or a filter".to_owned(),
        parse::Expect::ElseOrEnd => "`else` or `end`".to_owned(),
        other => format!("a {}", other.as_str()),
    };
    let at = span(source, found);
    let mut message = if found.is_empty() {
        format!("the filter ends where {expected} should stand")
    } else {
        let first = found.chars().next().map_or(0, char::len_utf8);
        let shown = if found.len() > 20 { &found[..first] } else { found };
        format!("here stands `{shown}`, where {expected} should stand")
    };
    if found.starts_with("||") {
        message = "`||` has no meaning in a filter; write `or`".to_owned();
    }
    if source.is_empty() || source.trim().is_empty() {
        message = "the filter is empty; write `.` for the item as it is".to_owned();
    }
    SyntaxError { message, span: at }
}

/// What to say of a name that means nothing.
fn missing(name: &str, kind: &Undefined, known: &[(String, usize)], vars: &[String]) -> String {
    let near = |candidates: &mut dyn Iterator<Item = &str>| {
        let scored = candidates.map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate));
        let best = scored.min().filter(|(distance, _)| *distance <= 1 + name.len() / 4);
        best.map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
    };
    match kind {
        Undefined::Filter(arity) => {
            if let Some((_, why)) = LEFT_OUT.iter().find(|(left_out, _)| *left_out == name) {
                return format!("`{name}` is not available: {why}");
            }
            let functions: Vec<(&str, usize)> =
                language::functions().map(|(name, args, _)| (name, args.len())).collect();
            let names = || known.iter().map(|(name, arity)| (name.as_str(), *arity)).chain(functions.iter().copied());
            let mut arities: Vec<usize> = names().filter(|(known, _)| *known == name).map(|(_, arity)| arity).collect();
            arities.sort_unstable();
            arities.dedup();
            if arities.is_empty() {
                return format!("there is no filter `{name}`{}", near(&mut names().map(|(name, _)| name)));
            }
            let plural = if arities == [1] { "" } else { "s" };
            let arities: Vec<String> = arities.iter().map(usize::to_string).collect();
            format!("`{name}` takes {} argument{plural}, not {arity}", arities.join(" or "))
        }
        Undefined::Var if matches!(name, "$ENV" | "$__prog_args") => {
            format!("`{name}` is not available: {}", LEFT_OUT[0].1)
        }
        Undefined::Var => {
            let hint = near(&mut vars.iter().map(String::as_str));
            let bare = name.trim_start_matches('$');
            let hint = if hint.is_empty() {
                format!("; the pipeline's `vars = {{ {bare} = … }}` would give it")
            } else {
                hint
            };
            format!("there is no variable `{name}`{hint}")
        }
        other => format!("there is no {} `{name}`", other.as_str()),
    }
}
