//! How often a proof does its worst, and where its random numbers come from.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

/// So many rounds: in a short run as many as fit the time, at least one and at most `short`; in a long one all of `long`.
/// `GATHERD_ROUNDS=NUMBER` takes so many.
pub(crate) struct Rounds {
    most: usize,
    time: Duration,
    started: Instant,
    done: usize,
}

impl Rounds {
    pub(crate) fn new(short: usize, time: Duration, long: usize) -> Self {
        let (most, time) = match std::env::var("GATHERD_ROUNDS") {
            Ok(rounds) => (rounds.parse().unwrap(), Duration::MAX),
            Err(_) if is_long() => (long, Duration::MAX),
            Err(_) => (short, time),
        };
        Self { most, time, started: Instant::now(), done: 0 }
    }
}

impl Iterator for Rounds {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let is_over = self.done == self.most || self.done > 0 && self.started.elapsed() > self.time;
        self.done += 1;
        if self.done.is_multiple_of(100) && is_long() {
            say(&format!("{} of {}, {:?}", self.done, self.most, self.started.elapsed()));
        }
        (!is_over).then_some(self.done)
    }
}

/// In a short run `short` of these, chosen by chance (`GATHERD_ROUNDS=NUMBER`: so many); in a long one all of them.
pub(crate) fn some_of<'a, T>(all: &'a [T], short: usize, random: &mut fastrand::Rng) -> Vec<&'a T> {
    let mut some: Vec<&T> = all.iter().collect();
    if !is_long() {
        random.shuffle(&mut some);
        some.truncate(std::env::var("GATHERD_ROUNDS").map_or(short, |rounds| rounds.parse().unwrap()));
    }
    some
}

pub(crate) fn is_long() -> bool {
    std::env::var("GATHERD_PROOF").is_ok_and(|kind| kind == "long")
}

/// Random numbers from a seed that is printed.
pub(crate) fn random() -> fastrand::Rng {
    let seed = std::env::var("GATHERD_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    say(&format!("GATHERD_SEED={seed}"));
    fastrand::Rng::with_seed(seed)
}

/// Prints a finding of this proof, past the test runner, which keeps what passing tests print to itself.
pub(crate) fn say(finding: &str) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(std::io::stderr().lock(), "{test}: {finding}");
}
