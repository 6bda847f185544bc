//! A disk that is soon full: a small tmpfs, which only root may mount.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::skip;

/// A disk of a few megabytes; unmounted when dropped.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// Nothing if none can be had here, which is said.
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        skip("cannot mount a tmpfs; run this as root");
        None
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes the space that is left, but for so many bytes.
    pub(crate) fn fill(&self, leaving: u64) -> Filler {
        let path = self.path("filler");
        let mut file = File::create(&path).unwrap();
        let mut block = vec![0; 1 << 20];
        while !block.is_empty() {
            if file.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
        file.set_len(file.metadata().unwrap().len() - leaving).unwrap();
        Filler(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "cannot unmount {}", self.0.path().display());
    }
}

/// Gives the space back when dropped.
pub(crate) struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}
