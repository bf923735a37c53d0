//! Files made from files: merged in the table's order, without some rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use agentworks_schemas::TopicPartition;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_row::{OwnedRow, RowConverter, Rows, SortField};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave_record_batch;
use futures_util::TryStreamExt;
use parquet::arrow::async_reader::ParquetRecordBatchStream;

use super::verify::verify_file;
use crate::batches::read_group;
use crate::claims::{Claim, join};
use crate::decode::{Positions, complete, topic};
use crate::error::ArchiveError;
use crate::files::{FileFormat, FileWriter, days};
use crate::object::ObjectReader;
use crate::open::{Footers, guarded, rows};
use crate::schema::TableSpec;
use crate::table::{ActiveFile, NewFile, Table};

/// How many rows are read and written at a time. Of each file that many are in memory.
const ROWS: usize = 1024;

/// Which rows stay.
pub(super) type Keep = Arc<dyn Fn(&RecordBatch) -> Result<BooleanArray, ArchiveError> + Send + Sync>;

/// What a rewriting gave.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) files: Vec<NewFile>,
    /// How many rows there were, and are.
    pub(super) before: u64,
    pub(super) after: u64,
}

/// Files to be made from others of the same day.
pub(super) struct Rewrite<'a> {
    pub(super) table: &'a Table,
    pub(super) footers: &'a Footers,
    pub(super) format: FileFormat,
    pub(super) inputs: Vec<ActiveFile>,
    pub(super) keep: Option<Keep>,
    /// Into how many files, at most: the rows are spread evenly, in order.
    pub(super) outputs: u64,
}

/// One of the files that are read.
struct Input {
    rows: ParquetRecordBatchStream<ObjectReader>,
    batch: RecordBatch,
    keys: Rows,
    next: usize,
}

/// The inputs, and which comes next.
struct Merge {
    schema: SchemaRef,
    converter: RowConverter,
    key: Vec<usize>,
    keep: Option<Keep>,
    inputs: Vec<Input>,
    heads: BinaryHeap<Reverse<(OwnedRow, usize)>>,
}

impl Merge {
    fn new(spec: &TableSpec, keep: Option<Keep>) -> Result<Self, ArchiveError> {
        let schema = spec.arrow();
        let key = spec.order.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let fields = key.iter().map(|column| SortField::new(schema.field(*column).data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        Ok(Merge { schema, converter, key, keep, inputs: Vec::new(), heads: BinaryHeap::new() })
    }

    async fn add(&mut self, rows: ParquetRecordBatchStream<ObjectReader>) -> Result<(), ArchiveError> {
        let batch = RecordBatch::new_empty(self.schema.clone());
        let keys = self.keys(&batch)?;
        self.inputs.push(Input { rows, batch, keys, next: 0 });
        self.advance(self.inputs.len() - 1).await
    }

    fn keys(&self, batch: &RecordBatch) -> Result<Rows, ArchiveError> {
        let columns: Vec<_> = self.key.iter().map(|column| batch.column(*column).clone()).collect();
        Ok(self.converter.convert_columns(&columns)?)
    }

    /// Puts the next row of an input among the heads; reads on if there is none left.
    async fn advance(&mut self, index: usize) -> Result<(), ArchiveError> {
        loop {
            let input = &mut self.inputs[index];
            if input.next < input.batch.num_rows() {
                let key = input.keys.row(input.next).owned();
                self.heads.push(Reverse((key, index)));
                return Ok(());
            }
            let Some(batch) = input.rows.try_next().await? else { return Ok(()) };
            let mut batch = complete(&batch, &self.schema)?;
            if let Some(keep) = &self.keep {
                batch = filter_record_batch(&batch, &keep(&batch)?)?;
            }
            let keys = self.keys(&batch)?;
            let input = &mut self.inputs[index];
            (input.batch, input.keys, input.next) = (batch, keys, 0);
        }
    }

    /// The next rows, in order; `None` after the last.
    async fn next(&mut self, limit: usize) -> Result<Option<RecordBatch>, ArchiveError> {
        let mut indices = Vec::with_capacity(limit);
        // A batch may be used up while rows of it are still to be copied.
        let mut batches: Vec<RecordBatch> = self.inputs.iter().map(|input| input.batch.clone()).collect();
        let mut current: Vec<usize> = (0..batches.len()).collect();
        while indices.len() < limit {
            let Some(Reverse((_, index))) = self.heads.pop() else { break };
            indices.push((current[index], self.inputs[index].next));
            self.inputs[index].next += 1;
            let is_last = self.inputs[index].next == self.inputs[index].batch.num_rows();
            self.advance(index).await?;
            if is_last {
                current[index] = batches.len();
                batches.push(self.inputs[index].batch.clone());
            }
        }
        if indices.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        Ok(Some(interleave_record_batch(&batches, &indices)?))
    }
}

/// How many rows each lane has.
fn count(batch: &RecordBatch, lanes: &mut BTreeMap<(TopicPartition, u32), Vec<i64>>) -> Result<(), ArchiveError> {
    let (Some(topics), Some(partitions), Some(epochs), Some(offsets)) = (
        batch.column_by_name("topic").and_then(|column| column.as_string_opt::<i32>()),
        batch.column_by_name("partition").and_then(|column| column.as_primitive_opt::<Int32Type>()),
        batch.column_by_name("epoch").and_then(|column| column.as_primitive_opt::<Int64Type>()),
        batch.column_by_name("offset").and_then(|column| column.as_primitive_opt::<Int64Type>()),
    ) else {
        return Err(ArchiveError::Corrupt("rows without positions".into()));
    };
    for row in 0..batch.num_rows() {
        let lane = TopicPartition::new(topic(topics.value(row))?, partitions.value(row));
        let epoch = u32::try_from(epochs.value(row)).unwrap_or_default();
        lanes.entry((lane, epoch)).or_default().push(offsets.value(row));
    }
    Ok(())
}

/// The claims, each with the rows that it has now.
fn recount(claims: &[Claim], lanes: &mut BTreeMap<(TopicPartition, u32), Vec<i64>>) -> Vec<Claim> {
    lanes.values_mut().for_each(|offsets| offsets.sort_unstable());
    let rows = |claim: &Claim| {
        let offsets = lanes.get(&(claim.lane(), claim.epoch)).map_or(&[][..], Vec::as_slice);
        let below = |offset| offsets.partition_point(|other| *other < offset);
        (below(claim.to) - below(claim.from)) as u64
    };
    claims.iter().map(|claim| Claim { rows: rows(claim), ..claim.clone() }).collect()
}

/// Reads the inputs, twice, and writes the outputs; nothing is published.
pub(super) async fn rewrite(work: Rewrite<'_>) -> Result<Rewritten, ArchiveError> {
    let Rewrite { table, footers, format, inputs, keep, outputs } = work;
    let date = inputs.first().map(|file| file.date.clone()).unwrap_or_default();
    let mut claims = Vec::new();
    let mut merge = Merge::new(table.spec(), keep)?;
    let before: u64 = inputs.iter().map(|file| file.rows).sum();
    let is_one = inputs.len() == 1;
    for file in &inputs {
        // What was damaged is not to be written anew as if it were whole.
        verify_file(table, footers, file).await?;
        let footer = footers.footer(table, file).await?;
        claims.extend(footer.claims.iter().cloned());
        let stream = rows(table, file, &footer).with_batch_size(ROWS).build()?;
        merge.add(stream).await.map_err(|error| error.at(&file.path))?;
    }
    if !is_one {
        claims = join(claims);
    }
    let outputs = outputs.max(1);
    let (name, table) = (format!("{} of {date}", table.spec().name), table.clone());
    guarded(&name, async move {
        let per_file = usize::try_from(before.div_ceil(outputs)).unwrap_or(usize::MAX).max(1);
        let (mut files, mut after) = (Vec::new(), 0);
        let mut rest = merge.next(ROWS).await?;
        for index in 0..outputs {
            let mut writer = FileWriter::new(&table, format)?;
            let mut lanes = BTreeMap::new();
            let mut written = 0;
            let room = if index + 1 == outputs { usize::MAX } else { per_file };
            while let Some(batch) = rest.take_if(|_| written < room) {
                let here = batch.slice(0, batch.num_rows().min(room - written));
                count(&here, &mut lanes)?;
                written += here.num_rows();
                writer.write(&here)?;
                rest = match batch.num_rows() - here.num_rows() {
                    0 => merge.next(ROWS).await?,
                    left => Some(batch.slice(here.num_rows(), left)),
                };
            }
            after += written as u64;
            let mut claims = recount(&claims, &mut lanes);
            if outputs > 1 {
                claims.iter_mut().for_each(|claim| claim.share = (index as u32, outputs as u32));
            }
            files.push(writer.finish(days(&date)?, &claims)?.upload(&table).await?);
        }
        Ok(Rewritten { files, before, after })
    })
    .await
}

/// Whether a file has rows that are not to stay, by its narrow columns alone.
///
/// # Errors
/// The store's; or that those columns are damaged, for they may hide such rows.
pub(super) async fn touches(
    table: &Table,
    footers: &Footers,
    file: &ActiveFile,
    keep: &Keep,
) -> Result<bool, ArchiveError> {
    let footer = footers.footer(table, file).await?;
    let (table, file, keep) = (table.clone(), file.clone(), keep.clone());
    let path = file.path.clone();
    guarded(&path, async move {
        let [topic, epoch, partition, offset] = Positions::COLUMNS;
        let columns = ["workspace_id", "run_id", topic, epoch, partition, offset];
        for group in 0..footer.meta.metadata().num_row_groups() {
            let mut is_touched = false;
            let look = |batch: &RecordBatch| {
                is_touched |= keep(batch)?.true_count() < batch.num_rows();
                Ok(())
            };
            read_group((&table, &file, &footer), group, &columns, look).await?;
            if is_touched {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}
