//! Deleting what was erased of a workspace.

use std::sync::Arc;

use agentworks_schemas::Topic;
use agentworks_store::Store;
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt};
use prometheus_client::metrics::counter::Counter;

use super::cards::{CARDS, CardInfo, card_key, cards_after};
use super::{HOT, card_lanes};
use crate::blocks::{BlockReader, Cleared};
use crate::erasure::Erasure;
use crate::sink::SinkError;

/// How many cards are cleared at a time.
const CARDS_AT_ONCE: usize = 8;

/// Deletes the blocks of all cards of the erasure's workspace, and takes the cards off the list that nobody has written to
/// since. Where a card's records lie stays known: later ones are found by that.
pub(crate) async fn erase(store: &Arc<dyn Store>, erasure: &Erasure) -> Result<Cleared, SinkError> {
    let blocks = BlockReader::new(store.clone(), &HOT, Counter::default());
    let (mut cleared, mut after) = (Cleared::default(), None::<String>);
    loop {
        let cards = cards_after(&**store, &erasure.workspace, after.as_deref()).await?;
        let Some(last) = cards.last() else { return Ok(cleared) };
        after = Some(last.card.clone());
        let clearing = cards.into_iter().map(|card| erase_card(&blocks, store, erasure, card).boxed());
        let mut clearing = stream::iter(clearing.collect::<Vec<_>>()).buffer_unordered(CARDS_AT_ONCE);
        while let Some(card) = clearing.next().await {
            cleared.add(card?);
        }
    }
}

async fn erase_card(
    blocks: &BlockReader,
    store: &Arc<dyn Store>,
    erasure: &Erasure,
    info: CardInfo,
) -> Result<Cleared, SinkError> {
    let mut cleared = Cleared::default();
    let CardInfo { card, last_seen, .. } = &info;
    let lanes = card_lanes(&**store, &erasure.workspace, card).await?;
    for lane in lanes.iter().filter(|lane| Topic::LOGS.contains(&lane.partition.topic)) {
        cleared.add(blocks.erase(erasure, card, lane.partition).await?.0);
    }
    if info.is_erased(erasure) {
        store.delete(&CARDS, &card_key(&erasure.workspace, card), last_seen.millis()).await?;
        cleared.rows += 1;
    }
    Ok(cleared)
}
