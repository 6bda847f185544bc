//! The embedded queue against SQLite used directly: `cargo bench --bench queue`.
//!
//! Items of 1 KiB are pushed, leased and settled in batches, one fsync each. Beside it in the same run, with the same
//! settings of SQLite: a blob a batch inserted and deleted, and a row an item in transactions of their own. After
//! that, what a queue of many small items takes: memory, and time to open.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use gatherd::model::{ItemId, Text, Value, json};
use gatherd::runtime;
use gatherd::store::{Change, Entry, Push, Store};
use jiff::Timestamp;
use rusqlite::Connection;

#[derive(Parser)]
struct Arguments {
    /// How many items of 1 KiB go through.
    #[arg(long, default_value_t = 200_000)]
    items: usize,
    /// How many items share an fsync.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// How many items of 100 bytes are queued for the second part.
    #[arg(long, default_value_t = 1_000_000)]
    queued: usize,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Arguments { items, batch, queued, bench: _ } = Arguments::parse();
    // First, while the process has not grown yet.
    for (items, batch) in [(queued / 100, 256), (queued, 256), (queued, 1)] {
        let (memory, opening) = hold(items, batch);
        let memory = memory as f64 / f64::from(1 << 20);
        say(&format!(
            "{items} items of 100 bytes, {batch} a batch: {memory:.1} MiB more memory, opened in {opening:.2?}"
        ));
    }
    let few = items.min(3000);
    let runs: [(usize, &dyn Fn() -> Duration); 4] = [
        (items, &|| insert_and_delete(items, batch)),
        (items, &|| through_a_queue(items, batch, false)),
        (items, &|| through_a_queue(items, batch, true)),
        (few, &|| insert_and_delete(few, 1)),
    ];
    let mut best = [0f64; 4];
    for _ in 0..ROUNDS {
        for ((items, run), best) in runs.iter().zip(&mut best) {
            *best = best.max(*items as f64 / run().as_secs_f64());
        }
    }
    let [raw, queue, keyed, single] = best;
    say(&format!("SQLite, a blob a batch:      {raw:>9.0} items/s"));
    say(&format!("queue:                       {queue:>9.0} items/s, {:.2} of the blobs (wanted: 0.5)", queue / raw));
    say(&format!("queue with keys:             {keyed:>9.0} items/s, {:.2} of the blobs (wanted: 0.25)", keyed / raw));
    say(&format!(
        "SQLite, a row a transaction: {single:>9.0} items/s; the queue: {:.1} times as many (wanted: 3)",
        queue / single
    ));
}

/// What else runs on the machine disturbs some rounds: the best one of each counts.
const ROUNDS: usize = 5;

#[expect(clippy::print_stdout, reason = "a bench is run to be read")]
fn say(line: &str) {
    println!("{line}");
}

/// On the disk that is built on: a folder in memory has no fsync.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder can be written")
}

/// Inserts and deletes blobs of so many items, with ten in the table at a time.
fn insert_and_delete(items: usize, batch: usize) -> Duration {
    let folder = folder();
    let connection = Connection::open(folder.path().join("raw.db")).expect("a file can be made there");
    for (name, value) in
        [("journal_mode", "wal"), ("synchronous", "full"), ("wal_autocheckpoint", "4000"), ("cache_size", "-8192")]
    {
        connection.pragma_update(None, name, value).expect("SQLite knows it");
    }
    connection.execute_batch("CREATE TABLE batch (id INTEGER PRIMARY KEY, entries BLOB NOT NULL)").expect("a new file");
    let texts: Vec<_> = (0..DIFFERENT).map(text).collect();
    let started = Instant::now();
    let batches = items.div_ceil(batch);
    for number in 0..batches + 10 {
        if number < batches {
            let texts = (0..batch).map(|at| texts[(number * batch + at) % DIFFERENT].as_str());
            let blob = texts.collect::<String>().into_bytes();
            let mut insert = connection.prepare_cached("INSERT INTO batch VALUES (?1, ?2)").expect("plain SQL");
            insert.execute((number as i64, blob)).expect("there is space");
        }
        if let Some(oldest) = number.checked_sub(10) {
            let mut delete = connection.prepare_cached("DELETE FROM batch WHERE id = ?1").expect("plain SQL");
            delete.execute([oldest as i64]).expect("there is space");
        }
    }
    started.elapsed()
}

/// Pushes, leases and settles as a sink and a source do: side by side, each waiting for its own commits.
fn through_a_queue(items: usize, batch: usize, with_keys: bool) -> Duration {
    let folder = folder();
    let store = Store::open(folder.path()).expect("a folder can be made there");
    let started = Instant::now();
    let pushing = runtime::spawn(push(store.clone(), items, batch, with_keys, text));
    let leasing = runtime::spawn(async move {
        let (mut next, mut done) = (0, Vec::new());
        while next < items || !done.is_empty() {
            let pushed = store.pushed("bench");
            let settling = store.commit(std::mem::take(&mut done));
            // While the last entries are worked on and settled, the source takes the next ones.
            let (leased, settled) = runtime::both(store.lease("bench", batch, Timestamp::now()), settling).await;
            settled.expect("there is space");
            let leased = leased.expect("there is space");
            if leased.is_empty() && next < items {
                pushed.await;
            }
            for leased in leased {
                assert_eq!(leased.entry.item.0, next as u64, "every item comes once, and in order");
                next += 1;
                done.push(Change::Settle(leased.lease));
            }
        }
    });
    runtime::block_on(async {
        pushing.join().await.expect("there is space");
        leasing.join().await.expect("every item comes once, and in order");
    });
    started.elapsed()
}

async fn push(store: Store, items: usize, batch: usize, with_keys: bool, text: fn(usize) -> String) {
    let entries: Vec<_> = (0..DIFFERENT).map(|number| entry(&text(number))).collect();
    for first in (0..items).step_by(batch) {
        let numbers = first..items.min(first + batch);
        let key = |number: usize| (Text::from(number.to_string()), Some(Timestamp::MAX));
        let keys = with_keys.then(|| numbers.clone().map(key).collect());
        let entries =
            numbers.map(|number| Entry { item: ItemId(number as u64), ..entries[number % DIFFERENT].clone() });
        store
            .commit(vec![Change::Push(Push { keys, ..to_the_bench(entries.collect()) })])
            .await
            .expect("there is space");
    }
}

fn to_the_bench(entries: Vec<Entry>) -> Push {
    Push { queues: vec!["bench".into()], entries, priority: 0, due: None, expires: None, keys: None }
}

/// How many different items there are: they are made before the clock runs.
const DIFFERENT: usize = 1000;

fn entry(text: &str) -> Entry {
    Entry {
        pipeline: "bench".into(),
        item: ItemId(0),
        window: None,
        value: json::parse(text.as_bytes()).expect("it is JSON"),
        labels: Value::object(Default::default()),
        tried: None,
    }
}

/// 1 KiB of JSON.
fn text(number: usize) -> String {
    let start = format!(
        r#"{{"id":{number},"name":"Station {}","latitude":{}.25,"tags":["coast","automatic"],"note":""#,
        number % 997,
        number % 90
    );
    format!("{start}{:.<1$}\"}}", "Readings are checked every hour ", 1022 - start.len())
}

/// 100 bytes of JSON.
fn short_text(number: usize) -> String {
    format!(r#"{{"url":"https://example.com/{number:0>70}"}}"#)
}

/// How much more memory the process takes once so many items are queued, and how long such a store takes to open.
fn hold(items: usize, batch: usize) -> (u64, Duration) {
    let folder = folder();
    let store = Store::open(folder.path()).expect("a folder can be made there");
    let before = memory();
    for first in (0..items).step_by(10_000) {
        let numbers: Vec<_> = (first..items.min(first + 10_000)).collect();
        let pushes = numbers.chunks(batch).enumerate().map(|(place, numbers)| {
            let entries = numbers.iter().map(|number| entry(&short_text(*number))).collect();
            // Pushes that follow each other share a batch, unless their terms are different.
            Change::Push(Push { priority: (place % 2) as i32, ..to_the_bench(entries) })
        });
        runtime::block_on(store.commit(pushes.collect())).expect("there is space");
    }
    let after = memory();
    drop(store);
    let started = Instant::now();
    let store = Store::open(folder.path()).expect("it was closed in good order");
    let opening = started.elapsed();
    assert_eq!(store.queue_size("bench").expect("it is kept in memory").items, items as u64, "items are missing");
    (after.saturating_sub(before), opening)
}

/// What the process holds in memory, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string(Path::new("/proc/self/status")).expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") * 1024
}
