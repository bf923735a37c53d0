//! `agentworks archive rebuild`.

use std::io;
use std::sync::Arc;

use agentworks_archive::KafkaLog;
use agentworks_kafka::SeekPool;
use agentworks_processors::erasure::Erasures;
use anyhow::{Context, bail};

use super::{PlacesArgs, maintenance, print};
use crate::config::StoreAddress;
use crate::roles::{Note, store};

/// Restore files that are damaged or gone from the log.
///
/// Everything is read, as by `verify`. What the damaged files held is taken from Kafka again, without what was erased, and
/// put in their place in one commit; no position moves, and readers and processes go on meanwhile. Nothing of a table is
/// changed where the log no longer has all of it. Rows of runs are made of the archive's own entries and events.
///
/// What was erased is asked of the store. An embedded store serves one process alone: end that one first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    places: PlacesArgs,
    /// Make the rows of runs of all days anew, from the archive alone; neither log nor store is asked
    #[arg(long)]
    runs: bool,
    /// Only say what would be restored, and whether the log has it
    #[arg(long, conflicts_with = "runs")]
    dry_run: bool,
}

impl Args {
    pub(super) async fn execute(self) -> anyhow::Result<io::Result<()>> {
        let loaded = self.places.load()?;
        let keeper = maintenance(&loaded).await?;
        if self.runs {
            let runs = keeper.rebuild_runs(true).await?;
            return Ok(print::rebuilt(&[], Some(runs), false, self.places.place.json));
        }
        let (settings, address) = (loaded.kafka()?, loaded.store()?);
        let advice = match &address {
            StoreAddress::Embedded(_) => {
                "the store is asked what was erased, so that it doesn't come back: end the process that has it, or name \
                 the store with --store"
            }
            StoreAddress::Cql(_) => "the store is asked what was erased, so that it doesn't come back",
        };
        if let StoreAddress::Embedded(folder) = &address
            && !folder.exists()
        {
            bail!("there is no store in {}: {advice}", folder.display());
        }
        let store = store::open(&address, &Note::new()).await.context(advice)?;
        let erasures = Erasures::follow(store.clone());
        erasures.view().await.context(advice)?;
        let log = KafkaLog::new(SeekPool::new(settings, 2), Arc::clone(&store), &keeper)?;
        let rebuilt = keeper.rebuild(&log, &erasures, self.dry_run).await?;
        let runs = if self.dry_run { None } else { Some(keeper.rebuild_runs(false).await?) };
        Ok(print::rebuilt(&rebuilt, runs, self.dry_run, self.places.place.json))
    }
}
