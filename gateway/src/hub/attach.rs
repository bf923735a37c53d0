//! Joining live: from a cursor, through the tails, to the instant at which the hub begins to push.

use agentworks_schemas::{Cursor, Position, TopicPartition};

use super::batch::Batch;
use super::channel::{ChannelId, Lanes, ViewerId, raise};
use super::core::Core;
use super::decode;
use super::tail::Raw;
use super::wanted::Wanted;
use crate::socket::Outbox;

/// How many records one step looks at, and how many entries it queues, at most: the hub stands still meanwhile.
const STEP_RECORDS: usize = 20_000;
const STEP_ENTRIES: usize = 256;

/// How far a step has brought a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is live: everything beyond its cursor is pushed to it.
    Live,
    /// There is more in the tails, up to here, but no room in its outbox, or others want their turn. Its cursor has
    /// moved.
    More(Cursor),
    /// Its cursor lies before the tails. It has to read up to here, or anywhere beyond.
    Behind(Cursor),
}

impl Core {
    /// Brings a viewer nearer to live: queues for it what the tails hold beyond its cursor, and makes it live if that was
    /// all. The cursor is moved past what was queued.
    pub(super) fn step(&mut self, id: ChannelId, viewer: ViewerId, cursor: &mut Cursor, wanted: &Wanted) -> Step {
        self.flush();
        let Core { channels, lanes, schemas, erased, .. } = self;
        let viewers = channels.get_mut(&id).map(|channel| (channel.outbox(viewer), channel));
        let Some((Some(outbox), channel)) = viewers else { unreachable!("a watch ends when it is dropped") };
        let reached = channel.cursor(lanes);
        if !reached.iter().all(|(partition, epoch, _)| is_in_tail(lanes, partition, epoch, cursor)) {
            let mut target = reached;
            raise(&mut target, cursor);
            return Step::Behind(target);
        }
        let mut queue = Queue { outbox: &outbox, card: &channel.card, batch: Batch::default(), sent: cursor.clone() };
        let (mut scanned, mut entries) = (0, 0);
        for (partition, raw) in merged(lanes, cursor, &reached) {
            let Some((epoch, _)) = cursor.get(partition) else { continue };
            if scanned == STEP_RECORDS || entries == STEP_ENTRIES {
                queue.send(cursor);
                return Step::More(reached);
            }
            scanned += 1;
            cursor.set(partition, epoch, raw.offset + 1);
            if raw.key.is_some_and(|key| key != channel.card.as_bytes()) {
                continue;
            }
            // One that can't be decoded is for the store group to tell about.
            let Ok(decoded) = decode::entry(schemas, partition, &raw) else { continue };
            let entry = decoded.record;
            if !channel.holds(&entry) || !wanted.has(&entry) {
                continue;
            }
            // The hub takes what it comes late to into the tails, be it erased by now or not.
            if erased.hides(&entry.workspace_id, &entry.run_id, Position { partition, epoch, offset: raw.offset }) {
                continue;
            }
            entries += 1;
            if queue.batch.push(&entry, cursor) && !queue.send(cursor) {
                return Step::More(reached);
            }
        }
        if !queue.send(cursor) {
            return Step::More(reached);
        }
        raise(cursor, &reached);
        channel.begin_live(viewer, wanted.clone(), cursor, &reached);
        Step::Live
    }
}

/// Queues what the tails give, a batch at a time.
struct Queue<'a> {
    outbox: &'a Outbox,
    card: &'a str,
    batch: Batch,
    /// Just after what was queued last.
    sent: Cursor,
}

impl Queue<'_> {
    /// Queues the batch, which reaches up to `cursor`. If there is no room, the cursor is moved back to before it.
    fn send(&mut self, cursor: &mut Cursor) -> bool {
        let Some(frame) = self.batch.finish(self.card) else { return true };
        let is_sent = matches!(self.outbox.try_send(frame), Ok(None));
        if is_sent {
            self.sent.clone_from(cursor);
        } else {
            cursor.clone_from(&self.sent);
        }
        is_sent
    }
}

/// Whether all that lies beyond the cursor in a partition is in its tail, or has yet to come.
fn is_in_tail(lanes: &Lanes, partition: TopicPartition, epoch: u32, cursor: &Cursor) -> bool {
    let low = lanes.get(&partition).map(|lane| lane.tail.low());
    cursor.get(partition).zip(low).is_some_and(|((own_epoch, next), low)| own_epoch == epoch && low <= next)
}

/// The records of the tails beyond the cursor, in the order in which they came.
fn merged<'a>(
    lanes: &'a Lanes,
    cursor: &Cursor,
    reached: &Cursor,
) -> impl Iterator<Item = (TopicPartition, Raw<'a>)> + use<'a> {
    let sources = reached.iter().filter_map(|(partition, ..)| {
        let (_, next) = cursor.get(partition)?;
        Some((partition, lanes.get(&partition)?.tail.from(next).peekable()))
    });
    let mut sources: Vec<_> = sources.collect();
    std::iter::from_fn(move || {
        let first = sources.iter_mut().filter_map(|(partition, tail)| Some((tail.peek()?.0, *partition, tail)));
        let (_, partition, tail) = first.min_by_key(|(arrival, ..)| *arrival)?;
        tail.next().map(|(_, raw)| (partition, raw))
    })
}
