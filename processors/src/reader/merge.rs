//! Merging the partitions of a scope into one order.
//!
//! The order is by record timestamp (as a running maximum per partition), then topic, then partition; within a partition
//! it is by making of the topic, then offset. It is made by always taking the least of the partitions' *heads*, their
//! next pieces, by the head's own timestamp. That equals taking the running maximum: a head with a lesser timestamp
//! than its predecessor is taken right after it either way. And it needs no memory: what comes next depends on the
//! heads alone, so that a reading resumed from any cursor gives the rest in the same order, even where record
//! timestamps go back.
//!
//! A gap has no time. It is taken as soon as it is its partition's head.

use agentworks_schemas::{Cursor, Timestamp, TopicPartition};
use tokio::sync::mpsc;

use super::delivery::Found;
use super::{ReadError, ReadItem};
use crate::blocks::StoredEntry;

/// What a partition yields, in the order of its topic's makings and of offsets; after `End` nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// An entry.
    Entry(Box<StoredEntry>),
    /// A range that is held nowhere.
    Gap { from: i64, to: i64 },
    /// There was nothing more below this offset.
    Nothing(i64),
    /// What follows lies in this making of the topic, from this offset on.
    Making(u32, i64),
    /// All below this offset has been read.
    End(i64),
}

impl Piece {
    /// The first offset that it covers, and the one after the last.
    fn range(&self) -> (i64, i64) {
        match self {
            Piece::Entry(entry) => (entry.position.offset, entry.position.offset + 1),
            Piece::Gap { from, to } => (*from, *to),
            Piece::Nothing(next) | Piece::Making(_, next) | Piece::End(next) => (*next, *next),
        }
    }

    /// When it is due; `None` before everything else.
    fn time(&self) -> Option<Timestamp> {
        match self {
            Piece::Entry(entry) => Some(entry.timestamp),
            Piece::Gap { .. } | Piece::Nothing(_) | Piece::Making(..) | Piece::End(_) => None,
        }
    }
}

/// The state of a merge.
///
/// Its cursor holds, for each partition, the offset of its head. So it is exact in the partitions that have not had their
/// turn, too: it never goes back over what was read there in vain, and never skips what has yet to come.
#[derive(Debug)]
pub(super) struct Merge {
    lanes: Vec<Lane>,
    cursor: Cursor,
}

#[derive(Debug)]
struct Lane {
    partition: TopicPartition,
    epoch: u32,
    head: Option<Piece>,
    ended: bool,
}

impl Merge {
    /// A merge of partitions, with the epochs that they begin in. `cursor` may hold further partitions, which stay as they are.
    pub(super) fn new(cursor: Cursor, lanes: impl IntoIterator<Item = (TopicPartition, u32)>) -> Self {
        let lane = |(partition, epoch)| Lane { partition, epoch, head: None, ended: false };
        Merge { lanes: lanes.into_iter().map(lane).collect(), cursor }
    }

    /// A partition, by its index, whose next piece must be fed before the merge can go on.
    pub(super) fn wants(&self) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.head.is_none() && !lane.ended)
    }

    /// The next piece of a partition.
    pub(super) fn feed(&mut self, index: usize, piece: Piece) {
        let lane = &mut self.lanes[index];
        if let Piece::Making(epoch, _) = piece {
            lane.epoch = epoch;
        }
        self.cursor.set(lane.partition, lane.epoch, piece.range().0);
        match piece {
            Piece::End(_) => lane.ended = true,
            // They move the cursor and no more.
            Piece::Nothing(_) | Piece::Making(..) => {}
            piece => lane.head = Some(piece),
        }
    }

    /// The next item; `None` when all partitions have ended. No partition may be wanted.
    pub(super) fn next(&mut self) -> Option<ReadItem> {
        let waiting = self.lanes.iter_mut().filter(|lane| lane.head.is_some());
        let lane = waiting.min_by_key(|lane| (lane.head.as_ref().map(Piece::time), lane.partition))?;
        let piece = lane.head.take()?;
        self.cursor.set(lane.partition, lane.epoch, piece.range().1);
        let cursor = self.cursor.clone();
        match piece {
            Piece::Entry(entry) => Some(ReadItem::Entry { entry, cursor }),
            Piece::Gap { from, to } => Some(ReadItem::Gap { partition: lane.partition, from, to, cursor }),
            Piece::Nothing(_) | Piece::Making(..) | Piece::End(_) => None,
        }
    }

    /// The cursor: all below it has been taken, or was nothing.
    pub(super) fn cursor(&self) -> &Cursor {
        &self.cursor
    }
}

/// The pieces of a partition as they come, several at a time.
pub(super) type Pieces = mpsc::Receiver<Result<Vec<Piece>, ReadError>>;

/// Merges partitions that are being read, and hands the items to `out` until they have ended or nobody wants them.
pub(super) async fn merge(
    cursor: Cursor,
    lanes: Vec<(TopicPartition, u32, Pieces)>,
    out: &mpsc::Sender<Result<Found, ReadError>>,
) -> Result<(), ReadError> {
    let mut merge = Merge::new(cursor, lanes.iter().map(|(partition, epoch, _)| (*partition, *epoch)));
    let mut sources: Vec<_> = lanes.into_iter().map(|(.., pieces)| (Vec::new().into_iter(), pieces)).collect();
    loop {
        while let Some(index) = merge.wants() {
            let (ready, pieces) = &mut sources[index];
            match ready.next() {
                Some(piece @ Piece::Nothing(_)) => {
                    merge.feed(index, piece);
                    // Where there is no room there are items, which say the same.
                    let _ = out.try_send(Ok(Found::Nothing(merge.cursor().clone())));
                }
                Some(piece) => merge.feed(index, piece),
                None => match pieces.recv().await {
                    Some(more) => *ready = more?.into_iter(),
                    // Every partition says its end; one that doesn't was dropped, and so is this.
                    None => return Ok(()),
                },
            }
        }
        let Some(item) = merge.next() else { return Ok(()) };
        if out.send(Ok(Found::Item(item))).await.is_err() {
            return Ok(());
        }
    }
}
