//! Counting anew what runs have right behind an erasure.
//!
//! The sink counts a run anew with the first record that it takes once it knows of an erasure. What it took between the
//! erasure and then it has counted into the part that is hidden with what was erased, and nobody counts it again. That is
//! done here, from the log, as of what lies before the sink's own part: [`Origin::Restored`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentworks_kafka::{Batch, Record};
use agentworks_schemas::{Position, TopicPartition};
use agentworks_store::{Store, Write};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::marks::Mark;
use super::part::RunPart;
use super::read::part_of;
use super::sink::{LOADS, ROWS_PER_WRITE, run_of};
use super::tables::{self, Origin, ShareKey};
use crate::erasure::{Erasure, View};
use crate::sink::SinkError;

/// What is counted of a run in one partition.
#[derive(Debug)]
struct Counted {
    /// The sink counts from here on.
    until: i64,
    part: Option<RunPart>,
    marks: Vec<Mark>,
}

/// Counts what the sink took before it knew of an erasure.
#[derive(Debug)]
pub(crate) struct Anew<'a> {
    store: &'a Arc<dyn Store>,
    erasure: &'a Erasure,
    view: &'a View,
    runs: BTreeMap<(TopicPartition, String), Counted>,
}

impl<'a> Anew<'a> {
    /// Begins. `view` has all erasures that are known.
    pub(crate) fn new(store: &'a Arc<dyn Store>, erasure: &'a Erasure, view: &'a View) -> Self {
        Anew { store, erasure, view, runs: BTreeMap::new() }
    }

    /// Counts a batch of the log behind the erasure. All that the sink took of it must be in the store.
    pub(crate) async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let (partition, epoch) = (batch.partition, batch.epoch);
        let is_wanted = |record: &&Record<'_>| {
            let (workspace, run) = run_of(record);
            let position = Position { partition, epoch, offset: record.offset };
            // What another erasure covers, that one's counting goes beyond.
            self.erasure.is_of(workspace, run) && !self.view.hides(workspace, run, position)
        };
        let wanted: Vec<_> = batch.records().iter().filter(is_wanted).collect();
        let unknown: BTreeSet<_> = wanted
            .iter()
            .map(|record| (partition, run_of(record).1.to_owned()))
            .filter(|key| !self.runs.contains_key(key))
            .collect();
        let load = async |(partition, run): (TopicPartition, String)| {
            let share = ShareKey { origin: Origin::Sink, partition, epoch };
            // A hidden one has all that there was before the sink knew; there was no record of the run since.
            let begun = self.part(&run, share).await?.filter(|part| !self.is_hidden(&run, part));
            let until = begun.map_or(i64::MAX, |part| part.first);
            Ok::<_, SinkError>(((partition, run), Counted { until, part: None, marks: Vec::new() }))
        };
        let loaded: Vec<_> = stream::iter(unknown.into_iter().map(load)).buffer_unordered(LOADS).try_collect().await?;
        self.runs.extend(loaded);
        for record in wanted {
            let key = (partition, run_of(record).1.to_owned());
            let Some(counted) = self.runs.get_mut(&key).filter(|counted| record.offset < counted.until) else {
                continue;
            };
            RunPart::count_record(&mut counted.part, &mut counted.marks, (partition, epoch), record);
        }
        Ok(())
    }

    /// Writes what was counted: first what parts refer to, then the parts. What is there already, equal, stays.
    pub(crate) async fn write(mut self) -> Result<(), SinkError> {
        let (mut before, mut parts) = (Vec::new(), Vec::new());
        for ((_, run), Counted { part, marks, .. }) in std::mem::take(&mut self.runs) {
            let (Some(mut part), run) = (part, run.as_str()) else { continue };
            let share = ShareKey::of(Origin::Restored, &part);
            match self.part(run, share).await? {
                Some(there) if self.is_hidden(run, &there) => {
                    // By then nobody knows any more under what it was listed.
                    part.replaced.push(there.listed());
                    part.replaced.extend(there.replaced);
                }
                Some(there) if there.applied >= part.applied => continue,
                _ => {}
            }
            let workspace = &self.erasure.workspace;
            before.extend(tables::write_listing(workspace, run, &part.listed()));
            before.extend(marks.iter().map(|mark| tables::write_mark(workspace, run, share, mark)));
            parts.push(tables::write_part(workspace, run, Origin::Restored, &part)?);
        }
        self.put(before).await?;
        self.put(parts).await
    }

    async fn part(&self, run: &str, share: ShareKey) -> Result<Option<RunPart>, SinkError> {
        part_of(&**self.store, &self.erasure.workspace, run, share).await
    }

    fn is_hidden(&self, run: &str, part: &RunPart) -> bool {
        self.view.hides(&self.erasure.workspace, run, part.begins_at())
    }

    async fn put(&self, writes: Vec<Write>) -> Result<(), SinkError> {
        for chunk in writes.chunks(ROWS_PER_WRITE) {
            self.store.write(chunk.to_vec()).await?;
        }
        Ok(())
    }
}
