//! SIGKILL at random moments under load.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::oracle::{Oracle, in_file, in_table, item};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::Workplace;
use super::support::server::{Server, json};
use super::support::{LIMIT, comes_true_within};

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

struct Books {
    random: fastrand::Rng,
    next: u64,
    pages: Oracle,
    orders: Oracle,
}

impl Books {
    fn item(&mut self) -> Value {
        self.next += 1;
        item(self.next, &mut self.random)
    }

    /// Hands over items until gatherd is gone, or has enough of them for one life.
    fn feed(&mut self, workplace: &Workplace) {
        let mut pages = OpenOptions::new().append(true).open(workplace.path("pages.in.ndjson")).unwrap();
        for _ in 0..WINDOW / 2 {
            let page = self.item();
            pages.write_all(format!("{page}\n").as_bytes()).unwrap();
            self.pages.accepted(&page);
            let order = self.item();
            match post(workplace, &order) {
                Ok(status) if status.contains(" 202 ") => self.orders.accepted(&order),
                Ok(_) => self.orders.perhaps(&order),
                Err(_) => return self.orders.perhaps(&order),
            }
        }
    }
}

/// Posts an item, and answers with the first line of the reply.
pub(super) fn post(workplace: &Workplace, item: &Value) -> io::Result<String> {
    let mut stream = UnixStream::connect(workplace.path("orders.sock"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let body = item.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())?;
    let mut status = String::new();
    if BufReader::new(stream).read_line(&mut status)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(status)
}

#[test]
fn nothing_is_lost_or_altered_by_kills_under_load() {
    let server = Server::start(|seen, connection| connection.write_all(&json(&format!("\"{}\"", seen.target))));
    let workplace = workplace(&server);
    let mut random = random();
    let mut books = Books { random: random.fork(), next: 0, pages: Oracle::default(), orders: Oracle::default() };
    let mut kills = 0;
    for kill in Rounds::new(200, Duration::from_secs(40), 10_000) {
        let daemon = workplace.start();
        let life = Duration::from_micros(random.u64(0..30_000));
        thread::scope(|scope| {
            scope.spawn(|| books.feed(&workplace));
            // Not to wait for anything: this is the random moment.
            thread::sleep(life);
            daemon.kill();
        });
        kills = kill;
    }
    let daemon = workplace.start();
    // Of lives so short that an item alone in flight sees its end three times, that item is blamed. It is kept whole.
    let dead = workplace.dead_letters();
    let at_all = |arrived: Vec<Value>, queue: &str| -> Vec<Value> {
        let quarantined = dead.iter().filter(|letter| letter["component"].as_str().unwrap().contains(queue));
        arrived.into_iter().chain(quarantined.map(|letter| letter["value"].clone())).collect()
    };
    let (pages, orders) = (&books.pages, &books.orders);
    let arrived = || {
        [
            ("pages.ndjson", pages, at_all(in_file(&workplace, "pages.ndjson"), "file")),
            ("pages.db", pages, at_all(in_table(&workplace, "pages.db", "pages"), "database")),
            ("further.ndjson", pages, at_all(in_file(&workplace, "further.ndjson"), "between")),
            ("orders.ndjson", orders, at_all(in_file(&workplace, "orders.ndjson"), "orders")),
        ]
    };
    comes_true_within(LIMIT, || arrived().iter().all(|(_, oracle, items)| oracle.has_all(items)));
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let duplicates = arrived().map(|(destination, oracle, items)| oracle.check(destination, &items, kills * WINDOW));
    let (pages, orders, dead) = (pages.accepted_count(), orders.accepted_count(), dead.len());
    say(&format!(
        "{kills} kills, {pages} pages, {orders} orders: none lost, none altered; duplicates {duplicates:?}, at most {WINDOW} \
         a kill; {dead} quarantined"
    ));
}
