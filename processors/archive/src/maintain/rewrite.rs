//! Files made from files: merged in the table's order, without some rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
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
use parquet::file::metadata::RowGroupMetaData;

use super::verify::verify_file;
use crate::batches::{batches, read_group};
use crate::claims::{Claim, join};
use crate::decode::{Positions, complete, topic};
use crate::error::ArchiveError;
use crate::files::{FileFormat, FileWriter, days};
use crate::object::ObjectReader;
use crate::open::{Footer, Footers, guarded};
use crate::schema::TableSpec;
use crate::table::{ActiveFile, NewFile, Table};

/// How much memory the rows that are read may take, over all inputs, in bytes. Beside them each input takes a row group as it
/// lies in its file.
const ROOM: usize = 128 << 20;
/// So many rows are written at a time.
const BATCH_ROWS: usize = 1024;
/// Or so many bytes.
const BATCH_BYTES: usize = 8 << 20;

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
    /// Into how many files: the rows are spread in order, so that all become about equally large. Each is in memory until it
    /// is whole.
    pub(super) outputs: u64,
}

/// One of the files that are read.
struct Input {
    table: Table,
    file: ActiveFile,
    footer: Footer,
    /// How much memory a batch of it may take, in bytes.
    room: usize,
    /// The row groups that are to come, and what is to come of the one before.
    groups: Range<usize>,
    rows: Option<ParquetRecordBatchStream<ObjectReader>>,
    batch: RecordBatch,
    keys: Rows,
    next: usize,
    /// How many bytes a row of the batch takes in memory.
    size: usize,
    /// What a row of the row group weighs.
    weight: u64,
}

impl Input {
    /// The rows that come next in the file; `None` after the last.
    async fn read(&mut self) -> Result<Option<RecordBatch>, ArchiveError> {
        loop {
            if let Some(rows) = &mut self.rows
                && let Some(batch) = rows.try_next().await?
            {
                return Ok(Some(batch));
            }
            let Some(group) = self.groups.next() else { return Ok(None) };
            self.weight = weight(self.footer.meta.metadata().row_group(group));
            self.rows = Some(batches((&self.table, &self.file, &self.footer), group, &[], self.room)?);
        }
    }
}

/// What each row of a row group weighs: what it takes in its file, in 1024ths of a byte.
fn weight(group: &RowGroupMetaData) -> u64 {
    let size = u64::try_from(group.compressed_size()).unwrap_or_default();
    (size.saturating_mul(1024) / u64::try_from(group.num_rows()).unwrap_or_default().max(1)).max(1)
}

/// What all rows of a file weigh.
fn weight_of(footer: &Footer) -> u64 {
    let groups = footer.meta.metadata().row_groups().iter();
    let rows = |group: &RowGroupMetaData| u64::try_from(group.num_rows()).unwrap_or_default();
    groups.map(|group| weight(group).saturating_mul(rows(group))).fold(0, u64::saturating_add)
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

    async fn add(
        &mut self,
        (table, file, footer): (&Table, &ActiveFile, Footer),
        room: usize,
    ) -> Result<(), ArchiveError> {
        let batch = RecordBatch::new_empty(self.schema.clone());
        let keys = self.keys(&batch)?;
        let groups = 0..footer.meta.metadata().num_row_groups();
        let (table, file) = (table.clone(), file.clone());
        let (rows, next, size, weight) = (None, 0, 0, 0);
        self.inputs.push(Input { table, file, footer, room, groups, rows, batch, keys, next, size, weight });
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
            let read = input.read().await.map_err(|error| error.at(&input.file.path))?;
            let Some(batch) = read else { return Ok(()) };
            let mut batch = complete(&batch, &self.schema)?;
            if let Some(keep) = &self.keep {
                batch = filter_record_batch(&batch, &keep(&batch)?)?;
            }
            let keys = self.keys(&batch)?;
            let input = &mut self.inputs[index];
            input.size = batch.get_array_memory_size() / batch.num_rows().max(1);
            (input.batch, input.keys, input.next) = (batch, keys, 0);
        }
    }

    /// The next rows, in order, and what they weigh: as many as reach `room`, or fewer. `None` after the last.
    async fn next(&mut self, room: u64) -> Result<Option<(RecordBatch, u64)>, ArchiveError> {
        let mut indices = Vec::with_capacity(BATCH_ROWS);
        // A batch may be used up while rows of it are still to be copied.
        let mut batches: Vec<RecordBatch> = self.inputs.iter().map(|input| input.batch.clone()).collect();
        let mut current: Vec<usize> = (0..batches.len()).collect();
        let (mut bytes, mut weight) = (0, 0u64);
        while indices.len() < BATCH_ROWS && bytes < BATCH_BYTES && weight < room {
            let Some(Reverse((_, index))) = self.heads.pop() else { break };
            let input = &mut self.inputs[index];
            indices.push((current[index], input.next));
            (bytes, weight) = (bytes + input.size, weight.saturating_add(input.weight));
            input.next += 1;
            let is_last = input.next == input.batch.num_rows();
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
        Ok(Some((interleave_record_batch(&batches, &indices)?, weight)))
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
    let (room, mut total) = (ROOM / inputs.len().max(1), 0u64);
    for file in &inputs {
        // What was damaged is not to be written anew as if it were whole.
        verify_file(table, footers, file).await?;
        let footer = footers.footer(table, file).await?;
        claims.extend(footer.claims.iter().cloned());
        total = total.saturating_add(weight_of(&footer));
        merge.add((table, file, footer), room).await?;
    }
    if !is_one {
        claims = join(claims);
    }
    let outputs = outputs.max(1);
    let (name, table) = (format!("{} of {date}", table.spec().name), table.clone());
    guarded(&name, async move {
        let per_file = total.div_ceil(outputs).max(1);
        let (mut files, mut after, mut weighed) = (Vec::new(), 0, 0u64);
        for index in 0..outputs {
            let mut writer = FileWriter::new(&table, format)?;
            let mut lanes = BTreeMap::new();
            // The last has all that is left.
            let end = if index + 1 == outputs { u64::MAX } else { per_file.saturating_mul(index + 1) };
            while weighed < end
                && let Some((batch, weight)) = merge.next(end - weighed).await?
            {
                count(&batch, &mut lanes)?;
                writer.write(&batch)?;
                after += batch.num_rows() as u64;
                weighed = weighed.saturating_add(weight);
            }
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
