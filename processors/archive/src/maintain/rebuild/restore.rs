//! Files made of the log again.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_processors::erasure::View;

use super::log::{Log, of_kafka};
use super::plan::Missing;
use crate::encode::{Share, encode};
use crate::error::ArchiveError;
use crate::files::FileFormat;
use crate::maintain::Maintenance;
use crate::maintain::retention::first_kept;
use crate::pending::{Days, Pending};
use crate::table::{NewFile, Table};

/// Files are written when so much waits, in bytes.
const PENDING: usize = 128 << 20;

/// Files that were written and aren't published yet.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub(super) files: Vec<NewFile>,
    pub(super) rows: u64,
}

struct Restorer<'a> {
    table: &'a Table,
    format: FileFormat,
    erased: &'a Arc<View>,
    /// The first day that is kept, by workspace.
    kept: BTreeMap<String, i32>,
    shares: Vec<Share>,
    restored: Restored,
}

/// Takes ranges from the log and writes files of them.
pub(super) async fn restore(
    keeper: &Maintenance,
    table: &Table,
    log: &dyn Log,
    erased: &Arc<View>,
    missing: &[Missing],
) -> Result<Restored, ArchiveError> {
    let kept = keeper.config.retention.iter().map(|(workspace, days)| (workspace.clone(), first_kept(*days)));
    let mut restorer = Restorer {
        table,
        format: keeper.format(),
        erased,
        kept: kept.collect(),
        shares: Vec::new(),
        restored: Restored::default(),
    };
    for range in missing {
        restorer.take(log, range).await?;
    }
    restorer.write().await?;
    Ok(restorer.restored)
}

impl Restorer<'_> {
    async fn take(&mut self, log: &dyn Log, range: &Missing) -> Result<(), ArchiveError> {
        let &Missing { partition, epoch, from, to, days: (first, last) } = range;
        let mut days = Days::between(first, last, from);
        let mut pending = Pending::default();
        let (mut from, mut next) = (from, from);
        let mut batches = log.read(partition, epoch, from, to);
        while let Some(batch) = batches.recv().await {
            let batch = batch.map_err(of_kafka)?;
            days.pass_all(&batch, next, |record, day| {
                let kept = self.kept.get(Pending::workspace(record));
                if record.offset < to && kept.is_none_or(|first| *first <= day) {
                    pending.push(record);
                }
            });
            next = batch.to.min(to);
            let waiting: usize = self.shares.iter().map(|share| share.pending.bytes()).sum();
            if waiting + pending.bytes() >= PENDING {
                let pending = Arc::new(std::mem::take(&mut pending));
                self.shares.push(Share { partition, epoch, from, to: next, days: days.clone(), pending });
                self.write().await?;
                from = next;
            }
        }
        if next < to {
            return Err(ArchiveError::Refused(format!(
                "the log of {partition} ended at {next} while {range} was read"
            )));
        }
        if from < to {
            self.shares.push(Share { partition, epoch, from, to, days, pending: Arc::new(pending) });
        }
        Ok(())
    }

    /// Writes what waits.
    async fn write(&mut self) -> Result<(), ArchiveError> {
        if self.shares.is_empty() {
            return Ok(());
        }
        let (table, format, erased) = (self.table.clone(), self.format, self.erased.clone());
        let shares = std::mem::take(&mut self.shares);
        let encoded = tokio::task::spawn_blocking(move || encode(&table, format, &shares, &erased)).await;
        let encoded = encoded.map_err(|error| ArchiveError::Corrupt(format!("encoding failed: {error}")))??;
        for file in encoded {
            self.restored.rows += file.rows();
            self.restored.files.push(file.upload(self.table).await?);
        }
        Ok(())
    }
}
