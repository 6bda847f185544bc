//! The files of one `lines` source: which there are, which is read next, and what became of those that were replaced.
//!
//! All of this blocks, and belongs on a thread for blocking work.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Lines;
use super::file::{Bookmark, Identity, OpenFile};
use super::records::Record;
use crate::component::{Places, Position, Produced};
use crate::model::{Fault, FaultKind, Value};

/// How many items are made in one go.
pub(super) const ITEMS: usize = 4096;

/// A file that was renamed or removed is read on for so many looks, as its writer may not have noticed yet.
const LOOKS_AFTER: u32 = 5;

/// What one call brought.
pub(super) enum Found {
    Items(Vec<Produced>),
    /// Nothing for now; worth another look later.
    Nothing,
    End,
}

pub(super) struct Reader {
    settings: Lines,
    /// How many times the files were read from the beginning before.
    run: i64,
    /// Where files stood at the start that have not been found yet.
    bookmarks: Vec<Bookmark>,
    files: Vec<Tracked>,
    /// The file whose turn it is.
    turn: usize,
    /// Whether there was nothing to read the last time.
    idle: bool,
    /// Whether it was looked which files there are.
    looked: bool,
    /// Whether this start brought any item yet.
    brought: bool,
    /// The bookmarks of all files but the one whose turn it is: a part of each position, made once a turn.
    others: Option<Value>,
}

struct Tracked {
    identity: Identity,
    /// At the last item.
    bookmark: Bookmark,
    /// Nothing while it is not read: it waits, or has come to its end.
    reading: Option<OpenFile>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Open,
    /// Renamed or removed, this many looks ago.
    Gone(u32),
    Finished,
    /// A compressed file that ended in the middle when it had this size.
    CutShort(u64),
}

impl Reader {
    pub(super) fn new(settings: Lines, position: Option<&Value>) -> Self {
        let (run, bookmarks) = position.and_then(read_position).unwrap_or_default();
        Self {
            settings,
            run,
            bookmarks,
            files: Vec::new(),
            turn: 0,
            idle: true,
            looked: false,
            brought: false,
            others: None,
        }
    }

    /// The next items, or why there are none.
    pub(super) fn read(&mut self) -> Result<Found, Fault> {
        // A file is looked at before it is read on, lest it was cut off and has grown again since.
        if self.idle {
            self.look()?;
            self.idle = false;
        }
        loop {
            if let Some(items) = self.read_turn()? {
                self.brought = true;
                return Ok(Found::Items(items));
            }
            if self.settings.follow {
                self.idle = true;
                return Ok(Found::Nothing);
            }
            if self.brought || !self.settings.repeat || !self.was_read_before() {
                return Ok(Found::End);
            }
            self.begin_anew();
        }
    }

    /// Whether an earlier start has read some of the files.
    fn was_read_before(&self) -> bool {
        self.files.iter().any(|file| file.bookmark.offset > 0)
    }

    fn begin_anew(&mut self) {
        self.run = self.run.wrapping_add(1);
        self.brought = true;
        self.others = None;
        self.turn = 0;
        for file in &mut self.files {
            file.bookmark.offset = 0;
            file.state = State::Waiting;
        }
    }

    /// Items of the next file that has some; nothing once all have been asked.
    fn read_turn(&mut self) -> Result<Option<Vec<Produced>>, Fault> {
        for _ in 0..self.files.len() {
            if self.turn >= self.files.len() {
                self.turn = 0;
            }
            let items = self.read_file(self.turn)?;
            if !items.is_empty() {
                return Ok(Some(items));
            }
            self.turn += 1;
            self.others = None;
        }
        Ok(None)
    }

    /// Items of one file: none at its end.
    fn read_file(&mut self, index: usize) -> Result<Vec<Produced>, Fault> {
        let file = &mut self.files[index];
        if matches!(file.state, State::Finished | State::CutShort(_)) {
            return Ok(Vec::new());
        }
        if file.reading.is_none() && !self.open(index)? {
            return Ok(Vec::new());
        }
        let Some(reading) = &mut self.files[index].reading else { return Ok(Vec::new()) };
        let records = loop {
            match reading.read(ITEMS) {
                Ok((records, false)) if records.is_empty() => {}
                result => break result,
            }
        };
        match records {
            Ok((records, false)) => Ok(self.make(index, records)),
            Ok((_, true)) => Ok(self.end(index)),
            Err(error) if reading.is_compressed() => Ok(self.give_up(index, &error)),
            Err(error) => Err(cannot_read(&self.files[index].bookmark.path, &error)),
        }
    }

    /// Opens a file where its bookmark lies. False if it is not there any more.
    fn open(&mut self, index: usize) -> Result<bool, Fault> {
        let file = &mut self.files[index];
        let path = file.bookmark.path.clone();
        let opened =
            OpenFile::open(&path, self.settings.format_of(&path), self.settings.max_line).and_then(|mut new| {
                let bookmark = &file.bookmark;
                let resumed = bookmark.offset == 0 || (bookmark.is_of(new.identity) && new.resume(bookmark)?);
                Ok((new, resumed))
            });
        match opened {
            Ok((reading, resumed)) => {
                if !resumed {
                    log::warn!(file = path.to_string_lossy().as_ref(), offset = file.bookmark.offset;
                        "a file was cut off or replaced, and is read from its beginning");
                    file.bookmark = reading.bookmark(0);
                }
                file.identity = reading.identity;
                file.reading = Some(reading);
                file.state = State::Open;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.settings.is_glob() => {
                file.state = State::Finished;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.settings.follow => {
                file.state = State::CutShort(fs::metadata(&path).map_or(0, |metadata| metadata.len()));
                Ok(false)
            }
            Err(error) => Err(cannot_read(&path, &error)),
        }
    }

    /// What the end of a file means.
    fn end(&mut self, index: usize) -> Vec<Produced> {
        let follow = self.settings.follow;
        let file = &mut self.files[index];
        let Some(reading) = &mut file.reading else { return Vec::new() };
        let for_good = match file.state {
            State::Gone(looks) => looks >= LOOKS_AFTER,
            _ => !follow || reading.is_compressed(),
        };
        if !for_good {
            return Vec::new();
        }
        let rest = reading.rest();
        self.finish(index, rest)
    }

    /// Makes a dead letter of a compressed file that cannot be read to its end, or waits for the rest of it.
    fn give_up(&mut self, index: usize, error: &io::Error) -> Vec<Produced> {
        let file = &mut self.files[index];
        let Some(reading) = &file.reading else { return Vec::new() };
        if self.settings.follow && error.kind() == io::ErrorKind::UnexpectedEof {
            file.state = State::CutShort(fs::metadata(&reading.path).map_or(0, |metadata| metadata.len()));
            file.reading = None;
            return Vec::new();
        }
        let record = Record {
            start: reading.read_to(),
            end: file.bookmark.offset,
            value: Value::Text(reading.name()),
            fault: Some(format!("the rest of the file is lost: {error}")),
        };
        self.finish(index, vec![record])
    }

    /// Makes items of the last records of a file, and closes it.
    fn finish(&mut self, index: usize, last: Vec<Record>) -> Vec<Produced> {
        let items = self.make(index, last);
        self.files[index].state = State::Finished;
        self.files[index].reading = None;
        items
    }

    /// Items of records of one file, each with the position behind it.
    fn make(&mut self, index: usize, records: Vec<Record>) -> Vec<Produced> {
        let run = self.run;
        let others = self.others.take().unwrap_or_else(|| self.others(index));
        let file = &mut self.files[index];
        let Some(reading) = &file.reading else { return Vec::new() };
        let name = reading.name();
        let mut bookmark = file.bookmark.clone();
        let mut places = Arc::new(InFile { file: bookmark.file_value(), others: others.clone(), run });
        let mut items = Vec::with_capacity(records.len());
        for record in records {
            if OpenFile::is_past_head(bookmark.offset) {
                bookmark.offset = record.end;
            } else {
                bookmark = reading.bookmark(record.end);
                places = Arc::new(InFile { file: bookmark.file_value(), others: others.clone(), run });
            }
            let mut place = Vec::with_capacity(40);
            for part in [run, bookmark.inode.cast_signed(), bookmark.born, bookmark.head, record.start.cast_signed()] {
                place.extend_from_slice(&part.to_le_bytes());
            }
            items.push(Produced {
                labels: reading.labels.clone(),
                position: Some(Position::counted(places.clone(), record.end)),
                fault: record.fault.map(|reason| {
                    let message = format!("cannot read `{name}` at byte {}: {reason}", record.start);
                    Fault::reject(FaultKind::Parse, message)
                }),
                ..Produced::new(record.value, place)
            });
        }
        file.bookmark = bookmark;
        self.others = Some(others);
        items
    }

    /// The bookmarks in all files but one, and in those that were not found again yet.
    fn others(&self, index: usize) -> Value {
        let files = self.files.iter().enumerate().filter(|(other, file)| *other != index && file.bookmark.offset > 0);
        let bookmarks = files.map(|(_, file)| &file.bookmark).chain(&self.bookmarks);
        let show = |bookmark: &Bookmark| Value::array(vec![offset_value(bookmark), bookmark.file_value()]);
        Value::array(bookmarks.map(show).collect())
    }

    /// Looks which files there are, and what became of those that are open.
    fn look(&mut self) -> Result<(), Fault> {
        let mut changed = false;
        let mut seen = vec![false; self.files.len()];
        let mut known: HashMap<_, _> =
            self.files.iter().enumerate().map(|(index, file)| (file.identity, index)).collect();
        for (path, identity, size) in self.existing()? {
            match known.get(&identity).copied() {
                // The same file under a second name.
                Some(index) if seen[index] => {}
                Some(index) => {
                    seen[index] = true;
                    changed |= self.look_at(index, &path, size)?;
                }
                None => {
                    known.insert(identity, self.files.len());
                    self.track(path, identity);
                    seen.push(true);
                    changed = true;
                }
            }
        }
        let count = self.files.len();
        let mut seen = seen.into_iter();
        self.files.retain_mut(|file| {
            let seen = seen.next().unwrap_or(false);
            file.state = match file.state {
                // A finished file that still exists keeps its bookmark, so that it is not read again.
                State::Finished => return seen,
                State::Gone(_) if seen => State::Open,
                State::Gone(looks) => State::Gone(looks + 1),
                State::Open if !seen => State::Gone(0),
                State::Waiting | State::CutShort(_) if !seen => return false,
                state => state,
            };
            changed |= file.state == State::Gone(LOOKS_AFTER);
            true
        });
        if self.files.len() != count {
            self.others = None;
        }
        if !std::mem::replace(&mut self.looked, true) {
            changed |= self.find_renamed();
        }
        if changed {
            self.turn = 0;
            self.others = None;
        }
        Ok(())
    }

    /// Looks at a file that is known. True if there is more to read.
    fn look_at(&mut self, index: usize, path: &Path, size: u64) -> Result<bool, Fault> {
        let file = &mut self.files[index];
        if file.bookmark.path != path {
            file.bookmark.path = path.to_owned();
            self.others = None;
            if let Some(reading) = &mut file.reading {
                reading.path = path.to_owned();
            }
        }
        if let State::CutShort(before) = file.state {
            if size == before {
                return Ok(false);
            }
            file.state = State::Waiting;
            return Ok(true);
        }
        let Some(reading) = &file.reading else { return Ok(false) };
        let whole = reading.is_shorter_than(reading.read_to()).map(|shorter| !shorter);
        let same = whole.and_then(|whole| Ok(whole && reading.begins_as_before()?));
        if same.map_err(|error| cannot_read(path, &error))? {
            return Ok(false);
        }
        log::warn!(file = path.to_string_lossy().as_ref(), offset = file.bookmark.offset;
            "a file was cut off, and is read from its beginning");
        file.bookmark.offset = 0;
        file.reading = None;
        file.state = State::Waiting;
        Ok(true)
    }

    /// Begins with a file that was not known, at its bookmark if it has one.
    fn track(&mut self, path: PathBuf, identity: Identity) {
        let known = self.bookmarks.iter().position(|bookmark| bookmark.is_of(identity));
        let bookmark = match known {
            Some(index) => Bookmark { path, ..self.bookmarks.remove(index) },
            None => Bookmark { path, inode: identity.inode, born: identity.born, head: 0, offset: 0 },
        };
        self.files.push(Tracked { identity, bookmark, reading: None, state: State::Waiting });
    }

    /// Looks for files that were renamed while gatherd did not run, beside where they were. They come first, as their
    /// lines are older than those of the files that took their names.
    fn find_renamed(&mut self) -> bool {
        let count = self.files.len();
        for bookmark in std::mem::take(&mut self.bookmarks) {
            let folder = bookmark.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let entries = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
            let found = entries.filter(|_| self.settings.follow).find_map(|entry| {
                let identity = Identity::of(&entry.metadata().ok()?);
                bookmark.is_of(identity).then(|| (entry.path(), identity))
            });
            match found {
                Some((path, identity)) => {
                    let bookmark = Bookmark { path, ..bookmark };
                    self.files.insert(0, Tracked { identity, bookmark, reading: None, state: State::Waiting });
                }
                None if !self.settings.follow => {}
                None => log::warn!(file = bookmark.path.to_string_lossy().as_ref(), offset = bookmark.offset;
                    "a file is gone; if lines stood in it after this offset, they were not read"),
            }
        }
        self.files.len() > count
    }

    /// The files that the path names now, by name.
    fn existing(&self) -> Result<Vec<(PathBuf, Identity, u64)>, Fault> {
        let pattern = &self.settings.path;
        if !self.settings.is_glob() {
            let path = PathBuf::from(pattern);
            return match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    let identity = Identity::of(&metadata);
                    Ok(vec![(path, identity, metadata.len())])
                }
                Ok(metadata) => {
                    let way_out = match metadata.is_dir() {
                        true => format!("write `{}/*` for the files in it", pattern.trim_end_matches('/')),
                        false => "read a pipe as `-`".to_owned(),
                    };
                    let message = format!("cannot read `{pattern}`: it is not a file; {way_out}");
                    Err(Fault::stop(FaultKind::Read, message))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.settings.follow => Ok(Vec::new()),
                Err(error) => Err(cannot_read(&path, &error)),
            };
        }
        let paths = glob::glob(pattern)
            .map_err(|error| Fault::stop(FaultKind::Read, format!("cannot look for the files `{pattern}`: {error}")))?;
        let mut existing = Vec::new();
        for path in paths {
            let path = path.map_err(|error| cannot_read(error.path(), error.error()))?;
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    existing.push((path, Identity::of(&metadata), metadata.len()));
                }
                // Not a file, or removed since it was found.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot_read(&path, &error)),
            }
        }
        Ok(existing)
    }
}

/// The places in one file, by their offset.
#[derive(Debug)]
struct InFile {
    file: Value,
    others: Value,
    run: i64,
}

impl Places for InFile {
    fn position(&self, offset: u64) -> Value {
        Value::array(vec![offset.cast_signed().into(), self.file.clone(), self.others.clone(), self.run.into()])
    }
}

fn offset_value(bookmark: &Bookmark) -> Value {
    Value::from(bookmark.offset.cast_signed())
}

/// The run and the bookmarks of a position: `[offset, file, [[offset, file], …], run]`.
fn read_position(position: &Value) -> Option<(i64, Vec<Bookmark>)> {
    let Value::Array(parts) = position else { return None };
    let [offset, file, Value::Array(others), run] = parts.as_slice() else { return None };
    let mut bookmarks = vec![Bookmark::read(file, offset)?];
    for other in others.iter() {
        let Value::Array(other) = other else { return None };
        let [offset, file] = other.as_slice() else { return None };
        bookmarks.push(Bookmark::read(file, offset)?);
    }
    Some((run.as_i64()?, bookmarks))
}

/// What a person must mend stops the source; the rest may pass.
fn cannot_read(path: &Path, error: &io::Error) -> Fault {
    let message = format!("cannot read `{}`: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Fault::stop(FaultKind::Read, message),
        _ => Fault::retry(FaultKind::Read, message),
    }
}

#[cfg(test)]
mod tests;
