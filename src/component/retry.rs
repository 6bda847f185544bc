//! How often, and how long, a failed item is tried again.

use std::time::Duration;

/// When an item is tried again, and when it is given up. The time between tries is drawn evenly from zero to
/// `base`, doubled with every try, up to `cap` (full jitter, as in Brooker: Exponential Backoff And Jitter, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many tries an item gets in all.
    pub tries: u32,
    /// Given up once this long after the first try, whatever tries are left. Not counted against sinks whose
    /// destination fails as a whole: those never give up.
    pub within: Duration,
    pub base: Duration,
    pub cap: Duration,
    /// The longest `Retry-After` that is waited for.
    pub retry_after_cap: Duration,
}

impl Retry {
    pub const FETCH: Self = Self {
        tries: 5,
        within: Duration::from_secs(300),
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
        retry_after_cap: Duration::from_secs(3600),
    };

    pub const SINK: Self = Self { cap: Duration::from_secs(300), ..Self::FETCH };

    /// For a sink on a disk of this machine: it goes on soon after there is space again, and asking costs nobody
    /// anything.
    pub const DISK: Self = Self { cap: Duration::from_secs(2), ..Self::SINK };
}
