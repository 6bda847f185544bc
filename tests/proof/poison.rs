//! An item that the process dies of, and those beside it that it only dies with.

use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::oracle::{Oracle, Way, file, kept};
use super::rounds::{random, say};
use super::support::LIMIT;
use super::support::comes_true_within;
use super::support::gatherd::{Running, Workplace};
use super::support::server::{Server, json};

const ITEMS: usize = 30;
const POISON: u64 = 13;

/// One death in company, of which nobody can be blamed, and three alone.
const MOST_DEATHS: usize = 1 + 3;

#[test]
fn an_item_that_kills_the_process_is_quarantined_and_its_neighbours_are_delivered() {
    // Asked for the poison, the server kills who asks.
    let victim: Arc<Mutex<Option<u32>>> = Arc::default();
    let process = victim.clone();
    let server = Server::start(move |seen, connection| {
        if seen.target == format!("/{POISON}") {
            if let Some(process) = process.lock().unwrap().take() {
                kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
            }
            return Ok(());
        }
        connection.write_all(&json("1"))
    });
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.numbers]
        from = {{ lines = "numbers.ndjson" }}
        to   = ["work"]

        [queue.work]

        [pipeline.work]
        from  = {{ queue = "work" }}
        steps = [ {{ get = {{ url = "{}", into = ".reply" }} }} ]
        to    = [ {{ file = "work.ndjson", batch = {{ age = "10ms" }} }} ]
        "#,
        server.url("/{.id}")
    ));
    let mut oracle = Oracle::start(&mut random());
    oracle.hand_over(ITEMS, &[Way::line("numbers", workplace.path("numbers.ndjson"))]);

    let mut deaths = 0;
    let ended = loop {
        assert!(deaths <= MOST_DEATHS, "{deaths} starts, and it is still tried");
        let running = {
            // Held until the process is known, so that the server does not miss it.
            let mut victim = victim.lock().unwrap();
            let running = Running::start(workplace.command(&["run", "--once", "gatherd.toml"]));
            *victim = Some(running.id());
            running
        };
        let ended = running.end();
        if ended.code().is_some() {
            break ended;
        }
        deaths += 1;
    };
    let dead = workplace.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:?} {ended:?}");
    assert_eq!(dead[0]["value"]["id"], POISON);
    let arrived = [file(&workplace, "work.ndjson"), kept(&dead, "work")];
    oracle.check("numbers", "work", &arrived, MOST_DEATHS * ITEMS);
    say(&format!("quarantined whole after {deaths} deaths; all {} neighbours arrived", ITEMS - 1));
}

#[test]
fn twenty_kills_quarantine_nothing() {
    let server = Server::start(|_, connection| connection.write_all(&json("1")));
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.orders]
        from  = {{ lines = "orders.ndjson", durable = true }}
        steps = [ {{ get = {{ url = "{}", into = ".reply" }} }} ]
        to    = [ {{ file = "work.ndjson", batch = {{ age = "10ms" }} }} ]
        "#,
        server.url("/{.id}")
    ));
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    oracle.hand_over(2000, &[Way::line("orders", workplace.path("orders.ndjson"))]);
    for _ in 0..20 {
        let daemon = workplace.start();
        let before = server.seen().len();
        let count = random.usize(1..20);
        let is_working = comes_true_within(LIMIT, || server.seen().len() >= before + count);
        assert!(is_working, "{}", daemon.log());
        daemon.kill();
    }
    let ended = workplace.run_once();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(workplace.dead_letters(), [] as [Value; 0]);
    oracle.check("orders", "work", &[file(&workplace, "work.ndjson")], 20 * 2000);
}
