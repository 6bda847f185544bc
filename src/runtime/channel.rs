//! A channel with a limit that takes memory for what waits in it: async-channel's own bounded ones take all they may ever
//! need at once, which an idle daemon with many of them holds for nothing.

use std::sync::Arc;

use async_channel::{RecvError, SendError, TryRecvError, TrySendError};
use event_listener::Event;

/// A channel for about `limit` values: senders that come at the very same time may put in one each beyond that.
pub fn channel<T>(limit: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = async_channel::unbounded();
    let room = Arc::new(Room { limit, made: Event::new() });
    (Sender { inner: sender, room: room.clone() }, Receiver { inner: receiver, room })
}

struct Room {
    limit: usize,
    /// Notified for each value that is taken, and when nothing more can be.
    made: Event,
}

pub struct Sender<T> {
    inner: async_channel::Sender<T>,
    room: Arc<Room>,
}

pub struct Receiver<T> {
    inner: async_channel::Receiver<T>,
    room: Arc<Room>,
}

/// Keeps nothing alive.
pub struct WeakSender<T> {
    inner: async_channel::WeakSender<T>,
    room: Arc<Room>,
}

/// Keeps nothing alive.
pub struct WeakReceiver<T> {
    inner: async_channel::WeakReceiver<T>,
    room: Arc<Room>,
}

impl<T> Sender<T> {
    /// Puts a value in if there is room.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.inner.len() < self.room.limit || self.inner.is_closed() {
            self.inner.try_send(value)
        } else {
            Err(TrySendError::Full(value))
        }
    }

    /// Puts a value in, and waits for room. The error is that nobody receives any more.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut value = value;
        let mut made = None;
        loop {
            value = match self.try_send(value) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(value)) => return Err(SendError(value)),
                Err(TrySendError::Full(value)) => value,
            };
            // Before it is waited for there is another look, since room may have been made before anyone listened.
            made = match made.take() {
                None => Some(self.room.made.listen()),
                Some(listener) => {
                    listener.await;
                    None
                }
            };
        }
    }

    /// Nothing can be put in any more; what is there can still be taken.
    pub fn close(&self) {
        self.inner.close();
        self.room.made.notify(usize::MAX);
    }

    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender { inner: self.inner.downgrade(), room: self.room.clone() }
    }
}

impl<T> Receiver<T> {
    /// The next value. The error is that there will be none.
    pub async fn recv(&self) -> Result<T, RecvError> {
        let value = self.inner.recv().await?;
        self.room.made.notify(1);
        Ok(value)
    }

    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let value = self.inner.try_recv()?;
        self.room.made.notify(1);
        Ok(value)
    }

    /// [`Sender::close`].
    pub fn close(&self) {
        self.inner.close();
        self.room.made.notify(usize::MAX);
    }

    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    pub fn len(&self) -> usize {
        self.inner.len()
    }

    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    pub fn downgrade(&self) -> WeakReceiver<T> {
        WeakReceiver { inner: self.inner.downgrade(), room: self.room.clone() }
    }
}

impl<T> WeakSender<T> {
    pub fn upgrade(&self) -> Option<Sender<T>> {
        Some(Sender { inner: self.inner.upgrade()?, room: self.room.clone() })
    }
}

impl<T> WeakReceiver<T> {
    pub fn upgrade(&self) -> Option<Receiver<T>> {
        Some(Receiver { inner: self.inner.upgrade()?, room: self.room.clone() })
    }
}

// Derived, they would ask the values to be cloned.

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), room: self.room.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), room: self.room.clone() }
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), room: self.room.clone() }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.inner.receiver_count() == 1 {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{block_on, spawn};

    #[test]
    fn a_full_channel_lets_its_senders_wait_until_there_is_room() {
        let (sender, receiver) = channel(2);
        sender.try_send(1).unwrap();
        sender.try_send(2).unwrap();
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
        let senders: Vec<_> = (3..100)
            .map(|value| {
                let sender = sender.clone();
                spawn(async move { sender.send(value).await })
            })
            .collect();
        drop(sender);
        let mut received = block_on(async {
            let mut received = Vec::new();
            while let Ok(value) = receiver.recv().await {
                received.push(value);
            }
            for sender in senders {
                sender.join().await.unwrap().unwrap();
            }
            received
        });
        received.sort_unstable();
        assert_eq!(received, (1..100).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_waits_for_room_learns_that_the_channel_is_closed() {
        for close in [|receiver: Receiver<u8>| receiver.close(), drop] {
            let (sender, receiver) = channel(1);
            sender.try_send(1).unwrap();
            let waiting = spawn({
                let sender = sender.clone();
                async move { sender.send(2).await }
            });
            close(receiver);
            assert_eq!(block_on(waiting.join()).unwrap(), Err(SendError(2)));
            assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
        }
    }
}
