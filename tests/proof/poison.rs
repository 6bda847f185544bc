//! An item that the process dies of, and those beside it that it only dies with.

use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::oracle::{Oracle, in_file, item};
use super::rounds::{random, say};
use super::support::LIMIT;
use super::support::comes_true_within;
use super::support::gatherd::{Running, Workplace};
use super::support::server::{Server, json};

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
    let mut random = random();
    let items: Vec<Value> = (0..30).map(|id| item(id, &mut random)).collect();
    workplace.write("numbers.ndjson", items.iter().map(|item| format!("{item}\n")).collect::<String>());
    let mut neighbours = Oracle::default();
    items.iter().filter(|item| item["id"] != POISON).for_each(|item| neighbours.accepted(item));

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
    neighbours.check("work.ndjson", &in_file(&workplace, "work.ndjson"), MOST_DEATHS * items.len());
    let dead = workplace.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:?} {ended:?}");
    assert_eq!(dead[0]["value"], items[POISON as usize], "the whole item is kept");
    say(&format!("quarantined after {deaths} deaths; all {} neighbours arrived", neighbours.accepted_count()));
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
    let items: Vec<Value> = (0..2000).map(|id| item(id, &mut random)).collect();
    workplace.write("orders.ndjson", items.iter().map(|item| format!("{item}\n")).collect::<String>());
    let mut oracle = Oracle::default();
    items.iter().for_each(|item| oracle.accepted(item));
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
    oracle.check("work.ndjson", &in_file(&workplace, "work.ndjson"), 20 * items.len());
}
