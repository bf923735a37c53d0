//! Where runs are kept, and in which order it is written.
//!
//! Listing rows and marks are written before the part that they belong to: the part's `applied` says that they are there. A
//! crash in between leaves a row that is written again, equal, when the part is made again.

use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::{Column, Key, Part, Row, Table, Write};
use bytes::Bytes;

use super::marks::Mark;
use super::part::{Listed, RunPart};
use crate::lane;
use crate::sink::SinkError;

/// Who has counted: each has parts and marks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// What lay before the place where the sink began, from the archive: see [`super::RunsSink::restoring`]; or before the
    /// place where it began anew, behind an erasure: see [`super::Anew`].
    Restored,
    /// The sink, from where it began.
    Sink,
}

/// What stands behind the topic in the keys of what is restored. No topic has it in its name.
const RESTORED: &str = "/restored";

/// A day in milliseconds: how the runs of a workspace are spread over partitions of the store.
const DAY: i64 = 86_400_000;

/// The parts of runs, one row each: the part as JSON.
pub(crate) const PARTS: Table = Table {
    name: "run_parts",
    partition: &[Column::text("workspace"), Column::text("run")],
    clustering: &[Column::text("topic"), Column::int("epoch"), Column::int("partition")],
    versioned: true,
};

/// The marks into runs.
pub(crate) const MARKS: Table = Table {
    name: "run_marks",
    partition: &[Column::text("workspace"), Column::text("run")],
    clustering: &[Column::text("topic"), Column::int("epoch"), Column::int("partition"), Column::int("ordinal")],
    versioned: false,
};

/// The runs of a card, newest first. Each part lists its run under the time it first saw it, so a run that lies in several
/// partitions may be listed several times; the earliest of its rows counts.
pub(crate) const BY_CARD: Table = Table {
    name: "runs_by_card",
    partition: &[Column::text("workspace"), Column::text("card")],
    clustering: &[Column::int("began_descending"), Column::text("run")],
    versioned: false,
};

/// The runs of a workspace by day, newest first; as [`BY_CARD`].
pub(crate) const BY_DAY: Table = Table {
    name: "runs_by_day",
    partition: &[Column::text("workspace"), Column::int("day")],
    clustering: &[Column::int("began_descending"), Column::text("run")],
    versioned: false,
};

/// The days on which a workspace had runs begin, newest first.
pub(crate) const DAYS: Table = Table {
    name: "run_days",
    partition: &[Column::text("workspace")],
    clustering: &[Column::int("day_descending")],
    versioned: false,
};

/// The day that an instant lies in.
pub(super) fn day_of(began: i64) -> i64 {
    began.div_euclid(DAY)
}

/// A partition's share of a run, in one making of its topic, as counted by one of the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShareKey {
    pub(super) origin: Origin,
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
}

impl ShareKey {
    pub(super) fn of(origin: Origin, part: &RunPart) -> Self {
        ShareKey { origin, partition: part.partition, epoch: part.epoch }
    }

    fn clustering(self) -> Vec<Part> {
        let topic = self.partition.topic.as_str();
        let topic = match self.origin {
            Origin::Sink => topic.into(),
            Origin::Restored => Part::Text(format!("{topic}{RESTORED}")),
        };
        vec![topic, i64::from(self.epoch).into(), i64::from(self.partition.partition).into()]
    }
}

/// The key of a part.
pub(super) fn part_key(workspace: &str, run: &str, share: ShareKey) -> Key {
    Key { partition: vec![workspace.into(), run.into()], clustering: share.clustering() }
}

/// The clustering keys of a share's marks, up to `ordinal`.
pub(super) fn mark_bound(share: ShareKey, ordinal: Option<u64>) -> Vec<Part> {
    let mut key = share.clustering();
    key.extend(ordinal.map(|ordinal| Part::Int(i64::try_from(ordinal).unwrap_or(i64::MAX))));
    key
}

/// The version of a part's row.
pub(super) fn part_version(part: &RunPart) -> i64 {
    lane::version(part.epoch, part.applied)
}

/// Writes a part. Whoever has counted more of the log wins.
pub(super) fn write_part(workspace: &str, run: &str, origin: Origin, part: &RunPart) -> Result<Write, SinkError> {
    let payload = serde_json::to_vec(part).map_err(|error| SinkError::Corrupt(format!("run {run}: {error}")))?;
    Ok(Write {
        table: &PARTS,
        key: part_key(workspace, run, ShareKey::of(origin, part)),
        version: part_version(part),
        expires: None,
        stats: Bytes::new(),
        payload: payload.into(),
    })
}

/// Who has counted the part in a row of [`PARTS`].
pub(super) fn origin_of(row: &Row) -> Origin {
    match row.clustering.first() {
        Some(Part::Text(topic)) if topic.ends_with(RESTORED) => Origin::Restored,
        _ => Origin::Sink,
    }
}

/// Of which partition and epoch a mark is, or a part.
pub(super) fn share_of(row: &Row) -> Option<(TopicPartition, u32)> {
    let [Part::Text(topic), Part::Int(epoch), Part::Int(partition), ..] = &row.clustering[..] else { return None };
    let topic = Topic::named(topic.strip_suffix(RESTORED).unwrap_or(topic))?;
    Some((TopicPartition::new(topic, i32::try_from(*partition).ok()?), u32::try_from(*epoch).ok()?))
}

/// Reads a part back.
pub(super) fn read_part(run: &str, payload: &[u8]) -> Result<RunPart, SinkError> {
    serde_json::from_slice(payload).map_err(|error| SinkError::Corrupt(format!("the part of run {run}: {error}")))
}

/// Lists a part's run: the day, and then the run by day and by card.
pub(super) fn write_listing(workspace: &str, run: &str, Listed { began, card }: &Listed) -> [Write; 3] {
    let began = began.millis();
    let row = |table, partition: Vec<Part>, clustering: Vec<Part>| Write {
        table,
        key: Key { partition, clustering },
        version: 0,
        expires: None,
        stats: Bytes::new(),
        payload: Bytes::new(),
    };
    let day = day_of(began);
    [
        row(&DAYS, vec![workspace.into()], vec![(-day).into()]),
        row(&BY_DAY, vec![workspace.into(), day.into()], vec![(-began).into(), run.into()]),
        row(&BY_CARD, vec![workspace.into(), card.as_str().into()], vec![(-began).into(), run.into()]),
    ]
}

/// Writes a mark.
pub(super) fn write_mark(workspace: &str, run: &str, share: ShareKey, mark: &Mark) -> Write {
    let mut payload = Vec::with_capacity(16);
    payload.extend(mark.offset.to_be_bytes());
    payload.extend(mark.timestamp.millis().to_be_bytes());
    Write {
        table: &MARKS,
        key: Key { partition: vec![workspace.into(), run.into()], clustering: mark_bound(share, Some(mark.ordinal)) },
        version: 0,
        expires: None,
        stats: Bytes::new(),
        payload: payload.into(),
    }
}
