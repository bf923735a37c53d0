//! Which cards go on after an erasure of all of their workspace.
//!
//! A hot sink lists a card anew with its first record beyond an erasure that it knows. What it took before it knew, within
//! [`LEASE`](super::LEASE) of the erasure, is looked up in the log here.

use std::collections::HashMap;

use agentworks_kafka::{Content, SeekRequest};
use agentworks_schemas::{Position, Timestamp};

use super::eraser::EraseError;
use super::journal::Erasure;
use crate::hot::{self, Seen};
use crate::reader::LogReader;

/// How much of the log is looked at, by its own clock, in milliseconds: far more than the lease, for clocks differ.
const REACH: i64 = 2 * 60_000;

/// Lists the cards anew that have records soon after an erasure. Call it when all processes know of the erasure.
pub(super) async fn list_anew(reader: &LogReader, erasure: &Erasure) -> Result<(), EraseError> {
    let (store, log) = reader.parts();
    let (end, until) = (reader.end_of_log().await?, erasure.at.millis().saturating_add(REACH));
    let mut cards = HashMap::<String, Seen>::new();
    for (partition, epoch, upto) in erasure.upto.iter() {
        // Of another making of the topic, all that there is has come since, or nothing is read any more.
        let Some((_, to)) = end.get(partition).filter(|(now, _)| *now == epoch) else { continue };
        let from = upto.max(log.watermarks(partition).await?.low);
        if from >= to {
            continue;
        }
        let mut batches = log.read(SeekRequest { partition, epoch, from, to, key: None });
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            for record in batch.records() {
                let (workspace, card) = match &record.content {
                    Content::Entry(entry) => (&entry.workspace_id, &entry.card_id),
                    Content::Event(event) => (&event.workspace_id, &event.card_id),
                };
                if *workspace == *erasure.workspace && !cards.contains_key(card.as_str()) {
                    let at = Position { partition, epoch, offset: record.offset };
                    cards.insert(card.to_string(), Seen::beyond(erasure, at, record.timestamp));
                }
            }
            if batch.records().last().is_some_and(|record| record.timestamp > Timestamp(until)) {
                break;
            }
        }
    }
    hot::write_seen(&*store, &erasure.workspace, cards).await?;
    Ok(())
}
