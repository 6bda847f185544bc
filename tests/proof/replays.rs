//! Dead letters that are replayed, and given up again, while the process is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::oracle::{Oracle, Way, file};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::Workplace;
use super::support::server::{Server, json, reply};

const ITEMS: usize = 20;

#[test]
fn a_replay_that_fails_again_leaves_one_letter_with_a_longer_history_whatever_is_killed() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let pages = Server::start(move |_, connection| {
        connection.write_all(&if well.load(Ordering::SeqCst) { json("1") } else { reply("410 Gone", &[], "") })
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.pages]
        from  = {{ lines = {{ path = "pages.in.ndjson", follow = true }} }}
        steps = [ {{ get = {{ url = "{}", into = ".page" }} }} ]
        to    = [ {{ file = "pages.ndjson", batch = {{ age = "10ms" }} }} ]
        "#,
        pages.url("/{.id}")
    ));
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    oracle.hand_over(ITEMS, &[Way::line("pages", workplace.path("pages.in.ndjson"))]);
    assert_eq!(workplace.run_once().code(), Some(1), "each is given up");
    let replay = || {
        let asked = workplace.gatherd(&["dead", "replay", "--all"]);
        assert_eq!(asked.code(), Some(0), "{asked:?}");
    };
    let mut longest = 1;
    for round in Rounds::new(20, Duration::from_secs(15), 500) {
        replay();
        let daemon = workplace.start();
        // Not to wait for anything: this is the random moment.
        thread::sleep(Duration::from_micros(random.u64(0..30_000)));
        daemon.kill();
        workplace.run_once();
        let dead = workplace.dead_letters();
        assert_eq!(dead.len(), ITEMS, "round {round}: each is still given up, once");
        let histories = dead.iter().map(|letter| letter["history"].as_array().unwrap().len());
        let shortest = histories.min().unwrap();
        assert!(shortest > longest || shortest >= HISTORY, "round {round}: {shortest} faults after {longest}");
        longest = shortest;
    }
    is_well.store(true, Ordering::SeqCst);
    replay();
    assert_eq!(workplace.run_once().code(), Some(0));
    assert_eq!(workplace.dead_letters().len(), 0);
    oracle.check("pages", "file", &[file(&workplace, "pages.ndjson")], 0);
    say(&format!("{ITEMS} letters, each with a history of {longest} faults, then delivered"));
}

/// A letter keeps this many faults.
const HISTORY: usize = 20;
