//! Defects that are put into gatherd on purpose, so that the proofs (`tests/proof/`) can show that they would find them.
//!
//! They exist in a build with the cargo feature `planted` alone, which no release has, and one at a time: that which the
//! environment variable `GATHERD_PLANTED` names.

/// A defect, each of a kind that has lost data somewhere.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "planted", derive(Debug))]
pub enum Planted {
    /// A commit is answered before it is on disk.
    AckBeforeFsync,
    /// The names of new files are not made to last.
    NoFolderSync,
    /// A sync that fails passes for one that went well.
    FsyncIgnored,
    /// A cursor moves before the items of its page have settled.
    CursorBeforeAck,
    /// `new` and `changed` remember an item before it has settled.
    NewBeforeAck,
    /// A reply counts as known before its items have settled.
    ValidatorBeforeAck,
    /// A dead letter is written in another commit than the end of its item.
    DeadLetterApart,
    /// An ack that is dropped says that its item was delivered.
    DroppedAckDelivered,
    /// An entry of a queue is settled when it is handed out.
    SettledAtLease,
    /// A source's position moves over items that were read, and have not settled.
    PositionByRead,
    /// A dead letter that is replayed and given up again forgets what was before.
    ReplayWithoutHistory,
    /// A sink's buffer forgets an item when it hands it to the sink.
    BufferBeforeDelivery,
}

impl Planted {
    /// Whether this process has the defect.
    #[cfg(not(feature = "planted"))]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Whether this process has the defect.
    #[cfg(feature = "planted")]
    pub fn is_on(self) -> bool {
        use std::sync::LazyLock;
        static NAME: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("GATHERD_PLANTED").ok());
        NAME.as_deref().is_some_and(|name| name == format!("{self:?}"))
    }
}
