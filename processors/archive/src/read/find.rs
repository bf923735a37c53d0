//! Finding rows by a file's narrow columns.

use std::sync::Arc;

use agentworks_processors::reader::{ReadFilter, Scope};
use agentworks_schemas::TopicPartition;
use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::RowGroupMetaData;

use crate::batches::read_group;
use crate::decode::{Positions, texts};
use crate::error::ArchiveError;
use crate::open::{Footer, guarded, rows};
use crate::table::{ActiveFile, Table};

/// A row that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its number in the file.
    pub(super) row: u64,
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
    pub(super) offset: i64,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Tells questions apart.
    pub(super) key: String,
    /// Column and value.
    owner: Vec<(&'static str, String)>,
    /// Column and values, one of which is wanted.
    any: Vec<(&'static str, Vec<String>)>,
    /// The lane and the range in it, if it is not all of them.
    lane: Option<((TopicPartition, u32), (i64, i64))>,
}

impl Question {
    /// Of a filter, only what narrow columns tell is asked.
    pub(super) fn new(scope: &Scope, filter: &ReadFilter) -> Self {
        let mut owner = vec![("workspace_id", scope.workspace().to_owned()), ("card_id", scope.card().to_owned())];
        owner.extend(scope.run().map(|run| ("run_id", run.to_owned())));
        let mut any = Vec::new();
        if let Some(levels) = &filter.levels {
            any.push(("level", levels.iter().map(|level| level.as_str().to_owned()).collect()));
        }
        if let Some(sources) = &filter.sources {
            any.push(("source", sources.iter().map(|source| source.as_str().to_owned()).collect()));
        }
        any.extend(filter.components.clone().map(|components| ("component", components)));
        Question { key: format!("{owner:?}{any:?}"), owner, any, lane: None }
    }

    /// Everything in a range of a lane.
    pub(super) fn lane(lane: (TopicPartition, u32), range: (i64, i64)) -> Self {
        let owner = vec![("topic", lane.0.topic.as_str().to_owned())];
        Question { key: format!("{lane:?}{range:?}"), owner, any: Vec::new(), lane: Some((lane, range)) }
    }

    /// Whether it lies where it is asked for.
    fn is_there(&self, partition: TopicPartition, epoch: u32, offset: i64) -> bool {
        self.lane.is_none_or(|(lane, (from, to))| lane == (partition, epoch) && (from..to).contains(&offset))
    }

    fn columns(&self) -> impl Iterator<Item = &'static str> + '_ {
        let owner = self.owner.iter().map(|(column, _)| *column);
        owner.chain(self.any.iter().map(|(column, _)| *column)).chain(Positions::COLUMNS).chain(["record_time"])
    }

    /// Whether a row group may have any, by its statistics.
    fn may_be_in(&self, group: &RowGroupMetaData) -> bool {
        self.owner.iter().all(|(name, value)| {
            let column = group.columns().iter().find(|column| column.column_path().string() == *name);
            let Some(statistics) = column.and_then(|column| column.statistics()) else { return true };
            statistics.min_bytes_opt().is_none_or(|min| min <= value.as_bytes())
                && statistics.max_bytes_opt().is_none_or(|max| value.as_bytes() <= max)
        })
    }

    fn find(&self, first: u64, batch: &RecordBatch, found: &mut Vec<Found>) -> Result<(), ArchiveError> {
        let owner: Vec<_> = self
            .owner
            .iter()
            .map(|(name, value)| Ok((texts(batch, name)?, value)))
            .collect::<Result<_, ArchiveError>>()?;
        let any: Vec<_> = self
            .any
            .iter()
            .map(|(name, values)| Ok((texts(batch, name)?, values)))
            .collect::<Result<_, ArchiveError>>()?;
        let positions = Positions::new(batch)?;
        for row in 0..batch.num_rows() {
            // The run differs soonest.
            if owner.iter().rev().all(|(column, value)| column.value(row) == value.as_str())
                && any.iter().all(|(column, values)| values.iter().any(|value| column.value(row) == value.as_str()))
            {
                let position = positions.at(row)?;
                let (partition, epoch, offset) = (position.partition, position.epoch, position.offset);
                if self.is_there(partition, epoch, offset) {
                    found.push(Found { row: first + row as u64, partition, epoch, offset });
                }
            }
        }
        Ok(())
    }
}

/// Finds the rows of a file.
pub(super) async fn find(
    table: &Table,
    file: &Arc<ActiveFile>,
    footer: Footer,
    question: Question,
) -> Result<Vec<Found>, ArchiveError> {
    let (table, file) = (table.clone(), file.clone());
    let path = file.path.clone();
    guarded(&path, async move {
        let mut found = Vec::new();
        let mut first = 0;
        let groups = footer.meta.metadata().row_groups().to_vec();
        for (index, group) in groups.iter().enumerate() {
            let begin = first;
            first += u64::try_from(group.num_rows()).unwrap_or_default();
            if !question.may_be_in(group) {
                continue;
            }
            let mut builder = rows(&table, &file, &footer);
            let mut is_out = false;
            for (name, value) in question.owner.iter().filter(|(name, _)| table.spec().bloomed.contains(name)) {
                let Some(column) = column_index(&footer.meta, name) else { continue };
                let filter = builder.get_row_group_column_bloom_filter(index, column).await?;
                is_out |= filter.is_some_and(|filter| !filter.check(&value.as_str()));
            }
            if is_out {
                continue;
            }
            let (columns, mut next): (Vec<_>, _) = (question.columns().collect(), begin);
            let look = |batch: &RecordBatch| {
                question.find(next, batch, &mut found)?;
                next += batch.num_rows() as u64;
                Ok(())
            };
            read_group((&table, &file, &footer), index, &columns, look).await?;
        }
        Ok(found)
    })
    .await
}

fn column_index(meta: &ArrowReaderMetadata, name: &str) -> Option<usize> {
    meta.parquet_schema().columns().iter().position(|column| column.path().string() == name)
}
