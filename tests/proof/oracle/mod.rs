//! The oracle: a process of its own, outside of gatherd and of the test, that hands items over and keeps the books of what
//! was handed over and what arrived, by id and hash of the payload.
//!
//! Each entry goes to the end of a file before anything else happens. The file is kept if the proof fails.

mod books;
mod process;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use books::Findings;

use super::support::gatherd::Workplace;
use super::support::{LIMIT, comes_true_within, wait_until};

/// What the oracle is asked for. Each order has one answer, which comes before that of the next.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Begin to hand over: so many rounds of one item each way. Answered at once.
    HandOver { rounds: usize, longest: usize, ways: Vec<Way> },
    /// From here on, until all is handed over, what gatherd answers counts no more: its disk has gone.
    Distrust,
    /// Answered once all is handed over, or gatherd has gone.
    Wait,
    /// Receive by HTTP what a sink sends. Answered with a URL.
    Receive { destination: String },
    /// Compare what was handed over in `book` with what has arrived at `destination`, now also at these places.
    Compare { book: String, destination: String, places: Vec<Place> },
}

/// How an item is handed over, and the book that it is entered in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Way {
    book: String,
    path: PathBuf,
    is_socket: bool,
}

impl Way {
    /// As a line at the end of a file: gatherd has it when it stands there.
    pub(crate) fn line(book: &str, file: PathBuf) -> Self {
        Self { book: book.to_owned(), path: file, is_socket: false }
    }

    /// By HTTP to a webhook on a socket: gatherd has it when it says so.
    pub(crate) fn post(book: &str, socket: PathBuf) -> Self {
        Self { book: book.to_owned(), path: socket, is_socket: true }
    }
}

/// Where items arrive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    /// A file of NDJSON that only grows.
    File(PathBuf),
    /// A table with the columns `id` and `payload` that only grows.
    Table { database: PathBuf, table: String },
    /// Dead letters: given up, and kept.
    Kept(Vec<Value>),
}

/// What the oracle answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Url(String),
    Found(Findings),
}

/// Items are random text of less than so many characters.
pub(crate) const LONGEST: usize = 300;

/// Tells a process that is started from this program that it is the oracle.
const SOCKET: &str = "GATHERD_PROOF_ORACLE";
const BOOKS: &str = "GATHERD_PROOF_BOOKS";
const SEED: &str = "GATHERD_PROOF_ORACLE_SEED";

/// The test's end of it.
pub(crate) struct Oracle {
    process: Child,
    orders: UnixStream,
    answers: BufReader<UnixStream>,
    books: PathBuf,
}

impl Oracle {
    /// Starts the process, which makes its items of these random numbers.
    pub(crate) fn start(random: &mut fastrand::Rng) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("oracle");
        let listener = UnixListener::bind(&socket).unwrap();
        let test = thread::current().name().unwrap_or("test").replace("::", ".");
        let books = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}.books", std::process::id()));
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "oracle::process::keeps_the_books", "--ignored", "--nocapture"])
            .env(SOCKET, &socket)
            .env(BOOKS, &books)
            .env(SEED, random.u64(..).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (orders, _) = listener.accept().unwrap();
        let answers = BufReader::new(orders.try_clone().unwrap());
        Self { process, orders, answers, books }
    }

    /// Hands over so many rounds of one item each way.
    pub(crate) fn hand_over(&mut self, rounds: usize, ways: &[Way]) {
        self.begin(rounds, LONGEST, ways);
        self.wait();
    }

    /// Begins to hand over items shorter than `longest`, for which [`Oracle::wait`] waits.
    pub(crate) fn begin(&mut self, rounds: usize, longest: usize, ways: &[Way]) {
        self.ask(&Order::HandOver { rounds, longest, ways: ways.to_owned() });
    }

    /// What gatherd answers from here on counts no more.
    pub(crate) fn distrust(&mut self) {
        self.ask(&Order::Distrust);
    }

    pub(crate) fn wait(&mut self) {
        self.ask(&Order::Wait);
    }

    /// The URL of a server that enters what it is sent as arrived at `destination`.
    pub(crate) fn receive(&mut self, destination: &str) -> String {
        match self.ask(&Order::Receive { destination: destination.to_owned() }) {
            Answer::Url(url) => url,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn compare(&mut self, book: &str, destination: &str, places: &[Place]) -> Findings {
        let (book, destination) = (book.to_owned(), destination.to_owned());
        match self.ask(&Order::Compare { book, destination, places: places.to_owned() }) {
            Answer::Found(findings) => findings,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until everything that was accepted has arrived, then does as [`Oracle::check`].
    #[track_caller]
    pub(crate) fn check_all_arrive(
        &mut self,
        book: &str,
        destination: &str,
        places: &[Place],
        most_duplicates: usize,
    ) -> Findings {
        // What a planted defect has lost never comes.
        let limit = if cfg!(feature = "planted") { LIMIT / 6 } else { LIMIT };
        comes_true_within(limit, || self.compare(book, destination, places).lost.is_empty());
        self.check(book, destination, &[], most_duplicates)
    }

    /// Nothing is lost, nothing altered, and nothing arrived again more often than `most_duplicates`.
    #[track_caller]
    pub(crate) fn check(
        &mut self,
        book: &str,
        destination: &str,
        places: &[Place],
        most_duplicates: usize,
    ) -> Findings {
        let findings = self.compare(book, destination, places);
        let Findings { lost, altered, duplicates, .. } = &findings;
        let is_kept = lost.is_empty() && altered.is_empty() && *duplicates <= most_duplicates;
        assert!(is_kept, "{destination}, at most {most_duplicates} duplicates: {findings:?}");
        findings
    }

    fn ask(&mut self, order: &Order) -> Answer {
        let order = serde_json::to_string(order).unwrap();
        writeln!(self.orders, "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("the oracle has gone: {error} {answer:?}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It ends when nobody gives it orders any more, and may have ended before.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            super::rounds::say(&format!("the books: {}", self.books.display()));
        } else {
            let _ = fs::remove_file(&self.books);
        }
    }
}

/// An item whose payload is random text of random length.
pub(crate) fn item(id: u64, longest: usize, random: &mut fastrand::Rng) -> Value {
    let length = random.usize(0..longest);
    let payload: String = std::iter::repeat_with(|| random.char('!'..'\u{2fff}')).take(length).collect();
    json!({ "id": id, "payload": payload })
}

/// Dead letters as a place where items arrive, of the components that have this in their names.
pub(crate) fn kept(dead: &[Value], component: &str) -> Place {
    let of_component = dead.iter().filter(|letter| letter["component"].as_str().unwrap().contains(component));
    Place::Kept(of_component.map(|letter| letter["value"].clone()).collect())
}

/// A file of the workplace where items arrive.
pub(crate) fn file(workplace: &Workplace, name: &str) -> Place {
    Place::File(workplace.path(name))
}

/// How many lines a file of the workplace has.
pub(crate) fn lines_in(workplace: &Workplace, name: &str) -> usize {
    fs::read(workplace.path(name)).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

#[track_caller]
pub(crate) fn wait_for_lines(workplace: &Workplace, name: &str, count: usize) {
    wait_until(&format!("{count} lines in {name}"), || lines_in(workplace, name) >= count);
}
