//! Queues through the store's public functions, over crashes and damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{Ledger, PackedPush};
use crate::model::{Fault, ItemId, Text, Value, Window};
use crate::runtime::{Clock, block_on};
use crate::store::tests::{Random, damage};
use crate::store::{Change, DeadLetter, DeadLetterFilter, Entry, Lease, Leased, Push, QueueSize, Store};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path()).unwrap()
}

fn commit(store: &Store, changes: Vec<Change>) {
    block_on(store.commit(changes)).unwrap();
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn entry(number: i64) -> Entry {
    let named = |name: &str, value| std::iter::once((name.into(), value)).collect::<Value>();
    Entry {
        pipeline: "p".into(),
        item: ItemId(number as u64),
        window: (number % 2 == 0).then(|| Window { start: time(number), end: time(number + 1) }),
        value: named("number", Value::from(number)),
        labels: named("bytes", Value::bytes(vec![number as u8, 0, 255])),
        tried: None,
    }
}

fn push(queue: &str, numbers: impl IntoIterator<Item = i64>) -> Push {
    let entries = numbers.into_iter().map(entry).collect();
    Push { queues: vec![queue.into()], entries, priority: 0, due: None, expires: None, keys: None }
}

fn put(store: &Store, queue: &str, numbers: impl IntoIterator<Item = i64>) {
    commit(store, vec![Change::Push(push(queue, numbers))]);
}

const NOW: i64 = 1_000_000;

fn lease_at(store: &Store, queue: &str, count: usize, seconds: i64) -> Vec<Leased> {
    let leased = block_on(store.lease(queue, count, time(seconds))).unwrap();
    for leased in &leased {
        assert_eq!(leased.entry, entry(number(leased)));
    }
    leased
}

fn lease(store: &Store, queue: &str, count: usize) -> Vec<Leased> {
    lease_at(store, queue, count, NOW)
}

fn number(leased: &Leased) -> i64 {
    leased.entry.item.0 as i64
}

fn numbers(leased: &[Leased]) -> Vec<i64> {
    leased.iter().map(number).collect()
}

fn settle<'a>(store: &Store, leased: impl IntoIterator<Item = &'a Leased>) {
    commit(store, leased.into_iter().map(|leased| Change::Settle(leased.lease)).collect());
}

fn release(leased: &Leased, due: Option<i64>) -> Change {
    Change::Release { lease: leased.lease, due: due.map(time) }
}

fn items(store: &Store, queue: &str) -> u64 {
    store.queue_size(queue).unwrap().items
}

/// The store as it would be found if the process died now.
fn crash(from: &TempDir) -> TempDir {
    let into = folder();
    for entry in fs::read_dir(from.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "gatherd.lock" {
            fs::copy(entry.path(), into.path().join(entry.file_name())).unwrap();
        }
    }
    into
}

/// Runs SQL on the store's file, as someone with a shell could.
fn tamper(folder: &Path, sql: &str) -> usize {
    Connection::open(folder.join("gatherd.db")).unwrap().execute(sql, []).unwrap()
}

fn count(folder: &Path, table: &str) -> i64 {
    let connection = Connection::open(folder.join("gatherd.db")).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn crash_letters(store: &Store) -> Vec<DeadLetter> {
    store.dead_letters(&DeadLetterFilter::default()).unwrap()
}

#[test]
fn entries_come_in_the_order_of_their_pushes_and_leave_when_they_are_settled() {
    let folder = folder();
    let store = open(&folder);
    assert!(lease(&store, "q", 10).is_empty());
    put(&store, "q", 0..600);
    put(&store, "q", 600..605);
    assert_eq!(items(&store, "q"), 605);
    assert!(store.queue_size("q").unwrap().bytes > 605 * 30);
    let first = lease(&store, "q", 300);
    assert_eq!(numbers(&first), Vec::from_iter(0..300));
    assert!(first.iter().all(|leased| leased.attempts == 1 && !leased.suspect && leased.expires.is_none()));
    settle(&store, &first);
    assert_eq!(items(&store, "q"), 305);
    let second = lease(&store, "q", 1000);
    assert_eq!(numbers(&second), Vec::from_iter(300..605));
    assert!(lease(&store, "q", 1000).is_empty());
    assert!(store.is_anything_queued().unwrap());
    settle(&store, &second);
    // Twice does no harm.
    settle(&store, &second);
    assert_eq!(store.queue_size("q").unwrap(), QueueSize::default());
    assert!(!store.is_anything_queued().unwrap());
    drop(store);
    assert_eq!([count(folder.path(), "batch"), count(folder.path(), "progress")], [0, 0]);
}

#[test]
fn what_is_released_comes_again_in_its_place_with_one_more_attempt() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..5);
    let leased = lease(&store, "q", 3);
    commit(&store, vec![release(&leased[1], None), Change::Settle(leased[0].lease)]);
    let again = lease(&store, "q", 2);
    assert_eq!(numbers(&again), [1, 3]);
    assert_eq!([again[0].attempts, again[1].attempts], [2, 1]);
    // A lease that is over changes nothing.
    commit(&store, vec![release(&leased[0], None)]);
    assert_eq!(numbers(&lease(&store, "q", 5)), [4]);
    assert_eq!(items(&store, "q"), 4);
}

#[test]
fn higher_priorities_come_first_and_what_is_not_due_waits() {
    let folder = folder();
    let store = open(&folder);
    let with =
        |number, priority, due: Option<i64>| Change::Push(Push { priority, due: due.map(time), ..push("q", [number]) });
    commit(
        &store,
        vec![with(1, 0, None), with(2, 5, None), with(3, -1, None), with(4, 5, Some(NOW + 10)), with(5, 5, Some(NOW))],
    );
    assert_eq!(store.next_due("q").unwrap(), Some(time(NOW)));
    assert_eq!(numbers(&lease(&store, "q", 10)), [2, 5, 1, 3]);
    assert_eq!(store.next_due("q").unwrap(), Some(time(NOW + 10)));
    assert!(lease_at(&store, "q", 10, NOW + 9).is_empty());
    let late = lease_at(&store, "q", 10, NOW + 10);
    assert_eq!(numbers(&late), [4]);
    assert_eq!(store.next_due("q").unwrap(), None);
    commit(&store, vec![release(&late[0], Some(NOW + 20))]);
    assert_eq!(store.next_due("q").unwrap(), Some(time(NOW + 20)));
    drop(store);
    let store = open(&folder);
    assert_eq!(numbers(&lease_at(&store, "q", 10, NOW + 19)), [2, 5, 1, 3]);
    assert_eq!(numbers(&lease_at(&store, "q", 10, NOW + 20)), [4]);
}

#[test]
fn a_due_time_is_never_early() {
    let folder = folder();
    let store = open(&folder);
    let due = Timestamp::new(NOW, 1_500_000).unwrap();
    commit(&store, vec![Change::Push(Push { due: Some(due), ..push("q", [1]) })]);
    let lease = |nanosecond| block_on(store.lease("q", 9, Timestamp::new(NOW, nanosecond).unwrap())).unwrap().len();
    assert_eq!(lease(1_400_000), 0);
    assert!(store.next_due("q").unwrap().unwrap() >= due);
    assert_eq!(lease(2_000_000), 1);
}

#[test]
fn when_an_entry_expires_is_told_with_it() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, vec![Change::Push(Push { expires: Some(time(NOW + 5)), ..push("q", [1]) })]);
    drop(store);
    assert_eq!(lease(&open(&folder), "q", 1)[0].expires, Some(time(NOW + 5)));
}

#[test]
fn an_entry_whose_key_is_known_is_left_out_until_the_key_is_forgotten() {
    let folder = folder();
    let clock = Clock::turned_by_hand(time(NOW));
    let store = Store::open_with(folder.path(), clock.clone()).unwrap();
    let put = |numbers: &[(i64, &str)]| {
        let keys = numbers.iter().map(|(_, key)| (Text::from(*key), Some(clock.timestamp() + Duration::from_secs(60))));
        let keys = Some(keys.collect());
        commit(&store, vec![Change::Push(Push { keys, ..push("q", numbers.iter().map(|(number, _)| *number)) })]);
    };
    put(&[(1, "a"), (2, "b"), (3, "a")]);
    put(&[(4, "a")]);
    assert_eq!(numbers(&lease(&store, "q", 10)), [1, 2]);
    clock.advance(Duration::from_secs(59));
    put(&[(5, "b")]);
    clock.advance(Duration::from_secs(1));
    put(&[(6, "b")]);
    assert_eq!(numbers(&lease(&store, "q", 10)), [6]);
    assert_eq!(items(&store, "q"), 3);
    // Keys of one queue mean nothing to another.
    let keys = Some(vec![(Text::from("b"), None)]);
    commit(&store, vec![Change::Push(Push { keys, queues: vec!["q".into(), "r".into()], ..push("q", [7]) })]);
    assert!(lease(&store, "q", 10).is_empty());
    assert_eq!(numbers(&lease(&store, "r", 10)), [7]);
}

#[test]
fn several_queues_share_one_payload_which_goes_when_all_have_settled_it() {
    let folder = folder();
    let store = open(&folder);
    commit(&store, vec![Change::Push(Push { queues: vec!["a".into(), "b".into()], ..push("", 0..10) })]);
    assert_eq!([count(folder.path(), "batch"), count(folder.path(), "progress")], [1, 2]);
    let a = lease(&store, "a", 10);
    settle(&store, &a);
    assert_eq!([items(&store, "a"), items(&store, "b")], [0, 10]);
    assert_eq!(count(folder.path(), "batch"), 1);
    drop(store);
    let store = open(&folder);
    assert!(lease(&store, "a", 10).is_empty());
    let b = lease(&store, "b", 10);
    assert_eq!(numbers(&b), Vec::from_iter(0..10));
    settle(&store, &b[..9]);
    assert_eq!(count(folder.path(), "batch"), 1);
    settle(&store, &b[9..]);
    assert_eq!([count(folder.path(), "batch"), count(folder.path(), "progress")], [0, 0]);
}

#[test]
fn pushes_of_one_commit_keep_their_order() {
    let folder = folder();
    let store = open(&folder);
    let both = Push { queues: vec!["a".into(), "b".into()], ..push("", [2]) };
    let pushes = vec![push("a", [1]), both, push("a", [3]), push("b", [4]), push("b", [5])];
    commit(&store, pushes.into_iter().map(Change::Push).collect());
    assert_eq!(numbers(&lease(&store, "a", 9)), [1, 2, 3]);
    assert_eq!(numbers(&lease(&store, "b", 9)), [2, 4, 5]);
    // The last two share a batch.
    assert_eq!(count(folder.path(), "batch"), 4);
}

#[test]
fn the_oldest_are_dropped_whether_they_are_out_or_not() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..300);
    put(&store, "q", 300..310);
    let out = lease(&store, "q", 3);
    commit(&store, vec![Change::DropOldest { queue: "q".into(), items: 2 }]);
    commit(&store, vec![Change::DropOldest { queue: "q".into(), items: 303 }, Change::Push(push("q", [400]))]);
    assert_eq!(items(&store, "q"), 6);
    settle(&store, &out);
    assert_eq!(numbers(&lease(&store, "q", 100)), [305, 306, 307, 308, 309, 400]);
    commit(&store, vec![Change::DropOldest { queue: "q".into(), items: 100 }]);
    commit(&store, vec![Change::DropOldest { queue: "none".into(), items: 100 }]);
    assert_eq!(items(&store, "q"), 0);
}

#[test]
fn a_push_or_a_release_wakes_who_listened_before() {
    let folder = folder();
    let store = open(&folder);
    let listener = store.pushed("q");
    put(&store, "q", [1]);
    block_on(listener);
    for due in [None, Some(NOW + 1)] {
        let leased = lease(&store, "q", 1);
        let listener = store.pushed("q");
        commit(&store, vec![release(&leased[0], due)]);
        block_on(listener);
    }
    let leased = lease_at(&store, "q", 1, NOW + 1);
    let (listener, other) = (store.pushed("q"), store.pushed("other"));
    store.give_back("q", [leased[0].lease]);
    block_on(listener);
    assert!(block_on(futures_lite::future::poll_once(other)).is_none());
}

#[test]
fn what_is_given_back_or_asked_for_by_nobody_comes_again() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..4);
    let leased = lease(&store, "q", 2);
    store.give_back("q", leased.iter().map(|leased| leased.lease));
    assert_eq!(numbers(&lease(&store, "q", 1)), [0]);
    // A lease whose future is dropped before it has its answer.
    block_on(async {
        let mut asked = Box::pin(store.lease("q", 10, time(NOW)));
        assert!(futures_lite::future::poll_once(&mut asked).await.is_none_or(|leased| leased.is_ok()));
    });
    let mut again = Vec::new();
    while again.len() < 3 {
        again.extend(numbers(&lease(&store, "q", 10)));
        std::thread::yield_now();
    }
    assert_eq!(again, [1, 2, 3]);
    assert_eq!(items(&store, "q"), 4);
}

#[test]
fn a_clean_end_takes_back_what_is_out_and_suspects_nothing() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..5);
    settle(&store, &lease(&store, "q", 4)[..2]);
    drop(store);
    let store = open(&folder);
    let leased = lease(&store, "q", 10);
    assert_eq!(numbers(&leased), [2, 3, 4]);
    assert!(leased.iter().all(|leased| !leased.suspect));
    assert_eq!(leased.iter().map(|leased| leased.attempts).collect::<Vec<_>>(), [2, 2, 1]);
}

#[test]
fn after_a_crash_every_unsettled_entry_comes_again_the_suspects_alone_and_no_settled_one() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..600);
    put(&store, "other", 0..3);
    let out = lease(&store, "q", 10);
    settle(&store, [&out[0], &out[9]]);
    commit(&store, vec![release(&out[1], None)]);
    let crashed = crash(&folder);
    let store = open(&crashed);
    assert_eq!(items(&store, "q"), 598);
    for number in 2..9 {
        let alone = lease(&store, "q", 10);
        assert_eq!(numbers(&alone), [number]);
        assert!(alone[0].suspect);
        assert_eq!(alone[0].attempts, 2);
        assert!(lease(&store, "q", 10).is_empty());
        assert!(lease(&store, "other", 10).is_empty());
        let listener = store.pushed("other");
        settle(&store, &alone);
        block_on(listener);
    }
    assert_eq!(numbers(&lease(&store, "other", 10)), [0, 1, 2]);
    let rest = lease(&store, "q", 1000);
    assert_eq!(numbers(&rest), Vec::from_iter([1].into_iter().chain(10..600)));
    assert!(rest.iter().all(|leased| !leased.suspect));
}

/// A process that dies again and again.
struct Process {
    store: Store,
    clock: Clock,
    folder: TempDir,
}

impl Process {
    fn start() -> Self {
        let folder = folder();
        let clock = Clock::turned_by_hand(time(NOW));
        Self { store: Store::open_with(folder.path(), clock.clone()).unwrap(), clock, folder }
    }

    fn dies(&mut self) {
        self.folder = crash(&self.folder);
        self.clock = Clock::turned_by_hand(time(NOW));
        self.store = Store::open_with(self.folder.path(), self.clock.clone()).unwrap();
    }

    fn advance(&self, milliseconds: u64) {
        self.clock.advance(Duration::from_millis(milliseconds));
    }

    fn lease(&self, queue: &str) -> Vec<Leased> {
        lease(&self.store, queue, 10)
    }
}

#[test]
fn an_entry_of_which_three_processes_die_alone_is_a_dead_letter_and_its_neighbours_live() {
    let mut process = Process::start();
    put(&process.store, "q", 1..4);
    put(&process.store, "other", [9]);
    assert_eq!(process.lease("q").len() + process.lease("other").len(), 4);
    for (round, control) in [0, 1000, 3000].into_iter().enumerate() {
        process.dies();
        assert_eq!(crash_letters(&process.store).len(), 0);
        // The others are innocent, and worked off before the first is tried again.
        if round == 1 {
            for (queue, innocent) in [("other", 9), ("q", 2), ("q", 3)] {
                let alone = process.lease(queue);
                assert_eq!(numbers(&alone), [innocent]);
                settle(&process.store, &alone);
            }
        }
        if control > 0 {
            process.advance(control - 1);
            assert!(process.lease("q").is_empty());
            process.advance(1);
        }
        assert_eq!(numbers(&process.lease("q")), [1]);
    }
    process.dies();
    let letters = crash_letters(&process.store);
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.item, &letter.value, &letter.labels), (ItemId(1), &entry(1).value, &entry(1).labels));
    assert_eq!((&*letter.pipeline, &*letter.component, &*letter.fault.kind), ("p", "queue.q", "crash"));
    assert_eq!(letter.fault.attempts, 4);
    assert!(!process.store.is_anything_queued().unwrap());
}

#[test]
fn kills_soon_after_the_start_accuse_nobody() {
    let check = |count: i64| {
        let mut process = Process::start();
        put(&process.store, "q", 0..count);
        process.lease("q");
        let mut killed = Vec::new();
        for _ in 0..60 {
            process.dies();
            killed.extend(numbers(&process.lease("q")));
        }
        process.dies();
        assert_eq!(crash_letters(&process.store).len(), 0);
        // After some deaths with one of them alone, one comes without any of them, and all are innocent again.
        let times = (0..count).map(|number| killed.iter().filter(|killed| **killed == number).count());
        assert!(times.clone().all(|times| times > 3), "{:?}", times.collect::<Vec<_>>());
    };
    check(1);
    check(10);
}

#[test]
fn a_death_while_nothing_was_in_flight_takes_charges_back() {
    let mut process = Process::start();
    put(&process.store, "q", [1, 2]);
    process.lease("q");
    process.dies();
    assert_eq!(process.lease("q").len(), 1);
    process.dies();
    assert_eq!(process.lease("q").len(), 1);
    // Both are charged now, and wait.
    process.dies();
    assert!(process.lease("q").is_empty());
    process.dies();
    assert_eq!(process.lease("q").len(), 1);
}

#[test]
fn crashes_under_load_accuse_nobody() {
    let mut process = Process::start();
    put(&process.store, "q", 0..100);
    let mut settled = BTreeSet::new();
    for round in 0..20 {
        // The suspects are worked off, then a crash comes with several in flight.
        loop {
            let leased = lease(&process.store, "q", 5);
            if leased.len() > 1 || round == 0 {
                break;
            }
            settled.extend(numbers(&leased));
            settle(&process.store, &leased);
        }
        process.dies();
    }
    assert_eq!(crash_letters(&process.store).len(), 0);
    assert!(settled.len() > 80, "{}", settled.len());
}

#[test]
fn a_suspect_that_is_released_or_closed_in_good_order_is_not_charged() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", [1]);
    lease(&store, "q", 10);
    let folder = crash(&folder);
    for _ in 0..5 {
        let store = open(&folder);
        assert!(lease(&store, "q", 10)[0].suspect);
        drop(store);
    }
    let clock = Clock::turned_by_hand(time(NOW));
    let mut process = Process { store: Store::open_with(folder.path(), clock.clone()).unwrap(), clock, folder };
    for _ in 0..5 {
        let alone = process.lease("q");
        assert!(alone[0].suspect);
        commit(&process.store, vec![release(&alone[0], Some(NOW + 1))]);
        let cleared = lease_at(&process.store, "q", 10, NOW + 1);
        assert!(!cleared[0].suspect);
        process.dies();
        // Dies with it alone; what comes after that clears it again.
        assert!(process.lease("q")[0].suspect);
        process.dies();
        process.advance(1000);
    }
    assert_eq!(crash_letters(&process.store).len(), 0);
}

#[test]
fn a_suspect_that_does_no_harm_for_a_while_holds_up_nothing_any_longer() {
    let mut process = Process::start();
    put(&process.store, "q", 1..3);
    assert_eq!(process.lease("q").len(), 2);
    let mut before = None;
    // Longer each time that a process dies with it.
    for milliseconds in [500, 2000, 4000, 4000] {
        process.dies();
        let first = numbers(&process.lease("q"));
        // The one of which the process died in company is the first to be tried.
        assert!(before.as_ref().is_none_or(|before| *before == first), "{before:?} {first:?}");
        process.advance(milliseconds - 1);
        assert!(process.lease("q").is_empty());
        process.advance(1);
        let second = numbers(&process.lease("q"));
        assert_eq!((first.len(), second.len()), (1, 1));
        before = Some(second);
    }
    // Two were out each time: neither is charged with it.
    process.dies();
    assert_eq!(crash_letters(&process.store).len(), 0);
}

#[test]
fn what_waits_for_the_end_of_a_recovery_waits_for_a_few_seconds_at_most() {
    let mut process = Process::start();
    put(&process.store, "q", 1..3);
    put(&process.store, "gone", 1..3);
    put(&process.store, "other", [9]);
    assert_eq!(process.lease("q").len() + process.lease("gone").len(), 4);
    process.dies();
    // Nobody reads `gone` any more: it is not waited for.
    process.store.will_read(["q", "other"].map(Text::from));
    // Long enough for the store to answer, if that is all that is waited for.
    let soon = Duration::from_millis(200);
    let is_recovered = |process: &Process| block_on(Clock::system().timeout(soon, process.store.recovered())).is_some();
    // Nobody asks for what is in `q`.
    assert!(!is_recovered(&process));
    assert!(process.lease("other").is_empty());
    assert_eq!(process.store.next_due("other").unwrap(), Some(time(NOW + 1)));
    process.advance(7000);
    assert!(!is_recovered(&process));
    assert!(process.lease("q")[0].suspect);
    process.advance(1000);
    block_on(process.store.recovered()).unwrap();
    assert_eq!(numbers(&process.lease("other")), [9]);
    // What is left is handed out in company, and a crash is nobody's fault then.
    let rest = process.lease("q");
    assert!(!rest[0].suspect && rest.len() == 1, "{rest:?}");
    assert_eq!(process.lease("gone").len(), 2);
    for _ in 0..4 {
        process.dies();
        process.advance(8000);
        assert_eq!(process.lease("q").len(), 2);
    }
    assert_eq!(crash_letters(&process.store).len(), 0);
}

#[test]
fn where_nothing_was_in_flight_nothing_waits() {
    let mut process = Process::start();
    put(&process.store, "q", 1..3);
    process.dies();
    block_on(process.store.recovered()).unwrap();
    assert_eq!(process.lease("q").len(), 2);
}

#[test]
fn a_damaged_entry_costs_itself_and_is_set_aside() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..10);
    drop(store);
    // A byte within the value of an entry in the middle.
    let connection = Connection::open(folder.path().join("gatherd.db")).unwrap();
    let mut blob: Vec<u8> = connection.query_row("SELECT entries FROM batch", [], |row| row.get(0)).unwrap();
    let middle = blob.len() / 2;
    blob[middle] ^= 1;
    connection.execute("UPDATE batch SET entries = ?1", [&blob]).unwrap();
    connection.close().unwrap();
    let store = open(&folder);
    let left = lease(&store, "q", 10);
    assert_eq!(left.len(), 9);
    assert_eq!(store.damaged_rows(), 1);
    assert_eq!(items(&store, "q"), 9);
    let aside = fs::read(folder.path().join("gatherd.db.damaged-batch-1")).unwrap();
    assert_eq!(aside, blob);
    settle(&store, &left);
    assert_eq!(items(&store, "q"), 0);
}

#[test]
fn progress_that_is_damaged_or_lost_counts_as_none() {
    for damage in [
        "UPDATE progress SET states = zeroblob(4) WHERE batch = 2",
        "UPDATE progress SET states = zeroblob(length(states))",
        "UPDATE progress SET batch = 7 WHERE batch = 2",
        "UPDATE progress SET queue = 7 WHERE batch = 2",
        "UPDATE progress SET crc = 1",
        "UPDATE queue SET name = 'r' WHERE name = 'q'",
        "DELETE FROM queue WHERE name = 'q'",
    ] {
        let folder = folder();
        let store = open(&folder);
        put(&store, "first", [0]);
        put(&store, "q", 0..10);
        put(&store, "q", 10..20);
        settle(&store, &lease(&store, "first", 1));
        settle(&store, &lease(&store, "q", 5));
        drop(store);
        assert!(tamper(folder.path(), damage) > 0, "{damage}");
        let store = open(&folder);
        let left = lease(&store, "q", 100);
        let lowest = numbers(&left)[0];
        assert!(lowest == 0 || lowest == 5, "{damage}: {lowest}");
        assert_eq!(numbers(&left), Vec::from_iter(lowest..20), "{damage}");
        assert_eq!(items(&store, "q"), left.len() as u64, "{damage}");
        settle(&store, &left);
        assert!(!store.is_anything_queued().unwrap(), "{damage}");
        drop(store);
        assert_eq!([count(folder.path(), "batch"), count(folder.path(), "progress")], [0, 0], "{damage}");
    }
}

#[test]
fn a_lost_blob_costs_its_entries_and_ends_them() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..5);
    put(&store, "q", 5..10);
    assert_eq!(tamper(folder.path(), "DELETE FROM batch WHERE id = 1"), 1);
    assert_eq!(numbers(&lease(&store, "q", 100)), [5, 6, 7, 8, 9]);
    assert_eq!(items(&store, "q"), 5);
    assert_eq!(store.damaged_rows(), 5);
}

#[test]
fn a_broken_file_keeps_the_entries_that_can_be_read() {
    let folder = folder();
    let store = open(&folder);
    for number in 0..2000 {
        put(&store, "q", [number]);
    }
    settle(&store, &lease(&store, "q", 100));
    drop(store);
    let path = folder.path().join("gatherd.db");
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    bytes[pages / 2 * 4096..][..4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let store = open(&folder);
    let mut back = Vec::new();
    loop {
        let leased = lease(&store, "q", 500);
        if leased.is_empty() {
            break;
        }
        back.extend(numbers(&leased));
        settle(&store, &leased);
    }
    assert!(back.len() > 1500, "{} came back", back.len());
    assert!(!store.is_anything_queued().unwrap());
}

#[test]
fn no_damage_to_the_files_alters_an_entry_or_keeps_the_others() {
    const ENTRIES: i64 = 600;
    let sound = folder();
    let store = open(&sound);
    for first in (0..ENTRIES).step_by(20) {
        put(&store, "q", first..first + 20);
    }
    drop(store);
    let store = open(&sound);
    settle(&store, &lease(&store, "q", 30));
    put(&store, "q", ENTRIES..ENTRIES + 20);
    // As a crash leaves them: some of it only in the log.
    let files = ["gatherd.db", "gatherd.db-wal"].map(|name| (name, fs::read(sound.path().join(name)).unwrap()));
    let (mut whole, mut lost) = (0, 0);
    for seed in 0..60 {
        let mut random = Random(seed);
        let (mut files, damaged) = (files.clone(), random.below(2));
        damage(&mut random, &mut files[damaged].1);
        let folder = folder();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut left: BTreeSet<_> = (0..ENTRIES + 20).collect();
        let mut drain = |store: &Store| -> Result<(), Fault> {
            loop {
                let leased = block_on(store.lease("q", 50, time(NOW)))?;
                if leased.is_empty() {
                    assert!(!store.is_anything_queued()?, "seed {seed}");
                    return Ok(());
                }
                for leased in &leased {
                    assert_eq!(leased.entry, entry(number(leased)), "seed {seed}");
                    left.remove(&number(leased));
                }
                block_on(store.commit(leased.iter().map(|leased| Change::Settle(leased.lease)).collect()))?;
            }
        };
        let open = || Store::open(folder.path()).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        // Damage that is met only while running stops, and is mended by the next start.
        let first = open();
        if drain(&first).is_err() {
            drop(first);
            drain(&open()).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        }
        left.retain(|number| *number >= 30);
        lost += left.len();
        whole += (ENTRIES - 10) as usize - left.len();
    }
    assert!(whole > 5 * lost, "{whole} entries left, {lost} lost");
}

#[test]
fn a_commit_that_failed_leaves_no_trace_in_memory() {
    let folder = folder();
    let store = open(&folder);
    put(&store, "q", 0..10);
    drop(store);
    let file = folder.path().join("gatherd.db");
    let mut connection = Connection::open(&file).unwrap();
    let mut ledger = Ledger::recover(&mut connection, file, &Clock::system()).unwrap();
    let mut lease = |ledger: &mut Ledger, change: &dyn Fn(&mut Ledger, &Connection), is_committed: bool| {
        let transaction = connection.transaction().unwrap();
        ledger.begin();
        change(ledger, &transaction);
        let handed = ledger.lease(&transaction, &"q".into(), 100, time(NOW)).unwrap().take();
        if is_committed {
            ledger.finish(&transaction).unwrap();
            transaction.commit().unwrap();
            ledger.committed();
        } else {
            drop(transaction);
            ledger.rolled_back();
        }
        handed.into_iter().map(|handed| handed.lease).collect::<Vec<_>>()
    };
    let nothing: &dyn Fn(&mut Ledger, &Connection) = &|_, _| ();
    let pushes = |ledger: &mut Ledger, connection: &Connection| {
        ledger.push(connection, &PackedPush::new(&push("q", 10..15)), time(NOW)).unwrap();
        ledger.push(connection, &PackedPush::new(&push("new", 10..15)), time(NOW)).unwrap();
        ledger.drop_oldest(connection, "q", 3).unwrap();
    };
    assert_eq!(lease(&mut ledger, &pushes, false).len(), 12);
    assert_eq!(ledger.board().size("new").items, 0);
    let leased = lease(&mut ledger, nothing, true);
    assert_eq!(leased.len(), 10);
    let settle_some = |ledger: &mut Ledger, connection: &Connection| {
        ledger.settle(connection, leased[0]).unwrap();
        ledger.release(connection, leased[1], None).unwrap();
    };
    assert_eq!(lease(&mut ledger, &settle_some, false), [leased[1]]);
    // What is given back in a commit that fails is given back in the next one.
    ledger.board().give_back("q", [leased[2]]);
    assert_eq!(lease(&mut ledger, nothing, false), [leased[2]]);
    assert_eq!(lease(&mut ledger, nothing, true), [leased[2]]);
    assert_eq!(ledger.board().size("q").items, 10);
    let settle_all = |ledger: &mut Ledger, connection: &Connection| {
        leased.iter().for_each(|lease| ledger.settle(connection, *lease).unwrap());
    };
    assert_eq!(lease(&mut ledger, &settle_all, true), []);
    assert_eq!(ledger.board().size("q"), QueueSize::default());
}

#[test]
fn queues_can_be_looked_at_by_their_process_and_by_others() {
    let folder = folder();
    let clock = Clock::turned_by_hand(time(NOW));
    let store = Store::open_with(folder.path(), clock.clone()).unwrap();
    put(&store, "b", [1, 2]);
    put(&store, "a", [1]);
    clock.advance(Duration::from_secs(5));
    put(&store, "b", [3]);
    settle(&store, &lease(&store, "b", 2));
    let looking = Store::open_to_read(folder.path()).unwrap();
    for store in [&store, &looking] {
        let queues = store.queues().unwrap();
        let shown: Vec<_> = queues.iter().map(|(name, size, oldest)| (&**name, size.items, *oldest)).collect();
        assert_eq!(shown, [("a", 1, Some(time(NOW))), ("b", 1, Some(time(NOW + 5)))]);
        assert_eq!(items(store, "a"), 1);
        assert!(store.is_anything_queued().unwrap());
    }
    assert_eq!(store.queues().unwrap(), looking.queues().unwrap());
    assert!(block_on(looking.lease("a", 1, time(NOW))).unwrap_err().message.contains("look only"));
}

// ---- against a model

/// What a test does to a store. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Push {
        queues: u8,
        count: i64,
        priority: i32,
        delay: Option<i64>,
    },
    Lease {
        queue: usize,
        count: usize,
    },
    Settle(prop::sample::Index),
    Release(prop::sample::Index, Option<i64>),
    DropOldest {
        queue: usize,
        items: u64,
    },
    /// In milliseconds.
    Pass(i64),
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let delay = prop::option::weighted(0.3, 0..30i64);
    prop_oneof![
        4 => (1..4u8, 1..300i64, -1..2, delay.clone())
            .prop_map(|(queues, count, priority, delay)| Step::Push { queues, count, priority, delay }),
        6 => (0..2usize, 1..40usize).prop_map(|(queue, count)| Step::Lease { queue, count }),
        12 => any::<prop::sample::Index>().prop_map(Step::Settle),
        6 => (any::<prop::sample::Index>(), delay).prop_map(|(at, delay)| Step::Release(at, delay)),
        1 => (0..2usize, 1..50u64).prop_map(|(queue, items)| Step::DropOldest { queue, items }),
        2 => (1..20i64).prop_map(|seconds| Step::Pass(seconds * 1000)),
        2 => (100..3000i64).prop_map(Step::Pass),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

const QUEUES: [&str; 2] = ["a", "b"];

/// One entry in one queue of the model.
#[derive(Clone, Debug)]
struct Waiting {
    priority: i32,
    due: i64,
    suspect: bool,
    crashes: u8,
    attempts: u32,
    out: Option<Lease>,
}

/// What was in flight at a crash is worked on alone. Times are in milliseconds since the store was opened.
#[derive(Debug, Default)]
struct ModelRecovery {
    is_on: bool,
    age: i64,
    /// The suspect that is out, and until when it is one.
    alone: Option<(usize, i64, i64)>,
    prime: Option<(usize, i64)>,
    is_control: bool,
}

struct Model {
    folder: TempDir,
    store: Option<Store>,
    /// By number, which is the order of the pushes.
    queues: [BTreeMap<i64, Waiting>; 2],
    next: i64,
    clock: Clock,
    recovery: ModelRecovery,
    dead: usize,
}

impl Model {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn do_step(&mut self, step: &Step) {
        match *step {
            Step::Push { queues, count, priority, delay } => {
                let due = delay.map(|delay| self.now() + delay);
                let range = self.next..self.next + count;
                self.next += count;
                let mut names = Vec::new();
                for (at, name) in QUEUES.iter().enumerate().filter(|(at, _)| queues >> at & 1 == 1) {
                    names.push(Text::from(*name));
                    let due = due.unwrap_or(0);
                    let waiting = Waiting { priority, due, suspect: false, crashes: 0, attempts: 0, out: None };
                    self.queues[at].extend(range.clone().map(|number| (number, waiting.clone())));
                }
                let push = Push { queues: names, priority, due: due.map(time), ..push("", range) };
                commit(self.store(), vec![Change::Push(push)]);
            }
            Step::Lease { queue, count } => {
                let leased = lease_at(self.store(), QUEUES[queue], count, self.now());
                // A queue that was never pushed to has no say.
                let is_known = self.store().queues().unwrap().iter().any(|(name, ..)| **name == *QUEUES[queue]);
                let expected = if is_known { self.lease(queue, count) } else { Vec::new() };
                assert_eq!(numbers(&leased), expected);
                for leased in leased {
                    let entry = self.queues[queue].get_mut(&number(&leased)).unwrap();
                    entry.out = Some(leased.lease);
                    entry.attempts += 1;
                    assert_eq!((leased.attempts, leased.suspect), (entry.attempts, entry.suspect));
                }
            }
            Step::Settle(ref at) => {
                if let Some((queue, number, lease)) = self.any_out(at) {
                    commit(self.store(), vec![Change::Settle(lease)]);
                    self.queues[queue].remove(&number);
                }
            }
            Step::Release(ref at, delay) => {
                if let Some((queue, number, lease)) = self.any_out(at) {
                    let due = delay.map(|delay| self.now() + delay);
                    commit(self.store(), vec![Change::Release { lease, due: due.map(time) }]);
                    let entry = self.queues[queue].get_mut(&number).unwrap();
                    *entry = Waiting { due: due.unwrap_or(0), suspect: false, crashes: 0, out: None, ..entry.clone() };
                }
            }
            Step::DropOldest { queue, items } => {
                commit(self.store(), vec![Change::DropOldest { queue: QUEUES[queue].into(), items }]);
                for _ in 0..items {
                    self.queues[queue].pop_first();
                }
            }
            Step::Pass(milliseconds) => {
                self.clock.advance(Duration::from_millis(milliseconds as u64));
                self.recovery.age += milliseconds;
            }
            Step::Reopen => {
                drop(self.store.take());
                self.all().for_each(|entry| entry.out = None);
                self.recovery.is_control = false;
                self.reopen();
            }
            Step::Crash => {
                self.folder = crash(&self.folder);
                let queues = self.queues.iter().enumerate();
                let out = queues
                    .flat_map(|(queue, entries)| entries.iter().map(move |(number, entry)| (queue, *number, entry)));
                let out: Vec<_> = out.filter(|(_, _, entry)| entry.out.is_some()).collect();
                let suspect =
                    out.iter().find(|(_, _, entry)| entry.suspect).map(|(queue, number, _)| (*queue, *number));
                let is_alone = out.len() == 1;
                for entry in self.all().filter(|entry| entry.out.is_some()) {
                    entry.crashes += u8::from(is_alone && entry.suspect);
                    (entry.out, entry.suspect, entry.due) = (None, true, 0);
                }
                for entries in &mut self.queues {
                    let before = entries.len();
                    entries.retain(|_, entry| entry.crashes < 3);
                    self.dead += before - entries.len();
                }
                if std::mem::take(&mut self.recovery.is_control) {
                    self.all().filter(|entry| entry.suspect).for_each(|entry| entry.crashes = 0);
                }
                self.reopen();
                self.recovery.prime = suspect.filter(|_| !is_alone);
            }
        }
        for (name, entries) in QUEUES.iter().zip(&self.queues) {
            assert_eq!(items(self.store(), name), entries.len() as u64);
        }
        assert_eq!(crash_letters(self.store()).len(), self.dead);
    }

    fn now(&self) -> i64 {
        self.clock.timestamp().as_second()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.queues.iter_mut().flat_map(BTreeMap::values_mut)
    }

    fn reopen(&mut self) {
        self.store = Some(Store::open_with(self.folder.path(), self.clock.clone()).unwrap());
        let is_on = self.all().any(|entry| entry.suspect);
        self.recovery = ModelRecovery { is_on, ..ModelRecovery::default() };
    }

    /// What a queue hands out now.
    fn lease(&mut self, queue: usize, count: usize) -> Vec<i64> {
        let now = self.now();
        if self.recovery.is_on {
            // One that was settled or released is alone no more.
            let is_out = |(queue, number, _): &(usize, i64, i64)| {
                self.queues[*queue].get(number).is_some_and(|entry| entry.out.is_some() && entry.suspect)
            };
            self.recovery.alone = self.recovery.alone.filter(is_out);
            let is_over = self.recovery.age >= 8000;
            if let Some((queue, number, until)) = self.recovery.alone
                && (is_over || until <= self.recovery.age)
            {
                let entry = self.queues[queue].get_mut(&number).unwrap();
                (entry.suspect, entry.crashes) = (false, 0);
                self.recovery.alone = None;
            }
            let is_left = self.recovery.alone.is_some() || self.all().any(|entry| entry.suspect && entry.out.is_none());
            if is_left && !is_over {
                return self.lease_suspect(queue).into_iter().collect();
            }
            (self.recovery.is_on, self.recovery.is_control) = (false, false);
        }
        let entries = &mut self.queues[queue];
        entries.values_mut().filter(|entry| entry.out.is_none()).for_each(|entry| entry.suspect = false);
        let ready = entries.iter().filter(|(_, entry)| entry.out.is_none() && entry.due <= now);
        let mut ready: Vec<_> = ready.map(|(number, entry)| (-entry.priority, *number)).collect();
        ready.sort();
        ready.into_iter().take(count).map(|(_, number)| number).collect()
    }

    fn lease_suspect(&mut self, queue: usize) -> Option<i64> {
        if self.recovery.alone.is_some() {
            return None;
        }
        let age = self.recovery.age;
        let is_ready = |entry: &Waiting| age >= [0, 1000, 3000][usize::from(entry.crashes)];
        let prime = self.recovery.prime;
        let prime = prime.filter(|(at, number)| self.queues[*at].get(number).is_some_and(|entry| entry.suspect));
        let entries =
            self.queues[queue].iter().filter(|(_, entry)| entry.suspect && entry.out.is_none() && is_ready(entry));
        let allowed = entries.filter(|(number, _)| prime.is_none_or(|prime| prime == (queue, **number)));
        let next = allowed.min_by_key(|(number, entry)| (entry.crashes, entry.attempts, -entry.priority, **number));
        let Some((number, entry)) = next else {
            // The whole process waits while nothing is out.
            self.recovery.is_control |= self.queues.iter().flat_map(BTreeMap::values).all(|entry| entry.out.is_none());
            return None;
        };
        let tries = entry.attempts + 1 - u32::from(entry.crashes);
        let until = age + (500 * 4i64.pow(tries - 2)).min(4000);
        (self.recovery.alone, self.recovery.is_control) = (Some((queue, *number, until)), false);
        Some(*number)
    }

    fn any_out(&self, at: &prop::sample::Index) -> Option<(usize, i64, Lease)> {
        let out = |queue: usize| {
            self.queues[queue].iter().filter_map(move |(number, entry)| Some((queue, *number, entry.out?)))
        };
        let out: Vec<_> = out(0).chain(out(1)).collect();
        (!out.is_empty()).then(|| *at.get(&out))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_done_a_queue_holds_what_a_simple_model_holds(steps in prop::collection::vec(step(), 1..80)) {
        let folder = folder();
        let queues = [BTreeMap::new(), BTreeMap::new()];
        let (clock, recovery) = (Clock::turned_by_hand(time(NOW)), ModelRecovery::default());
        let mut model = Model { folder, store: None, queues, next: 0, clock, recovery, dead: 0 };
        model.reopen();
        for step in steps {
            model.do_step(&step);
        }
    }
}
