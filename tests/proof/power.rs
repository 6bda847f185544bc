//! Power cuts: a file system that forgets what was not flushed, at random moments under load.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::oracle::{LONGEST, Oracle, Way, file, kept};
use super::rounds::{Rounds, random, say};
use super::support::gatherd::Workplace;
use super::support::{LIMIT, comes_true_within, skip};

/// How many items are handed over before a cut.
const ITEMS: usize = 100;

/// Ends a file system at once, without a flush of its journal (`EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`).
const CUT: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))
";

/// A disk with ext4 in a file, unmounted when dropped.
struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// Nothing if none can be had here.
    fn mount(workplace: &Workplace, name: &str) -> Option<Self> {
        let disk = Self { image: workplace.path("disk.image"), folder: workplace.path(name) };
        File::create(&disk.image).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&disk.folder).unwrap();
        let is_ready = succeeds(Command::new("mkfs.ext4").arg("-q").arg(&disk.image)) && disk.attach();
        is_ready.then_some(disk)
    }

    fn attach(&self) -> bool {
        succeeds(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.folder))
    }

    fn cut(&self) -> bool {
        succeeds(Command::new("python3").args(["-c", CUT]).arg(&self.folder))
    }

    #[track_caller]
    fn attach_again(&self) {
        // Its last user may be on its way out.
        let is_free = comes_true_within(LIMIT, || succeeds(Command::new("umount").arg(&self.folder)));
        assert!(is_free, "cannot unmount {}", self.folder.display());
        assert!(self.attach(), "cannot mount {} again", self.image.display());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may never have been mounted.
        let _ = succeeds(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn nothing_that_was_acknowledged_is_lost_or_altered_by_power_cuts() {
    let config = |age: &str| {
        format!(
            r#"
            [pipeline.orders]
            from = {{ webhook = "unix:orders.sock", durable = true }}
            to   = [ {{ file = "gatherd-state/orders.ndjson", batch = {{ age = "{age}" }} }} ]
            "#
        )
    };
    let workplace = Workplace::new("");
    let Some(disk) = Disk::mount(&workplace, "gatherd-state") else {
        return skip("cannot mount a loop device with ext4; run this as root");
    };
    if !disk.cut() {
        return skip("cannot shut a file system down by ioctl; run this as root, with python3");
    }
    disk.attach_again();
    let mut random = random();
    let mut oracle = Oracle::start(&mut random);
    let way = Way::post("orders", workplace.path("orders.sock"));
    let mut cuts = 0;
    for cut in Rounds::new(100, Duration::from_secs(60), 2_000) {
        // Half of the cuts come before anything is delivered, however long they take: until then an order is in the store
        // alone.
        let is_only_stored = cut.is_multiple_of(2);
        workplace.write("gatherd.toml", config(if is_only_stored { "1m" } else { "200ms" }));
        let daemon = workplace.start();
        if is_only_stored {
            oracle.hand_over(1, std::slice::from_ref(&way));
        }
        oracle.begin(ITEMS - 1, LONGEST, std::slice::from_ref(&way));
        // Not to wait for anything: this is the random moment, now in the first turmoil, now under load.
        let longest = random.choice([50_000, 400_000]).unwrap_or_default();
        thread::sleep(Duration::from_micros(random.u64(0..=longest)));
        // Behind a real cut nobody answers any more. Here the process lives on for a moment, and an fsync that was
        // under way may even succeed: the journal was given up, so it finds nothing left to wait for.
        oracle.distrust();
        assert!(disk.cut(), "cannot cut the power");
        daemon.kill();
        oracle.wait();
        disk.attach_again();
        cuts = cut;
    }
    workplace.write("gatherd.toml", config("200ms"));
    let daemon = workplace.start();
    let dead = workplace.dead_letters();
    oracle.compare("orders", "orders", &[kept(&dead, "")]);
    let arrived = [file(&workplace, "gatherd-state/orders.ndjson")];
    let found = oracle.check_all_arrive("orders", "orders", &arrived, cuts * ITEMS);
    let ended = daemon.stop();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let (orders, duplicates, dead) = (found.accepted, found.duplicates, dead.len());
    say(&format!(
        "{cuts} cuts, {orders} orders: none lost, none altered; {duplicates} duplicates, at most {ITEMS} a cut; {dead} \
         quarantined"
    ));
}
