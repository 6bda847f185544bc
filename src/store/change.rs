//! What one commit can write.

use jiff::Timestamp;

use super::{CursorChange, CursorKey, DeadLetter, Lease, Push, Replay, Validator};
use crate::model::{Text, Value};

/// SHA-256 of a value.
pub type Digest = [u8; 32];

/// One thing that a commit writes. State belongs to a pipeline and the id of a component in it.
#[derive(Clone, Debug)]
pub enum Change {
    /// How far a source has come.
    Position { pipeline: Text, component: Text, position: Value },
    /// A source begins anew.
    ResetPosition { pipeline: Text, component: Text },
    /// What a page of a run leaves behind.
    Cursor(Box<CursorChange>),
    /// A cursor as a person wants it, or none: all that is known beside it is forgotten.
    ResetCursor { key: CursorKey, value: Option<Value> },
    /// A key that `new` has seen; forgotten at `until`, if ever.
    Seen { pipeline: Text, component: Text, key: Text, until: Option<Timestamp> },
    /// What `changed` saw last under a key.
    Last { pipeline: Text, component: Text, key: Text, digest: Digest },
    /// What tells whether the reply to a request has changed; nothing, to forget it.
    Validator { pipeline: Text, component: Text, request: Text, validator: Option<Box<Validator>> },
    /// What a named HTTP client must remember under a name; nothing, to forget it.
    ClientState { client: Text, name: Text, value: Option<Value> },
    /// Whether a person has paused a pipeline.
    Paused { pipeline: Text, is_paused: bool },
    /// An item that was given up. One that was there already gets a longer history.
    Dead(Box<DeadLetter>),
    /// An item that was given up again, when the dead letter `replayed` was replayed: its history goes on.
    DeadAgain { letter: Box<DeadLetter>, replayed: i64 },
    /// Another value for a dead letter.
    EditDead { letter: i64, value: Value },
    /// A dead letter is asked to be replayed.
    Replay(Replay),
    /// The replay of this dead letter has settled: it goes, unless it was given up again.
    EndReplay(i64),
    /// A dead letter goes for good.
    DropDead(i64),
    /// Entries for queues.
    Push(Push),
    /// The oldest entries leave the queue, settled or not.
    DropOldest { queue: Text, items: u64 },
    /// The entry leaves its queue for good.
    Settle(Lease),
    /// The entry goes back into its queue, to be handed out again, but not before `due`.
    Release { lease: Lease, due: Option<Timestamp> },
}
