//! The bound on what waits for Kafka: bytes and entries in one measure.

use tokio::sync::{Semaphore, TryAcquireError};

use super::error::{Missed, SendError};

/// What an entry takes of the buffer, in bytes.
pub(super) type Cost = u32;

/// The room in the buffer, first come first served.
///
/// An entry costs its bytes, and at least `bytes / entries`: so neither bound can be passed, with one count to keep.
#[derive(Debug)]
pub(super) struct Budget {
    room: Semaphore,
    bytes: Cost,
    least: Cost,
}

impl Budget {
    pub(super) fn new(bytes: Cost, entries: Cost) -> Self {
        Budget { room: Semaphore::new(bytes as usize), bytes, least: (bytes / entries.max(1)).max(1) }
    }

    pub(super) fn cost(&self, length: usize) -> Cost {
        Cost::try_from(length).unwrap_or(Cost::MAX).clamp(self.least, self.bytes)
    }

    /// Takes room if there is some, and nobody waits for it.
    pub(super) fn try_take(&self, cost: Cost) -> Result<Room<'_>, Missed> {
        match self.room.try_acquire_many(cost) {
            Ok(permit) => {
                permit.forget();
                Ok(Room { budget: self, cost })
            }
            Err(TryAcquireError::NoPermits) => Err(Missed::Full(cost)),
            Err(TryAcquireError::Closed) => Err(SendError::Closed.into()),
        }
    }

    /// Waits for room.
    pub(super) async fn take(&self, cost: Cost) -> Result<Room<'_>, SendError> {
        let permit = self.room.acquire_many(cost).await.map_err(|_| SendError::Closed)?;
        permit.forget();
        Ok(Room { budget: self, cost })
    }

    pub(super) fn give_back(&self, cost: Cost) {
        self.room.add_permits(cost as usize);
    }

    /// Lets nobody take room any more, and fails those who wait.
    pub(super) fn close(&self) {
        self.room.close();
    }
}

/// Room that was taken. It is given back when dropped, unless it is used.
#[derive(Debug)]
pub(super) struct Room<'a> {
    budget: &'a Budget,
    cost: Cost,
}

impl Room<'_> {
    pub(super) fn cost(&self) -> Cost {
        self.cost
    }

    /// The room is in use from here on: who settles the entry gives it back.
    pub(super) fn use_up(self) {
        std::mem::forget(self);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.cost);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn small_entries_count_by_number_and_large_ones_by_size() {
        let budget = Budget::new(1000, 10);
        assert_eq!(budget.cost(1), 100);
        assert_eq!(budget.cost(500), 500);
        assert_eq!(budget.cost(5000), 1000);
        for _ in 0..10 {
            budget.try_take(budget.cost(1)).unwrap().use_up();
        }
        assert!(matches!(budget.try_take(100), Err(Missed::Full(100))));
        budget.give_back(100);
        budget.try_take(100).unwrap().use_up();
    }

    #[tokio::test]
    async fn who_waits_comes_first_and_a_dropped_wait_leaks_nothing() {
        let budget = Budget::new(1000, 10);
        budget.try_take(900).unwrap().use_up();
        let mut waiting = Box::pin(budget.take(200));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert!(matches!(budget.try_take(100), Err(Missed::Full(100))), "overtakes the one that waits");
        drop(waiting);
        budget.try_take(100).unwrap().use_up();
        budget.give_back(1000);
        drop(budget.take(1000).await.unwrap());
        budget.try_take(1000).unwrap();
        budget.close();
        assert!(matches!(budget.take(1).await, Err(SendError::Closed)));
    }
}
