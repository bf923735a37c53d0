//! Joining live: from a cursor, through the tails, to the instant at which the hub begins to push.

use agentworks_schemas::{Cursor, TopicPartition};

use super::channel::{ChannelId, Lanes, Live, ViewerId, is_ahead, raise};
use super::core::Core;
use super::decode;
use super::encode::entry_frame;
use super::tail::Raw;
use super::watcher::Runs;

/// How many records one step looks at, and how many frames it makes, at most: the hub stands still meanwhile.
const STEP_RECORDS: usize = 20_000;
const STEP_FRAMES: usize = 256;

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
    pub(super) fn step(&mut self, id: ChannelId, viewer: ViewerId, cursor: &mut Cursor, runs: &Runs) -> Step {
        self.flush();
        let Core { channels, lanes, builder, schemas, .. } = self;
        let viewers = channels.get_mut(&id).map(|channel| (channel.outbox(viewer), channel));
        let Some((Some(outbox), channel)) = viewers else { unreachable!("a watch ends when it is dropped") };
        let reached = channel.cursor(lanes);
        if !reached.iter().all(|(partition, epoch, _)| is_in_tail(lanes, partition, epoch, cursor)) {
            let mut target = reached;
            raise(&mut target, cursor);
            return Step::Behind(target);
        }
        let (mut scanned, mut frames) = (0, 0);
        for (partition, raw) in merged(lanes, cursor, &reached) {
            let Some((epoch, before)) = cursor.get(partition) else { continue };
            if scanned == STEP_RECORDS || frames == STEP_FRAMES {
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
            let is_wanted = runs.as_ref().is_none_or(|runs| runs.contains(entry.run_id.as_str()));
            if !is_wanted || !channel.holds(&entry) {
                continue;
            }
            if !matches!(outbox.try_send(entry_frame(builder, cursor, &entry)), Ok(None)) {
                cursor.set(partition, epoch, before);
                return Step::More(reached);
            }
            frames += 1;
        }
        raise(cursor, &reached);
        let ahead = is_ahead(cursor, &reached).then(|| cursor.clone());
        if let Some(viewer) = channel.viewer(viewer) {
            let was_live = viewer.live.replace(Live { runs: runs.clone(), ahead }).is_some();
            channel.live += usize::from(!was_live);
        }
        Step::Live
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
