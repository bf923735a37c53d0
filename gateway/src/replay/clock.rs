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
    /// The entry that is to be shown next, or was shown last.
    last: Option<Tick>,
    /// The one before it.
    before: Option<Tick>,
    paused: Option<Instant>,
}

/// The running maximum of the timestamps up to an entry, and when the entry is due.
#[derive(Clone, Copy, Debug)]
struct Tick {
    time: Timestamp,
    due: Instant,
}

impl Clock {
    /// A clock that multiplies the pace by `speed`, which may be 0 for no waiting at all, and waits at most `idle_cap`
    /// between two entries.
    pub(super) fn new(speed: f64, idle_cap: Duration) -> Self {
        Clock { speed, idle_cap, last: None, before: None, paused: None }
    }

    /// When an entry is due that is shown next.
    pub(super) fn due(&mut self, timestamp: Timestamp, now: Instant) -> Instant {
        let tick = match self.last {
            None => Tick { time: timestamp, due: now },
            Some(Tick { time, due }) => {
                let earliest = now.checked_sub(LATE).unwrap_or(due);
                Tick { time: time.max(timestamp), due: due.max(earliest) + self.wait(time, timestamp) }
            }
        };
        self.before = self.last.replace(tick);
        tick.due
    }

    /// How long to wait between two moments of the run.
    fn wait(&self, from: Timestamp, to: Timestamp) -> Duration {
        if self.speed <= 0.0 {
            return Duration::ZERO;
        }
        let seconds = to.since(from).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(seconds).map_or(self.idle_cap, |wait| wait.min(self.idle_cap))
    }

    /// Goes on at another pace. Of the wait for an entry that was asked about, and is not due yet, what is left is
    /// stretched or shrunk: says when the entry is due now.
    pub(super) fn set_speed(&mut self, speed: f64, now: Instant) -> Option<Instant> {
        let now = self.paused.unwrap_or(now);
        let before = self.wait_of_last();
        self.speed = speed;
        let after = self.wait_of_last();
        let last = self.last.as_mut()?;
        if let (Some(before), Some(after), left @ 1..) =
            (before, after, last.due.saturating_duration_since(now).as_nanos())
        {
            let share = left as f64 / before.as_nanos().max(1) as f64;
            last.due = now + after.mul_f64(share.min(1.0));
        }
        Some(last.due)
    }

    /// How long the wait for the last entry is, if there is one before it.
    fn wait_of_last(&self) -> Option<Duration> {
        Some(self.wait(self.before?.time, self.last?.time))
    }

    /// Forgets the entry that was asked about last: it was not shown, and is asked about again.
    pub(super) fn take_back(&mut self) {
        self.last = self.before.take();
    }

    /// Forgets what was shown: the next entry is due at once.
    pub(super) fn restart(&mut self) {
        (self.last, self.before) = (None, None);
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
        for tick in [&mut self.last, &mut self.before].into_iter().flatten() {
            tick.due += stood;
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
    fn a_change_of_pace_counts_for_what_is_left_of_the_wait() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut clock = Clock::new(1.0, CAP);
        assert_eq!(clock.set_speed(1.0, start), None);
        clock.due(Timestamp(0), start);
        assert_eq!(clock.due(Timestamp(1000), start), at(1000));
        // Three quarters of the wait are left.
        assert_eq!(clock.set_speed(4.0, at(250)), Some(at(250 + 187)).map(|due| due + Duration::from_micros(500)));
        clock.restart();
        clock.due(Timestamp(0), start);
        clock.due(Timestamp(60_000), start);
        // The wait is capped before and after.
        assert_eq!(clock.set_speed(2.0, at(1000)), Some(at(5000)));
        assert_eq!(clock.set_speed(0.0, at(1000)), Some(at(1000)));
        assert_eq!(clock.set_speed(1.0, at(2000)), Some(at(1000)), "it is due, and stays so");
    }

    #[test]
    fn an_entry_that_was_not_shown_may_be_asked_about_again() {
        let start = Instant::now();
        let mut clock = Clock::new(1.0, CAP);
        clock.due(Timestamp(0), start);
        let due = clock.due(Timestamp(700), start);
        clock.pause(start);
        clock.take_back();
        let later = start + Duration::from_secs(60);
        clock.resume(later);
        assert_eq!(clock.due(Timestamp(700), later), due + Duration::from_secs(60));
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
