//! The reader over real files: what it gives, and the bookmarks it leaves.

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
    item.position.clone().unwrap().into_value()
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
    for (name, message) in [("none.txt", "No such file"), ("logs", "/logs/*` for the files in it")] {
        let Err(fault) = folder.list(name, None).read() else { panic!("{name}") };
        assert_eq!(fault.verdict, crate::model::Verdict::Stop, "{name}");
        assert!(fault.message.contains(message), "{fault}");
    }
}
