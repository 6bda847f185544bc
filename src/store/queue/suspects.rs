//! After a crash: what was in flight is worked on alone, so that an entry of which the process dies is told from those
//! that were only there.
//!
//! Every entry that was in flight is a suspect. Before anything else happens in the process, its queues hand out their
//! suspects one at a time, over all queues together; whatever is no queue waits for the end of it. A death is charged to
//! the suspect that was alone in flight then, and three charges make a dead letter. A suspect that the process died of
//! in company, that of suspects which had been out for long, is the first one to be tried next.
//!
//! Kills from outside cannot be told from such deaths, but they come at other times too. So that they do not add up
//! to three charges, an entry that was charged is tried again only once the process has lived for a while without anything
//! in flight; a process that dies in that while did not die of it, and takes all charges back.
//!
//! All of it ends after a few seconds, so that no source is held up for long. What was not tried by then is handed out
//! in company, and tried before the others after the next crash.

use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::Handed;
use super::ledger::Ledger;
use super::progress::{Place, State};
use crate::store::checksum::{is_whole, put};
use crate::store::schema::META;

/// A suspect that has been out for so long without harm is none any more: else what waits for a slow or dead
/// destination would be blamed for whatever ends the process meanwhile. Four times as long after each further time
/// that it was handed out without being charged, so that one that does its harm late is found too.
const SUSPICION: Duration = Duration::from_millis(500);
const LONGEST_SUSPICION: Duration = Duration::from_secs(4);

/// How long a process lives before it tries an entry again that was charged so often: for a while without anything in
/// flight.
const CONTROL: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3)];

/// How long all of it takes at most.
pub(super) const LONGEST: Duration = Duration::from_secs(8);

/// How far the recovery of this process has come.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    /// When the store was opened.
    since: Instant,
    pub(super) is_on: bool,
    alone: Option<Alone>,
    /// The suspect to be tried before all others.
    pub(super) prime: Option<(Place, u32)>,
    /// Whether the store says that nothing is out while charged entries wait.
    is_control: bool,
}

/// The suspect that is out.
#[derive(Clone, Copy, Debug)]
struct Alone {
    place: Place,
    index: u32,
    until: Instant,
}

/// What a queue is told that asks for entries.
pub(super) enum Turn {
    /// Its suspect, to be worked on alone.
    Alone(Handed),
    /// Nothing for now.
    Wait,
    /// The recovery is over.
    Over,
}

impl Recovery {
    pub(super) fn at(since: Instant) -> Self {
        Self { since, is_on: false, alone: None, prime: None, is_control: false }
    }

    /// When something may be handed out that waits now.
    pub(super) fn look_again(&self, now: Instant) -> Instant {
        let ends = CONTROL.iter().map(|control| self.since + *control).chain(self.alone.map(|alone| alone.until));
        ends.filter(|end| *end > now).min().unwrap_or(self.deadline()).min(self.deadline())
    }

    pub(super) fn deadline(&self) -> Instant {
        self.since + LONGEST
    }

    /// An entry has changed: was it the one that was alone, and is so no more? It then steps back for others.
    pub(super) fn changed(&mut self, place: Place, index: u32, state: State) -> bool {
        let is_alone = self.alone.is_some_and(|alone| (alone.place, alone.index) == (place, index));
        let is_done = is_alone && !(state.out && state.suspect);
        if is_done {
            self.alone = None;
        }
        is_done
    }
}

impl Ledger {
    /// What the recovery has for a queue.
    pub(super) fn turn(&mut self, connection: &Connection, queue: i64) -> rusqlite::Result<Turn> {
        let now = self.clock.instant();
        if self.end_recovery_in_time(connection)? {
            return Ok(Turn::Over);
        }
        if let Some(alone) = self.recovery.alone
            && alone.until <= now
        {
            self.clear(connection, alone)?;
        }
        if self.recovery.alone.is_some() {
            return Ok(Turn::Wait);
        }
        while let Some((place, index)) = self.next_suspect(queue, now) {
            self.take_hold(connection, place)?;
            let charges = self.held[&place].state(index).crashes;
            let payloads = self.payloads(connection, place)?;
            if let Some(handed) = self.hand_out_entry(place, index, &payloads) {
                let until = now + suspicion(handed.attempts.saturating_sub(charges.into()));
                self.recovery.alone = Some(Alone { place, index, until });
                self.set_control(connection, false)?;
                return Ok(Turn::Alone(handed));
            }
        }
        // The last ones may have been damaged.
        if self.end_recovery_in_time(connection)? {
            return Ok(Turn::Over);
        }
        if self.held.values().all(|row| row.counts().out == 0) {
            self.set_control(connection, true)?;
        }
        Ok(Turn::Wait)
    }

    /// Ends the recovery if nothing is left to recover, or no time. Answers whether it is over.
    pub(in crate::store) fn end_recovery_in_time(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        if self.recovery.is_on && (!self.is_anything_left() || self.clock.instant() >= self.recovery.deadline()) {
            if let Some(alone) = self.recovery.alone {
                self.clear(connection, alone)?;
            }
            self.set_control(connection, false)?;
            self.recovery.is_on = false;
            let left: u64 = self.queues.values().map(|queue| queue.suspects).sum();
            log::info!(suspects = left; "what was in flight when gatherd died has been tried; everything goes on");
        }
        Ok(!self.recovery.is_on)
    }

    fn is_anything_left(&self) -> bool {
        let is_left = |queue: &super::ledger::Queue| queue.suspects > 0 && self.board.is_read(&queue.name);
        self.recovery.alone.is_some() || self.queues.values().any(is_left)
    }

    /// The recovery is over: what is still suspect in a queue is handed out in company.
    pub(super) fn let_go_of_suspects(&mut self, connection: &Connection, queue: i64) -> rusqlite::Result<()> {
        let rows = self.held.values().filter(|row| row.place.queue == queue && row.counts().suspects > 0);
        let suspects = rows.flat_map(|row| row.suspects().map(|index| (row.place, index)));
        for (place, index) in suspects.collect::<Vec<_>>() {
            if self.take_hold(connection, place)? {
                let state = State { suspect: false, ..self.held[&place].state(index) };
                self.set(place, index, state, None);
            }
        }
        Ok(())
    }

    /// A suspect has done no harm for long enough.
    fn clear(&mut self, connection: &Connection, alone: Alone) -> rusqlite::Result<()> {
        let Alone { place, index, .. } = alone;
        if self.take_hold(connection, place)? {
            let state = State { suspect: false, crashes: 0, ..self.held[&place].state(index) };
            self.set(place, index, state, None);
        }
        self.recovery.alone = None;
        Ok(())
    }

    /// The next suspect that may be tried now: the prime one, if there is one. Of the others those that were charged come last, then those that were tried more often.
    fn next_suspect(&self, queue: i64, now: Instant) -> Option<(Place, u32)> {
        let age = now.saturating_duration_since(self.recovery.since);
        let is_lived_through =
            |state: &State| CONTROL.get(usize::from(state.crashes)).is_none_or(|control| age >= *control);
        if let Some((place, index)) = self.recovery.prime
            && let Some(state) = self.held.get(&place).map(|row| row.state(index))
            && state.suspect
            && self.queues.get(&place.queue).is_some_and(|queue| self.board.is_read(&queue.name))
        {
            return (place.queue == queue && is_lived_through(&state)).then_some((place, index));
        }
        let rows = self.held.values().filter(|row| row.place.queue == queue && row.counts().suspects > 0);
        let suspects = rows.flat_map(|row| row.suspects().map(move |index| (row, index, row.state(index))));
        let ready = suspects
            .filter(|(_, _, state)| CONTROL.get(usize::from(state.crashes)).is_none_or(|control| age >= *control));
        let next = ready.min_by_key(|(row, index, state)| {
            (state.crashes, state.attempts, std::cmp::Reverse(row.priority), row.place, *index)
        });
        next.map(|(row, index, _)| (row.place, index))
    }

    /// Whether the process that died last did so while nothing was out, and charged entries waited.
    pub(super) fn has_died_in_control(connection: &Connection) -> rusqlite::Result<bool> {
        let sql = "SELECT * FROM meta WHERE name = 'recovery'";
        let is_whole = connection.query_row(sql, [], |row| is_whole(&META, row)).optional()?;
        Ok(is_whole == Some(true))
    }

    pub(super) fn set_control(&mut self, connection: &Connection, is_control: bool) -> rusqlite::Result<()> {
        if is_control == self.recovery.is_control {
            return Ok(());
        }
        self.recovery.is_control = is_control;
        write_control(connection, is_control)
    }
}

pub(super) fn write_control(connection: &Connection, is_control: bool) -> rusqlite::Result<()> {
    if is_control {
        return put(connection, &META, &[], &[ValueRef::Text(b"recovery"), ValueRef::Text(b"control")]);
    }
    connection.execute("DELETE FROM meta WHERE name = 'recovery'", []).map(drop)
}

/// `attempts` is at least 2: a suspect was out when a process died, and is out again.
fn suspicion(attempts: u32) -> Duration {
    let times = 4u32.saturating_pow(attempts.saturating_sub(2));
    SUSPICION.saturating_mul(times).min(LONGEST_SUSPICION)
}
