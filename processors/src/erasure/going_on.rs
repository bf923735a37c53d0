//! Which cards go on after an erasure of all of their workspace.
//!
//! A hot sink lists a card anew with its first record beyond an erasure that it knows. What it took before it knew, within
//! [`LEASE`](super::LEASE) of the erasure, is looked up in the log here.

use std::collections::HashMap;

use agentworks_kafka::{Content, SeekRequest, Watermarks};
use agentworks_schemas::{Position, TopicPartition};
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt};

use super::end;
use super::eraser::EraseError;
use super::journal::{Erasure, any_covers};
use crate::hot::{self, Seen};
use crate::reader::LogReader;

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
        sights.get(&partition.topic).is_some_and(|sight| sight.recorded.epoch == *epoch && !sight.is_remade())
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
    let ((_, log), mut cards) = (reader.parts(), HashMap::new());
    let Watermarks { low, high: to } = log.watermarks(partition).await?;
    let from = upto.max(low);
    if from >= to {
        return Ok(cards);
    }
    let (mut batches, mut until) = (log.read(SeekRequest { partition, epoch, from, to, key: None }), None);
    while let Some(batch) = batches.recv().await {
        let batch = batch?;
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
        let first = batch.records().first().map(|record| record.timestamp.millis().saturating_add(REACH));
        until = until.or(first);
        let last = batch.records().last().map(|record| record.timestamp.millis());
        if last.zip(until).is_some_and(|(last, until)| last > until) {
            break;
        }
    }
    Ok(cards)
}
