//! How much a webhook takes in before its items have settled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes of bodies that the engine does not count yet are held; at least one body always finds room.
const BYTES: usize = 32 << 20;

/// Counts the requests that wait for their answer, and the bytes of their bodies.
pub(super) struct Room {
    waiting: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    requests: usize,
    bytes: usize,
}

/// The place of a request, until it is answered.
pub(super) struct Place(Arc<Room>);

/// The room of a body, until the engine counts it.
pub(super) struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// Room for so many requests.
    pub(super) fn new(waiting: usize) -> Arc<Self> {
        Arc::new(Self { waiting, taken: Mutex::default() })
    }

    /// Nothing if there is no room for one more request with a body of so many bytes.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Option<(Place, Held)> {
        let mut taken = self.taken();
        let is_full = taken.requests >= self.waiting || (taken.bytes > 0 && taken.bytes.saturating_add(bytes) > BYTES);
        if is_full {
            return None;
        }
        taken.requests += 1;
        taken.bytes = taken.bytes.saturating_add(bytes);
        Some((Place(self.clone()), Held { room: self.clone(), bytes }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken().requests -= 1;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_for_so_many_requests_and_so_many_bytes() {
        let room = Room::new(2);
        let (first, held) = room.enter(BYTES * 2).unwrap();
        assert!(room.enter(1).is_none(), "the bytes are taken");
        drop(held);
        let second = room.enter(1).unwrap();
        assert!(room.enter(1).is_none(), "both places are taken");
        drop(first);
        assert!(room.enter(1).is_some());
        drop(second);
    }
}
