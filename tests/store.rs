//! `gatherd store` as its operator meets it, with a daemon that runs and without one.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod support;

use std::fs;

use rusqlite::Connection;
use serde_json::Value;
use support::gatherd::{Ended, IDLE, Running, Workplace};
use support::wait_until;

const DATABASE: &str = "gatherd-state/gatherd.db";

/// A daemon whose queue `later` holds three items that are due in a hundred years, and whose pipeline has seen three
/// keys and given up one item.
fn daemon() -> (Workplace, Running) {
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.numbers]
        from  = {{ items = [{{ n = 1 }}, {{ n = 2 }}, {{ n = 3 }}, {{ bad = 1 }}] }}
        steps = [ {{ map = "if .bad then error(\"bad\") else . end" }}, {{ new = ".n" }} ]
        to    = ["later"]

        [queue.later]
        due = "\"2126-01-01T00:00:00Z\""

        [pipeline.later]
        from = {{ queue = "later" }}
        to   = []
        {IDLE}
        "#
    ));
    let daemon = workplace.start();
    wait_until("the items to be stored", || {
        let stats = stats(&workplace);
        row(&stats, "queues", "later")["items"] == 3 && row(&stats, "pipelines", "numbers")["dead_letters"] == 1
    });
    (workplace, daemon)
}

#[track_caller]
fn done(ended: &Ended) -> &str {
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    &ended.stdout
}

#[track_caller]
fn stats(workplace: &Workplace) -> Value {
    serde_json::from_str(done(&workplace.gatherd(&["store", "stats", "--json"]))).unwrap()
}

#[track_caller]
fn row<'a>(stats: &'a Value, of: &str, name: &str) -> &'a Value {
    let rows = stats[of].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn stats_tell_how_much_there_is_of_what_while_a_daemon_runs_and_after() {
    let (workplace, daemon) = daemon();
    let check = || {
        let stats = stats(&workplace);
        let queue = row(&stats, "queues", "later");
        assert_eq!([&queue["items"], &queue["held_back"], &queue["in_flight"]], [3, 3, 0], "{stats}");
        assert!(queue["oldest"].is_string() && queue["bytes"].as_u64().unwrap() > 30, "{stats}");
        let pipeline = row(&stats, "pipelines", "numbers");
        assert_eq!([&pipeline["seen"], &pipeline["dead_letters"]], [3, 1], "{stats}");
        assert!(pipeline["oldest_dead"].is_string(), "{stats}");
        assert_eq!(row(&stats, "tables", "seen")["rows"], 3, "{stats}");
        assert!(row(&stats, "tables", "batch")["bytes"].as_u64().unwrap() >= 4096, "{stats}");
        assert!(row(&stats, "files", "gatherd.db")["bytes"].as_u64().unwrap() >= 4096, "{stats}");
    };
    check();
    let shown = workplace.gatherd(&["store", "stats"]);
    for heading in ["FILE", "TABLE", "QUEUE", "PIPELINE"] {
        assert!(done(&shown).lines().any(|line| line.starts_with(heading)), "{shown:?}");
    }
    assert_eq!(daemon.stop().code(), Some(0));
    check();
}

#[test]
fn a_whole_store_passes_while_a_daemon_runs_and_after() {
    let (workplace, daemon) = daemon();
    let check = || {
        let checked = workplace.gatherd(&["store", "check"]);
        assert!(done(&checked).starts_with("ok: "), "{checked:?}");
    };
    check();
    assert_eq!(daemon.stop().code(), Some(0));
    check();
}

#[test]
fn looking_into_the_store_of_a_daemon_that_goes_on_after_a_crash_does_it_no_harm() {
    let workplace = Workplace::new(
        r#"
        [pipeline.numbers]
        from  = { items = { range = [1, 100000000] } }
        steps = [{ new = "." }]
        to    = []
        "#,
    );
    let seen = || row(&stats(&workplace), "pipelines", "numbers")["seen"].as_u64().unwrap_or_default();
    let daemon = workplace.start();
    wait_until("the first keys to be stored", || seen() > 0);
    daemon.kill();
    let mut daemon = workplace.start();
    let before = seen();
    for look in 1..=50 {
        seen();
        assert!(!daemon.is_over(), "after {look} looks: {:?}", daemon.end());
    }
    wait_until("more keys to be stored", || seen() > before);
    daemon.kill();
    assert!(done(&workplace.gatherd(&["store", "check"])).starts_with("ok: "));
}

#[test]
fn a_stop_in_good_order_closes_the_store() {
    let (workplace, daemon) = daemon();
    assert!(workplace.path("gatherd-state/gatherd.db-wal").exists());
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!workplace.path("gatherd-state/gatherd.db-wal").exists());
}

#[test]
fn a_check_names_what_is_damaged_and_changes_nothing() {
    let check = |sql: &str, expected: &str| {
        let (workplace, daemon) = daemon();
        assert_eq!(daemon.stop().code(), Some(0));
        let database = Connection::open(workplace.path(DATABASE)).unwrap();
        assert!(database.execute(sql, []).unwrap() > 0, "{sql}");
        drop(database);
        let before = fs::read(workplace.path(DATABASE)).unwrap();
        let checked = workplace.gatherd(&["store", "check"]);
        assert_eq!(checked.code(), Some(1), "{checked:?}");
        assert!(checked.stdout.contains(expected), "{expected:?} for {sql}: {checked:?}");
        assert!(checked.stdout.contains("Nothing was changed."), "{checked:?}");
        assert_eq!(fs::read(workplace.path(DATABASE)).unwrap(), before);
    };
    check(
        "UPDATE seen SET until = 5 WHERE key = '2'",
        "damaged: table `seen`, row with pipeline `numbers`, component `new`, key `2`: it is not as it was written",
    );
    check("UPDATE dead_letter SET value = 'x'", "damaged: table `dead_letter`, row with id 1: it is not as");
    // The last byte of the last entry.
    check(
        "UPDATE batch SET entries = CAST(substr(entries, 1, length(entries) - 1) || x'ff' AS BLOB)",
        "damaged: queue `later`, entry ",
    );
    check("DELETE FROM batch", "the queue or the batch is not there");
    check("DELETE FROM progress", "no queue knows of it");
}

#[test]
fn a_check_finds_damage_to_the_file_itself() {
    let (workplace, daemon) = daemon();
    assert_eq!(daemon.stop().code(), Some(0));
    let whole = fs::read(workplace.path(DATABASE)).unwrap();
    let check = |damaged: Vec<u8>| {
        fs::write(workplace.path(DATABASE), &damaged).unwrap();
        let checked = workplace.gatherd(&["store", "check"]);
        assert_eq!(checked.code(), Some(1), "{checked:?}");
        assert!(checked.stdout.contains("damaged: file: "), "{checked:?}");
        assert_eq!(fs::read(workplace.path(DATABASE)).unwrap(), damaged);
    };
    check(b"this is no database".repeat(1000));
    check(whole[..whole.len() - 4096].to_vec());
    let mut lost_page = whole;
    lost_page[4096..8192].fill(0x5a);
    check(lost_page);
}

#[test]
fn compacting_gives_space_back_while_a_daemon_runs_and_without_one() {
    let (workplace, daemon) = daemon();
    let waste = || {
        let database = Connection::open(workplace.path(DATABASE)).unwrap();
        let fill = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
                    INSERT INTO seen SELECT 0, 'waste', 'new', 'a key of some length, for it is to take space ' || n, NULL FROM n";
        database.execute(fill, []).unwrap();
        database.execute("DELETE FROM seen WHERE pipeline = 'waste'", []).unwrap();
    };
    let size =
        || stats(&workplace)["files"].as_array().unwrap().iter().filter_map(|file| file["bytes"].as_u64()).sum::<u64>();
    let check = || {
        waste();
        let before = size();
        assert!(before > 1 << 20, "{before}");
        let compacted = workplace.gatherd(&["store", "compact"]);
        let (from, to) = done(&compacted).split_once(" before, ").unwrap();
        assert!(from.contains("MiB") && to.contains("KiB now"), "{compacted:?}");
        // The index of the log stays as long as someone has the store open.
        assert!(size() < 400 << 10, "{}", stats(&workplace));
        assert_eq!(row(&stats(&workplace), "queues", "later")["items"], 3);
        assert!(done(&workplace.gatherd(&["store", "check"])).starts_with("ok: "));
    };
    check();
    // The daemon goes on with the store as it is now.
    let letter = workplace.dead_letters()[0]["id"].to_string();
    done(&workplace.gatherd(&["dead", "drop", &letter]));
    assert_eq!(daemon.stop().code(), Some(0));
    check();
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
}

#[test]
fn a_daemon_that_cannot_be_asked_is_named() {
    let (workplace, daemon) = daemon();
    fs::remove_file(workplace.path("gatherd-state/control.sock")).unwrap();
    let refused = workplace.gatherd(&["store", "compact"]);
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("process {}", daemon.id())), "{refused:?}");
}

#[test]
fn where_there_is_no_store_none_is_made() {
    let workplace = Workplace::new("");
    for command in ["check", "stats", "compact"] {
        let refused = workplace.gatherd(&["store", command]);
        assert_eq!(refused.code(), Some(1), "{refused:?}");
        assert!(refused.stderr.contains("there is no store yet"), "{refused:?}");
    }
    assert!(!workplace.path("gatherd-state").exists());
}
