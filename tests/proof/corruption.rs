//! Random damage to the files of a store.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::oracle::{Oracle, Way, file, kept};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::Workplace;
use super::support::server::closed_port;
use super::support::wait_until;

const ITEMS: usize = 200;

const STATE: &str = "gatherd-state";

/// With marks, dead letters and a queue, whose reader writes to `sink`.
fn config(sink: &str) -> String {
    format!(
        r#"
        [pipeline.items]
        from  = {{ lines = {{ path = "items.ndjson", follow = true }} }}
        steps = [
          {{ new = ".id" }},
          {{ map = 'if .id % 7 == 0 then error("no sevens") else . end' }},
        ]
        to    = ["between"]

        [queue.between]

        [pipeline.further]
        from = {{ queue = "between" }}
        to   = [ {{ {sink}, batch = {{ age = "10ms" }} }} ]
        "#
    )
}

#[test]
fn a_damaged_store_opens_alters_nothing_and_tells_of_what_is_lost() {
    let workplace = Workplace::new(&config(&format!(r#"http = "http://127.0.0.1:{}/""#, closed_port())));
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    oracle.hand_over(ITEMS, &[Way::line("items", workplace.path("items.ndjson"))]);
    // Once with the log beside the store, and once without.
    let sound = tempfile::tempdir().unwrap();
    let daemon = workplace.start();
    wait_until("everything is in the store", || stored(&workplace) >= ITEMS);
    daemon.kill();
    copy_files(&workplace.path(STATE), &sound.path().join("killed"));
    assert_eq!(workplace.start().stop().code(), Some(0));
    copy_files(&workplace.path(STATE), &sound.path().join("stopped"));

    workplace.write("gatherd.toml", config(r#"file = "further.ndjson""#));
    let (mut rounds, mut damaged, mut lost) = (0, 0, 0);
    for round in Rounds::new(200, Duration::from_secs(60), 1_000) {
        fs::remove_dir_all(workplace.path(STATE)).unwrap();
        let _ = fs::remove_file(workplace.path("further.ndjson"));
        copy_files(&sound.path().join(random.choice(["killed", "stopped"]).unwrap()), &workplace.path(STATE));
        let damage = damage(&workplace.path(STATE), &mut random);
        let ended = workplace.run_once();
        let show = || format!("{damage}: {ended:?}");
        assert!(matches!(ended.code(), Some(0 | 1)) && !ended.stderr.contains("panicked"), "{}", show());
        // Dead letters are read when somebody asks for them, and so is damage to them.
        let listed = workplace.list_dead_letters(STATE);
        let arrived = [file(&workplace, "further.ndjson"), kept(&listed.values(), "")];
        let found = oracle.compare("items", &format!("further.{round}"), &arrived);
        assert_eq!(found.altered, [] as [u64; 0], "{}", show());
        let tells =
            [&ended.stderr, &listed.stderr].iter().any(|log| log.contains("damage") || log.contains("cannot be read"));
        assert!(found.lost.is_empty() || tells, "{} items are lost in silence; {}", found.lost.len(), show());
        rounds = round;
        damaged += usize::from(tells);
        lost += found.lost.len();
    }
    say(&format!(
        "{rounds} damages, {damaged} stores told of damage; none failed to start, nothing altered, {lost} items lost, each time told"
    ));
}

/// How many items are in the queue or given up.
fn stored(workplace: &Workplace) -> usize {
    let status = workplace.gatherd(&["store", "stats", "--json"]);
    let stats: serde_json::Value = serde_json::from_str(&status.stdout).unwrap_or_default();
    let queued: u64 =
        stats["queues"].as_array().into_iter().flatten().filter_map(|queue| queue["items"].as_u64()).sum();
    usize::try_from(queued).unwrap() + workplace.dead_letters().len()
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files_in(from) {
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// The store's own files.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.to_str().unwrap().contains("gatherd.db")).collect();
    files.sort();
    files
}

/// Damages one of the files, and says how.
fn damage(folder: &Path, random: &mut fastrand::Rng) -> String {
    let files: Vec<PathBuf> = files_in(folder).into_iter().filter(|file| file.metadata().unwrap().len() > 0).collect();
    let path = random.choice(&files).unwrap();
    let length = path.metadata().unwrap().len();
    let opened = OpenOptions::new().write(true).open(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    match random.u8(0..4) {
        0 => {
            let kept = random.u64(1..length);
            opened.set_len(kept).unwrap();
            format!("{name} cut to {kept} of {length} bytes")
        }
        1 => {
            let bytes = random.usize(1..20);
            for _ in 0..bytes {
                opened.write_all_at(&[random.u8(..)], random.u64(0..length)).unwrap();
            }
            format!("{bytes} bytes of {name} changed")
        }
        kind => {
            let at = random.u64(0..length);
            let most = usize::try_from(length - at).unwrap().min(16 << 10);
            let mut bytes = vec![0; random.usize(1..=most)];
            if kind == 2 {
                random.fill(&mut bytes);
            }
            opened.write_all_at(&bytes, at).unwrap();
            format!("{} bytes of {name} overwritten at {at} of {length}", bytes.len())
        }
    }
}
