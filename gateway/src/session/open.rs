//! The beginning of a stream: where it begins, and what is shown first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_processors::reader::{LogReader, ReadError, ReadFilter, Scope};
use agentworks_schemas::protocol::{ErrorCode, Gap, RunSummary, ServerMessage};
use agentworks_schemas::{Cursor, LogEntry, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::warn;

use super::start::Start;
use crate::Gateway;
use crate::auth::Grant;
use crate::hub::{Hub, Watch};
use crate::kept::{self, Kept};
use crate::roster::Presence;
use crate::socket::{Frame, Outbox};

/// How long entries are looked for that a stream shows first: a filter may let few pass, of all that a card ever had.
const HISTORY: Duration = Duration::from_secs(10);
/// How long a client that goes on from its position waits for the summary of the run that goes on.
const ACTIVE: Duration = Duration::from_millis(250);

/// Of how many cards of a connection there may be in memory what they show first. It is a few MiB of each.
const HISTORIES: usize = 4;

/// What the histories of a connection's cards share: room for a few of them. Each keeps its own until all of it was sent,
/// for which the others wait.
#[derive(Clone, Debug)]
pub(super) struct HistoryRoom(Arc<Semaphore>);

impl Default for HistoryRoom {
    fn default() -> Self {
        HistoryRoom(Arc::new(Semaphore::new(HISTORIES)))
    }
}

impl HistoryRoom {
    /// Waits for room, which is kept until the answer is dropped.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.0.clone().acquire_owned().await.ok()
    }
}

/// Whose stream it is and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) reader: LogReader,
    pub(super) hub: Hub,
    pub(super) grant: Grant,
    pub(super) card: String,
    pub(super) outbox: Arc<Outbox>,
    pub(super) presence: Arc<Presence>,
    pub(super) room: HistoryRoom,
}

impl Source {
    pub(super) fn new(
        gateway: &Gateway,
        grant: Grant,
        presence: &Arc<Presence>,
        room: &HistoryRoom,
        card: String,
    ) -> Self {
        let (reader, hub, room) = (gateway.reader.clone(), gateway.hub.clone(), room.clone());
        Source { reader, hub, grant, card, outbox: Arc::clone(presence.outbox()), presence: Arc::clone(presence), room }
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::Card { workspace: self.grant.workspace().to_owned(), card: self.card.clone() }
    }

    /// Whether the token allows an entry.
    pub(super) fn allows(&self, entry: &LogEntry<'_>) -> bool {
        self.grant.may_read(&entry.workspace_id, &entry.card_id)
    }
}

/// A stream whose place in the log is settled: from `end` on the hub has everything, however long the rest takes.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) watch: Watch,
    pub(super) place: Place,
}

/// A stream's place in the log.
#[derive(Clone, Debug)]
pub(super) struct Place {
    end: Cursor,
}

/// A stream that can be shown.
#[derive(Debug)]
pub(super) struct Opened {
    /// Why it doesn't go on where it was to, and why less is shown first than was to be.
    pub(super) complaints: Vec<(ErrorCode, String)>,
    /// What is shown first.
    pub(super) history: Kept,
    /// The room that it takes.
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// The run that goes on now.
    pub(super) active: Option<RunSummary>,
    /// Where to go on.
    pub(super) cursor: Cursor,
}

/// Settles where a stream begins.
pub(super) async fn begin(source: Source) -> Result<Begun, ReadError> {
    let scope = source.scope();
    let end = source.reader.end(&scope).await?;
    let watch = source.hub.watch(source.grant.workspace(), &source.card, &end, Arc::clone(&source.outbox)).await?;
    Ok(Begun { watch, place: Place { end } })
}

/// Finds out what a stream shows first, of what `filter` lets pass.
pub(super) async fn open(source: Source, place: Place, start: Start, filter: ReadFilter) -> Result<Opened, ReadError> {
    let (Place { end }, scope) = (place, source.scope());
    let (mut resumed, mut complaints) = (None, Vec::new());
    if let Some(position) = start.position {
        // Only who goes on elsewhere than in what is there now has what lies before looked up.
        let is_present =
            end.iter().all(|(partition, epoch, _)| position.get(partition).is_some_and(|of| of.0 == epoch));
        let floor = if is_present { Cursor::new() } else { source.reader.start(&scope).await? };
        match resume(&position, &floor, &end) {
            Ok(cursor) => resumed = Some(cursor),
            Err(reason) => {
                complaints.push((ErrorCode::InvalidValue, format!("{reason}; the stream begins at its end instead")))
            }
        }
    }
    let (mut history, mut room) = (Kept::default(), None);
    if resumed.is_none() && start.history > 0 {
        room = source.room.take().await;
        let until = Instant::now() + HISTORY;
        let (items, fault) = kept::newest_at_hand(&source.reader, &scope, &filter, &end, start.history, until).await?;
        if Instant::now() >= until && !items.is_full(start.history) {
            let message = "to look for older entries that the filter lets pass takes too long; the stream begins with those \
                           that were found. GET /v1/search looks in an index";
            complaints.push((ErrorCode::LimitExceeded, message.to_owned()));
        }
        history = items;
        history.trim_front(start.history);
        if let Some(error) = fault {
            warn!(%error, "a stream begins without all that was to be shown first");
            let message =
                "older entries can't be read at the moment; the stream begins with those that can be".to_owned();
            complaints.push((ErrorCode::Internal, message));
        }
    }
    let active = source.reader.active_run(source.grant.workspace(), &source.card);
    let active = match &resumed {
        // A client that comes back has been told, and is told of what changes: it is not made to wait. Where the sinks are
        // far behind, a good part of the log is looked through for this.
        Some(_) => timeout(ACTIVE, active).await.unwrap_or(Ok(None))?,
        None => active.await?,
    };
    Ok(Opened { complaints, history, room, active, cursor: resumed.unwrap_or(end) })
}

/// The cursor at which a stream goes on that a client wants to resume at `position`. Partitions that the client doesn't
/// know of are read from their beginning, and others than the card's don't count. A position in a topic that was made again
/// since will do if the first making that can be read is not a later one.
fn resume(position: &Cursor, floor: &Cursor, end: &Cursor) -> Result<Cursor, &'static str> {
    let mut cursor = floor.clone();
    for (partition, epoch, last) in end.iter() {
        let is_readable = |own| cursor.get(partition).is_some_and(|(first, _)| (first..epoch).contains(&own));
        match position.get(partition) {
            Some((own, next)) if is_readable(own) => cursor.set(partition, own, next),
            Some((own, _)) if own != epoch => return Err("the position is of a topic that has been made again"),
            Some((_, next)) if next > last => return Err("the position lies beyond the end of the log"),
            Some((_, next)) => cursor.set(partition, epoch, next),
            None => {}
        }
    }
    Ok(cursor)
}

/// Says that a range of a card's stream is gone.
pub(super) fn gap_frame(card: &str, partition: TopicPartition, from: i64, to: i64) -> Frame {
    let data = Gap { topic: partition.topic.to_string(), partition: partition.partition, from, to };
    Frame::message(&ServerMessage::Gap { card_id: Some(card.into()), session_id: None, data })
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::Topic;

    use super::*;

    fn cursor(offsets: &[(i32, u32, i64)]) -> Cursor {
        let partition = |number| TopicPartition::new(Topic::AgentLogs, number);
        offsets.iter().map(|(number, epoch, next)| (partition(*number), *epoch, *next)).collect()
    }

    #[test]
    fn a_client_goes_on_where_it_was() {
        let (floor, end) = (cursor(&[(0, 1, 10), (1, 1, 20)]), cursor(&[(0, 1, 100), (1, 1, 50)]));
        assert_eq!(resume(&cursor(&[(0, 1, 30), (1, 1, 50)]), &floor, &end), Ok(cursor(&[(0, 1, 30), (1, 1, 50)])));
        assert_eq!(resume(&cursor(&[(0, 1, 30)]), &floor, &end), Ok(cursor(&[(0, 1, 30), (1, 1, 20)])));
        assert_eq!(resume(&cursor(&[(0, 1, 30), (7, 3, 1)]), &floor, &end), Ok(cursor(&[(0, 1, 30), (1, 1, 20)])));
        assert!(resume(&cursor(&[(0, 1, 101)]), &floor, &end).is_err());
        assert!(resume(&cursor(&[(0, 0, 30)]), &floor, &end).is_err());
    }

    #[test]
    fn a_client_goes_on_in_a_making_that_can_still_be_read() {
        let (floor, end) = (cursor(&[(0, 1, 10), (1, 3, 20)]), cursor(&[(0, 3, 100), (1, 3, 50)]));
        // Whatever its offset is: another making's say nothing of it.
        let position = cursor(&[(0, 1, 500), (1, 3, 30)]);
        assert_eq!(resume(&position, &floor, &end), Ok(position.clone()));
        assert_eq!(resume(&cursor(&[(0, 3, 30)]), &floor, &end), Ok(cursor(&[(0, 3, 30), (1, 3, 20)])));
        assert_eq!(resume(&Cursor::new(), &floor, &end), Ok(floor.clone()));
        for other in [(0, 0, 30), (0, 4, 30), (1, 2, 30), (0, 3, 101)] {
            assert!(resume(&cursor(&[other]), &floor, &end).is_err(), "{other:?}");
        }
    }
}
