//! When a replayed entry is due.
//!
//! Entries keep the distances of their own timestamps, divided by the speed. Timestamps are data and may go back: what
//! counts is their running maximum. Only idle time is capped: bursts are as dense as they were, and a high speed is not
//! slowed down.

use std::time::Duration;

use agentworks_schemas::Timestamp;
use tokio::time::Instant;

/// A client that has not read for a while is caught up with at once as far as this; what is older counts as if it had
/// been due then.
const LATE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Clock {
    speed: f64,
    idle_cap: Duration,
    /// The running maximum of the timestamps shown, and when the last entry was due.
    last: Option<(Timestamp, Instant)>,
    paused: Option<Instant>,
}

impl Clock {
    /// A clock that multiplies the pace by `speed`, which may be 0 for no waiting at all, and waits at most `idle_cap`
    /// between two entries.
    pub(super) fn new(speed: f64, idle_cap: Duration) -> Self {
        Clock { speed, idle_cap, last: None, paused: None }
    }

    /// When an entry is due that is shown next; `None` means at once.
    pub(super) fn due(&mut self, timestamp: Timestamp, now: Instant) -> Instant {
        let (time, due) = match self.last {
            None => (timestamp, now),
            Some((last, due)) => {
                let wait = if self.speed > 0.0 {
                    let seconds = timestamp.since(last).as_secs_f64() / self.speed;
                    Duration::try_from_secs_f64(seconds).map_or(self.idle_cap, |wait| wait.min(self.idle_cap))
                } else {
                    Duration::ZERO
                };
                let earliest = now.checked_sub(LATE).unwrap_or(due);
                (last.max(timestamp), due.max(earliest) + wait)
            }
        };
        self.last = Some((time, due));
        due
    }

    /// Forgets what was shown: the next entry is due at once.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Stands still from now on.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    /// Goes on. Says by how much everything is due later.
    pub(super) fn resume(&mut self, now: Instant) -> Duration {
        let stood = self.paused.take().map_or(Duration::ZERO, |since| now - since);
        if let Some((_, due)) = &mut self.last {
            *due += stood;
        }
        stood
    }
}

/// How long a run takes to replay, at most: its time divided by the speed, or the idle cap between any two entries.
pub(super) fn estimate(time: Duration, entries: u64, speed: f64, idle_cap: Duration) -> Duration {
    if speed <= 0.0 {
        return Duration::ZERO;
    }
    let gaps = u32::try_from(entries.saturating_sub(1)).unwrap_or(u32::MAX);
    let capped = idle_cap.saturating_mul(gaps);
    Duration::try_from_secs_f64(time.as_secs_f64() / speed).map_or(capped, |time| time.min(capped))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(5);

    /// When entries with these timestamps are due, in milliseconds from the first.
    fn schedule(speed: f64, timestamps: &[i64]) -> Vec<u128> {
        let start = Instant::now();
        let mut clock = Clock::new(speed, CAP);
        timestamps.iter().map(|time| (clock.due(Timestamp(*time), start) - start).as_millis()).collect()
    }

    #[test]
    fn distances_are_kept_and_divided_by_the_speed() {
        assert_eq!(schedule(1.0, &[1000, 1001, 1001, 1500, 3000]), [0, 1, 1, 500, 2000]);
        assert_eq!(schedule(4.0, &[1000, 1400, 3000]), [0, 100, 500]);
        assert_eq!(schedule(0.5, &[1000, 1400]), [0, 800]);
    }

    #[test]
    fn at_speed_0_nothing_waits() {
        assert_eq!(schedule(0.0, &[1000, 9000, 99_000]), [0, 0, 0]);
    }

    #[test]
    fn only_idle_time_is_capped() {
        assert_eq!(schedule(1.0, &[0, 60_000, 60_001, 60_002]), [0, 5000, 5001, 5002]);
        assert_eq!(schedule(100.0, &[0, 60_000]), [0, 600]);
        assert_eq!(schedule(1e-300, &[0, 1]), [0, 5000]);
    }

    #[test]
    fn timestamps_that_go_back_wait_for_nothing_and_delay_nothing() {
        assert_eq!(schedule(1.0, &[1000, 2000, 500, 1500, 2500]), [0, 1000, 1000, 1000, 1500]);
    }

    #[test]
    fn a_late_replay_catches_up_by_a_second_at_most() {
        let start = Instant::now();
        let mut clock = Clock::new(1.0, CAP);
        clock.due(Timestamp(0), start);
        let later = start + Duration::from_secs(60);
        assert_eq!(clock.due(Timestamp(100), later), later - LATE + Duration::from_millis(100));
        assert_eq!(clock.due(Timestamp(2100), later), later + Duration::from_millis(1100));
    }

    #[test]
    fn a_pause_moves_everything() {
        let start = Instant::now();
        let mut clock = Clock::new(1.0, CAP);
        clock.due(Timestamp(0), start);
        clock.pause(start + Duration::from_millis(100));
        clock.pause(start + Duration::from_millis(500));
        assert!(clock.is_paused());
        assert_eq!(clock.resume(start + Duration::from_millis(1100)), Duration::from_secs(1));
        assert_eq!(clock.resume(start + Duration::from_millis(2000)), Duration::ZERO);
        assert_eq!(clock.due(Timestamp(300), start), start + Duration::from_millis(1300));
    }

    #[test]
    fn the_estimate_is_a_bound() {
        let hour = Duration::from_secs(3600);
        assert_eq!(estimate(hour, 1_000_000, 4.0, CAP), Duration::from_secs(900));
        assert_eq!(estimate(hour, 3, 1.0, CAP), Duration::from_secs(10));
        assert_eq!(estimate(hour, 0, 1.0, CAP), Duration::ZERO);
        assert_eq!(estimate(hour, 3, 0.0, CAP), Duration::ZERO);
    }
}
