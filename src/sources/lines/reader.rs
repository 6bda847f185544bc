//! The files of one `lines` source: which there are, which is read next, and what became of those that were replaced.
//!
//! All of this blocks, and belongs on a thread for blocking work.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Lines;
use super::file::{Bookmark, Identity, OpenFile};
use super::records::Record;
use crate::component::{Position, Produced};
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
        let mut file_value = bookmark.file_value();
        let mut items = Vec::with_capacity(records.len());
        for record in records {
            if OpenFile::is_past_head(bookmark.offset) {
                bookmark.offset = record.end;
            } else {
                bookmark = reading.bookmark(record.end);
                file_value = bookmark.file_value();
            }
            let offset = Value::from(record.end.cast_signed());
            let position = vec![offset, file_value.clone(), others.clone(), run.into()];
            let mut place = Vec::with_capacity(40);
            for part in [run, bookmark.inode.cast_signed(), bookmark.born, bookmark.head, record.start.cast_signed()] {
                place.extend_from_slice(&part.to_le_bytes());
            }
            items.push(Produced {
                labels: reading.labels.clone(),
                position: Some(Position(Value::array(position))),
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
                    let way_out = if metadata.is_dir() { "write `folder/*`" } else { "read a pipe as `-`" };
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
mod tests {
    use super::*;
    use crate::model::Size;
    use std::fs::OpenOptions;
    use std::io::Write;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.path(name), bytes).unwrap();
        }

        fn append(&self, name: &str, text: &str) {
            let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.path(from), self.path(to)).unwrap();
        }

        fn lines(&self, name: &str, follow: bool) -> Lines {
            let path = self.path(name).to_str().unwrap().to_owned();
            Lines { path, format: None, delimiter: None, follow, repeat: false, max_line: Size::mib(1) }
        }

        fn follow(&self, name: &str, position: Option<&Value>) -> Reader {
            Reader::new(self.lines(name, true), position)
        }

        fn list(&self, name: &str, position: Option<&Value>) -> Reader {
            Reader::new(self.lines(name, false), position)
        }
    }

    /// All items there are for now.
    fn items(reader: &mut Reader) -> Vec<Produced> {
        let mut items = Vec::new();
        while let Found::Items(found) = reader.read().unwrap() {
            items.extend(found);
        }
        items
    }

    fn show(items: &[Produced]) -> Vec<String> {
        let show = |item: &Produced| match (&item.fault, &item.value) {
            (Some(fault), _) => format!("!{fault}"),
            (None, Value::Text(text)) => text.to_string(),
            (None, value) => value.to_string(),
        };
        items.iter().map(show).collect()
    }

    fn texts(reader: &mut Reader) -> Vec<String> {
        show(&items(reader))
    }

    fn position(item: &Produced) -> Value {
        item.position.clone().unwrap().0
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &str) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), 1).unwrap()
    }

    #[test]
    fn a_later_start_takes_only_what_was_added() {
        let folder = Folder::new();
        folder.append("urls.txt", "a\nb\nc");
        let all = items(&mut folder.list("urls.txt", None));
        assert_eq!(show(&all), ["a", "b", "c"]);
        let end = position(&all[2]);
        assert_eq!(texts(&mut folder.list("urls.txt", Some(&end))), [""; 0]);
        folder.append("urls.txt", "\nd\n");
        assert_eq!(texts(&mut folder.list("urls.txt", Some(&end))), ["d"]);
        assert_eq!(texts(&mut folder.list("urls.txt", Some(&position(&all[0])))), ["b", "c", "d"]);
    }

    #[test]
    fn a_start_goes_on_after_any_item_in_every_format() {
        let folder = Folder::new();
        let rows: Vec<String> = (0..1000).map(|row| format!("{row},\"line\nof {row}\"\r\n")).collect();
        let csv = format!("id,name\r\n{}", rows.concat());
        let text: String = (0..1000).map(|line| format!("line {line}\n")).collect();
        folder.write("a.csv", csv.as_bytes());
        folder.write("b.csv.gz", &gzip(&csv));
        folder.write("c.txt.zst", &zstd(&text));
        folder.write("d.txt.gz", &[gzip(&text[..500]), gzip(&text[500..])].concat());
        for name in ["a.csv", "b.csv.gz", "c.txt.zst", "d.txt.gz"] {
            let all = items(&mut folder.list(name, None));
            assert_eq!(all.len(), 1000, "{name}");
            assert!(all.iter().all(|item| item.fault.is_none()), "{name}");
            for stop in [0, 1, 5, 20, 500, 998, 999] {
                let rest = items(&mut folder.list(name, Some(&position(&all[stop]))));
                assert_eq!(show(&rest), show(&all[stop + 1..]), "{name} after {stop}");
                let places = |items: &[Produced]| items.iter().map(|item| item.place.clone()).collect::<Vec<_>>();
                assert_eq!(places(&rest), places(&all[stop + 1..]), "{name} after {stop}");
            }
        }
    }

    #[test]
    fn files_of_a_pattern_are_read_by_name_and_each_keeps_its_place() {
        let folder = Folder::new();
        folder.append("1.txt", "a\nb\n");
        folder.append("2.txt", "c\nd\n");
        folder.append("3.md", "no\n");
        let all = items(&mut folder.list("*.txt", None));
        assert_eq!(show(&all), ["a", "b", "c", "d"]);
        assert_eq!(all[2].labels.get("file"), Some(Value::from(folder.path("2.txt").to_str().unwrap())));
        assert_eq!(texts(&mut folder.list("*.txt", Some(&position(&all[0])))), ["b", "c", "d"]);
        folder.append("1.txt", "x\n");
        folder.append("0.txt", "y\n");
        assert_eq!(texts(&mut folder.list("*.txt", Some(&position(&all[2])))), ["y", "x", "d"]);
    }

    #[test]
    fn a_file_that_was_replaced_is_read_anew() {
        let folder = Folder::new();
        folder.append("a.txt", "one\ntwo\n");
        let end = position(&items(&mut folder.list("a.txt", None))[1]);
        folder.append("new", "one\ntwo\nthree\n");
        folder.rename("new", "a.txt");
        assert_eq!(texts(&mut folder.list("a.txt", Some(&end))), ["one", "two", "three"]);
        let end = position(&items(&mut folder.list("a.txt", None))[2]);
        // The same file with other contents, of which even the size does not tell.
        folder.write("a.txt", b"ONE\ntwo\nthree\nfour\n");
        assert_eq!(texts(&mut folder.list("a.txt", Some(&end))), ["ONE", "two", "three", "four"]);
        folder.write("a.txt", b"one\n");
        assert_eq!(texts(&mut folder.list("a.txt", Some(&end))), ["one"]);
    }

    #[test]
    fn following_waits_for_the_end_of_a_line_and_for_new_files() {
        let folder = Folder::new();
        let mut reader = folder.follow("*.log", None);
        assert_eq!(texts(&mut reader), [""; 0]);
        folder.append("a.log", "one\ntw");
        assert_eq!(texts(&mut reader), ["one"]);
        folder.append("a.log", "o\n");
        folder.append("b.log", "three\n");
        assert_eq!(texts(&mut reader), ["two", "three"]);
        folder.write("c.log.gz", b"");
        folder.append("a.log", "four\n");
        assert_eq!(texts(&mut reader), ["four"]);
    }

    #[test]
    fn following_finishes_a_rotated_file_and_goes_on_with_the_new_one() {
        let folder = Folder::new();
        folder.append("app.log", "1\n2\n");
        let mut reader = folder.follow("app.log", None);
        assert_eq!(texts(&mut reader), ["1", "2"]);
        folder.append("app.log", "3\n");
        folder.rename("app.log", "app.log.1");
        folder.append("app.log", "4\n");
        assert_eq!(texts(&mut reader), ["3", "4"]);
        // Its writer has not noticed yet.
        folder.append("app.log.1", "late\nlast");
        assert_eq!(texts(&mut reader), ["late"]);
        folder.append("app.log", "5\n");
        let mut found = Vec::new();
        for _ in 0..=LOOKS_AFTER {
            found.extend(texts(&mut reader));
        }
        found.sort();
        assert_eq!(found, ["5", "last"], "what is left at the end of a finished file counts");
        assert_eq!(reader.files.len(), 1, "finished files are forgotten");
    }

    #[test]
    fn following_a_pattern_knows_a_renamed_file_again() {
        let folder = Folder::new();
        folder.append("app.log", "1\n");
        let mut reader = folder.follow("app.log*", None);
        assert_eq!(texts(&mut reader), ["1"]);
        folder.rename("app.log", "app.log.1");
        folder.append("app.log.1", "2\n");
        folder.append("app.log", "3\n");
        let mut found = items(&mut reader);
        found.sort_by_key(|item| show(std::slice::from_ref(item)));
        assert_eq!(show(&found), ["2", "3"]);
    }

    #[test]
    fn a_file_with_two_names_is_read_once() {
        let folder = Folder::new();
        folder.append("app-1.log", "1\n");
        std::os::unix::fs::symlink(folder.path("app-1.log"), folder.path("current.log")).unwrap();
        let mut reader = folder.follow("*.log", None);
        assert_eq!(texts(&mut reader), ["1"]);
        folder.append("current.log", "2\n");
        assert_eq!(texts(&mut reader), ["2"]);
    }

    #[test]
    fn a_rotation_while_gatherd_does_not_run_loses_nothing() {
        let folder = Folder::new();
        folder.append("app.log", "1\n2\n3\n");
        let settled = position(&items(&mut folder.follow("app.log", None))[0]);
        folder.rename("app.log", "app.log.1");
        folder.append("app.log", "4\n");
        assert_eq!(texts(&mut folder.follow("app.log", Some(&settled))), ["2", "3", "4"]);
    }

    #[test]
    fn following_begins_anew_when_a_file_is_cut_off() {
        let folder = Folder::new();
        folder.append("app.log", "1\n2\n");
        let mut reader = folder.follow("app.log", None);
        assert_eq!(texts(&mut reader), ["1", "2"]);
        folder.write("app.log", b"3\n");
        assert_eq!(texts(&mut reader), ["3"]);
        folder.write("app.log", b"4\n5\n6\n");
        assert_eq!(texts(&mut reader), ["4", "5", "6"], "cut off and already longer than before");
    }

    #[test]
    fn a_compressed_file_that_is_cut_short_is_waited_for_or_becomes_a_fault() {
        let folder = Folder::new();
        let text: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
        let whole = gzip(&text);
        folder.write("a.gz", &whole[..whole.len() / 2]);
        let mut reader = folder.follow("*.gz", None);
        let first = items(&mut reader);
        assert!(!first.is_empty() && first.len() < 20_000);
        folder.write("a.gz", &whole);
        assert_eq!(first.len() + items(&mut reader).len(), 20_000);

        folder.write("a.gz", &whole[..whole.len() / 2]);
        folder.write("b.gz", &gzip("next\n"));
        let found = texts(&mut folder.list("*.gz", None));
        let faults: Vec<_> = found.iter().filter(|line| line.starts_with('!')).collect();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("a.gz") && faults[0].contains("the rest of the file is lost"), "{}", faults[0]);
        assert_eq!(found.last().unwrap(), "next");
    }

    #[test]
    fn with_repeat_files_at_their_end_are_read_again() {
        let folder = Folder::new();
        folder.append("urls.txt", "a\nb\n");
        let lines = Lines { repeat: true, ..folder.lines("urls.txt", false) };
        let all = items(&mut Reader::new(lines.clone(), None));
        assert_eq!(texts(&mut Reader::new(lines.clone(), Some(&position(&all[0])))), ["b"]);
        let again = items(&mut Reader::new(lines, Some(&position(&all[1]))));
        assert_eq!(show(&again), ["a", "b"]);
        assert_ne!(all[0].place, again[0].place, "lines read again are other items");
    }

    #[test]
    fn what_is_no_file_stops_the_source_with_the_way_out() {
        let folder = Folder::new();
        fs::create_dir(folder.path("logs")).unwrap();
        for (name, message) in [("none.txt", "No such file"), ("logs", "write `folder/*`")] {
            let Err(fault) = folder.list(name, None).read() else { panic!("{name}") };
            assert_eq!(fault.verdict, crate::model::Verdict::Stop, "{name}");
            assert!(fault.message.contains(message), "{fault}");
        }
    }
}
