//! Counts what replies take in memory.

use std::sync::Arc;

/// Counts what a reply takes in memory while it grows, and holds it back while there is no room.
#[derive(Clone)]
pub struct Meter(Arc<dyn Grow>);

/// Where a [`Meter`] counts.
#[async_trait::async_trait]
pub trait Grow: Send + Sync {
    /// Answers once `bytes` more may be held.
    async fn grow(&self, bytes: usize);

    /// Whether `bytes` more may be held at once. If so, they are counted.
    fn grow_now(&self, _bytes: usize) -> bool {
        false
    }
}

impl Meter {
    pub fn new(grow: Arc<dyn Grow>) -> Self {
        Self(grow)
    }

    /// For replies that are small by their limit and not kept.
    pub fn uncounted() -> Self {
        struct Uncounted;

        #[async_trait::async_trait]
        impl Grow for Uncounted {
            async fn grow(&self, _: usize) {}
        }

        Self(Arc::new(Uncounted))
    }

    pub async fn grow(&self, bytes: usize) {
        if !self.0.grow_now(bytes) {
            self.0.grow(bytes).await;
        }
    }
}
