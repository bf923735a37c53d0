//! Waiting for something to become true.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(20);

/// What `check` finds, as soon as it finds something. For what can't be awaited itself.
///
/// # Panics
/// If it finds nothing within `timeout`.
#[track_caller]
pub fn eventually<T, F>(timeout: Duration, mut check: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(found) = check().await {
                return found;
            }
            assert!(Instant::now() < deadline, "not within {timeout:?}, at {caller}");
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
