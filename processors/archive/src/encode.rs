//! Writing what is pending: one file for each day, of all lanes.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_processors::erasure::View;
use agentworks_schemas::{Position, TopicPartition};

use crate::claims::Claim;
use crate::error::ArchiveError;
use crate::files::{EncodedFile, FileFormat, FileWriter};
use crate::pending::{Days, Pending, order};
use crate::rows::{Place, RowBuilder};
use crate::table::Table;

/// So many records of a run are brought into the processor's caches at a time.
const AHEAD: usize = 16;

/// A lane's range that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: u32,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) days: Days,
    pub(crate) pending: Arc<Pending>,
}

/// Encodes the shares without what is erased. Keeps a processor busy for long: not for an async task's thread.
pub(crate) fn encode(
    table: &Table,
    format: FileFormat,
    shares: &[Share],
    erased: &View,
) -> Result<Vec<EncodedFile>, ArchiveError> {
    let mut days: BTreeMap<i32, Vec<(&Share, Claim)>> = BTreeMap::new();
    for share in shares {
        for (day, from, to) in share.days.of(share.from, share.to) {
            let claim = Claim::new(share.partition, share.epoch, from, to);
            days.entry(day).or_default().push((share, claim));
        }
    }
    days.into_iter().map(|(day, claims)| encode_day(table, format, day, claims, erased)).collect()
}

fn encode_day(
    table: &Table,
    format: FileFormat,
    day: i32,
    mut claims: Vec<(&Share, Claim)>,
    erased: &View,
) -> Result<EncodedFile, ArchiveError> {
    let mut groups = Vec::new();
    for (index, (share, claim)) in claims.iter().enumerate() {
        let lane = (claim.topic.as_str(), claim.epoch, claim.partition, index);
        groups.extend(share.pending.groups().iter().map(|group| (group, lane)));
    }
    groups.sort_unstable_by(|a, b| order(*a, *b));
    let mut writer = FileWriter::new(table, format)?;
    let mut rows = RowBuilder::new(table.spec());
    for (group, (.., index)) in groups {
        let (share, claim) = &mut claims[index];
        let begin = group.items.partition_point(|item| item.offset < claim.from);
        let end = group.items.partition_point(|item| item.offset < claim.to);
        for (index, item) in group.items[begin..end].iter().enumerate() {
            if index % AHEAD == 0 {
                let ahead = &group.items[begin + index..end];
                share.pending.touch(&ahead[..ahead.len().min(AHEAD)]);
            }
            let position = Position { partition: share.partition, epoch: share.epoch, offset: item.offset };
            if group.owner.is_hidden(erased, position) {
                continue;
            }
            claim.rows += 1;
            let place = Place { partition: share.partition, epoch: share.epoch, offset: item.offset, time: item.time };
            rows.record(place, share.pending.body(item))?;
            if rows.is_full() {
                writer.write(&rows.build()?)?;
            }
        }
    }
    if !rows.is_empty() {
        writer.write(&rows.build()?)?;
    }
    let claims: Vec<_> = claims.into_iter().map(|(_, claim)| claim).collect();
    writer.finish(day, &claims)
}
