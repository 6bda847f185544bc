//! The files of a config.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::settings::{Mistakes, Rule, SourceFile};

/// Reads each of `paths`: a file, or a folder, of which every `*.toml` is read in name order. What cannot be read is
/// reported.
pub(super) fn read(paths: &[PathBuf], mistakes: &Mistakes) -> Vec<Arc<SourceFile>> {
    let mut files: Vec<Arc<SourceFile>> = Vec::new();
    for path in paths {
        for path in files_of(path, mistakes) {
            let name = path.display().to_string();
            // The same file by a folder and by its own name is meant once.
            if files.iter().any(|file| file.name == name) {
                continue;
            }
            match std::fs::read_to_string(&path) {
                Ok(text) => files.push(Arc::new(SourceFile { name, text })),
                Err(error) => unreadable(&path, &error, mistakes),
            }
        }
    }
    files
}

fn files_of(path: &Path, mistakes: &Mistakes) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            unreadable(path, &error, mistakes);
            return Vec::new();
        }
    };
    let is_config = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "toml") && !is_test(path) && !path.is_dir()
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_config).collect();
    files.sort();
    if files.is_empty() {
        mistakes.report(
            Rule::EmptyFolder,
            None,
            format!("the folder `{}` holds no config", path.display()),
            "put a file into it whose name ends in `.toml`",
        );
    }
    files
}

/// Whether a file holds the tests of a config, by its name: `quakes.test.toml`.
pub fn is_test(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(".test.toml"))
}

fn unreadable(path: &Path, error: &std::io::Error, mistakes: &Mistakes) {
    let way_out = match error.kind() {
        std::io::ErrorKind::NotFound => "check the path".to_owned(),
        std::io::ErrorKind::PermissionDenied => "let the user that gatherd runs as read it".to_owned(),
        std::io::ErrorKind::InvalidData => "save it as UTF-8 text".to_owned(),
        _ => "name a file or a folder that can be read".to_owned(),
    };
    mistakes.report(Rule::UnreadableFile, None, format!("cannot read `{}`: {error}", path.display()), way_out);
}
