//! What the store is asked about dead letters, and asked to do with them.

use event_listener::{Event, EventListener};

use super::super::{Change, Store, writer};
use super::{DeadLetter, DeadLetterFilter, DeadSize, Replay, rows};
use crate::model::{Fault, FaultKind, Text, Value};

/// How many dead letters one commit touches at most, so that others need not wait for long.
const PORTION: usize = 1000;

impl Store {
    /// Dead letters, newest first.
    pub fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetter>, Fault> {
        self.inner.readers.read(|connection| rows::list(connection, filter))
    }

    /// The ids of dead letters, the oldest first; `limit`, `bytes` and `after` are not looked at.
    pub fn dead_letter_ids(&self, filter: &DeadLetterFilter) -> Result<Vec<i64>, Fault> {
        let filter = DeadLetterFilter { after: None, ..filter.clone() };
        self.inner.readers.read(|connection| rows::ids(connection, &filter))
    }

    pub fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, Fault> {
        self.inner.readers.read(|connection| rows::by_id(connection, id))
    }

    /// How many dead letters a pipeline has, and what they take on disk. Costs nothing.
    pub fn dead_size(&self, pipeline: &str) -> DeadSize {
        self.inner.writer.as_ref().map(|writer| writer.dead_board().size(pipeline)).unwrap_or_default()
    }

    /// Wakes when there are fewer dead letters than before.
    pub fn dead_letters_left(&self) -> EventListener {
        self.inner.writer.as_ref().map_or_else(|| Event::new().listen(), |writer| writer.dead_board().shrunk())
    }

    /// Gives a dead letter another value. It must be there, and not be on its way.
    pub async fn edit_dead_letter(&self, id: i64, value: Value) -> Result<(), Fault> {
        if self.dead_letter(id)?.is_none() {
            return Err(missing(&[id]));
        }
        if self.is_replay_asked(id)? {
            let message = format!("cannot edit dead letter {id}: it was asked to be replayed, and is on its way");
            return Err(Fault::stop(FaultKind::Request, message));
        }
        self.commit(vec![Change::EditDead { letter: id, value }]).await
    }

    /// Asks for dead letters to be replayed: by the engine that runs, or the next one that starts. All must be there.
    pub async fn replay_dead_letters(&self, replays: Vec<Replay>) -> Result<(), Fault> {
        self.check_dead_letters(replays.iter().map(|replay| replay.letter))?;
        for portion in replays.chunks(PORTION) {
            self.commit(portion.iter().cloned().map(Change::Replay).collect()).await?;
        }
        Ok(())
    }

    /// Drops dead letters for good. All must be there.
    pub async fn drop_dead_letters(&self, ids: &[i64]) -> Result<(), Fault> {
        self.check_dead_letters(ids.iter().copied())?;
        for portion in ids.chunks(PORTION) {
            self.commit(portion.iter().map(|id| Change::DropDead(*id)).collect()).await?;
        }
        Ok(())
    }

    /// Up to `count` dead letters of a pipeline that are asked to be replayed, by their ids, from the one after `after`
    /// on.
    pub fn replays(&self, pipeline: &str, after: i64, count: usize) -> Result<Vec<Replay>, Fault> {
        self.inner.readers.read(|connection| rows::replays(connection, pipeline, after, count))
    }

    /// Whether a dead letter is asked to be replayed, or on its way.
    pub fn is_replay_asked(&self, id: i64) -> Result<bool, Fault> {
        self.inner.readers.read(|connection| rows::is_replay_asked(connection, id))
    }

    /// The pipelines that have dead letters which are asked to be replayed.
    pub fn replay_pipelines(&self) -> Result<Vec<Text>, Fault> {
        self.inner.readers.read(rows::replay_pipelines)
    }

    /// Wakes when a dead letter is asked to be replayed. Listen first, then look: so none is missed.
    pub fn replay_asked(&self) -> EventListener {
        self.inner.writer.as_ref().map_or_else(|| Event::new().listen(), |writer| writer.dead_board().asked())
    }

    fn check_dead_letters(&self, ids: impl Iterator<Item = i64>) -> Result<(), Fault> {
        if self.inner.writer.is_none() {
            return Err(writer::refuse_to_write());
        }
        let known = self.dead_letter_ids(&DeadLetterFilter::default())?;
        let unknown: Vec<i64> = ids.filter(|id| known.binary_search(id).is_err()).collect();
        if unknown.is_empty() { Ok(()) } else { Err(missing(&unknown)) }
    }
}

fn missing(ids: &[i64]) -> Fault {
    const SHOWN: usize = 10;
    let mut shown = ids.iter().take(SHOWN).map(i64::to_string).collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN {
        shown.push_str(", …");
    }
    let message = format!("there is no dead letter {shown}; see `gatherd dead list`");
    Fault::stop(FaultKind::Request, message)
}
