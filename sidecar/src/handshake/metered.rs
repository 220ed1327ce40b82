//! A client's bytes while its handshake goes on. They are kept until a message is whole, and who sends
//! them is nobody yet: few of them are free, and for more all clients have one room.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// What a handshake has taken so far.
#[derive(Debug)]
pub(super) struct Count {
    taken: usize,
    /// One permit a byte beyond those that are free.
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

/// A handshake takes more than is free, and there is no room for that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handshake is too large")
    }
}

impl std::error::Error for TooLarge {}

impl Count {
    /// Nothing yet, of a handshake that has `room` with all others.
    pub(super) fn new(room: Arc<Semaphore>) -> Self {
        Self { taken: 0, room, held: None }
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// Where there is no room for them.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.taken = self.taken.saturating_add(bytes);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = self.taken.saturating_sub(limits::HANDSHAKE_FREE).saturating_sub(held);
        if wanted == 0 {
            return Ok(());
        }
        let wanted = u32::try_from(wanted).map_err(|_huge| TooLarge)?;
        let room = Arc::clone(&self.room);
        let more = room.try_acquire_many_owned(wanted).map_err(|_full| TooLarge)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(room: &Arc<Semaphore>) -> Count {
        Count::new(Arc::clone(room))
    }

    #[test]
    fn what_is_more_than_usual_takes_room_and_gives_it_back() {
        let room = Arc::new(Semaphore::new(1000));
        let (mut usual, mut large, mut other) = (count(&room), count(&room), count(&room));
        assert_eq!(usual.take(limits::HANDSHAKE_FREE), Ok(()));
        assert_eq!(room.available_permits(), 1000);
        assert_eq!(large.take(limits::HANDSHAKE_FREE + 300), Ok(()));
        assert_eq!(large.take(500), Ok(()));
        assert_eq!(room.available_permits(), 200);
        assert_eq!(other.take(limits::HANDSHAKE_FREE + 201), Err(TooLarge));
        // The usual one is not the worse for it.
        assert_eq!(count(&room).take(limits::HANDSHAKE_FREE), Ok(()));
        drop(large);
        assert_eq!(room.available_permits(), 1000);
        assert_eq!(other.take(0), Ok(()));
        assert_eq!(room.available_permits(), 799);
        assert_eq!(count(&room).take(usize::MAX), Err(TooLarge));
    }
}
