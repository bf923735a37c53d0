//! `agentworks archive restore`.

use std::io::{self, Write};

use agentworks_archive::{ArchiveReader, Restored, restore_runs};
use anyhow::Context;
use serde_json::json;

use super::PlacesArgs;
use super::print::print_json;
use crate::roles::{Note, store};

/// Restore into the store the rows of runs that it has lost and the log no longer tells of.
///
/// A store that was lost is filled again by the processes, as far back as the log goes. From there on they have counted;
/// what lay before is counted from the archive, so that each run's status, times, counts, cost and tokens, the lists of a
/// card's and a workspace's runs, and the places that replays jump to are what they were. Entries need no restoring: they
/// are read from the archive where only that has them.
///
/// It runs beside everything else, may be ended at any time, and goes on where it ended. What was erased stays erased. An
/// embedded store serves one process alone: end that one first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    places: PlacesArgs,
}

impl Args {
    pub(super) async fn execute(self) -> anyhow::Result<io::Result<()>> {
        let loaded = self.places.load()?;
        let archive = super::open(&loaded).await?;
        let store = store::open(&loaded.store()?, &Note::new()).await?;
        let (mut done, as_json) = (Vec::new(), self.places.place.json);
        let mut tell = Ok(());
        restore_runs(&ArchiveReader::new(&archive), &store, |restored| {
            if !as_json && tell.is_ok() {
                tell = writeln!(io::stdout().lock(), "{}", told(&restored));
            }
            done.push(restored);
        })
        .await
        .context("cannot restore the rows of runs; what was restored so far stays")?;
        let records: u64 = done.iter().map(|restored| restored.records).sum();
        Ok(tell.and_then(|()| match as_json {
            true => print_json(&json!({"records": records, "partitions": done})),
            false => writeln!(io::stdout().lock(), "{records} records counted from the archive"),
        }))
    }
}

/// A partition's in words.
fn told(restored: &Restored) -> String {
    let &Restored { partition, epoch, range: (from, to), records, began } = restored;
    let epoch = if epoch == 0 { String::new() } else { format!(" (made anew {epoch} times)") };
    let missing = match to < began {
        true => format!("; the archive lacks {to} to {began}"),
        false => String::new(),
    };
    match from == to {
        true => format!("{partition}{epoch}: restored up to {to} before{missing}"),
        false => format!("{partition}{epoch}: {records} records, {from} to {to}{missing}"),
    }
}
