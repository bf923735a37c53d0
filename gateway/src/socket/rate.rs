//! How fast a client may send messages, and frames that are no messages.

use tokio::time::Instant;

/// Over how many seconds the rate is averaged: so many seconds' worth may come at once.
const BURST: f64 = 10.0;

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it.
    Take,
    /// Drop it, and say so.
    Refuse,
    /// Drop it; that was said a moment ago.
    Ignore,
    /// It goes on and on: close the connection.
    Close,
}

/// A bucket of tokens, one for a message.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    tokens: f64,
    at: Instant,
    /// Messages dropped since the bucket was last half full.
    dropped: u32,
    said: Option<Instant>,
}

impl Rate {
    /// At most `per_second` messages a second, on average over ten.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Rate { per_second, tokens: per_second * BURST, at: now, dropped: 0, said: None }
    }

    /// Counts a message.
    pub(crate) fn message(&mut self, now: Instant) -> Verdict {
        let full = self.per_second * BURST;
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * self.per_second).min(full);
        self.at = now;
        if self.tokens >= full / 2.0 {
            self.dropped = 0;
        }
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Verdict::Take;
        }
        self.dropped += 1;
        if f64::from(self.dropped) > full {
            return Verdict::Close;
        }
        if self.said.is_some_and(|said| (now - said).as_secs() < 1) {
            return Verdict::Ignore;
        }
        self.said = Some(now);
        Verdict::Refuse
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_it_is_said_then_it_is_over() {
        let start = Instant::now();
        let mut rate = Rate::new(5, start);
        assert!((0..50).all(|_| rate.message(start) == Verdict::Take));
        assert_eq!(rate.message(start), Verdict::Refuse);
        assert!((0..49).all(|_| rate.message(start) == Verdict::Ignore));
        assert_eq!(rate.message(start), Verdict::Close);
    }

    #[test]
    fn who_slows_down_is_forgiven() {
        let start = Instant::now();
        let mut rate = Rate::new(5, start);
        assert_eq!((0..90).filter(|_| rate.message(start) == Verdict::Take).count(), 50);
        let later = start + Duration::from_secs(6);
        assert!((0..30).all(|_| rate.message(later) == Verdict::Take));
        assert_eq!(rate.message(later), Verdict::Refuse);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!((0..51).filter(|_| rate.message(much_later) == Verdict::Take).count(), 50);
    }

    #[test]
    fn at_the_allowed_pace_nothing_is_dropped() {
        let start = Instant::now();
        let mut rate = Rate::new(5, start);
        let times = (0..1000).map(|n| start + Duration::from_millis(200) * n);
        assert!(times.into_iter().all(|time| rate.message(time) == Verdict::Take));
    }
}
