//! Deleting what was erased.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use agentworks_store::Store;
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt};
use prometheus_client::metrics::counter::Counter;

use super::WARM;
use super::index::CardRun;
use crate::blocks::{BlockReader, Cleared};
use crate::erasure::{Erasure, Target};
use crate::lane;
use crate::runs::{self, RunPart};
use crate::sink::SinkError;

/// How many runs are cleared at a time.
const RUNS: usize = 8;

/// Deletes the blocks of the erased runs, and the rows by which their cards find them, but for those of the last bucket and
/// those of further cards whose entries bear the same run: these expire. It needs what the runs sink knows of them: clear that one after this.
pub(crate) async fn erase(store: &Arc<dyn Store>, erasure: &Erasure) -> Result<Cleared, SinkError> {
    let runs = match &erasure.target {
        Target::Run(run) => vec![run.clone()],
        Target::Workspace => runs::of_workspace(&**store, &erasure.workspace).await?.into_iter().collect(),
    };
    let blocks = BlockReader::new(store.clone(), &WARM, Counter::default());
    // Each made when it is its turn: a workspace may have millions of runs.
    let clearing = runs.into_iter().map(|run| erase_run(&blocks, store, erasure, run).boxed());
    let mut clearing = stream::iter(clearing).buffer_unordered(RUNS);
    let mut cleared = Cleared::default();
    while let Some(run) = clearing.next().await {
        cleared.add(run?);
    }
    Ok(cleared)
}

async fn erase_run(
    blocks: &BlockReader,
    store: &Arc<dyn Store>,
    erasure: &Erasure,
    run: String,
) -> Result<Cleared, SinkError> {
    let mut cleared = Cleared::default();
    let parts = runs::parts_of(&**store, &erasure.workspace, &run).await?;
    let cards: BTreeSet<&str> = parts.iter().map(|part| part.card.as_str()).collect();
    for partition in lanes(erasure, &parts) {
        let (of_lane, spans) = blocks.erase(erasure, &run, partition).await?;
        cleared.add(of_lane);
        let Some((epoch, to)) = erasure.upto.get(partition) else { continue };
        let held = lane::load(&**store, WARM.name, partition).await?;
        let expires = |bucket| held.as_ref().and_then(|held| held.expires_last(bucket, &erasure.workspace));
        // A part tells of one card, and the run's entries may bear others: nothing leads to the rows of these. That there
        // are parts is so, too, for whoever goes on where another was killed after it had deleted the blocks.
        let of_part = parts.iter().filter(|part| (part.partition, part.epoch) == (partition, epoch));
        let had_blocks = (of_lane != Cleared::default()).then_some(to);
        let reach = of_part.map(|part| part.applied).max().or(had_blocks);
        let reached = reach.and_then(|reach| spans.iter().rfind(|span| span.offsets.start < reach));
        let until = reached.and_then(|span| expires(span.bucket)).filter(|until| *until > Timestamp::now().millis());
        cleared.add(Cleared { rows: 0, until });
        // The last of them may get later entries, and then the sink relies on the row that it has written.
        let last = spans.last().filter(|span| span.offsets.end >= to).map(|span| span.bucket);
        let buckets: BTreeSet<i64> = spans.iter().map(|span| span.bucket).collect();
        for bucket in buckets {
            for card in &cards {
                let (workspace, card, run) = (erasure.workspace.clone(), (*card).to_owned(), run.clone());
                let row = CardRun { workspace, card, bucket, partition, epoch, run };
                if Some(bucket) != last {
                    row.delete(&**store).await?;
                } else if row.is_there(&**store).await? {
                    cleared.add(Cleared { rows: 0, until: expires(bucket) });
                }
            }
        }
    }
    Ok(cleared)
}

/// Where the run's entries lie: as its parts say, or anywhere if there are none.
fn lanes(erasure: &Erasure, parts: &[RunPart]) -> BTreeSet<TopicPartition> {
    let all = || erasure.upto.iter().map(|(partition, ..)| partition).collect();
    let known: BTreeSet<_> = parts.iter().map(|part| part.partition).collect();
    let mut lanes = if known.is_empty() { all() } else { known };
    lanes.retain(|partition| Topic::LOGS.contains(&partition.topic));
    lanes
}
