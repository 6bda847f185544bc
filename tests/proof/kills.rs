//! SIGKILL at random moments under load.

use std::thread;
use std::time::Duration;

use super::oracle::{LONGEST, Oracle, Place, Way, file};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::Workplace;
use super::support::server::{Server, json};

/// How many items of a pipeline are in flight at a kill: delivered to a sink, and not yet settled. A channel, a batch and
/// a lease of a queue hold more than what is handed over in a life this short, so this is what one life hands over.
const WINDOW: usize = 64;

/// Two pipelines chained by a queue, where the first has two sinks with buffers; and a durable webhook.
fn workplace(server: &Server) -> Workplace {
    let workplace = Workplace::new(&format!(
        r#"
        [pipeline.pages]
        from  = {{ lines = {{ path = "pages.in.ndjson", follow = true }} }}
        steps = [
          {{ get = {{ url = "{}", into = ".page" }} }},
          {{ new = ".id" }},
        ]
        to    = ["file", "database", "between"]

        [sink.file]
        file  = "pages.ndjson"
        batch = {{ age = "10ms" }}

        [sink.database]
        sqlite = {{ path = "pages.db", table = "pages", extra = "ignore", columns = {{ id = "INTEGER", payload = "TEXT" }} }}
        batch  = {{ age = "10ms" }}

        [queue.between]

        [pipeline.further]
        from = {{ queue = "between" }}
        to   = [ {{ file = "further.ndjson", batch = {{ age = "10ms" }} }} ]

        [pipeline.orders]
        from = {{ webhook = "unix:orders.sock", durable = true }}
        to   = [ {{ file = "orders.ndjson", batch = {{ age = "10ms" }} }} ]
        "#,
        server.url("/{.id}"),
    ));
    workplace.write("pages.in.ndjson", "");
    workplace
}

#[test]
fn nothing_is_lost_or_altered_by_kills_under_load() {
    let server = Server::start(|seen, connection| connection.write_all(&json(&format!("\"{}\"", seen.target))));
    let workplace = workplace(&server);
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    let ways =
        [Way::line("pages", workplace.path("pages.in.ndjson")), Way::post("orders", workplace.path("orders.sock"))];
    let mut kills = 0;
    for kill in Rounds::new(200, Duration::from_secs(60), 10_000) {
        let daemon = workplace.start();
        oracle.begin(WINDOW / 2, LONGEST, &ways);
        // Not to wait for anything: this is the random moment, now in the first turmoil, now under load.
        let longest = random.choice([30_000, 400_000]).unwrap_or_default();
        thread::sleep(Duration::from_micros(random.u64(0..=longest)));
        daemon.kill();
        oracle.wait();
        kills = kill;
    }
    let daemon = workplace.start();
    let database = Place::Table { database: workplace.path("pages.db"), table: "pages".to_owned() };
    let found = [
        ("pages", "file", file(&workplace, "pages.ndjson")),
        ("pages", "database", database),
        ("pages", "between", file(&workplace, "further.ndjson")),
        ("orders", "orders", file(&workplace, "orders.ndjson")),
    ]
    .map(|(book, destination, place)| oracle.check_all_arrive(book, destination, &[place], kills * WINDOW));
    assert_eq!(workplace.dead_letters(), [] as [serde_json::Value; 0], "no item is to blame for a kill");
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let duplicates = found.each_ref().map(|found| found.duplicates);
    let (pages, orders) = (found[0].accepted, found[3].accepted);
    say(&format!(
        "{kills} kills, {pages} pages, {orders} orders: none lost, none altered, none quarantined; duplicates {duplicates:?}, \
         at most {WINDOW} a kill"
    ));
}
