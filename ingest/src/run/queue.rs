//! What was heard and is not sent yet, in bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use agentworks_schemas::Timestamp;
use tokio::sync::mpsc;

use crate::ship::lines::{Extent, Line};

/// One of the two outputs of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// What goes through the queue.
#[derive(Debug)]
pub(super) enum Heard {
    Line(OwnedLine),
    /// So many lines were lost here, because the queue was full.
    Lost(u64),
}

/// A line that owns its bytes.
#[derive(Debug)]
pub(super) struct OwnedLine {
    pub(super) stream: Stream,
    pub(super) at: Timestamp,
    bytes: Vec<u8>,
    extent: Extent,
    overwritten: u32,
}

impl OwnedLine {
    pub(super) fn new(stream: Stream, line: &Line<'_>) -> Self {
        let Line { bytes, extent, overwritten, .. } = *line;
        OwnedLine { stream, at: Timestamp::now(), bytes: bytes.to_vec(), extent, overwritten }
    }

    pub(super) fn line(&self) -> Line<'_> {
        Line { bytes: &self.bytes, extent: self.extent, overwritten: self.overwritten, end: None }
    }

    /// What it takes of the queue.
    fn cost(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

#[derive(Debug)]
struct Level {
    bytes: AtomicUsize,
    limit: usize,
    lost: AtomicU64,
}

/// The side of those who listen to the program. They never wait.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    level: Arc<Level>,
    lines: mpsc::UnboundedSender<Heard>,
}

/// The side of who sends.
#[derive(Debug)]
pub(super) struct Queue {
    level: Arc<Level>,
    lines: mpsc::UnboundedReceiver<Heard>,
}

/// A queue that holds about `limit` bytes.
pub(super) fn queue(limit: usize) -> (Listener, Queue) {
    let level = Arc::new(Level { bytes: AtomicUsize::new(0), limit, lost: AtomicU64::new(0) });
    let (sender, lines) = mpsc::unbounded_channel();
    (Listener { level: Arc::clone(&level), lines: sender }, Queue { level, lines })
}

impl Listener {
    /// Puts a line into the queue; when that is full, the line is lost and counted.
    pub(super) fn put(&self, line: OwnedLine) {
        let Level { bytes, limit, lost } = &*self.level;
        let cost = line.cost();
        if bytes.fetch_add(cost, Ordering::AcqRel) + cost > *limit {
            bytes.fetch_sub(cost, Ordering::AcqRel);
            if lost.fetch_add(1, Ordering::AcqRel) == 0 {
                tracing::error!("Kafka does not keep up: lines are passed through, but no longer shipped");
            }
            return;
        }
        self.tell_lost();
        // The queue outlives the listeners.
        let _ = self.lines.send(Heard::Line(line));
    }

    fn tell_lost(&self) {
        let lost = self.level.lost.swap(0, Ordering::AcqRel);
        if lost > 0 {
            let _ = self.lines.send(Heard::Lost(lost));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tell_lost();
    }
}

impl Queue {
    /// The next one; `None` when nobody listens any more.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        let heard = self.lines.recv().await?;
        if let Heard::Line(line) = &heard {
            self.level.bytes.fetch_sub(line.cost(), Ordering::AcqRel);
        }
        Some(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> OwnedLine {
        let line = Line { bytes: text.as_bytes(), extent: Extent::Whole, overwritten: 0, end: None };
        OwnedLine::new(Stream::Stdout, &line)
    }

    #[tokio::test]
    async fn what_does_not_fit_is_lost_and_said_in_its_place() {
        let (listener, mut queue) = queue(3 * line("x").cost());
        (0..5).for_each(|_| listener.put(line("x")));
        assert!(matches!(queue.next().await, Some(Heard::Line(_))));
        listener.put(line("y"));
        listener.put(line("z"));
        drop(listener);
        let mut rest = Vec::new();
        while let Some(heard) = queue.next().await {
            rest.push(match heard {
                Heard::Line(line) => String::from_utf8_lossy(line.line().bytes).into_owned(),
                Heard::Lost(count) => count.to_string(),
            });
        }
        assert_eq!(rest, ["x", "x", "2", "y", "1"]);
    }
}
