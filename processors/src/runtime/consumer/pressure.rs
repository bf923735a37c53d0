//! Back-pressure: what the consumer does while too much waits for the sinks.

use std::time::{Duration, Instant};

use tracing::debug;

use super::{End, Poller, ROOM};

/// How long to wait for the sinks before pausing, which makes librdkafka throw away what it has fetched ahead.
const PATIENCE: Duration = Duration::from_millis(300);

impl Poller {
    /// Waits, and then pauses, while too much waits for the sinks. Returns whether to poll later.
    pub(super) fn wait_for_room(&mut self, now: Instant) -> Result<bool, End> {
        let bytes = self.waiting.bytes();
        if self.paused {
            if bytes < self.queue / 2 && self.ending.is_none() {
                self.resume();
            }
            return Ok(false);
        }
        if bytes < self.queue {
            self.full_since = None;
            return Ok(false);
        }
        let since = *self.full_since.get_or_insert(now);
        if now - since > PATIENCE {
            self.metrics.paused();
            self.pause();
            return Ok(false);
        }
        // Not for each batch that is taken, for waking a thread costs more than one is worth.
        if !self.waiting.tell_below(self.queue - self.queue / 4)
            && let Ok(message) = self.from_driver.recv_timeout(ROOM)
        {
            self.receive(message)?;
        }
        Ok(true)
    }

    pub(super) fn pause(&mut self) {
        self.paused = true;
        self.board.set_paused(self.paused);
        if let Err(error) = self.source.set_paused(&self.consumer, &self.kafka, self.lanes.reading(), true) {
            debug!(%error, "could not pause");
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        self.board.set_paused(self.paused);
        self.full_since = None;
        if let Err(error) = self.source.set_paused(&self.consumer, &self.kafka, self.lanes.reading(), false) {
            // It would stay paused for ever.
            for partition in self.lanes.reading().collect::<Vec<_>>() {
                self.stop(partition, format!("librdkafka would not resume it: {error}"));
            }
        }
    }
}
