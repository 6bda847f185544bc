//! Whatever a config's text is, reading it ends with mistakes that can be shown.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;

use gatherd::assemble;
use gatherd::settings::Fill;
use proptest::prelude::*;

/// Every broken config, and every example: what people write.
fn configs() -> Vec<String> {
    let files = ["tests/mistakes", "config/examples"].into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths.iter().map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
}

/// A slip: at a place in the text, given as a share of its length, so many characters make way for others.
type Slip = (f64, usize, String);

fn slip(text: &str, (at, removed, inserted): &Slip) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = ((chars.len() as f64) * at) as usize;
    let rest = chars.iter().skip(at + removed);
    chars[..at].iter().copied().chain(inserted.chars()).chain(rest.copied()).collect()
}

fn read(folder: &Path, text: &str) {
    let path = folder.join("a.toml");
    fs::write(&path, text).unwrap();
    let loaded = assemble::load(&[path], Fill::new(|_| None, None), false);
    assert!(loaded.assembled.is_some() || !loaded.mistakes.is_empty(), "refused without a word:\n{text}");
    for mistake in loaded.mistakes {
        assert!(!mistake.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn a_config_with_slips_is_never_refused_without_a_word(
        config in proptest::sample::select(configs()),
        slips in prop::collection::vec((0.0..1.0f64, 0..20usize, "[\\[\\]{}=.,\"'\\\\$\n a-zé0-9]{0,4}"), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        read(folder.path(), &slips.iter().fold(config, |text, each| slip(&text, each)));
    }
}
