//! What is asked for now and then, by one caller at a time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A value as it was lately. Whoever finds it old asks for it anew; those who come meanwhile take the old one, and wait only
/// where there is none. `A` is what asking takes.
#[derive(Debug, Default)]
pub(super) struct Lately<T, A = ()> {
    /// When it was found.
    known: Mutex<Option<(Instant, T)>>,
    asking: tokio::sync::Mutex<A>,
}

impl<T: Clone, A> Lately<T, A> {
    /// The value, no older than `age` if nobody else is asking.
    ///
    /// # Errors
    /// That of `ask`; then the next one asks again.
    pub(super) async fn get<E>(&self, age: Duration, ask: impl AsyncFnOnce(&mut A) -> Result<T, E>) -> Result<T, E> {
        if let Some(value) = self.fresh(age) {
            return Ok(value);
        }
        let mut asking = match (self.asking.try_lock(), self.last()) {
            (Ok(asking), _) => asking,
            (Err(_), Some(value)) => return Ok(value),
            (Err(_), None) => self.asking.lock().await,
        };
        // Whoever was waited for has asked.
        if let Some(value) = self.fresh(age) {
            return Ok(value);
        }
        let value = ask(&mut asking).await?;
        *self.known.lock() = Some((Instant::now(), value.clone()));
        Ok(value)
    }

    /// The value as it was found last, however long ago.
    pub(super) fn last(&self) -> Option<T> {
        self.known.lock().as_ref().map(|(_, value)| value.clone())
    }

    fn fresh(&self, age: Duration) -> Option<T> {
        self.known.lock().as_ref().filter(|(since, _)| since.elapsed() < age).map(|(_, value)| value.clone())
    }

    /// Has the next one ask.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.known.lock().take();
    }
}
