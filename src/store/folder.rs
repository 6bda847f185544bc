//! Files and folders whose names outlive a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::model::Planted;

/// Makes the names in the folder of `file` last.
pub fn sync_folder_of(file: &Path) -> io::Result<()> {
    if Planted::NoFolderSync.is_on() {
        return Ok(());
    }
    File::open(folder_of(file))?.sync_all()
}

/// Makes the folder of `file`, and those above it, if they are not there.
pub fn make_folder_of(file: &Path) -> io::Result<()> {
    let folder = folder_of(file);
    if folder.is_dir() {
        return Ok(());
    }
    make_folder_of(folder)?;
    match fs::create_dir(folder) {
        // Someone else may have been faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(ErrorKind::NotADirectory.into()),
        Err(error) => Err(error),
        _ => sync_folder_of(folder),
    }
}

/// Makes a folder that only its owner can enter, and those above it, if they are not there.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    make_folder_of(folder)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder_of(folder),
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Makes a file that only its owner can read, if it is not there.
pub(super) fn create(file: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?.sync_all()?;
    sync_folder_of(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_as_deep_as_needed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/c.txt");
        make_folder_of(&file).unwrap();
        make_folder_of(&file).unwrap();
        assert!(folder.path().join("a/b").is_dir());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folder_of(&folder.path().join("file/x")).is_err());
        make_folder_of(Path::new("here.txt")).unwrap();
    }
}
