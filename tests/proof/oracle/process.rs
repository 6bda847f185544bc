//! The oracle's end of it: takes orders, hands items over, and looks at what has arrived.

use std::collections::HashMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Value, json};

use super::books::Books;
use super::{Answer, BOOKS, Order, Place, SEED, SOCKET, Way, item};
use crate::support::LIMIT;
use crate::support::server::{Server, reply};

/// Not a test: what the process does that [`super::Oracle`] starts.
#[test]
#[ignore = "the proofs run it themselves, in a process of its own"]
fn keeps_the_books() {
    let Some(socket) = env::var_os(SOCKET) else { return };
    let books = Arc::new(Mutex::new(Books::open(Path::new(&env::var_os(BOOKS).unwrap()))));
    let seed = env::var(SEED).unwrap().parse().unwrap();
    let mut process = Process {
        books,
        reader: Reader::default(),
        giver: Some(Giver { random: fastrand::Rng::with_seed(seed), next: 0 }),
        handing_over: None,
    };
    let mut answers = UnixStream::connect(socket).unwrap();
    for order in BufReader::new(answers.try_clone().unwrap()).lines() {
        let answer = process.follow(serde_json::from_str(&order.unwrap()).unwrap());
        writeln!(answers, "{}", serde_json::to_string(&answer).unwrap()).unwrap();
    }
}

struct Process {
    books: Arc<Mutex<Books>>,
    reader: Reader,
    /// Nothing while it hands over.
    giver: Option<Giver>,
    handing_over: Option<JoinHandle<Giver>>,
}

impl Process {
    fn follow(&mut self, order: Order) -> Answer {
        match order {
            Order::HandOver { rounds, longest, ways } => {
                let (mut giver, books) = (self.giver.take().unwrap(), self.books.clone());
                self.handing_over = Some(thread::spawn(move || {
                    giver.hand_over(rounds, longest, &ways, &books);
                    giver
                }));
                Answer::Done
            }
            Order::Distrust => {
                self.books.lock().unwrap().distrust(true);
                Answer::Done
            }
            Order::Wait => {
                self.giver = self.handing_over.take().map(|handing_over| handing_over.join().unwrap());
                self.books.lock().unwrap().distrust(false);
                Answer::Done
            }
            Order::Receive { destination } => {
                let books = self.books.clone();
                let server = Server::start(move |seen, connection| {
                    books.lock().unwrap().arrived(&destination, &serde_json::from_str(&seen.body).unwrap());
                    connection.write_all(&reply("200 OK", &[], ""))
                });
                Answer::Url(server.url("/"))
            }
            Order::Compare { book, destination, places } => {
                let mut books = self.books.lock().unwrap();
                for place in &places {
                    self.reader.read(&destination, place, |item| books.arrived(&destination, &item));
                }
                Answer::Found(books.compare(&book, &destination))
            }
        }
    }
}

/// Hands items over.
struct Giver {
    random: fastrand::Rng,
    next: u64,
}

impl Giver {
    /// Until gatherd has gone.
    fn hand_over(&mut self, rounds: usize, longest: usize, ways: &[Way], books: &Mutex<Books>) {
        for _ in 0..rounds {
            for Way { book, path, is_socket } in ways {
                self.next += 1;
                let item = item(self.next, longest, &mut self.random);
                books.lock().unwrap().offered(book, &item);
                let is_accepted = if *is_socket {
                    match post(path, &item) {
                        Ok(status) => status.contains(" 202 "),
                        Err(_) => return,
                    }
                } else {
                    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
                    file.write_all(format!("{item}\n").as_bytes()).unwrap();
                    true
                };
                if is_accepted {
                    books.lock().unwrap().accepted(book, self.next);
                }
            }
        }
    }
}

/// Posts an item, and answers with the first line of the reply.
fn post(socket: &Path, item: &Value) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
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

/// Reads what has arrived since it looked last.
#[derive(Default)]
struct Reader {
    /// How far each file and each table was read for a destination.
    read: HashMap<(String, PathBuf), u64>,
}

impl Reader {
    fn read(&mut self, destination: &str, place: &Place, mut arrived: impl FnMut(Value)) {
        let (Place::File(path) | Place::Table { database: path, .. }) = place else {
            let Place::Kept(items) = place else { return };
            return items.iter().cloned().for_each(arrived);
        };
        let done = self.read.entry((destination.to_owned(), path.clone())).or_default();
        match place {
            Place::Table { table, .. } => read_table(path, table, done, &mut arrived),
            _ => read_file(path, done, &mut arrived),
        }
    }
}

/// Whole lines: one that is being written is left for later.
fn read_file(path: &Path, done: &mut u64, arrived: &mut impl FnMut(Value)) {
    let Ok(mut file) = File::open(path) else { return };
    file.seek(SeekFrom::Start(*done)).unwrap();
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).unwrap() > 0 && line.ends_with(b"\n") {
        let item = serde_json::from_slice(&line);
        let show = || format!("{}: {}", path.display(), String::from_utf8_lossy(&line));
        arrived(item.unwrap_or_else(|error| panic!("{error} in {}", show())));
        *done += line.len() as u64;
        line.clear();
    }
}

fn read_table(database: &Path, table: &str, done: &mut u64, arrived: &mut impl FnMut(Value)) {
    let Ok(database) = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return };
    database.busy_timeout(LIMIT).unwrap();
    let sql = format!("SELECT rowid, id, payload FROM {table} WHERE rowid > ?1 ORDER BY rowid");
    // Without the table nothing has arrived yet.
    let Ok(mut query) = database.prepare(&sql) else { return };
    let read = |row: &Row<'_>| {
        let item = json!({ "id": row.get::<_, i64>(1)?, "payload": row.get::<_, String>(2)? });
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), item))
    };
    for row in query.query_map([i64::try_from(*done).unwrap()], read).unwrap() {
        let (number, item) = row.unwrap();
        arrived(item);
        *done = number;
    }
}
