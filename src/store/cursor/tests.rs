use rusqlite::Connection;

use super::*;
use crate::runtime::block_on;
use crate::store::Change;

fn key() -> CursorKey {
    CursorKey { pipeline: "p".into(), component: "get".into(), partition: "a".into() }
}

fn item(rank: i64) -> SettledItem {
    SettledItem { rank: Rank::Integer(rank), digest: [rank as u8; 32] }
}

/// The page that ends with the cursor at `value`.
fn change(value: i64, edition: u64) -> CursorChange {
    CursorChange {
        key: key(),
        edition,
        cursor: CursorMove::To(Value::from(value)),
        run: None,
        settled: vec![item(value)],
        forget_below: Some(Rank::Integer(value)),
    }
}

fn commit(store: &Store, changes: impl IntoIterator<Item = CursorChange>) {
    block_on(store.commit(changes.into_iter().map(|change| Change::Cursor(Box::new(change))).collect())).unwrap();
}

fn known(store: &Store, ranks: std::ops::Range<i64>) -> Vec<i64> {
    let items: Vec<_> = ranks.clone().map(item).collect();
    let known = store.are_settled(&key(), &items).unwrap();
    ranks.zip(known).filter_map(|(rank, known)| known.then_some(rank)).collect()
}

#[test]
fn a_cursor_its_run_and_what_may_come_again_are_there_after_the_store_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.cursor(&key()).unwrap(), Cursor::default());
    let run = Some(Value::from("page 2"));
    let first = CursorChange { cursor: CursorMove::Stays, run: run.clone(), forget_below: None, ..change(1, 0) };
    commit(&store, [first, CursorChange { run: run.clone(), ..change(2, 0) }]);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.cursor(&key()).unwrap(), Cursor { value: Some(Value::from(2)), run, edition: 0 });
    assert_eq!(known(&store, 0..5), [2]);
    commit(&store, [change(4, 0)]);
    assert_eq!(store.cursor(&key()).unwrap(), Cursor { value: Some(Value::from(4)), run: None, edition: 0 });
    assert_eq!(known(&store, 0..5), [4]);
    commit(&store, [CursorChange { cursor: CursorMove::Away, ..change(4, 0) }]);
    assert_eq!(store.cursor(&key()).unwrap().value, None);
    let other = CursorKey { partition: "b".into(), ..key() };
    assert_eq!(store.cursor(&other).unwrap(), Cursor::default());
}

#[test]
fn a_damaged_cursor_falls_back_to_the_one_before_it_and_a_damaged_run_to_its_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for value in 1..4 {
        commit(&store, [CursorChange { run: Some(Value::Null), ..change(value, 0) }]);
    }
    let tamper = |sql: &str| Connection::open(folder.path().join("gatherd.db")).unwrap().execute(sql, []).unwrap();
    assert_eq!(tamper("UPDATE cursor_even SET cursor = '9'"), 1);
    assert_eq!(tamper("UPDATE run SET state = '9'"), 1);
    assert_eq!(tamper("UPDATE settled SET item = zeroblob(32)"), 1);
    let cursor = store.cursor(&key()).unwrap();
    assert_eq!((cursor.value, cursor.run), (Some(Value::from(2)), None));
    assert_eq!(known(&store, 0..5), [0; 0]);
    assert_eq!(store.damaged_rows(), 2);
}

#[test]
fn what_a_person_sets_is_not_overwritten_by_a_run_that_began_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    commit(&store, [change(5, 0)]);
    let begun = store.cursor(&key()).unwrap().edition;
    let set = |value: Option<i64>| Change::ResetCursor { key: key(), value: value.map(Value::from) };
    // In one commit with a change of the run, before and behind it.
    let of_run = |value| Change::Cursor(Box::new(change(value, begun)));
    block_on(store.commit(vec![of_run(6), set(Some(2)), of_run(7)])).unwrap();
    commit(&store, [change(8, begun)]);
    let cursor = store.cursor(&key()).unwrap();
    assert_eq!(cursor.value, Some(Value::from(2)));
    assert_eq!(known(&store, 0..9), [0; 0], "what is fetched again is passed on again");
    commit(&store, [change(3, cursor.edition)]);
    assert_eq!(store.cursor(&key()).unwrap().value, Some(Value::from(3)));
    block_on(store.commit(vec![set(None)])).unwrap();
    assert_eq!(store.cursor(&key()).unwrap().value, None);
}
