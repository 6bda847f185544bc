//! The store through its public functions, and over damage done to its files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::model::{ItemId, Text, Value, Verdict, Window, json};
use crate::runtime::{self, block_on};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path()).unwrap()
}

fn commit(store: &Store, changes: Vec<Change>) {
    block_on(store.commit(changes)).unwrap();
}

fn position(number: i64) -> Change {
    Change::Position { pipeline: "p".into(), component: "lines".into(), position: Value::from(number) }
}

fn seen(key: &str, until: Option<Timestamp>) -> Change {
    Change::Seen { pipeline: "p".into(), component: "new".into(), key: key.into(), until }
}

fn client_state(value: Option<&str>) -> Change {
    Change::ClientState { client: "acme".into(), name: "refresh_token".into(), value: value.map(Value::from) }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn letter(item: u64, at: i64, message: &str) -> DeadLetter {
    let fault = FaultRecord { at: time(at), kind: "status".to_owned(), message: message.to_owned(), attempts: 5 };
    DeadLetter {
        id: 0,
        pipeline: "p".into(),
        component: "get".into(),
        item: ItemId(item),
        trace: format!("p-{item}"),
        value: Value::bytes(vec![0u8, 159, 146, 150]),
        labels: json::parse(br#"{"status":500}"#).unwrap(),
        window: Some(Window { start: time(1), end: time(2) }),
        history: vec![fault.clone()],
        fault,
        first: time(at),
        last: time(at),
        count: 1,
        is_replay_asked: false,
    }
}

/// Runs SQL on the store's file, as someone with a shell could.
fn tamper(folder: &TempDir, sql: &str) -> usize {
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.execute(sql, []).unwrap()
}

fn names_in(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_committed_is_there_after_the_store_was_closed_and_opened() {
    let folder = folder();
    let long_key = "k".repeat(1000);
    let store = open(&folder);
    commit(
        &store,
        vec![
            position(7),
            seen("a", None),
            seen(&long_key, None),
            Change::Last { pipeline: "p".into(), component: "changed".into(), key: "".into(), digest: [9; 32] },
            Change::Dead(Box::new(letter(1, 10, "status 500"))),
        ],
    );
    drop(store);
    let store = open(&folder);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(7)));
    assert_eq!(store.position("p", "other").unwrap(), None);
    assert!(store.is_seen("p", "new", "a").unwrap());
    assert!(store.is_seen("p", "new", &long_key).unwrap());
    assert!(!store.is_seen("p", "new", "b").unwrap());
    assert!(!store.is_seen("q", "new", "a").unwrap());
    assert_eq!(store.last_digest("p", "changed", "").unwrap(), Some([9; 32]));
    assert_eq!(store.last_digest("p", "changed", "x").unwrap(), None);
    assert_eq!(store.dead_letter_count().unwrap(), 1);
    assert_eq!(store.damaged_rows(), 0);
}

#[test]
fn every_one_of_many_commits_at_once_is_answered_after_it_is_stored() {
    let folder = folder();
    let store = open(&folder);
    let commits: Vec<_> = (0..500)
        .map(|number| {
            let store = store.clone();
            runtime::spawn(async move {
                let key = number.to_string();
                store.commit(vec![seen(&key, None)]).await.unwrap();
                assert!(store.is_seen("p", "new", &key).unwrap(), "{key} was answered before it was stored");
            })
        })
        .collect();
    block_on(async {
        for commit in commits {
            commit.join().await.unwrap();
        }
    });
}

#[test]
fn commits_are_applied_in_the_order_of_their_calls() {
    let folder = folder();
    let store = open(&folder);
    block_on(async {
        let mut commits = Vec::new();
        for number in 0..300 {
            let mut commit = Box::pin(store.commit(vec![position(number)]));
            assert!(futures_lite::future::poll_once(&mut commit).await.is_none_or(|result| result.is_ok()));
            commits.push(commit);
        }
    });
    // The futures were dropped; what was asked for is written all the same.
    drop(store);
    assert_eq!(open(&folder).position("p", "lines").unwrap(), Some(Value::from(299)));
}

#[test]
fn the_files_are_for_their_owner_only() {
    let parent = folder();
    let state = parent.path().join("a/state");
    let store = Store::open(&state).unwrap();
    commit(&store, vec![position(1)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_second_gatherd_is_kept_out_and_told_who_holds_the_folder() {
    let folder = folder();
    let store = open(&folder);
    let fault = Store::open(folder.path()).err().unwrap();
    assert_eq!(fault.verdict, Verdict::Stop);
    assert!(fault.message.contains(&format!("process {}", std::process::id())), "{fault}");
    assert!(fault.message.contains("--state"), "{fault}");
    assert!(fault.message.contains(&folder.path().display().to_string()), "{fault}");
    drop(store);
    open(&folder);
}

#[test]
fn a_store_can_be_looked_into_while_it_is_held_and_after() {
    let folder = folder();
    let missing = Store::open_to_read(folder.path()).err().unwrap();
    assert!(missing.message.contains("there is no store yet"), "{missing}");
    let store = open(&folder);
    commit(&store, vec![position(1), Change::Dead(Box::new(letter(1, 10, "no")))]);
    let looking = Store::open_to_read(folder.path()).unwrap();
    assert_eq!(looking.dead_letter_count().unwrap(), 1);
    let refused = block_on(looking.commit(vec![position(2)])).unwrap_err();
    assert!(refused.message.contains("look only"), "{refused}");
    drop(looking);
    drop(store);
    let looking = Store::open_to_read(folder.path()).unwrap();
    assert_eq!(looking.position("p", "lines").unwrap(), Some(Value::from(1)));
}

#[test]
fn a_store_of_a_later_gatherd_is_left_alone() {
    let folder = folder();
    drop(open(&folder));
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    connection.execute("DROP TABLE meta", []).unwrap();
    connection.close().unwrap();
    for fault in [Store::open(folder.path()).err().unwrap(), Store::open_to_read(folder.path()).err().unwrap()] {
        assert!(fault.message.contains("a later gatherd wrote it"), "{fault}");
    }
    assert!(!names_in(&folder).iter().any(|name| name.contains("damaged")));
}

#[test]
fn a_store_of_the_first_version_is_brought_to_this_one_with_all_it_holds() {
    let folder = folder();
    let file = folder.path().join(FILE);
    folder::create(&file).unwrap();
    let mut connection = schema::connect_to_write(&file).unwrap();
    schema::migrate(&mut connection, 0, 1).unwrap();
    state::put_position(&connection, "p", "lines", &Value::from(7)).unwrap();
    seen::put_seen(&connection, "p", "new", "a", None).unwrap();
    state::put_last(&connection, "p", "changed", "", &[9; 32]).unwrap();
    connection.close().unwrap();
    let store = open(&folder);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(7)));
    assert!(store.is_seen("p", "new", "a").unwrap());
    assert_eq!(store.last_digest("p", "changed", "").unwrap(), Some([9; 32]));
    commit(&store, vec![client_state(Some("token"))]);
    drop(store);
    assert_eq!(open(&folder).client_state("acme", "refresh_token").unwrap(), Some(Value::from("token")));
    assert!(!names_in(&folder).iter().any(|name| name.contains("damaged")));
}

#[test]
fn damage_to_a_store_of_the_first_version_is_mended_and_then_it_is_brought_to_this_one() {
    let folder = folder();
    let file = folder.path().join(FILE);
    folder::create(&file).unwrap();
    let mut connection = schema::connect_to_write(&file).unwrap();
    schema::migrate(&mut connection, 0, 1).unwrap();
    state::put_position(&connection, "p", "lines", &Value::from(7)).unwrap();
    connection.close().unwrap();
    // A length that is not the one in the header.
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(fs::metadata(&file).unwrap().len() - 4096).unwrap();
    let store = open(&folder);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(7)));
    commit(&store, vec![client_state(Some("token"))]);
    assert_eq!(store.client_state("acme", "refresh_token").unwrap(), Some(Value::from("token")));
    assert!(names_in(&folder).iter().any(|name| name.contains("damaged")));
}

#[test]
fn what_a_client_remembers_is_replaced_and_forgotten() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, vec![client_state(Some("one"))]);
    assert_eq!(store.client_state("acme", "refresh_token").unwrap(), Some(Value::from("one")));
    assert_eq!(store.client_state("acme", "other").unwrap(), None);
    assert_eq!(store.client_state("other", "refresh_token").unwrap(), None);
    commit(&store, vec![client_state(Some("two"))]);
    assert_eq!(store.client_state("acme", "refresh_token").unwrap(), Some(Value::from("two")));
    tamper(&folder, "UPDATE client_state SET value = '\"evil\"'");
    assert_eq!(store.client_state("acme", "refresh_token").unwrap(), None);
    assert_eq!(store.damaged_rows(), 1);
    commit(&store, vec![client_state(Some("three")), client_state(None)]);
    assert_eq!(store.client_state("acme", "refresh_token").unwrap(), None);
}

fn validator(until: i64) -> Validator {
    Validator {
        onward: [1; 32],
        url: [2; 32],
        etag: Some("\"a\"".into()),
        last_modified: None,
        body: Some([3; 32]),
        size: 4,
        until: time(until),
    }
}

fn put_validator(request: &str, validator: Option<Validator>) -> Change {
    let (pipeline, component, request) = ("p".into(), "get".into(), request.into());
    Change::Validator { pipeline, component, request, validator: validator.map(Box::new) }
}

#[test]
fn validators_are_replaced_and_forgotten_when_asked_and_at_their_time() {
    let folder = folder();
    let clock = Clock::turned_by_hand(time(1000));
    let store = Store::open_with(folder.path(), clock.clone()).unwrap();
    commit(&store, vec![put_validator("a", Some(validator(2000))), put_validator("b", Some(validator(3000)))]);
    assert_eq!(store.validator("p", "get", "a").unwrap(), Some(validator(2000)));
    assert_eq!(store.validator("p", "get", "c").unwrap(), None);
    let other = Validator { etag: None, last_modified: Some("today".into()), body: None, ..validator(2500) };
    commit(&store, vec![put_validator("a", Some(other.clone()))]);
    assert_eq!(store.validator("p", "get", "a").unwrap(), Some(other));
    clock.advance(Duration::from_secs(1500));
    assert_eq!(store.validator("p", "get", "a").unwrap(), None);
    assert_eq!(tamper(&folder, "UPDATE validator SET onward = onward"), 2);
    commit(&store, vec![put_validator("c", Some(validator(4000)))]);
    assert_eq!(tamper(&folder, "UPDATE validator SET onward = onward"), 2);
    commit(&store, vec![put_validator("c", None)]);
    assert_eq!(store.validator("p", "get", "c").unwrap(), None);
    tamper(&folder, "UPDATE validator SET etag = 'evil'");
    assert_eq!(store.validator("p", "get", "b").unwrap(), None);
    assert_eq!(store.damaged_rows(), 1);
}

#[test]
fn damage_to_the_version_does_not_pass_for_a_later_gatherd() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, vec![position(1)]);
    drop(store);
    tamper(&folder, "PRAGMA user_version = 77");
    assert_eq!(open(&folder).position("p", "lines").unwrap(), Some(Value::from(1)));
}

#[test]
fn a_damaged_position_falls_back_to_the_one_before_it() {
    let folder = folder();
    let store = open(&folder);
    for number in 1..=4 {
        commit(&store, vec![position(number)]);
    }
    drop(store);
    // The fourth position stands in the odd table: turns begin at 0.
    assert_eq!(tamper(&folder, "UPDATE position_odd SET position = '5'"), 1);
    let store = open(&folder);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(3)));
    assert_eq!(store.damaged_rows(), 1);
    commit(&store, vec![position(6)]);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(6)));
    drop(store);
    assert_eq!(tamper(&folder, "UPDATE position_odd SET turn = 99"), 1);
    assert_eq!(open(&folder).position("p", "lines").unwrap(), Some(Value::from(3)));
}

#[test]
fn damaged_keys_values_and_dead_letters_are_passed_over_and_counted() {
    let folder = folder();
    let store = open(&folder);
    let last = |digest| Change::Last { pipeline: "p".into(), component: "c".into(), key: "k".into(), digest };
    commit(&store, vec![seen("a", None), seen("b", None), last([1; 32])]);
    commit(&store, vec![1, 2].into_iter().map(|item| Change::Dead(Box::new(letter(item, 10, "no")))).collect());
    drop(store);
    tamper(&folder, "UPDATE seen SET key = 'c' WHERE key = 'b'");
    tamper(&folder, "UPDATE last SET digest = x'00'");
    tamper(&folder, "UPDATE dead_letter SET value = '1' WHERE id = 1");
    let store = open(&folder);
    assert!(store.is_seen("p", "new", "a").unwrap());
    assert!(!store.is_seen("p", "new", "c").unwrap());
    assert_eq!(store.last_digest("p", "c", "k").unwrap(), None);
    let letters = store.dead_letters(&DeadLetterFilter::default()).unwrap();
    assert_eq!(letters.iter().map(|letter| letter.id).collect::<Vec<_>>(), [2]);
    assert!(store.dead_letter(1).unwrap().is_none());
    assert_eq!(store.damaged_rows(), 4);
    // The next of each kind takes the damaged one's place.
    commit(&store, vec![seen("c", None), last([2; 32]), Change::Dead(Box::new(letter(1, 20, "no")))]);
    assert!(store.is_seen("p", "new", "c").unwrap());
    assert_eq!(store.last_digest("p", "c", "k").unwrap(), Some([2; 32]));
    assert_eq!(store.dead_letter(1).unwrap().unwrap().count, 1);
}

#[test]
fn after_a_failed_write_everything_stops_and_the_next_start_recovers() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, vec![position(1)]);
    tamper(&folder, "DROP TABLE seen");
    let failed = block_on(store.commit(vec![position(2), seen("a", None)])).unwrap_err();
    assert_eq!(failed.verdict, Verdict::Stop);
    assert!(failed.message.contains("no such table"), "{failed}");
    // Even what could be written is not: nobody knows any more what the file holds.
    assert_eq!(block_on(store.commit(vec![position(3)])).unwrap_err().message, failed.message);
    drop(store);
    let store = open(&folder);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(1)));
    commit(&store, vec![position(2), seen("a", None)]);
}

#[test]
fn a_file_that_sqlite_cannot_read_is_set_aside_and_a_new_store_made() {
    let folder = folder();
    fs::write(folder.path().join(FILE), "this is no database, and never was one").unwrap();
    let store = open(&folder);
    commit(&store, vec![position(1)]);
    let aside = names_in(&folder).into_iter().find(|name| name.starts_with("gatherd.db.damaged-")).unwrap();
    let kept = fs::read_to_string(folder.path().join(aside)).unwrap();
    assert_eq!(kept, "this is no database, and never was one");
}

#[test]
fn a_broken_page_costs_its_own_rows_and_no_others() {
    let folder = folder();
    let store = open(&folder);
    let keys: Vec<_> = (0..20_000).map(|number| format!("key-{number:06}")).collect();
    commit(&store, keys.iter().map(|key| seen(key, None)).collect());
    commit(&store, vec![position(5), Change::Dead(Box::new(letter(1, 10, "no")))]);
    drop(store);
    let path = folder.path().join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"key-010000").unwrap();
    bytes[at / 4096 * 4096..][..4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let store = open(&folder);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(5)));
    assert_eq!(store.dead_letter_count().unwrap(), 1);
    let lost = keys.iter().filter(|key| !store.is_seen("p", "new", key).unwrap()).count();
    assert!((1..500).contains(&lost), "{lost} keys lost");
    assert!(names_in(&folder).iter().any(|name| name.starts_with("gatherd.db.damaged-")));
}

#[test]
fn a_broken_first_page_costs_nothing_wherever_the_tables_begin() {
    let check = |make: &dyn Fn(&TempDir)| {
        let folder = folder();
        make(&folder);
        let store = open(&folder);
        commit(&store, vec![position(5), client_state(Some("token")), Change::Dead(Box::new(letter(1, 10, "no")))]);
        commit(&store, (0..5000).map(|number| seen(&format!("key-{number}"), None)).collect());
        drop(store);
        fs::OpenOptions::new().write(true).open(folder.path().join(FILE)).unwrap().write_all(&[0; 4096]).unwrap();
        let store = open(&folder);
        assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(5)));
        assert_eq!(store.client_state("acme", "refresh_token").unwrap(), Some(Value::from("token")));
        assert_eq!(store.dead_letter_count().unwrap(), 1);
        assert!((0..5000).all(|number| store.is_seen("p", "new", &format!("key-{number}")).unwrap()));
        assert!(names_in(&folder).iter().any(|name| name.starts_with("gatherd.db.damaged-")));
    };
    let keys = |from: i64| (from..from + 3000).map(|number| seen(&format!("other-{number}"), None)).collect();
    let of_version = |folder: &TempDir, version| {
        let file = folder.path().join(FILE);
        folder::create(&file).unwrap();
        let mut connection = schema::connect_to_write(&file).unwrap();
        schema::migrate(&mut connection, 0, version).unwrap();
    };
    check(&|_| {});
    check(&|folder| {
        let store = open(folder);
        commit(&store, keys(0));
        drop(store);
        tamper(folder, "VACUUM");
    });
    check(&|folder| {
        of_version(folder, 1);
        let connection = schema::connect_to_write(&folder.path().join(FILE)).unwrap();
        for number in 0..3000 {
            seen::put_seen(&connection, "p", "new", &format!("other-{number}"), None).unwrap();
        }
    });
}

#[test]
fn a_replacement_that_a_crash_cut_short_is_finished_at_the_next_start() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, vec![position(8)]);
    drop(store);
    let path = |name: &str| folder.path().join(name);
    fs::rename(path("gatherd.db"), path("gatherd.db.salvaged")).unwrap();
    fs::write(path("gatherd.db-wal"), "the log of the damaged store").unwrap();
    let store = open(&folder);
    assert_eq!(store.position("p", "lines").unwrap(), Some(Value::from(8)));
    assert!(names_in(&folder).iter().any(|name| name.starts_with("gatherd.db-wal.left-")));
}

#[test]
fn seen_keys_are_forgotten_at_their_time_and_removed_while_others_are_added() {
    let folder = folder();
    let clock = Clock::turned_by_hand(time(1000));
    let store = Store::open_with(folder.path(), clock.clone()).unwrap();
    commit(&store, (0..100).map(|number| seen(&format!("old-{number}"), Some(time(1060)))).collect());
    commit(&store, vec![seen("kept", None), seen("later", Some(time(9000)))]);
    assert!(store.is_seen("p", "new", "old-1").unwrap());
    clock.advance(Duration::from_secs(60));
    assert!(!store.is_seen("p", "new", "old-1").unwrap());
    for number in 0..60 {
        commit(&store, vec![seen(&format!("fresh-{number}"), None)]);
    }
    assert!(store.is_seen("p", "new", "kept").unwrap());
    assert!(store.is_seen("p", "new", "later").unwrap());
    drop(store);
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    let left: i64 = connection.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 62);
}

#[test]
fn what_memory_knows_of_seen_keys_is_what_the_store_has() {
    let folder = folder();
    let names = |from: usize| -> Vec<String> {
        let name = |number| if number % 10 == 0 { format!("{number}").repeat(30) } else { format!("key-{number}") };
        (from..from + 300).map(name).collect()
    };
    let store = open(&folder);
    let other = Change::Seen { pipeline: "q".into(), component: "new".into(), key: "key-1".into(), until: None };
    commit(&store, names(0).iter().map(|key| seen(key, None)).chain([other]).collect());
    drop(store);
    let store = open(&folder);
    let memory = store.inner.writer.as_ref().unwrap().seen_keys();
    assert!(memory.may_have("p", "new", "key-301"), "nothing was read yet");
    for key in names(0) {
        assert!(store.is_seen("p", "new", &key).unwrap(), "{key}");
        assert!(!store.is_seen("p", "old", &key).unwrap(), "{key}");
    }
    let maybe: Vec<_> = names(300).into_iter().filter(|key| memory.may_have("p", "new", key)).collect();
    assert!(maybe.len() < 30, "{maybe:?}");
    assert!(!memory.some_may_end());
    let (again, later) = (seen("key-301", Some(time(1))), seen("key-301", None));
    commit(&store, names(302).iter().map(|key| seen(key, None)).chain([again, later]).collect());
    assert!(memory.some_may_end());
    for key in names(0).iter().chain(&names(302)).chain(&["key-301".to_owned()]) {
        assert!(memory.may_have("p", "new", key) && store.is_seen("p", "new", key).unwrap(), "{key}");
    }
    assert!(store.is_seen("q", "new", "key-1").unwrap() && !store.is_seen("q", "new", "key-2").unwrap());
}

#[test]
fn a_seen_key_that_cannot_be_read_hides_no_other() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, (0..100).map(|number| seen(&format!("key-{number}"), None)).collect());
    drop(store);
    tamper(&folder, "UPDATE seen SET key = CAST(x'ff' AS TEXT) WHERE key = 'key-50'");
    let store = open(&folder);
    for number in (0..100).filter(|number| *number != 50) {
        assert!(store.is_seen("p", "new", &format!("key-{number}")).unwrap(), "{number}");
        assert!(!store.is_seen("p", "new", &format!("other-{number}")).unwrap(), "{number}");
    }
}

#[test]
fn a_dead_letter_comes_back_as_it_was() {
    let folder = folder();
    let store = open(&folder);
    let sent = letter(0xfedc_ba98_7654_3210, 10, "status 500 from `http://a/`");
    commit(&store, vec![Change::Dead(Box::new(sent.clone()))]);
    let back = store.dead_letter(1).unwrap().unwrap();
    assert_eq!(format!("{back:?}"), format!("{:?}", DeadLetter { id: 1, ..sent }));
}

#[test]
fn an_item_that_fails_again_is_one_dead_letter_with_a_longer_history() {
    let folder = folder();
    let store = open(&folder);
    for at in 1..=25 {
        commit(&store, vec![Change::Dead(Box::new(letter(1, at, &format!("fault {at}"))))]);
    }
    commit(&store, vec![Change::Dead(Box::new(DeadLetter { component: "sink.db".into(), ..letter(1, 3, "other") }))]);
    let letters = store.dead_letters(&DeadLetterFilter::default()).unwrap();
    assert_eq!(letters.len(), 2);
    let again = &letters[0];
    assert_eq!((again.count, again.first, again.last), (25, time(1), time(25)));
    assert_eq!(again.fault.message, "fault 25");
    let history: Vec<_> = again.history.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!((history.len(), history[0], history[19]), (20, "fault 6", "fault 25"));
}

#[test]
fn dead_letters_are_listed_newest_first_and_by_what_is_asked() {
    let folder = folder();
    let store = open(&folder);
    let with = |item, at, pipeline: &str, kind: &str| {
        let mut letter = DeadLetter { pipeline: Text::from(pipeline), ..letter(item, at, "no") };
        letter.fault.kind = kind.to_owned();
        Change::Dead(Box::new(letter))
    };
    commit(&store, vec![with(1, 30, "p", "status"), with(2, 10, "q", "dns"), with(3, 20, "p", "dns")]);
    let check = |filter: DeadLetterFilter, items: &[u64]| {
        let listed: Vec<_> = store.dead_letters(&filter).unwrap().iter().map(|letter| letter.item.0).collect();
        assert_eq!(listed, items, "{filter:?}");
    };
    let all = DeadLetterFilter::default;
    check(all(), &[1, 3, 2]);
    check(DeadLetterFilter { limit: Some(2), ..all() }, &[1, 3]);
    check(DeadLetterFilter { pipeline: Some("p".to_owned()), ..all() }, &[1, 3]);
    check(DeadLetterFilter { fault: Some("dns".to_owned()), ..all() }, &[3, 2]);
    check(DeadLetterFilter { since: Some(time(20)), ..all() }, &[1, 3]);
    check(DeadLetterFilter { component: Some("sink.x".to_owned()), ..all() }, &[]);
}

/// Numbers that look random and come again: SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % limit as u64) as usize
    }
}

/// Does some damage to a file: bytes changed, a page lost, or its end.
pub(super) fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(4) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => {
            let page = random.below(bytes.len() / 4096) * 4096;
            bytes[page..page + 4096].fill(0);
        }
        _ => {
            for _ in 0..=random.below(30) {
                let place = random.below(bytes.len());
                bytes[place] = random.below(256) as u8;
            }
        }
    }
}

#[test]
fn no_damage_keeps_a_store_from_opening_or_passes_for_data() {
    const COMPONENTS: i64 = 40;
    let sound = folder();
    let store = open(&sound);
    let position = |number: i64, round: i64| Change::Position {
        pipeline: "p".into(),
        component: format!("lines-{number}").into(),
        position: Value::from(number * 10 + round),
    };
    commit(&store, (0..COMPONENTS).map(|number| position(number, 0)).collect());
    commit(&store, (0..2000).map(|number| seen(&format!("key-{number}"), None)).collect());
    drop(store);
    let store = open(&sound);
    commit(&store, (0..COMPONENTS).map(|number| position(number, 1)).collect());
    commit(&store, (0..40).map(|item| Change::Dead(Box::new(letter(item, item as i64, "no")))).collect());
    // As a crash leaves them: some of it only in the log.
    let files = [FILE, "gatherd.db-wal"].map(|name| (name, fs::read(sound.path().join(name)).unwrap()));
    let (mut lost, mut whole) = (0, 0);
    for seed in 0..60 {
        let mut random = Random(seed);
        let (mut files, damaged) = (files.clone(), random.below(2));
        damage(&mut random, &mut files[damaged].1);
        let folder = folder();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        // Damage that is met only while running stops, and is mended by the next start.
        let look = |store: &Store| -> Result<(), Fault> {
            for number in 0..COMPONENTS {
                match store.position("p", &format!("lines-{number}"))?.map(|position| position.as_i64().unwrap()) {
                    None => lost += 1,
                    Some(found) => {
                        assert_eq!(found / 10, number, "seed {seed}");
                        assert!(found % 10 < 2, "seed {seed}");
                        whole += 1;
                    }
                }
            }
            assert!(!store.is_seen("p", "new", "key-2000")?, "seed {seed}");
            store.is_seen("p", "new", "key-77")?;
            for found in store.dead_letters(&DeadLetterFilter::default())? {
                let written = DeadLetter { id: found.id, ..letter(found.item.0, found.item.0 as i64, "no") };
                assert_eq!(format!("{found:?}"), format!("{written:?}"), "seed {seed}");
            }
            block_on(store.commit(vec![position(0, 2), Change::Dead(Box::new(letter(1, 50, "no")))]))
        };
        let mut look = look;
        let open = || Store::open(folder.path()).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        let first = open();
        if look(&first).is_err() {
            drop(first);
            look(&open()).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        }
    }
    // Most of the damage costs little.
    assert!(whole > 5 * lost, "{whole} positions left, {lost} lost");
}
