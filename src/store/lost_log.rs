//! Whether commits are missing at the end of a store's log.
//!
//! SQLite passes over a damaged end of its log in silence, since a commit that a crash has cut short looks the same. The
//! index beside the log tells the two apart: it counts only what was on disk already. It is read before and after SQLite
//! makes it anew (<https://sqlite.org/walformat.html>, section 2).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::{create, sync_folder_of};
use super::salvage::{COMPANIONS, beside, stamp};

/// What the index says.
#[derive(Debug)]
pub(super) struct LogIndex {
    /// They change whenever the log is begun anew.
    salts: [u8; 8],
    /// How many pages the commits in the log have written, and how many of those the store's file has already.
    pages: u32,
    in_file: u32,
}

/// The index of a store's log, if there is one. To be dropped after all connections to the store: a process that closes a
/// file gives up every lock that it holds on it, however often the file is open
/// (<https://sqlite.org/howtocorrupt.html>, section 2.2), and SQLite shows by one that the index is in use. Whoever looks
/// into the store next would begin it anew, under the hands of the one who writes.
pub(super) struct IndexFile(Option<File>);

impl IndexFile {
    pub(super) fn of(file: &Path) -> Self {
        Self(File::open(beside(file, COMPANIONS[1])).ok())
    }

    /// What it says now; nothing if there is none, or it was being written.
    pub(super) fn read(&self) -> Option<LogIndex> {
        let mut index = [0; 100];
        self.0.as_ref()?.read_exact_at(&mut index, 0).ok()?;
        LogIndex::of(&index)
    }
}

impl LogIndex {
    fn of(index: &[u8; 100]) -> Option<Self> {
        // Its head stands there twice, in the machine's own byte order.
        let (head, again) = index[..96].split_at(48);
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_ne_bytes);
        let (pages, in_file) = (number(&head[16..20])?, number(&index[96..100])?);
        (head == again).then_some(Self { salts: head[32..40].try_into().ok()?, pages, in_file })
    }

    /// How many pages of commits are missing, by what the index says now that it was made anew.
    pub(super) fn missing(&self, now: Option<&Self>) -> u32 {
        let found = now.filter(|now| now.salts == self.salts).map_or(0, |now| now.pages);
        if found < self.pages { self.pages.saturating_sub(found.max(self.in_file)) } else { 0 }
    }
}

/// Tells of missing pages, and keeps a copy of the log, which will be written over.
pub(super) fn tell(file: &Path, pages: u32) {
    match set_aside(file) {
        Ok(aside) => log::error!(
            pages, set_aside:% = aside.display();
            "the log of the store is damaged: its last commits are lost, and what is left of it is set aside"
        ),
        Err(error) => log::error!(
            pages, error:%;
            "the log of the store is damaged: its last commits are lost, and it cannot be set aside"
        ),
    }
}

fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let aside = beside(file, &format!(".damaged-log-{}", stamp()));
    create(&aside)?;
    fs::copy(beside(file, COMPANIONS[0]), &aside)?;
    File::open(&aside)?.sync_all()?;
    sync_folder_of(&aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_neither_the_log_nor_the_file_has_are_missing() {
        let index = |salt, pages, in_file| LogIndex { salts: [salt; 8], pages, in_file };
        for (now, missing) in [
            (Some(index(1, 10, 4)), 0),
            (Some(index(1, 12, 4)), 0),
            (Some(index(1, 7, 0)), 3),
            (Some(index(1, 2, 0)), 6),
            (Some(index(0, 0, 0)), 6),
            (None, 6),
        ] {
            assert_eq!(index(1, 10, 4).missing(now.as_ref()), missing, "{now:?}");
        }
        assert_eq!(index(1, 10, 10).missing(None), 0);
    }
}
