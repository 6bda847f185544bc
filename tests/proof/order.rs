//! What a run leaves behind was made to last before its end: contents by a sync of the file, names by a sync of the folder.
//!
//! The power cuts of another proof cannot show it, since ext4 makes a new name last with its file. This looks at the calls
//! themselves, as the most forgetful file system would.

use std::collections::BTreeSet;
use std::path::Path;

use super::calls::{can_trace, trace};
use super::rounds::random;
use super::scenes::{Beginning, Scene};
use super::support::skip;

/// What changes files and names, and what makes changes last.
const CALLS: &str = "openat,mkdir,write,pwrite64,ftruncate,rename,renameat,renameat2,unlink,unlinkat,fsync,fdatasync";

/// What need not last: the index of SQLite's log, a hint for repairs, the lock and the socket.
const PASSING: [&str; 5] = ["-shm", ".layout", ".lock", ".sock", "trace"];

#[test]
fn what_a_run_leaves_behind_was_synced_and_so_were_the_names() {
    if !can_trace() {
        return skip("strace is not installed, or may not trace here (apt-get install strace)");
    }
    let scene = Scene::set_up(Beginning::Nothing, &mut random());
    let mut disk = Disk::default();
    for line in trace(&scene.workplace, CALLS).lines() {
        disk.follow(line, scene.workplace.path("").to_str().unwrap().trim_end_matches('/'));
    }
    assert!(disk.known.iter().any(|name| name.ends_with("gatherd.db")), "{disk:?}");
    assert!(disk.changed.is_empty() && disk.unnamed.is_empty(), "{disk:?}");
}

/// What a disk would forget.
#[derive(Debug, Default)]
struct Disk {
    known: BTreeSet<String>,
    /// Files that have changed since they were synced.
    changed: BTreeSet<String>,
    /// Files and folders whose folder was not synced since they were given their name.
    unnamed: BTreeSet<String>,
}

impl Disk {
    /// Follows a call such as `7 fsync(8</folder/file>) = 0`.
    fn follow(&mut self, line: &str, folder: &str) {
        let Some((name, arguments)) = line.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('('))
        else {
            return;
        };
        let is_failed = arguments.contains(" = -1 ");
        // Files are named in quotes, or behind the number of an open one.
        let is_named = arguments.starts_with(['"', 'A']);
        let parts = arguments.split(if is_named { ['"', '"'] } else { ['<', '>'] }).skip(1).step_by(2);
        let mut paths = parts.filter(|path| path.starts_with(folder)).map(str::to_owned);
        let Some(path) = paths.next() else { return };
        if is_failed || PASSING.iter().any(|end| path.ends_with(end)) {
            return;
        }
        match name {
            "openat" | "mkdir" => {
                let is_new = name == "mkdir" || arguments.contains("O_CREAT");
                if is_new && self.known.insert(path.clone()) {
                    self.unnamed.insert(path);
                }
            }
            "fsync" | "fdatasync" => {
                self.changed.remove(&path);
                self.unnamed.retain(|name| Path::new(name).parent() != Some(Path::new(&path)));
            }
            "unlink" | "unlinkat" => self.forget(&path),
            "rename" | "renameat" | "renameat2" => {
                let to = paths.next().expect("a rename names two files");
                if self.changed.contains(&path) {
                    self.changed.insert(to.clone());
                }
                self.forget(&path);
                self.known.insert(to.clone());
                self.unnamed.insert(to);
            }
            _ => drop(self.changed.insert(path)),
        }
    }

    fn forget(&mut self, path: &str) {
        self.known.remove(path);
        self.changed.remove(path);
        self.unnamed.remove(path);
    }
}
