//! The sink as the engine uses it, and what is in the database then.

use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::component::contract::{check_sink, items, sink_context};
use crate::model::{Value, Verdict, json};
use crate::runtime::{Clock, block_on};
use crate::settings::read_text;

/// Settings as a config has them, after the path.
fn settings(folder: &TempDir, rest: &str) -> SqliteSettings {
    let path = folder.path().join("out.db");
    let text = format!("sqlite = {{ path = '{}', table = 't', {rest} }}", path.display());
    SqliteSettings(Arc::new(read_text(&text, Options::read).unwrap()))
}

fn open(folder: &TempDir, rest: &str) -> Box<dyn Sink> {
    settings(folder, rest).open(sink_context("db", Clock::system())).unwrap()
}

fn database(folder: &TempDir) -> Connection {
    Connection::open(folder.path().join("out.db")).unwrap()
}

fn write(sink: &dyn Sink, values: &[&str]) -> Result<(), WriteFault> {
    block_on(sink.write(&items(values.iter().map(|value| json::parse(value.as_bytes()).unwrap()))))
}

/// The rows of a query, each as JSON of its columns.
fn rows(folder: &TempDir, sql: &str) -> Vec<String> {
    let connection = database(folder);
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let cells: Vec<_> = (0..columns).map(|column| format!("{:?}", row.get_ref(column).unwrap())).collect();
        Ok(cells.join(" "))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn refused(result: Result<(), WriteFault>) -> Vec<(usize, String)> {
    let Err(WriteFault::Items(faults)) = result else { panic!("not some of the items: {result:?}") };
    assert!(faults.iter().all(|(_, fault)| fault.verdict == Verdict::Reject && fault.kind == FaultKind::Refused));
    faults.into_iter().map(|(place, fault)| (place, fault.message)).collect()
}

#[test]
fn it_does_what_every_sink_must() {
    for rest in ["", "primary_key = ['id']", "columns = { id = 'INTEGER', name = 'TEXT' }"] {
        let folder = tempfile::tempdir().unwrap();
        check_sink(&settings(&folder, rest), || {
            let connection = database(&folder);
            let mut statement = connection.prepare("SELECT id, name FROM t").unwrap();
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?));
            let rows = statement.query_map([], row).unwrap().map(Result::unwrap);
            rows.inspect(|(id, name): &(i64, String)| assert_eq!(*name, format!("the {id}th\n")))
                .map(|row| row.0)
                .collect()
        });
    }
}

#[test]
fn the_first_batch_makes_the_table_and_new_fields_add_columns() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "primary_key = ['id']");
    write(&*sink, &[r#"{"id":1,"ok":true,"mag":2}"#, r#"{"id":2,"mag":2.5,"odd \" name":{"a":[1]}}"#]).unwrap();
    write(&*sink, &[r#"{"id":3,"late":"x"}"#, r#"{"id":4,"mixed":1}"#, r#"{"id":5,"nothing":null}"#]).unwrap();
    let schema = rows(&folder, "SELECT name, type, pk FROM pragma_table_info('t')");
    let column = |name: &str, declared: &str, key: u8| {
        let [name, declared] = [name, declared].map(str::as_bytes);
        format!("Text({name:?}) Text({declared:?}) Integer({key})")
    };
    let expected = [
        column("id", "INTEGER", 1),
        column("ok", "INTEGER", 0),
        column("mag", "REAL", 0),
        column("odd \" name", "TEXT", 0),
        column("late", "TEXT", 0),
        column("mixed", "INTEGER", 0),
        column("nothing", "", 0),
    ];
    assert_eq!(schema, expected);
    assert_eq!(
        rows(&folder, "SELECT id, ok, mag FROM t WHERE id < 3"),
        ["Integer(1) Integer(1) Real(2.0)", "Integer(2) Null Real(2.5)"]
    );
    assert_eq!(rows(&folder, "SELECT id FROM t WHERE json_extract(\"odd \"\" name\", '$.a[0]') = 1"), ["Integer(2)"]);
}

#[test]
fn a_row_with_a_known_key_is_updated_in_the_fields_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "primary_key = ['site', 'id']");
    write(&*sink, &[r#"{"site":"a","id":1,"x":1,"y":1}"#, r#"{"site":"a","id":1,"x":2}"#]).unwrap();
    write(&*sink, &[r#"{"id":1,"site":"a","y":null}"#, r#"{"id":1,"SITE":"b"}"#, r#"{"id":1,"site":"b"}"#]).unwrap();
    assert_eq!(
        rows(&folder, "SELECT id, x, y FROM t ORDER BY site"),
        ["Integer(1) Integer(2) Null", "Integer(1) Null Null"]
    );
}

#[test]
fn a_float_keeps_all_its_digits_whatever_the_column() {
    for (declared, kind) in [
        ("TEXT", "text"),
        ("VARCHAR(9)", "text"),
        ("REAL", "real"),
        ("INTEGER", "real"),
        ("NUMERIC", "real"),
        ("BLOB", "real"),
        ("", "real"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sink = open(&folder, &format!("columns = {{ id = '{declared}' }}"));
        let floats = ["0.30000000000000004", "0.3000000000000001", "1e-7", "-1.7976931348623157e308", "2.5"];
        let values = floats.map(|float| format!(r#"{{"id":{float}}}"#));
        write(&*sink, &values.each_ref().map(String::as_str)).unwrap();
        let cells = rows(&folder, "SELECT typeof(id), CAST(id AS REAL) FROM t ORDER BY rowid");
        let expected =
            floats.map(|float| format!("Text({:?}) Real({:?})", kind.as_bytes(), float.parse::<f64>().unwrap()));
        assert_eq!(cells, expected, "{declared}");
    }
}

#[test]
fn bad_rows_are_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    let columns = "columns = { id = 'INTEGER', n = 'INTEGER CHECK (n < 10)', code = 'INTEGER' }";
    let sink = open(&folder, &format!("primary_key = ['id'], {columns}"));
    let result = write(
        &*sink,
        &[
            r#"{"id":1,"n":1}"#,
            r#"{"id":2,"n":11}"#,
            r#"[1]"#,
            r#"{"n":1}"#,
            r#"{"id":null}"#,
            r#"{"id":5,"a":1,"A":2}"#,
            r#"{"id":"text"}"#,
            r#"{"id":7,"code":"007"}"#,
            r#"{"id":8,"x\u0000":1}"#,
            r#"{"id":9,"n":9}"#,
        ],
    );
    let refused = refused(result);
    for ((place, message), (expected, part)) in refused.iter().zip([
        (1, "CHECK constraint failed"),
        (2, "a row is made of an object, and this is of type array: `each = \".[]\"` makes an item of each element"),
        (3, "no field `id`, which is in its primary key"),
        (4, "`id` is null"),
        (5, "two of its fields are the column `a`"),
        (6, "datatype mismatch"),
        (7, "would turn \"007\" into another value"),
        (8, "NUL"),
    ]) {
        assert_eq!(*place, expected, "{message}");
        assert!(message.contains(part), "{message}");
        assert!(message.contains("table `t` of `"), "{message}");
    }
    assert_eq!(refused.len(), 8);
    assert_eq!(rows(&folder, "SELECT id FROM t ORDER BY id"), ["Integer(1)", "Integer(9)"]);
}

#[test]
fn of_many_rows_the_bad_ones_alone_are_refused_and_the_others_written_once() {
    for resolution in ["ABORT", "FAIL"] {
        let folder = tempfile::tempdir().unwrap();
        let table = format!("CREATE TABLE t (id INTEGER, code INTEGER UNIQUE ON CONFLICT {resolution})");
        database(&folder).execute_batch(&table).unwrap();
        let sink = open(&folder, "");
        let code = |id: i32| if id % 20 == 10 { 0 } else { id };
        let values: Vec<String> = (0..50).map(|id| format!(r#"{{"id":{id},"code":{}}}"#, code(id))).collect();
        let result = write(&*sink, &values.iter().map(String::as_str).collect::<Vec<_>>());
        let places: Vec<usize> = refused(result).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, [10, 30], "{resolution}");
        assert_eq!(rows(&folder, "SELECT count(*), count(DISTINCT id) FROM t"), ["Integer(48) Integer(48)"]);
    }
}

#[test]
fn a_batch_of_bad_rows_makes_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "primary_key = ['id']");
    assert_eq!(refused(write(&*sink, &["1", "{}"])).len(), 2);
    write(&*sink, &[r#"{"id":"a"}"#]).unwrap();
    assert_eq!(rows(&folder, "SELECT count(*) FROM t"), ["Integer(1)"]);
}

#[test]
fn fields_without_a_column_are_ignored_or_refused_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    write(&*open(&folder, "columns = { id = 'INTEGER' }, extra = 'ignore'"), &[r#"{"id":1,"x":1}"#]).unwrap();
    let sink = open(&folder, "extra = 'reject'");
    let refused = refused(write(&*sink, &[r#"{"id":2}"#, r#"{"id":3,"x":1}"#]));
    assert!(refused[0].0 == 1 && refused[0].1.contains("no column `x`"), "{refused:?}");
    assert_eq!(rows(&folder, "SELECT * FROM t"), ["Integer(1)", "Integer(2)"]);
}

#[test]
fn too_many_fields_for_a_table_are_the_fault_of_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "");
    let wide: Value = (0..3000).map(|field| (format!("f{field}").into(), Value::Null)).collect();
    let Err(WriteFault::Mixed(fault)) = block_on(sink.write(&items([Value::Null, wide.clone()]))) else {
        panic!("a table was made")
    };
    assert!(fault.message.contains("too many columns"), "{fault}");
    write(&*sink, &[r#"{"id":1}"#]).unwrap();
    assert_eq!(refused(block_on(sink.write(&items([wide])))).len(), 1);
    write(&*sink, &[r#"{"id":2}"#]).unwrap();
    assert_eq!(rows(&folder, "SELECT id FROM t"), ["Integer(1)", "Integer(2)"]);
}

#[test]
fn a_trigger_that_rolls_back_takes_the_batch_apart() {
    let folder = tempfile::tempdir().unwrap();
    database(&folder)
        .execute_batch(
            "CREATE TABLE t (id INTEGER);
             CREATE TRIGGER no_threes BEFORE INSERT ON t WHEN new.id = 3
             BEGIN SELECT raise(ROLLBACK, 'no threes'); END",
        )
        .unwrap();
    let sink = open(&folder, "");
    let Err(WriteFault::Mixed(fault)) = write(&*sink, &[r#"{"id":1}"#, r#"{"id":3}"#]) else { panic!("not mixed") };
    assert!(fault.verdict == Verdict::Reject && fault.message.contains("no threes"), "{fault}");
    write(&*sink, &[r#"{"id":1}"#]).unwrap();
    assert_eq!(rows(&folder, "SELECT id FROM t"), ["Integer(1)"]);
}

#[test]
fn a_database_that_another_process_holds_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "");
    let other = database(&folder);
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE t (id INTEGER, more TEXT)").unwrap();
    let Err(WriteFault::Batch(fault)) = write(&*sink, &[r#"{"id":1}"#]) else { panic!("not the batch") };
    assert_eq!(fault.verdict, Verdict::Retry { not_before: None });
    assert!(fault.message.contains("database is locked"), "{fault}");
    other.execute_batch("COMMIT").unwrap();
    write(&*sink, &[r#"{"id":1}"#]).unwrap();
    assert_eq!(rows(&folder, "SELECT * FROM t"), ["Integer(1) Null"]);
}

#[test]
fn columns_that_others_add_or_drop_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "extra = 'ignore'");
    write(&*sink, &[r#"{"id":1,"x":1}"#]).unwrap();
    database(&folder).execute_batch("ALTER TABLE t DROP COLUMN x; ALTER TABLE t ADD COLUMN y").unwrap();
    write(&*sink, &[r#"{"id":2,"x":2,"y":2}"#]).unwrap();
    assert_eq!(rows(&folder, "SELECT id, y FROM t"), ["Integer(1) Null", "Integer(2) Integer(2)"]);
}

#[test]
fn a_database_that_was_moved_away_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(&folder, "");
    write(&*sink, &[r#"{"id":1}"#]).unwrap();
    for name in ["out.db", "out.db-wal", "out.db-shm"] {
        std::fs::rename(folder.path().join(name), folder.path().join(format!("old-{name}"))).unwrap();
    }
    write(&*sink, &[r#"{"id":2}"#]).unwrap();
    assert_eq!(rows(&folder, "SELECT id FROM t"), ["Integer(2)"]);
}

#[test]
fn what_only_a_person_can_mend_is_told_at_the_start() {
    let check = |prepare: &dyn Fn(&Path), part: &str| {
        let folder = tempfile::tempdir().unwrap();
        prepare(&folder.path().join("out.db"));
        let settings = settings(&folder, "primary_key = ['id']");
        let fault = settings.open(sink_context("db", Clock::system())).err().unwrap();
        assert_eq!(fault.verdict, Verdict::Stop);
        assert!(fault.message.contains(part), "{fault}");
    };
    let without_key = |path: &Path| {
        Connection::open(path).unwrap().execute_batch("CREATE TABLE t (id INTEGER)").unwrap();
    };
    check(&without_key, "without the primary key (id)");
    check(
        &|path| std::fs::write(path, "this is text, and long enough to be no header of anything").unwrap(),
        "not a database",
    );
    check(&|path| std::fs::create_dir(path).unwrap(), "unable to open database file");
}

#[test]
fn a_key_that_is_no_column_is_a_mistake() {
    let text = "sqlite = { path = 'a.db', table = 't', primary_key = ['id'], columns = { x = 'TEXT' } }";
    let mistakes = read_text(text, Options::read).unwrap_err();
    assert!(mistakes[0].to_string().contains("`id` is no column"), "{}", mistakes[0]);
    assert_eq!(read_text("sqlite = {}", Options::read).unwrap_err().len(), 2);
}
