//! The thread that writes batches to files, and syncs each file once for all batches that wait.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::appender::{Appender, open_and_hold};
use super::rotation::{Tidier, put_away};
use super::{Form, Options, line};
use crate::model::{Fault, FaultKind, Value, Verdict};
use crate::runtime::{Clock, GroupWork};

/// The lines of one batch for one file.
pub(super) struct Chunk {
    pub(super) path: PathBuf,
    pub(super) pieces: Vec<Piece>,
}

/// Bytes that are written in one go.
pub(super) enum Piece {
    Lines(Vec<u8>),
    /// A value that is written as it is, and too long to be copied first.
    Long {
        form: line::Form,
        value: Value,
    },
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Lines(lines) => lines,
            Piece::Long { form, value } => line::written_as_it_is(form, value).unwrap_or_default(),
        }
    }
}

impl Chunk {
    fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes().len()).sum()
    }
}

/// How many files are open at once; beyond it the one that was not written for longest is closed.
const OPEN_FILES: usize = 64;

/// How many files are remembered to have been looked at for what a crash left.
const INSPECTED: usize = 10_000;

/// How many bytes are written between two syncs at most.
const GROUP_BYTES: usize = 16 << 20;

pub(super) struct Writer {
    options: Arc<Options>,
    clock: Clock,
    /// The one written last is the last.
    open: IndexMap<PathBuf, Appender>,
    inspected: HashSet<PathBuf>,
    /// Dropped last: it finishes what it has.
    tidier: Option<Tidier>,
}

/// Where an append stopped: how many chunks are on disk, and why no more.
struct Stopped {
    done: usize,
    error: io::Error,
}

impl Writer {
    pub(super) fn new(options: Arc<Options>, clock: Clock) -> Result<Self, Fault> {
        let tidier = options.rotation.tidies().then(|| Tidier::start(options.rotation.clone())).transpose();
        let failed = |error| Fault::stop(FaultKind::Write, format!("cannot start the thread of a sink: {error}"));
        Ok(Self { tidier: tidier.map_err(failed)?, options, clock, open: IndexMap::new(), inspected: HashSet::new() })
    }

    /// Opens a file before there is anything to write, so that what only a person can mend is told at the start.
    pub(super) fn try_open(&mut self, path: &Path) -> Result<(), Fault> {
        if let Some(tidier) = &self.tidier {
            tidier.tidy(path);
        }
        match self.append(path, &[]) {
            Err(stopped) if is_lasting(&stopped.error) => {
                Err(Fault::stop(FaultKind::Write, message(path, &stopped.error)))
            }
            // A retry may mend it.
            _ => Ok(()),
        }
    }

    /// Appends chunks to a file, and syncs it.
    fn append(&mut self, path: &Path, chunks: &[&Chunk]) -> Result<(), Stopped> {
        let mut appender = self.take(path).map_err(|error| Stopped { done: 0, error })?;
        let mut done = 0;
        let written = self.write(path, &mut appender, chunks, &mut done);
        match written {
            Ok(()) => {
                appender.release();
                self.keep(path, appender);
                Ok(())
            }
            Err(error) => {
                // After a failed sync nobody knows what the disk has: the file is opened and looked at again.
                self.inspected.remove(path);
                if let Err(undo) = appender.undo() {
                    log::error!(file:% = path.display(), error:% = undo; "cannot take back half a write");
                }
                Err(Stopped { done, error })
            }
        }
    }

    /// The open file, held against others.
    fn take(&mut self, path: &Path) -> io::Result<Appender> {
        if let Some(mut appender) = self.open.shift_remove(path) {
            if appender.hold(path)? {
                return Ok(appender);
            }
            // It was moved away, and another may be in its place.
            self.inspected.remove(path);
        }
        open_and_hold(path, &self.options)
    }

    fn keep(&mut self, path: &Path, appender: Appender) {
        if self.open.len() >= OPEN_FILES {
            self.open.shift_remove_index(0);
        }
        self.open.insert(path.to_owned(), appender);
    }

    /// Counts in `done` the chunks that are on disk.
    fn write(&mut self, path: &Path, appender: &mut Appender, chunks: &[&Chunk], done: &mut usize) -> io::Result<()> {
        self.inspect(path, appender)?;
        for (place, chunk) in chunks.iter().enumerate() {
            if self.is_due(appender, chunk.len())? {
                appender.sync()?;
                *done = place;
                self.rotate(path, appender)?;
            }
            if appender.length() == 0
                && let Form::Csv(columns) = &self.options.form
            {
                appender.write(&columns.header)?;
            }
            for piece in &chunk.pieces {
                appender.write(piece.bytes())?;
            }
        }
        appender.sync()?;
        *done = chunks.len();
        Ok(())
    }

    /// Mends what a crash has left, once a file; puts away a table with other columns.
    fn inspect(&mut self, path: &Path, appender: &mut Appender) -> io::Result<()> {
        if self.inspected.contains(path) {
            return Ok(());
        }
        let cut = appender.repair(path, &self.options.form)?;
        if let Some(kept) = cut {
            log::warn!(
                file:% = path.display(), kept:% = kept.display();
                "cut off what a crash had left half written"
            );
        }
        if let Form::Csv(columns) = &self.options.form
            && appender.length() > 0
            && !appender.begins_with(&columns.header)?
        {
            log::warn!(file:% = path.display(); "the file has other columns; putting it away");
            self.rotate(path, appender)?;
        }
        if self.inspected.len() >= INSPECTED {
            self.inspected.clear();
        }
        self.inspected.insert(path.to_owned());
        Ok(())
    }

    fn is_due(&self, appender: &Appender, more: usize) -> io::Result<bool> {
        let age = || {
            let begun = Timestamp::try_from(appender.begun()?).map_err(io::Error::other)?;
            Ok(Duration::try_from(self.clock.timestamp().duration_since(begun)).unwrap_or_default())
        };
        Ok(appender.is_regular() && self.options.rotation.is_due(appender.length(), more as u64, age)?)
    }

    /// Puts the file away, and begins a new one in its place.
    fn rotate(&mut self, path: &Path, appender: &mut Appender) -> io::Result<()> {
        let away = put_away(path, self.clock.timestamp())?;
        log::info!(file:% = path.display(), put_away:% = away.display(); "began a new file");
        *appender = open_and_hold(path, &self.options)?;
        if let Some(tidier) = &self.tidier {
            tidier.tidy(path);
        }
        Ok(())
    }
}

impl GroupWork for Writer {
    type Request = Vec<Chunk>;
    type Answer = Vec<Result<(), Fault>>;
    const WEIGHT_LIMIT: usize = GROUP_BYTES;
    /// Each worker of the sink has one at a time.
    const REQUESTS: usize = 64;

    fn weight(chunks: &Vec<Chunk>) -> usize {
        chunks.iter().map(Chunk::len).sum()
    }

    fn work(&mut self, batches: Vec<Vec<Chunk>>, _is_closing: &dyn Fn() -> bool) -> Vec<Vec<Result<(), Fault>>> {
        let mut answers: Vec<Vec<_>> = batches.iter().map(|chunks| vec![Ok(()); chunks.len()]).collect();
        let mut files: IndexMap<&Path, Vec<(usize, usize)>> = IndexMap::new();
        for (batch, chunks) in batches.iter().enumerate() {
            for (place, chunk) in chunks.iter().enumerate() {
                files.entry(&chunk.path).or_default().push((batch, place));
            }
        }
        for (path, places) in files {
            let chunks: Vec<&Chunk> = places.iter().map(|(batch, place)| &batches[*batch][*place]).collect();
            if let Err(stopped) = self.append(path, &chunks) {
                let fault = self.fault(path, &stopped.error);
                for (batch, place) in &places[stopped.done..] {
                    answers[*batch][*place] = Err(fault.clone());
                }
            }
        }
        answers
    }
}

impl Writer {
    fn fault(&self, path: &Path, error: &io::Error) -> Fault {
        let message = message(path, error);
        if self.options.path.constant().is_some() || is_of_disk(error) {
            Fault::retry(FaultKind::Write, message)
        } else if is_of_path(error) {
            Fault::reject(FaultKind::Write, message)
        } else {
            // Other items may lead to files that can be written.
            Fault::new(FaultKind::Write, Verdict::RetryItem { not_before: None }, message)
        }
    }
}

fn message(path: &Path, error: &io::Error) -> String {
    format!("cannot append to `{}`: {error}", path.display())
}

/// Whether no other file can be written either.
fn is_of_disk(error: &io::Error) -> bool {
    use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull) || error.raw_os_error() == Some(EIO)
}

/// An error of the device itself, for which the library has no word.
const EIO: i32 = 5;

/// Whether the path itself is one that no file can have.
fn is_of_path(error: &io::Error) -> bool {
    use ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory};
    matches!(error.kind(), InvalidFilename | InvalidInput | IsADirectory | NotADirectory)
}

/// Whether only a person can mend it.
fn is_lasting(error: &io::Error) -> bool {
    is_of_path(error) || matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}
