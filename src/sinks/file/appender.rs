//! One open file, to whose end whole chunks are appended.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::repair::{Repair, inspect};
use super::{Form, Options, line};
use crate::model::Planted;
use crate::store::{make_folder_of, sync_folder_of};

/// An open file. Whoever else appends to it in this way, in this process or another, waits for its turn.
pub(super) struct Appender {
    file: File,
    /// Its length up to which everything is whole and on disk. Only meaningful between `hold` and `release`.
    durable: u64,
    length: u64,
    /// A device or a pipe takes what it is given, and has no end to look after.
    is_regular: bool,
}

impl Appender {
    /// Opens the file, and makes it and its folders if they are not there.
    pub(super) fn open(path: &Path, mode: u32) -> io::Result<Self> {
        make_folder_of(path)?;
        let options = || {
            let mut options = OpenOptions::new();
            options.read(true).append(true).mode(mode);
            options
        };
        let file = match options().create_new(true).open(path) {
            Ok(file) => {
                sync_folder_of(path)?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options().open(path)?,
            Err(error) => return Err(error),
        };
        let is_regular = file.metadata()?.is_file();
        Ok(Self { file, durable: 0, length: 0, is_regular })
    }

    /// Keeps others from the file until [`Appender::release`]. Answers whether it still is the file at `path`;
    /// someone may have moved it away.
    pub(super) fn hold(&mut self, path: &Path) -> io::Result<bool> {
        match self.file.try_lock() {
            Err(TryLockError::WouldBlock) => self.file.lock()?,
            // A file system without locks: then there is nobody to wait for.
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
            _ => {}
        }
        let own = self.file.metadata()?;
        if self.is_regular {
            (self.durable, self.length) = (own.len(), own.len());
        }
        Ok(std::fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())))
    }

    pub(super) fn release(&mut self) {
        // It is also let go when the file is closed, and a lock that is held twice is held once.
        let _ = self.file.unlock();
    }

    /// Mends what a crash left at the end of the file. Answers where that is kept, if something was cut off.
    pub(super) fn repair(&mut self, path: &Path, form: &Form) -> io::Result<Option<PathBuf>> {
        match inspect(&self.file, form)? {
            Repair::Whole => Ok(None),
            Repair::CutTo(length) => {
                // It was never acknowledged, unless someone else wrote it.
                let kept = self.keep_end(path, length)?;
                self.file.set_len(length)?;
                (self.length, self.durable) = (length, length);
                Ok(Some(kept))
            }
            Repair::End => {
                let end = match form {
                    Form::Lines(line::Form::Raw { separator }) => separator.as_bytes(),
                    _ => b"\n",
                };
                self.write(end)?;
                Ok(None)
            }
        }
    }

    /// Appends everything from `start` on to a file beside this one, and answers its name.
    fn keep_end(&self, path: &Path, start: u64) -> io::Result<PathBuf> {
        let mut name = path.as_os_str().to_owned();
        name.push(".cut");
        let kept = PathBuf::from(name);
        let mut end = &self.file;
        end.seek(SeekFrom::Start(start))?;
        let mut target = OpenOptions::new().append(true).create(true).mode(0o600).open(&kept)?;
        io::copy(&mut end, &mut target)?;
        target.sync_all()?;
        sync_folder_of(&kept)?;
        Ok(kept)
    }

    /// Appends a chunk, all of it or nothing. It is on disk after [`Appender::sync`].
    pub(super) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.length += chunk.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.durable != self.length {
            if self.is_regular {
                let synced = self.file.sync_data();
                if !Planted::FsyncIgnored.is_on() {
                    synced?;
                }
            }
            self.durable = self.length;
        }
        Ok(())
    }

    /// Takes back what was written since the last sync.
    pub(super) fn undo(&mut self) -> io::Result<()> {
        self.length = self.durable;
        if self.is_regular { self.file.set_len(self.durable) } else { Ok(()) }
    }

    pub(super) fn is_regular(&self) -> bool {
        self.is_regular
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// When the file was begun, as far as the file system knows.
    pub(super) fn begun(&self) -> io::Result<SystemTime> {
        let metadata = self.file.metadata()?;
        metadata.created().or_else(|_| metadata.modified())
    }

    /// Whether the file begins with these bytes.
    pub(super) fn begins_with(&self, header: &[u8]) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        if self.length < header.len() as u64 {
            return Ok(false);
        }
        let mut beginning = vec![0; header.len()];
        self.file.read_exact_at(&mut beginning, 0)?;
        Ok(beginning == header)
    }
}

/// Opens and holds the file that is at the path of `options` now.
pub(super) fn open_and_hold(path: &Path, options: &Options) -> io::Result<Appender> {
    // Each round that fails means that someone rotated the file in that very moment.
    for _ in 0..100 {
        let mut appender = Appender::open(path, options.mode)?;
        if appender.hold(path)? {
            return Ok(appender);
        }
    }
    Err(io::Error::other("it is moved away again and again"))
}
