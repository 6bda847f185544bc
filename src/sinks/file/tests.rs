//! The sink as the engine uses it, and what is in its files then.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::component::contract::{check_sink, items, sink_context};
use crate::model::{Verdict, json};
use crate::runtime::block_on;
use crate::settings::read_text;

/// Settings as a config has them; `path` is within `folder`.
fn settings(folder: &TempDir, path: &str, rest: &str) -> FileSettings {
    let text = format!("file = {{ path = '{}/{path}', {rest} }}", folder.path().display());
    FileSettings { options: Arc::new(read_text(&text, Options::read).unwrap()) }
}

fn open(folder: &TempDir, path: &str, rest: &str) -> Box<dyn Sink> {
    open_at(folder, path, rest, Clock::system())
}

fn open_at(folder: &TempDir, path: &str, rest: &str, clock: Clock) -> Box<dyn Sink> {
    settings(folder, path, rest).open(sink_context("out", clock)).unwrap()
}

fn write(sink: &dyn Sink, values: &[&str]) -> Result<(), WriteFault> {
    block_on(sink.write(&items(values.iter().map(|value| json::parse(value.as_bytes()).unwrap()))))
}

fn read(folder: &TempDir, path: &str) -> String {
    fs::read_to_string(folder.path().join(path)).unwrap()
}

/// The files in the folder, in the order of their names.
fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn ids_in_json_lines(text: &str) -> Vec<i64> {
    text.lines().map(|line| json::parse(line.as_bytes()).unwrap().get("id").unwrap().as_i64().unwrap()).collect()
}

/// Long ones are written from where they are, in their order among the others.
#[test]
fn values_of_any_length_stand_in_the_file_in_their_order() {
    let long = "x".repeat(LONG);
    let compact = format!(r#"{{"id":1,"text":"{long}"}}"#);
    let spaced = format!(r#"{{"id": 2, "text": "{long}"}}"#);
    let text = format!("\"{long}\"");
    let values = [&compact, "{}", &spaced, &compact, &text, "[1]"];
    for (rest, expected) in [
        ("", format!("{compact}\n{{}}\n{}\n{compact}\n{text}\n[1]\n", spaced.replace(' ', ""))),
        (
            "format = 'raw', separator = '--'",
            format!("{compact}--{{}}--{}--{compact}--{long}--[1]--", spaced.replace(' ', "")),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(&*open(&folder, "out", rest), &values).unwrap();
        assert_eq!(read(&folder, "out"), expected, "{rest}");
    }
}

#[test]
fn it_does_what_every_sink_must() {
    let folder = tempfile::tempdir().unwrap();
    check_sink(&settings(&folder, "deep/er/out.ndjson", ""), || {
        ids_in_json_lines(&read(&folder, "deep/er/out.ndjson"))
    });
    check_sink(&settings(&folder, "out.csv", "columns = ['id', 'name']"), || {
        let mut table = ::csv::Reader::from_path(folder.path().join("out.csv")).unwrap();
        table.records().map(|row| row.unwrap()[0].parse().unwrap()).collect()
    });
    check_sink(&settings(&folder, "by-id/{.id % 100}.ndjson", ""), || {
        let files: Vec<_> = fs::read_dir(folder.path().join("by-id")).unwrap().collect();
        assert_eq!(files.len(), 100);
        files
            .iter()
            .flat_map(|file| ids_in_json_lines(&fs::read_to_string(file.as_ref().unwrap().path()).unwrap()))
            .collect()
    });
    check_sink(&settings(&folder, "small/out.ndjson", "rotate = { size = '10KiB' }"), || {
        let files: Vec<_> = fs::read_dir(folder.path().join("small")).unwrap().collect();
        assert!(files.len() > 5);
        files
            .iter()
            .flat_map(|file| ids_in_json_lines(&fs::read_to_string(file.as_ref().unwrap().path()).unwrap()))
            .collect()
    });
}

#[test]
fn two_sinks_on_one_file_tear_no_lines() {
    let folder = tempfile::tempdir().unwrap();
    let sinks: Vec<Arc<dyn Sink>> =
        (0..2).map(|_| open(&folder, "out.ndjson", "rotate = { size = '100KiB' }").into()).collect();
    block_on(async {
        let writes: Vec<_> = (0..100i64)
            .map(|number| {
                let sink = sinks[usize::from(number % 2 == 0)].clone();
                let lines = (0..50).map(|_| json::parse(format!("{{\"id\":{number}}}").as_bytes()).unwrap());
                let lines = items(lines);
                runtime::spawn(async move { sink.write(&lines).await })
            })
            .collect();
        for write in writes {
            write.join().await.unwrap().unwrap();
        }
    });
    let mut ids: Vec<_> = names(&folder).iter().flat_map(|name| ids_in_json_lines(&read(&folder, name))).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..100).flat_map(|number| [number; 50]).collect::<Vec<_>>());
}

#[test]
fn what_a_crash_left_half_written_is_cut_off() {
    let check = |path: &str, rest: &str, before: &str, item: &str, after: &str, cut: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(path), before).unwrap();
        write(&*open(&folder, path, rest), &[item]).unwrap();
        assert_eq!(read(&folder, path), after);
        // It may have been someone else's.
        assert_eq!(fs::read_to_string(folder.path().join(format!("{path}.cut"))).unwrap_or_default(), cut);
    };
    check("a.ndjson", "", "{\"id\":1}\n{\"id\":2,\"na", "2", "{\"id\":1}\n2\n", "{\"id\":2,\"na");
    check("a.ndjson", "", "{\"id\":1}", "2", "{\"id\":1}\n2\n", "");
    check("a.csv", "columns = ['a']", "a\n1\n\"half", "[2]", "a\n1\n2\n", "\"half");
    check("a.csv", "columns = ['a']", "a", "[2]", "a\n2\n", "a");
    check("a.txt", "format = 'raw'", "half", "\"whole\"", "half\nwhole\n", "");
}

#[test]
fn a_table_with_other_columns_is_put_away() {
    let folder = tempfile::tempdir().unwrap();
    write(&*open(&folder, "t.csv", "columns = ['a', 'b']"), &["[1,2]"]).unwrap();
    write(&*open(&folder, "t.csv", "columns = ['a']"), &["[1]"]).unwrap();
    assert_eq!(read(&folder, "t.csv"), "a\n1\n");
    let names = names(&folder);
    assert_eq!(names.len(), 2);
    assert_eq!(read(&folder, &names[0]), "a,b\n1,2\n");
}

#[test]
fn items_that_no_path_or_row_can_be_made_of_are_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |result: Result<(), WriteFault>| {
        let Err(WriteFault::Items(faults)) = result else { panic!("not some of the items: {result:?}") };
        assert!(faults.iter().all(|(_, fault)| fault.verdict == Verdict::Reject), "{faults:?}");
        faults.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
    };
    let sink = open(&folder, "{.host}/out.ndjson", "");
    let result = write(&*sink, &[r#"{"host":"a"}"#, r#"{"host":null}"#, r#"{"host":".."}"#, "7", r#"{"host":"b"}"#]);
    assert_eq!(refused(result), [1, 2, 3]);
    assert_eq!(read(&folder, "a/out.ndjson") + &read(&folder, "b/out.ndjson"), "{\"host\":\"a\"}\n{\"host\":\"b\"}\n");
    fs::write(folder.path().join("c"), "a file").unwrap();
    assert_eq!(refused(write(&*sink, &[r#"{"host":"c"}"#, r#"{"host":"a"}"#])), [0]);
    let sink = open(&folder, "t.csv", "columns = ['a']");
    assert_eq!(refused(write(&*sink, &["1", "[1]", "[1,2]"])), [0, 2]);
    assert_eq!(read(&folder, "t.csv"), "a\n1\n");
}

#[test]
fn a_file_is_put_away_by_size_and_compressed() {
    for (compress, is_whole) in [
        (
            "gz",
            &(|bytes: &[u8], text: &mut String| flate2::read::GzDecoder::new(bytes).read_to_string(text).is_ok())
                as &dyn Fn(&[u8], &mut String) -> bool,
        ),
        ("zst", &|bytes, text| zstd::Decoder::new(bytes).unwrap().read_to_string(text).is_ok()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sink = open(&folder, "out.ndjson", &format!("rotate = {{ size = '20B' }}, compress = '{compress}'"));
        for number in 0..5 {
            write(&*sink, &[&format!("{{\"id\":{number},\"x\":0}}")]).unwrap();
        }
        block_on(sink.close()).unwrap();
        let (current, away): (Vec<_>, Vec<_>) = names(&folder).into_iter().partition(|name| name == "out.ndjson");
        assert_eq!((current.len(), away.len()), (1, 4), "{away:?}");
        let mut text = String::new();
        for name in &away {
            assert!(name.ends_with(&format!(".ndjson.{compress}")), "{name}");
            assert!(is_whole(&fs::read(folder.path().join(name)).unwrap(), &mut text));
        }
        assert_eq!(ids_in_json_lines(&text), [0, 1, 2, 3]);
    }
}

#[test]
fn a_file_is_put_away_by_age_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::turned_by_hand(Timestamp::now());
    let rest = "rotate = { age = '1d' }, keep = 2";
    for day in 0..5 {
        let sink = open_at(&folder, "out.ndjson", rest, clock.clone());
        write(&*sink, &[&format!("{{\"id\":{day}}}")]).unwrap();
        write(&*sink, &[&format!("{{\"id\":{day}}}")]).unwrap();
        block_on(sink.close()).unwrap();
        // The file system goes by the machine's clock, so by this clock all files are as old as the test.
        clock.advance(Duration::from_secs(86_400));
    }
    let names = names(&folder);
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn files_put_away_by_an_earlier_run_are_compressed_and_those_of_others_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out-20260102T030405678Z.ndjson", "out-20260102T030405678Z.ndjson.gz.half", "out-mine.ndjson"] {
        fs::write(folder.path().join(name), "{}\n").unwrap();
    }
    let sink = open(&folder, "out.ndjson", "rotate = { size = '1MiB' }, compress = 'gz'");
    block_on(sink.close()).unwrap();
    assert_eq!(names(&folder), ["out-20260102T030405678Z.ndjson.gz", "out-mine.ndjson", "out.ndjson"]);
}

#[test]
fn a_file_that_was_moved_away_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "out.ndjson", "");
    write(&*sink, &["1"]).unwrap();
    fs::rename(folder.path().join("out.ndjson"), folder.path().join("old")).unwrap();
    write(&*sink, &["2"]).unwrap();
    assert_eq!((read(&folder, "old"), read(&folder, "out.ndjson")), ("1\n".to_owned(), "2\n".to_owned()));
    // One that someone else puts there is looked at like any other.
    fs::remove_file(folder.path().join("out.ndjson")).unwrap();
    fs::write(folder.path().join("out.ndjson"), "{\"hal").unwrap();
    write(&*sink, &["3"]).unwrap();
    assert_eq!(read(&folder, "out.ndjson"), "3\n");
}

#[test]
fn a_device_takes_what_it_is_given() {
    let text = "file = { path = '/dev/null', rotate = { size = '1B' } }";
    let settings = FileSettings { options: Arc::new(read_text(text, Options::read).unwrap()) };
    let sink = settings.open(sink_context("out", Clock::system())).unwrap();
    write(&*sink, &["1"]).unwrap();
    write(&*sink, &["2"]).unwrap();
    let text = "file = '/dev/full'";
    let settings = FileSettings { options: Arc::new(read_text(text, Options::read).unwrap()) };
    let sink = settings.open(sink_context("out", Clock::system())).unwrap();
    let Err(WriteFault::Batch(fault)) = write(&*sink, &["1"]) else { panic!("not the batch") };
    assert_eq!(fault.message, "cannot append to `/dev/full`: No space left on device (os error 28)");
}

#[test]
fn a_new_file_has_the_mode_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    write(&*open(&folder, "out.ndjson", "mode = '0600'"), &["1"]).unwrap();
    let mode = fs::metadata(folder.path().join("out.ndjson")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_path_that_no_file_can_have_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, "", "");
    let fault = settings.open(sink_context("out", Clock::system())).err().unwrap();
    assert_eq!(fault.verdict, Verdict::Stop);
    assert!(fault.message.starts_with("cannot append to `"), "{fault}");
}

#[test]
fn settings_that_contradict_each_other_are_mistakes() {
    let form = |text: &str| read_text(text, Options::read).map(|options| format!("{:?}", options.form));
    assert!(form("file = 'a.ndjson'").unwrap().contains("Ndjson"));
    assert!(form("file = { path = 'a', format = 'raw' }").unwrap().contains("Raw"));
    for (text, message) in [
        ("file = 'a.csv'", "a csv file needs its columns"),
        ("file = { path = 'a', columns = ['b'] }", "only csv has columns"),
        ("file = { path = 'a', separator = '' }", "only raw items have a separator"),
        ("file = { path = 'a', mode = 'rw' }", "`rw` is no permissions"),
        ("file = { path = 'a', compress = 'gz' }", "`compress` is for files that were put away"),
        ("file = { path = 'a', keep = 3 }", "`keep` is for files that were put away"),
        ("file = { path = 'a', rotate = {} }", "`rotate` says nothing"),
    ] {
        let mistakes = form(text).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{text}");
        assert!(mistakes[0].to_string().contains(message), "{}", mistakes[0]);
    }
}
