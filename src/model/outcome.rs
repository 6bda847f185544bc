//! How an item ended.

/// How an item ended, from best to worst: a parent ends as the worst of its descendants.
///
/// All but [`Outcome::Abandoned`] are *settled*: they are final, and the source may move on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Ended on purpose, for a reason that was counted.
    Filtered,
    /// Every sink that took it has it for good.
    Delivered,
    /// Given up, and kept as a dead letter.
    Rejected,
    /// Not finished; it will come again.
    Abandoned,
}

impl Outcome {
    pub fn is_settled(self) -> bool {
        self != Outcome::Abandoned
    }
}
