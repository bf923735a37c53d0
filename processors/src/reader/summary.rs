//! Runs as of the end of the log: what the store has counted, and what lies beyond.
//!
//! A run's part counts the records of one partition up to its `applied`, and the sink has seen everything below its
//! position. So the log is read from there, and what has been counted meanwhile is not counted again: a part knows.
//!
//! Where no sink runs, or one is far behind, that would be all of the lane, for each card that anybody looks at. So there is
//! a bound, and summaries say when it was met. Only who needs a run's exact places goes beyond.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use agentworks_kafka::{Batch, Content, KafkaError, SeekRequest};
use agentworks_schemas::protocol::{RunStatus, RunSummary};
use agentworks_schemas::{Cursor, Position, Topic, TopicPartition};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{BoxStream, SelectAll, StreamExt, unfold};

use super::ReadError;
use super::known::{KnownRun, Share};
use super::lanes::Seen;
use super::stored::StoredTiers;
use super::tiers::{LOG_BUDGET, Tier, Tiers};
use crate::lane::Held;
use crate::runs::{Lifecycle, PageToken, RunListing, RunPage, RunPart};

/// Among how many of a card's newest runs the active one is looked for, beside those that the end of the log tells of.
const NEWEST: usize = 100;

/// See [`super::LogReader::run_summary`].
pub(super) async fn run(
    tiers: &StoredTiers,
    workspace: &str,
    run: &str,
    card: Option<&str>,
) -> Result<Option<RunSummary>, ReadError> {
    let parts = tiers.runs.parts(workspace, run).await?;
    Ok(counted(tiers, (workspace, run, card), &parts, LOG_BUDGET).await?.map(|known| known.summary))
}

/// See [`super::LogReader::run`].
pub(super) async fn known(
    tiers: &StoredTiers,
    workspace: &str,
    run: &str,
    card: Option<&str>,
) -> Result<Option<KnownRun>, ReadError> {
    let parts = tiers.runs.parts(workspace, run).await?;
    match settled(tiers, workspace, run, &parts).await? {
        Some(known) => Ok(Some(known)),
        None => counted(tiers, (workspace, run, card), &parts, i64::MAX).await,
    }
}

/// The run as the store alone knows it, if the sink has seen later records than its end in all of its partitions.
async fn settled(
    tiers: &StoredTiers,
    workspace: &str,
    run: &str,
    parts: &[RunPart],
) -> Result<Option<KnownRun>, ReadError> {
    let Some(last) = last_event(parts).filter(|event| event.kind.is_end()) else { return Ok(None) };
    let Some(summary) = tiers.runs.fold(run, parts) else { return Ok(None) };
    let lanes = lanes(tiers, workspace, &summary.card_id, parts.iter().map(|part| part.partition.partition)).await?;
    let partitions = lanes.iter().flat_map(|lane| Topic::LOGS.map(|topic| TopicPartition::new(topic, *lane)));
    let held = try_join_all(partitions.map(|partition| tiers.runs.held(partition))).await?;
    let is_past = |held: &Option<Held>| held.as_ref().is_some_and(|held| held.clock.time > last.recorded);
    if !held.iter().all(is_past) {
        return Ok(None);
    }
    // Again, after the positions: what isn't in these then isn't below the sink's position.
    let now = tiers.runs.parts(workspace, run).await?;
    let Some(summary) = tiers.runs.fold(run, &now) else { return Ok(None) };
    if !goes_on_from(&now, parts) {
        return Ok(None);
    }
    let mut ends = Cursor::new();
    for held in held.into_iter().flatten() {
        if held.epoch < tiers.present_of(held.partition.topic).await? {
            return Ok(None);
        }
        ends.set(held.partition, held.epoch, held.high);
    }
    let shares = shares(tiers, workspace, &ends, &now).await?;
    Ok(Some(KnownRun::new(workspace, summary, shares)))
}

/// The last event that began or ended the run.
fn last_event(parts: &[RunPart]) -> Option<&Lifecycle> {
    parts.iter().filter_map(|part| part.lifecycle.as_ref()).max_by_key(|event| event.recorded)
}

/// Whether parts that were read again are those of before, with what else was counted in their lanes meanwhile: the run
/// stands as it stood, and none of it lies where nobody has looked.
fn goes_on_from(now: &[RunPart], before: &[RunPart]) -> bool {
    let lanes: BTreeSet<i32> = before.iter().map(|part| part.partition.partition).collect();
    last_event(now) == last_event(before) && now.iter().all(|part| lanes.contains(&part.partition.partition))
}

/// The run with what the log holds beyond the sink's position, in the last `budget` offsets of each partition.
async fn counted(
    tiers: &StoredTiers,
    (workspace, run, card): (&str, &str, Option<&str>),
    parts: &[RunPart],
    budget: i64,
) -> Result<Option<KnownRun>, ReadError> {
    let Some(card) = parts.first().map(|part| part.card.as_str()).or(card) else { return Ok(None) };
    let mut fresh = Fresh::new(tiers, workspace, card, budget);
    fresh.read(parts.iter().map(|part| part.partition.partition), Some(run)).await?;
    let parts = fresh.runs.remove(run).map(|(parts, _)| parts).unwrap_or_default();
    let Some(mut summary) = tiers.runs.fold(run, &parts) else { return Ok(None) };
    summary.incomplete = fresh.is_cut;
    let shares = shares(tiers, workspace, &fresh.ends, &parts).await?;
    Ok(Some(KnownRun::new(workspace, summary, shares)))
}

/// A run's shares of the partitions that were looked at up to `ends`: in the makings of topics that are there now, and in
/// those before of which it has a part that can be read.
async fn shares(
    tiers: &StoredTiers,
    workspace: &str,
    ends: &Cursor,
    parts: &[RunPart],
) -> Result<Vec<Share>, ReadError> {
    let present = ends.iter().map(|(partition, epoch, end)| Share::new(partition, epoch, end, parts));
    let mut shares: Vec<_> = present.collect();
    let is_earlier = |part: &&RunPart| {
        let RunPart { partition, epoch, .. } = part;
        Topic::LOGS.contains(&partition.topic) && ends.get(*partition).is_some_and(|(present, _)| *epoch < present)
    };
    for &RunPart { partition, epoch, .. } in parts.iter().filter(is_earlier) {
        if let Some(held) = tiers.held(Tier::Cold, partition, epoch, workspace).await? {
            shares.push(Share::new(partition, epoch, held.high, parts));
        }
    }
    Ok(shares)
}

/// The lanes of a card, and `further` ones, as far as they exist.
async fn lanes(
    tiers: &StoredTiers,
    workspace: &str,
    card: &str,
    further: impl IntoIterator<Item = i32>,
) -> Result<BTreeSet<i32>, ReadError> {
    let count = tiers.partition_count().await?;
    let mut lanes: BTreeSet<_> = further.into_iter().filter(|lane| *lane < count).collect();
    lanes.insert(tiers.computed(card).await?);
    lanes.extend(tiers.seen(workspace, card).await?.iter().map(|lane| lane.partition.partition));
    Ok(lanes)
}

/// See [`super::LogReader::active_run`].
pub(super) async fn active(tiers: &StoredTiers, workspace: &str, card: &str) -> Result<Option<RunSummary>, ReadError> {
    let (page, others) = refreshed(tiers, workspace, card, None, NEWEST).await?;
    let runs = page.runs.into_iter().chain(others.into_iter().map(|(run, _)| run));
    Ok(runs.filter(|run| run.status == RunStatus::Running).max_by_key(|run| run.start_time))
}

/// See [`super::LogReader::runs_of_card`].
pub(super) async fn of_card(
    tiers: &StoredTiers,
    workspace: &str,
    card: &str,
    page: Option<&PageToken>,
    limit: usize,
) -> Result<RunPage, ReadError> {
    let (mut listed, others) = refreshed(tiers, workspace, card, page, limit).await?;
    if page.is_none() {
        // One that the store knows is on a later page.
        listed.runs.extend(others.into_iter().filter(|(_, is_stored)| !is_stored).map(|(run, _)| run));
        listed.runs.sort_by_key(|run| Reverse(run.start_time));
    }
    Ok(listed)
}

/// A page as the store lists it with the end of the log counted in, and the other runs that the end of the log tells of.
async fn refreshed(
    tiers: &StoredTiers,
    workspace: &str,
    card: &str,
    page: Option<&PageToken>,
    limit: usize,
) -> Result<(RunPage, Vec<(RunSummary, IsStored)>), ReadError> {
    let mut fresh = Fresh::new(tiers, workspace, card, LOG_BUDGET);
    fresh.read([], None).await?;
    let is_cut = fresh.is_cut;
    let mut fresh: HashMap<_, _> = fresh.into_summaries().map(|of| (of.0.run_id.clone(), of)).collect();
    let mut listed = tiers.runs.list(workspace, &RunListing::Card(card.to_owned()), page, limit).await?;
    for run in &mut listed.runs {
        if let Some((newer, _)) = fresh.remove(&run.run_id) {
            *run = newer;
        }
        run.incomplete = is_cut;
    }
    Ok((listed, fresh.into_values().collect()))
}

/// Whether the store knew a run when the log was read.
type IsStored = bool;

/// Runs of a card with what the log holds beyond the sink's position.
struct Fresh<'a> {
    tiers: &'a StoredTiers,
    workspace: &'a str,
    card: &'a str,
    runs: HashMap<String, (Vec<RunPart>, IsStored)>,
    /// Up to where they are counted.
    ends: Cursor,
    /// How many offsets of each partition are looked through, and whether that left some out.
    budget: i64,
    is_cut: bool,
}

impl<'a> Fresh<'a> {
    fn new(tiers: &'a StoredTiers, workspace: &'a str, card: &'a str, budget: i64) -> Self {
        Fresh { tiers, workspace, card, runs: HashMap::new(), ends: Cursor::new(), budget, is_cut: false }
    }

    /// Reads the end of the log in the card's lanes and the further ones, and counts the records of `only`, or of
    /// whatever run there is.
    async fn read(&mut self, further: impl IntoIterator<Item = i32>, only: Option<&str>) -> Result<(), ReadError> {
        // Whoever misplaces a card's records in one topic misplaces them likewise in the others.
        let lanes = lanes(self.tiers, self.workspace, self.card, further).await?;
        let all_topics = |lane: &i32| Topic::ALL.map(|topic| TopicPartition::new(topic, *lane));
        let partitions: BTreeSet<_> = lanes.iter().flat_map(all_topics).collect();
        // Before the parts: what isn't in those then isn't below the sink's position.
        let held = self.tiers.runs_held(&partitions).await?;
        if let Some(run) = only {
            self.load(run).await?;
        }
        let tails = partitions.into_iter().map(|partition| self.tail(partition, held.get(&partition).copied()));
        let tails = try_join_all(tails).await?;
        self.ends = tails.iter().map(|tail| tail.end).collect();
        self.is_cut = tails.iter().any(|tail| tail.is_cut);
        let mut batches: SelectAll<_> = tails.into_iter().filter_map(|tail| tail.batches).collect();
        while let Some(batch) = batches.next().await {
            self.count(batch?.as_ref(), only).await?;
        }
        Ok(())
    }

    /// The end of a partition, and what lies beyond the sink's position, if anything.
    async fn tail(&self, partition: TopicPartition, held: Option<Seen>) -> Result<Tail, ReadError> {
        let watermarks = self.tiers.watermarks(partition).await?;
        let present = self.tiers.present_of(partition.topic).await?;
        // A sink that hasn't begun, or stands in a making before, has seen nothing of it.
        let held = held.filter(|held| held.epoch >= present);
        let (epoch, high) = held.map_or((present, watermarks.low), |held| (held.epoch, held.high));
        let (next, to) = (high.max(watermarks.low), watermarks.high);
        if next >= to {
            return Ok(Tail { end: (partition, epoch, next), is_cut: false, batches: None });
        }
        let from = next.max(to.saturating_sub(self.budget));
        let key = Some(Bytes::copy_from_slice(self.card.as_bytes()));
        let scan = self.tiers.log(SeekRequest { partition, epoch, from, to, key });
        let batches = unfold(scan, async |mut scan| scan.next().await.map(|batch| (batch, scan))).boxed();
        Ok(Tail { end: (partition, epoch, to), is_cut: next < from, batches: Some(batches) })
    }

    async fn count(&mut self, batch: &Batch, only: Option<&str>) -> Result<(), ReadError> {
        let view = self.tiers.erasures.view().await?;
        for record in batch.records() {
            let (workspace, card, run) = match &record.content {
                Content::Entry(entry) => (&entry.workspace_id, &entry.card_id, &entry.run_id),
                Content::Event(event) => (&event.workspace_id, &event.card_id, &event.run_id),
            };
            if *workspace != self.workspace || *card != self.card || only.is_some_and(|only| *run != only) {
                continue;
            }
            let position = Position { partition: batch.partition, epoch: batch.epoch, offset: record.offset };
            if view.hides(workspace, run, position) {
                continue;
            }
            if !self.runs.contains_key(run.as_str()) {
                self.load(run).await?;
            }
            let Some((parts, _)) = self.runs.get_mut(run.as_str()) else { continue };
            let at = (batch.partition, batch.epoch);
            match parts.iter_mut().find(|part| (part.partition, part.epoch) == at) {
                Some(part) => part.apply(record),
                None => parts.push(RunPart::first(batch.partition, batch.epoch, record)),
            }
        }
        Ok(())
    }

    async fn load(&mut self, run: &str) -> Result<(), ReadError> {
        let parts = self.tiers.runs.parts(self.workspace, run).await?;
        let is_stored = !parts.is_empty();
        self.runs.insert(run.to_owned(), (parts, is_stored));
        Ok(())
    }

    fn into_summaries(self) -> impl Iterator<Item = (RunSummary, IsStored)> {
        self.runs
            .into_iter()
            .filter_map(move |(run, (parts, is_stored))| Some((self.tiers.runs.fold(&run, &parts)?, is_stored)))
            .map(move |(run, is_stored)| (RunSummary { incomplete: self.is_cut, ..run }, is_stored))
    }
}

/// The last records of a partition.
struct Tail {
    /// The partition, its epoch, and where it ends.
    end: (TopicPartition, u32, i64),
    /// Whether some that lie beyond the sink's position are left out.
    is_cut: bool,
    /// The records, as they come; `None` if there are none.
    batches: Option<BoxStream<'static, Result<Arc<Batch>, KafkaError>>>,
}
