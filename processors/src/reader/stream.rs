//! A reading over all its partitions: what is read of each, and the tasks that do it.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Instant;

use agentworks_schemas::{Cursor, TopicPartition};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::mpsc;

use super::backward::BackwardReader;
use super::delivery::{Found, Items};
use super::lanes::ScopeLane;
use super::makings::{Chain, Span};
use super::merge::{Merge, Piece, merge};
use super::partition::PartitionReader;
use super::tiers::Reading;
use super::{ReadError, ReadFilter, ReadItem};

/// How many items lie ready for the receiver of a stream.
const READY: usize = 32;

/// What is to be read of each partition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Where the stream begins, also in partitions that are not read.
    pub(super) cursor: Cursor,
    /// Which partitions are read, in which makings of their topics, from where to where.
    pub(super) lanes: Vec<(TopicPartition, Chain)>,
}

impl Plan {
    /// Everything of the filter's topics between two cursors. `lanes` says where partitions begin that `from` doesn't have, and
    /// which makings of a topic lie between.
    pub(super) fn new(
        filter: &ReadFilter,
        mut from: Cursor,
        to: &Cursor,
        lanes: &[ScopeLane],
    ) -> Result<Self, ReadError> {
        let mut planned = Vec::new();
        for (partition, epoch, end) in to.iter().filter(|(partition, ..)| filter.reads(partition.topic)) {
            let lane = lanes.iter().find(|lane| lane.partition == partition);
            let Some((first, next)) = from.get(partition).or_else(|| lane.map(ScopeLane::start)) else { continue };
            let chain = if first == epoch && lane.is_none_or(|lane| lane.epoch <= epoch) {
                Span { epoch, from: next, to: end }.into()
            } else {
                let chain = lane.and_then(|lane| lane.between((first, next), (epoch, end)));
                chain.ok_or(ReadError::Epoch)?
            };
            from.set(partition, first, next);
            planned.push((partition, chain));
        }
        Ok(Plan { cursor: from, lanes: planned })
    }
}

/// Reads what `plan` comes to, in the background.
pub(super) fn spawn(
    reading: Arc<Reading>,
    plan: impl Future<Output = Result<Plan, ReadError>> + Send + 'static,
) -> Items {
    let (out, stream) = mpsc::channel(READY);
    tokio::spawn(async move {
        tokio::select! {
            () = out.closed() => {}
            result = forward(&reading, plan, &out) => {
                if let Err(error) = result {
                    // Whoever has dropped the stream doesn't want to know.
                    let _ = out.send(Err(error)).await;
                }
            }
        }
    });
    stream
}

async fn forward(
    reading: &Arc<Reading>,
    plan: impl Future<Output = Result<Plan, ReadError>>,
    out: &mpsc::Sender<Result<Found, ReadError>>,
) -> Result<(), ReadError> {
    let plan = plan.await?;
    let (mut lanes, mut readers) = (Vec::new(), Vec::new());
    for (partition, chain) in plan.lanes {
        let (sender, pieces) = mpsc::channel(1);
        lanes.push((partition, chain.first().epoch, pieces));
        readers.push(PartitionReader::new(reading.clone(), partition, chain.first(), sender).run(chain));
    }
    let readers = async {
        join_all(readers).await;
        pending::<Infallible>().await
    };
    // All in one task: what the merge doesn't want any more is dropped with it.
    tokio::select! {
        result = merge(plan.cursor, lanes, out) => result,
        never = readers => match never {},
    }
}

/// The last `count` entries of what `plan` comes to, or as many as weigh about `room` bytes, or are found `until` then. Where
/// the cold tier can't be reached, those that were found without it, and the fault.
pub(super) async fn newest(
    reading: &Reading,
    plan: Plan,
    before: &Cursor,
    (count, room): (usize, usize),
    until: Option<Instant>,
) -> Result<(Vec<ReadItem>, Option<ReadError>), ReadError> {
    // Whatever there is of it, each partition gives one entry.
    let wanted = (count, (room / plan.lanes.len().max(1)).max(1));
    let searches = plan
        .lanes
        .iter()
        .map(|(partition, chain)| BackwardReader::new(reading, *partition, chain, wanted, until).run());
    let mut found = try_join_all(searches).await?;
    let fault = found.iter_mut().find_map(|found| found.fault.take());
    let cut: Vec<_> = plan.lanes.iter().zip(&found).filter(|(_, found)| found.is_cut).map(|((at, _), _)| *at).collect();

    let mut merge =
        Merge::new(before.clone(), plan.lanes.iter().map(|(partition, chain)| (*partition, chain.last.epoch)));
    let ends = plan.lanes.iter().map(|(_, chain)| Piece::End(chain.last.to));
    let mut sources: Vec<_> =
        found.into_iter().zip(ends).map(|(found, end)| found.pieces.into_iter().chain([end])).collect();
    let mut items = Vec::new();
    loop {
        while let Some(index) = merge.wants() {
            match sources[index].next() {
                Some(piece) => merge.feed(index, piece),
                None => return Ok((items, fault)),
            }
        }
        match merge.next() {
            Some(item) => items.push(item),
            None => break,
        }
    }
    items.drain(..beginning(&items, &cut, count));
    Ok((items, fault))
}

/// Where the last `count` entries begin, without those that come before what was found in a partition whose search was
/// cut: entries that were not found may lie between.
fn beginning(items: &[ReadItem], cut: &[TopicPartition], count: usize) -> usize {
    let entries = items.iter().enumerate().rev().filter(|(_, item)| matches!(item, ReadItem::Entry { .. }));
    let nth = count.checked_sub(1).map_or(items.len(), |skip| entries.clone().nth(skip).map_or(0, |(index, _)| index));
    let of = |item: &ReadItem| match item {
        ReadItem::Entry { entry, .. } => entry.position.partition,
        ReadItem::Gap { partition, .. } => *partition,
    };
    let firsts = cut.iter().filter_map(|partition| items.iter().position(|item| of(item) == *partition));
    firsts.fold(nth, usize::max)
}
