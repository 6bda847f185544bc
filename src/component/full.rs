//! What happens to an item for which there is no room.

/// What happens to an item for which a queue or a buffer has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// It waits.
    Block,
    /// It becomes a dead letter.
    DeadLetter,
    /// The oldest entries make room.
    DropOldest,
}

impl Full {
    /// The words of a config; the first is the default.
    pub const WORDS: &[(&str, Self)] =
        &[("block", Full::Block), ("dead_letter", Full::DeadLetter), ("drop_oldest", Full::DropOldest)];
}
