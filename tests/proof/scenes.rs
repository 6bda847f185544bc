//! A fixed script of 30 items, and the states from which it is run: what comes to its end there must be the same, whatever
//! goes wrong on the way.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::TempDir;

use super::calls::{Call, made, run_with};
use super::oracle::{Findings, Oracle, Place, Way, kept};
use super::rounds::say;
use super::support::gatherd::{Ended, Workplace};

const ITEMS: usize = 30;

/// What the script makes is in these; everything else of the workplace stays as it is.
const MADE: [&str; 2] = ["state", "out"];

/// Where the store's version stands in its file: <https://sqlite.org/fileformat2.html#the_database_header>.
const VERSION_OFFSET: u64 = 60;

/// From what state gatherd is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Beginning {
    /// For the first time.
    Nothing,
    /// After a run that came to its end.
    EarlierRun,
    /// After a kill in the middle of a run.
    Kill,
    /// After such a kill, and with damage to the store.
    Damage,
}

pub(crate) const BEGINNINGS: [Beginning; 4] =
    [Beginning::Nothing, Beginning::EarlierRun, Beginning::Kill, Beginning::Damage];

/// A workplace that goes back to the same beginning again and again.
pub(crate) struct Scene {
    pub(crate) workplace: Workplace,
    oracle: Oracle,
    beginning: TempDir,
    takes: usize,
    /// What goes wrong in this one.
    take: String,
}

impl Scene {
    pub(crate) fn set_up(beginning: Beginning, random: &mut fastrand::Rng) -> Self {
        let workplace = Workplace::new("");
        let folder = workplace.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        workplace.write("gatherd.toml", script(folder));
        let mut oracle = Oracle::start(random);
        let way = [Way::line("items", workplace.path("items.ndjson"))];
        match beginning {
            Beginning::Nothing => oracle.hand_over(ITEMS, &way),
            Beginning::EarlierRun => {
                oracle.hand_over(ITEMS / 3, &way);
                finish(&workplace);
                oracle.hand_over(ITEMS - ITEMS / 3, &way);
            }
            Beginning::Kill | Beginning::Damage => {
                oracle.hand_over(ITEMS, &way);
                // While the two queues hold items.
                let commits = made(&workplace, "fsync").into_iter().filter(|call| call.path == "state/gatherd.db-wal");
                let middle = commits.collect::<Vec<_>>();
                remove(&workplace);
                let (killed, _) = run_with(&workplace, &middle[middle.len() / 2], "signal=SIGKILL");
                assert_eq!(killed.code(), None, "{killed:?}");
            }
        }
        if matches!(beginning, Beginning::Damage) {
            damage(&workplace.path("state/gatherd.db"));
        }
        let kept = tempfile::tempdir().unwrap();
        for name in MADE {
            copy(&workplace.path(name), &kept.path().join(name)).unwrap();
        }
        Self { workplace, oracle, beginning: kept, takes: 0, take: String::new() }
    }

    /// The calls of these names that an undisturbed run makes.
    pub(crate) fn calls(&mut self, names: &str) -> Vec<Call> {
        self.go_back();
        made(&self.workplace, names)
    }

    /// Runs it from the beginning with something wrong at a call, and answers whether it came to that.
    pub(crate) fn disturb(&mut self, call: &Call, wrong: &str) -> (Ended, bool) {
        self.take = format!("{wrong} at {call}");
        self.go_back();
        run_with(&self.workplace, call, wrong)
    }

    /// Runs it to its end. Nothing is lost or altered.
    #[track_caller]
    pub(crate) fn finish(&mut self, disturbed: &Ended) -> Findings {
        let ended = finish(&self.workplace);
        let findings = self.compare();
        let is_kept = findings.lost.is_empty() && findings.altered.is_empty();
        assert!(is_kept, "{}: {findings:?}\ndisturbed: {disturbed:?}\nthen: {ended:?}", self.take);
        findings
    }

    fn go_back(&mut self) {
        remove(&self.workplace);
        for name in MADE {
            copy(&self.beginning.path().join(name), &self.workplace.path(name)).unwrap();
        }
    }

    /// The findings of all destinations in one.
    fn compare(&mut self) -> Findings {
        self.takes += 1;
        let dead = self.workplace.dead_letters_in(MADE[0]);
        let database = Place::Table { database: self.workplace.path("out/items.db"), table: "items".to_owned() };
        let mut all = Findings::default();
        for (destination, mut places) in [
            ("file", files(&self.workplace, "file")),
            ("database", vec![database]),
            ("further", files(&self.workplace, "further")),
        ] {
            places.push(kept(&dead, destination));
            if destination == "further" {
                places.extend([kept(&dead, "map"), kept(&dead, "between")]);
            }
            let found = self.oracle.compare("items", &format!("{destination}.{}", self.takes), &places);
            all.accepted = found.accepted;
            all.lost.extend(found.lost);
            all.altered.extend(found.altered);
            all.duplicates += found.duplicates;
        }
        all
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&self.take);
        }
    }
}

/// Sinks of two kinds, one of which begins a new file now and then, a queue, `new`, and items that are given up.
fn script(folder: &str) -> String {
    format!(
        r#"
        [service]
        state = "{folder}/state"

        [pipeline.items]
        from  = {{ lines = "items.ndjson" }}
        steps = [ {{ new = ".id" }} ]
        to    = ["file", "database", "between"]

        [sink.file]
        file  = {{ path = "{folder}/out/file.ndjson", rotate = {{ size = "4KiB" }} }}
        batch = {{ items = 5, age = "10ms" }}

        [sink.database]
        sqlite = {{ path = "{folder}/out/items.db", table = "items", columns = {{ id = "INTEGER", payload = "TEXT" }} }}
        batch  = {{ items = 10, age = "10ms" }}

        [queue.between]

        [pipeline.further]
        from  = {{ queue = "between" }}
        steps = [ {{ map = 'if .id % 7 == 0 then error("no sevens") else . end' }} ]
        to    = [ {{ file = "{folder}/out/further.ndjson", batch = {{ age = "10ms" }} }} ]
        "#
    )
}

/// A run without disturbance. It gives some items up, which is what they are for.
#[track_caller]
fn finish(workplace: &Workplace) -> Ended {
    let ended = workplace.run_once();
    assert!(matches!(ended.code(), Some(0 | 1)) && !ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// A sink's file, and those that it has put away.
fn files(workplace: &Workplace, name: &str) -> Vec<Place> {
    let Ok(all) = fs::read_dir(workplace.path("out")) else { return Vec::new() };
    let paths = all.map(|entry| entry.unwrap().path());
    let is_of = |path: &Path| path.file_name().is_some_and(|file| file.to_str().unwrap().starts_with(name));
    paths.filter(|path| is_of(path) && path.extension().is_some_and(|end| end == "ndjson")).map(Place::File).collect()
}

fn remove(workplace: &Workplace) {
    for name in MADE {
        match fs::remove_dir_all(workplace.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir(to)?;
    for entry in entries {
        let entry = entry?;
        // Sockets are made anew.
        if !entry.file_type()?.is_file() {
            continue;
        }
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Damage that loses nothing by itself: the version in the file's header is not the one in its table.
fn damage(store: &Path) {
    let database = rusqlite::Connection::open(store).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(database);
    fs::OpenOptions::new().write(true).open(store).unwrap().write_all_at(&[0, 0, 0, 99], VERSION_OFFSET).unwrap();
}
