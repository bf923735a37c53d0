//! Waiting longer and longer between attempts.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);

/// What is being tried again, and when next.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    /// The last error.
    pub(super) error: String,
    /// When the next attempt is due.
    pub(super) at: Instant,
    wait: Duration,
}

impl Retry {
    /// After an attempt that failed with `error`; `before` is what the attempt before it left.
    pub(super) fn after(before: Option<Retry>, error: String) -> Self {
        let wait = before.map_or(FIRST, |before| (before.wait * 2).min(LAST));
        // Spread, so that many that failed together don't come back together.
        let at = Instant::now() + wait.mul_f64(rand::random_range(0.5..1.0));
        Retry { error, at, wait }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut retry = None;
        let mut waits = Vec::new();
        for _ in 0..10 {
            let next = Retry::after(retry.take(), "fault".into());
            let left = next.at - Instant::now();
            assert!(
                left <= next.wait && left + Duration::from_millis(50) >= next.wait / 2,
                "{left:?} of {:?}",
                next.wait
            );
            waits.push(next.wait);
            retry = Some(next);
        }
        assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(waits[9], LAST);
    }
}
