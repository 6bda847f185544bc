//! The connections that a server has open. When there are as many as it may have, the one that has done nothing for
//! the longest makes room for the next: those that only sit there, or send a byte now and then, lock nobody out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use event_listener::Event;

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    state: Mutex<State>,
    /// One has ended, or is no longer being answered.
    freed: Event,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<u64, Open>,
    next: u64,
}

#[derive(Debug)]
struct Open {
    /// When it last had a request, in the order of all that happened.
    last: u64,
    /// Requests that are being answered.
    answering: usize,
    /// Dropped to end it.
    _end: Sender<Infallible>,
}

/// A connection's place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
    end: Receiver<Infallible>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Arc<Connections>, u64);

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default(), freed: Event::new() })
    }

    /// A place for one more connection. Waits only while every other one has a request that is being answered.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.listen();
            if let Some(place) = self.try_place() {
                return place;
            }
            freed.await;
        }
    }

    fn try_place(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        if state.open.len() >= self.most {
            let idle = state.open.iter().filter(|(_, open)| open.answering == 0);
            let longest = idle.min_by_key(|(_, open)| open.last).map(|(number, _)| *number)?;
            state.open.remove(&longest);
        }
        let number = state.tick();
        let (ends, end) = async_channel::bounded(1);
        state.open.insert(number, Open { last: number, answering: 0, _end: ends });
        Some(Place { connections: self.clone(), number, end })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Place {
    /// Until what this answers is dropped, the connection keeps its place.
    pub(super) fn answering(&self) -> Answering {
        if let Some(open) = self.connections.state().open.get_mut(&self.number) {
            open.answering += 1;
        }
        Answering(self.connections.clone(), self.number)
    }

    /// Waits until the connection has to make room.
    pub(super) async fn lost(&self) {
        // Nothing is ever sent: it ends when the other end is dropped.
        let _ = self.end.recv().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.state().open.remove(&self.number);
        self.connections.freed.notify(1);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Self(connections, number) = self;
        let mut state = connections.state();
        let last = state.tick();
        if let Some(open) = state.open.get_mut(number) {
            open.answering -= 1;
            open.last = last;
        }
        drop(state);
        connections.freed.notify(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_lost(place: &Place) -> bool {
        place.end.is_closed()
    }

    #[test]
    fn the_connection_that_did_nothing_for_the_longest_makes_room() {
        let connections = Connections::new(2);
        let first = connections.try_place().unwrap();
        let second = connections.try_place().unwrap();
        drop(first.answering());
        let third = connections.try_place().unwrap();
        assert!(is_lost(&second) && !is_lost(&first) && !is_lost(&third));

        let busy = [first.answering(), third.answering()];
        assert!(connections.try_place().is_none(), "requests that are being answered are answered");
        drop(busy);
        drop(second);
        let fourth = connections.try_place().unwrap();
        assert!(is_lost(&first) && !is_lost(&third) && !is_lost(&fourth));
        drop((third, fourth, first));
        assert!(connections.state().open.is_empty());
    }
}
