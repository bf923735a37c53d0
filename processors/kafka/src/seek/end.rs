//! What it says of a read when the log ends before it does.
//!
//! Behind the last record there may be offsets without one (transactions' markers, what an aborted one wrote), over which
//! librdkafka goes without a word: then the end of the log says that nothing lies before the read's own.
//!
//! But the log may also *seem* to end sooner than it was known to. A leader that was just elected lets nobody read further
//! than it knows its followers to have come, which it learns when they fetch; and a follower that is read from may be
//! behind. There are records beyond such an end. And librdkafka doesn't say which end it met: until it is heard, further
//! answers may have come, with those records.
//!
//! So an end counts only if it is the first thing to be met by an assignment that was made after the log had been seen to
//! reach the read's end: by an answer to a fetch, of whoever is read from, and by the leader's own word, which takes open
//! transactions into account, and which a leader gives only when it knows.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::KafkaError;
use crate::topics::Watermarks;

/// How long to wait before a log's end is met again that isn't where it should be.
const AGAIN: Duration = Duration::from_millis(50);

/// What a read knows of the log's end.
#[derive(Debug, Default)]
pub(crate) struct EndOfLog {
    /// The assignment was made when the log was seen to reach the read's end, and nothing has come of it yet.
    is_sure: bool,
    /// Since when ends are met, and nothing else.
    since: Option<Instant>,
}

/// What an end that was met says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// Nothing lies before the read's end.
    Nothing,
    /// It has to be met again.
    Short,
}

impl EndOfLog {
    /// A record came, or the assignment is another.
    pub(crate) fn went_on(&mut self) {
        *self = EndOfLog::default();
    }

    /// The log's end was met by a read that ends at `end`; `known` is where the log ends as of the last answer to a fetch.
    pub(crate) fn met(&self, known: Option<i64>, end: i64) -> Met {
        match known {
            Some(known) if self.is_sure && known >= end => Met::Nothing,
            _ => Met::Short,
        }
    }

    /// Gets ready for an assignment that is to meet the log's end again, which was met before the read's own, at `end`. What
    /// the last answer to a fetch said of it is `known`; `ask` has the leader's own word. How long that has been going on.
    ///
    /// # Errors
    /// The leader's, if it doesn't pass.
    pub(crate) fn meet_again(
        &mut self,
        known: Option<i64>,
        end: i64,
        ask: impl FnOnce() -> Result<Watermarks, KafkaError>,
    ) -> Result<Duration, KafkaError> {
        let is_there = known.is_some_and(|known| known >= end)
            && match ask() {
                Ok(marks) => marks.high >= end,
                // A leader that doesn't know yet how far its log may be read says so.
                Err(error) if error.is_transient() => false,
                Err(error) => return Err(error),
            };
        if !is_there {
            thread::sleep(AGAIN);
        }
        Ok(self.again(is_there))
    }

    /// An assignment is made to meet the log's end again, which was seen to lie at the read's or beyond, or wasn't. How long
    /// that has been going on.
    fn again(&mut self, is_there: bool) -> Duration {
        self.is_sure = is_there;
        self.since.get_or_insert_with(Instant::now).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_counts_when_it_is_met_again_by_who_has_seen_the_log_reach_so_far() {
        let mut log_end = EndOfLog::default();
        // It may have been met before the answer that is known.
        assert_eq!(log_end.met(Some(1000), 1000), Met::Short);
        log_end.again(true);
        assert_eq!(log_end.met(Some(1000), 1000), Met::Nothing);
        assert_eq!(log_end.met(Some(1001), 1000), Met::Nothing);
        // Another leader meanwhile.
        assert_eq!(log_end.met(Some(995), 1000), Met::Short);
        assert_eq!(log_end.met(None, 1000), Met::Short);
    }

    #[test]
    fn an_end_that_was_met_behind_records_has_to_be_met_again() {
        let mut log_end = EndOfLog::default();
        log_end.again(true);
        log_end.went_on();
        assert_eq!(log_end.met(Some(1000), 1000), Met::Short);
        log_end.again(false);
        assert_eq!(log_end.met(Some(1000), 1000), Met::Short);
    }
}
