//! What goes on after an erasure.
//!
//! A hot sink lists a card anew with its first record beyond an erasure of all of its workspace that it knows, and the runs
//! sink counts a run anew. What they took before they knew, within [`LEASE`](super::LEASE) of the erasure, is looked up in
//! the log here.

use std::collections::HashMap;
use std::sync::Arc;

use agentworks_kafka::{Batch, Content, KafkaError, SeekRequest, Watermarks};
use agentworks_schemas::{Cursor, Position, TopicPartition};
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::end;
use super::eraser::EraseError;
use super::journal::{Erasure, any_covers};
use crate::hot::{self, Seen};
use crate::reader::LogReader;
use crate::runs::Anew;

/// How much of each partition's log beyond the erasure is looked at, by its own clock, in milliseconds: several times the
/// lease.
const REACH: i64 = 30_000;
/// How many partitions are looked at at a time.
const AT_ONCE: usize = 4;

/// Lists the cards anew that have records soon after an erasure. Call it when all processes know of the erasure.
pub(super) async fn list_anew(reader: &LogReader, erasure: &Erasure) -> Result<(), EraseError> {
    let (sights, view) = (end::sights(reader).await?, reader.erasures().view().await?);
    // Of another making of the topic, all that there is has come since, or nothing is read any more.
    let is_there = |(partition, epoch, _): &(TopicPartition, u32, i64)| {
        sights.get(&partition.topic).is_some_and(|sight| sight.is_of(*epoch))
    };
    let looks = erasure.upto.iter().filter(is_there).map(|upto| look(reader, &erasure.workspace, upto).boxed());
    let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
    let mut cards = HashMap::<String, Seen>::new();
    while let Some(seen) = looks.next().await {
        // What another erasure covers, that one's look goes beyond.
        let erasures = view.whole_of(&erasure.workspace);
        cards.extend(seen?.into_iter().filter(|(_, seen)| !any_covers(erasures, seen.at)));
    }
    hot::write_seen(&*reader.parts().0, &erasure.workspace, cards, &view).await?;
    Ok(())
}

/// The first record of each card of a workspace in the beginning of what lies beyond a place.
async fn look(
    reader: &LogReader,
    workspace: &str,
    (partition, epoch, upto): (TopicPartition, u32, i64),
) -> Result<HashMap<String, Seen>, EraseError> {
    let mut cards = HashMap::new();
    let mut beginning = Beginning::read(reader, (partition, epoch), (upto, i64::MAX)).await?;
    while let Some(batch) = beginning.next().await? {
        for record in batch.records() {
            let (of, card) = match &record.content {
                Content::Entry(entry) => (&entry.workspace_id, &entry.card_id),
                Content::Event(event) => (&event.workspace_id, &event.card_id),
            };
            if *of == *workspace && !cards.contains_key(card.as_str()) {
                let at = Position { partition, epoch, offset: record.offset };
                cards.insert(card.to_string(), Seen { at, timestamp: record.timestamp });
            }
        }
    }
    Ok(cards)
}

/// Counts anew what runs have soon after an erasure. Call it when all processes know of the erasure and, since, the runs sink
/// has written all below `end`.
pub(super) async fn count_anew(reader: &LogReader, erasure: &Erasure, end: &Cursor) -> Result<(), EraseError> {
    let view = reader.erasures().view().await?;
    let (store, _) = reader.parts();
    let mut counts = Anew::new(&store, erasure, &view);
    for (partition, epoch, from) in erasure.upto.iter() {
        // Of another making of the topic, all that there is has come since, or nothing is read any more.
        let Some((_, to)) = end.get(partition).filter(|(now, _)| *now == epoch) else { continue };
        let mut beginning = Beginning::read(reader, (partition, epoch), (from, to)).await?;
        while let Some(batch) = beginning.next().await? {
            counts.take(&batch).await?;
        }
    }
    Ok(counts.write().await?)
}

/// The beginning of a range of the log, as far as [`REACH`] goes.
struct Beginning {
    batches: Option<mpsc::Receiver<Result<Arc<Batch>, KafkaError>>>,
    until: Option<i64>,
}

impl Beginning {
    /// Reads it, as far as the log has it by now.
    async fn read(
        reader: &LogReader,
        (partition, epoch): (TopicPartition, u32),
        (from, to): (i64, i64),
    ) -> Result<Self, EraseError> {
        let (_, log) = reader.parts();
        let Watermarks { low, high } = log.watermarks(partition).await?;
        let (from, to) = (from.max(low), to.min(high));
        let batches = (from < to).then(|| log.read(SeekRequest { partition, epoch, from, to, key: None }));
        Ok(Beginning { batches, until: None })
    }

    /// What comes next.
    async fn next(&mut self) -> Result<Option<Arc<Batch>>, EraseError> {
        let Some(batches) = &mut self.batches else { return Ok(None) };
        let Some(batch) = batches.recv().await.transpose()? else { return Ok(None) };
        let first = batch.records().first().map(|record| record.timestamp.millis().saturating_add(REACH));
        self.until = self.until.or(first);
        let last = batch.records().last().map(|record| record.timestamp.millis());
        if last.zip(self.until).is_some_and(|(last, until)| last > until) {
            self.batches = None;
        }
        Ok(Some(batch))
    }
}
