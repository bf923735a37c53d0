//! How far a stream is behind, and when to say so.

use std::time::Duration;

use agentworks_schemas::protocol::Lag;
use agentworks_schemas::{Cursor, Timestamp};
use tokio::time::Instant;

/// A stream that is behind for so long says so, and again as often.
const INTERVAL: Duration = Duration::from_secs(2);

/// Knows since when a stream is behind.
#[derive(Debug, Default)]
pub(super) struct LagClock {
    /// When to say so next; `None` while the stream is live or paused.
    due: Option<Instant>,
    was_said: bool,
}

impl LagClock {
    /// The stream is behind from now on, if it wasn't.
    pub(super) fn behind(&mut self, now: Instant) {
        self.due.get_or_insert(now + INTERVAL);
    }

    /// The stream has caught up. Whether that has to be said.
    pub(super) fn ended(&mut self) -> bool {
        self.due = None;
        std::mem::take(&mut self.was_said)
    }

    /// The stream is paused: that isn't its lag.
    pub(super) fn pause(&mut self) {
        self.due = None;
    }

    /// When the lag has to be said next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it has to be said now; if so, it counts as said.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = Some(now + INTERVAL);
            self.was_said = true;
        }
        is_due
    }
}

/// The lag of a stream that stands at `cursor`, has last sent an entry with the record timestamp `last`, and has `end`
/// before it.
pub(super) fn lag(cursor: &Cursor, end: &Cursor, last: Option<Timestamp>, now: Timestamp) -> Lag {
    let missing = end.iter().map(|(partition, epoch, next)| match cursor.get(partition) {
        Some((own_epoch, own)) if own_epoch == epoch => (next - own).max(0),
        _ => next,
    });
    let entries = missing.sum::<i64>().unsigned_abs();
    let seconds = if entries == 0 { 0 } else { last.map_or(0, |last| now.since(last).as_secs()) };
    Lag { entries, seconds }
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::{Topic, TopicPartition};

    use super::*;

    #[test]
    fn it_is_said_after_a_while_and_when_it_is_over() {
        let start = Instant::now();
        let mut clock = LagClock::default();
        assert!(!clock.is_due(start) && !clock.ended());
        clock.behind(start);
        clock.behind(start + Duration::from_secs(1));
        assert!(!clock.is_due(start + Duration::from_millis(1900)));
        assert!(clock.is_due(start + Duration::from_millis(2100)));
        assert!(!clock.is_due(start + Duration::from_millis(4000)));
        assert!(clock.is_due(start + Duration::from_millis(4100)));
        assert!(clock.ended());
        assert!(!clock.ended());
    }

    #[test]
    fn it_counts_records_up_to_the_end() {
        let partition = |number| TopicPartition::new(Topic::AgentLogs, number);
        let cursor = Cursor::from_iter([(partition(0), 1, 10), (partition(1), 1, 7)]);
        let end = Cursor::from_iter([(partition(0), 1, 15), (partition(1), 1, 6), (partition(2), 1, 3)]);
        let (last, now) = (Some(Timestamp(1000)), Timestamp(4500));
        assert_eq!(lag(&cursor, &end, last, now), Lag { entries: 8, seconds: 3 });
        assert_eq!(lag(&end, &end, last, now), Lag { entries: 0, seconds: 0 });
    }
}
