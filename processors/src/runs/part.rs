//! The part: what one partition says of one run.

use std::time::Duration;

use agentworks_kafka::{Content, Record};
use agentworks_schemas::protocol::{RunStatus, RunSummary};
use agentworks_schemas::{LogEntry, RunEvent, RunEventKind, Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};

use super::marks::Mark;

/// What one partition says of one run. It is a pure function of the run's records there, from the first to `applied`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPart {
    /// The partition.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The offset after the last record counted.
    pub applied: i64,
    /// The run's card.
    pub card: String,
    /// The offset of the run's first record here.
    pub first: i64,
    /// The record timestamps of the first and the last record: what readers infer a run's life from where no event says.
    pub recorded: (Timestamp, Timestamp),
    /// The least and greatest producer timestamp of its entries and events.
    pub time: (Timestamp, Timestamp),
    /// How many entries of each level, in the order of [`agentworks_schemas::Level::ALL`].
    pub levels: [u64; 5],
    /// The agent first named, and the record timestamp then.
    pub agent: Option<(Timestamp, String)>,
    /// When the run began, by its first `started` event.
    pub started: Option<Timestamp>,
    /// The last event that began or ended the run.
    pub lifecycle: Option<Lifecycle>,
    /// Money spent, in US dollars.
    pub cost: Option<f64>,
    /// Tokens read and written.
    pub tokens: Option<i64>,
    /// Where the last mark stands: see [`super::Mark`].
    pub marked: i64,
    /// The running maximum of the entries' own timestamps.
    pub clock: Timestamp,
    /// Under what the run is listed of parts in whose place this one is, because their beginning was erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Listed>,
}

/// Under what a run is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The record timestamp of its first record.
    pub began: Timestamp,
    /// Its card.
    pub card: String,
}

/// The longest reason that is kept of an event, in bytes; of a longer one its beginning, with [`CUT`] at the end.
pub const MAX_REASON: usize = 4 * 1024;

/// What stands for the rest of a reason.
pub const CUT: &str = "…";

/// An event that began or ended a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Its record timestamp: the latest of a run's parts counts.
    pub recorded: Timestamp,
    /// Its own timestamp.
    pub at: Timestamp,
    /// What happened.
    pub kind: LifecycleKind,
    /// The exit status it told.
    pub exit_code: Option<i32>,
    /// The reason it told, of at most [`MAX_REASON`] bytes.
    pub reason: Option<String>,
}

/// What happened to a run. What a newer version of this program has written is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LifecycleKind {
    /// What is known here.
    Known(RunEventKind),
    /// Something else: the run goes on, as far as anybody can say here.
    Newer(String),
}

impl LifecycleKind {
    /// Whether the run is over after this.
    pub fn is_end(&self) -> bool {
        self.known().is_some_and(RunEventKind::is_end)
    }

    fn known(&self) -> Option<RunEventKind> {
        match self {
            LifecycleKind::Known(kind) => Some(*kind),
            LifecycleKind::Newer(_) => None,
        }
    }
}

/// A reason as it is kept.
fn bounded(reason: &str) -> String {
    if reason.len() <= MAX_REASON {
        return reason.to_owned();
    }
    let end = reason.floor_char_boundary(MAX_REASON - CUT.len());
    format!("{}{CUT}", &reason[..end])
}

/// A sum of money that stays one, however much is claimed: JSON has no infinity, and what it has instead reads as nothing.
fn add_costs(sum: f64, cost: f64) -> f64 {
    (sum + cost).min(f64::MAX)
}

impl RunPart {
    /// The part that the run's first record in a partition makes.
    pub fn first(partition: TopicPartition, epoch: u32, record: &Record<'_>) -> Self {
        let (card, timestamp) = match &record.content {
            Content::Entry(entry) => (&entry.card_id, entry.timestamp),
            Content::Event(event) => (&event.card_id, event.timestamp),
        };
        let mut part = RunPart {
            partition,
            epoch,
            applied: record.offset,
            card: card.as_str().to_owned(),
            first: record.offset,
            recorded: (record.timestamp, record.timestamp),
            time: (timestamp, timestamp),
            levels: [0; 5],
            agent: None,
            started: None,
            lifecycle: None,
            cost: None,
            tokens: None,
            marked: record.offset,
            clock: timestamp,
            replaced: Vec::new(),
        };
        part.apply(record);
        part
    }

    /// Counts a record of the run, whose first in a partition makes the part, and adds the mark that is due there.
    pub(super) fn count_record(
        part: &mut Option<RunPart>,
        marks: &mut Vec<Mark>,
        (partition, epoch): (TopicPartition, u32),
        record: &Record<'_>,
    ) {
        match part {
            Some(part) => {
                if matches!(record.content, Content::Entry(_)) {
                    marks.extend(Mark::due(part, record));
                }
                part.apply(record);
            }
            none => *none = Some(RunPart::first(partition, epoch, record)),
        }
    }

    /// Counts a record of the run, unless it has been counted.
    pub fn apply(&mut self, record: &Record<'_>) {
        if record.offset < self.applied {
            return;
        }
        self.applied = record.offset + 1;
        self.recorded.1 = self.recorded.1.max(record.timestamp);
        match &record.content {
            Content::Entry(entry) => self.count(entry, record.timestamp),
            Content::Event(event) => self.follow(event, record.timestamp),
        }
    }

    /// The part of which this is the beginning and `rest` what follows it in the same partition.
    pub(super) fn followed_by(self, rest: RunPart) -> RunPart {
        // Events have none.
        let clock = if rest.entries() > 0 { self.clock.max(rest.clock) } else { self.clock };
        RunPart {
            partition: self.partition,
            epoch: self.epoch,
            applied: rest.applied,
            card: self.card,
            first: self.first,
            recorded: (self.recorded.0, self.recorded.1.max(rest.recorded.1)),
            time: (self.time.0.min(rest.time.0), self.time.1.max(rest.time.1)),
            levels: std::array::from_fn(|level| self.levels[level] + rest.levels[level]),
            agent: self.agent.or(rest.agent),
            started: self.started.or(rest.started),
            lifecycle: rest.lifecycle.or(self.lifecycle),
            cost: self.cost.into_iter().chain(rest.cost).reduce(add_costs),
            tokens: self.tokens.into_iter().chain(rest.tokens).reduce(i64::saturating_add),
            marked: rest.marked,
            clock,
            replaced: [self.replaced, rest.replaced].concat(),
        }
    }

    /// How many bytes of text it has in memory.
    pub(super) fn text(&self) -> usize {
        let agent = self.agent.as_ref().map_or(0, |(_, agent)| agent.len());
        let reason = self.lifecycle.as_ref().and_then(|event| event.reason.as_ref()).map_or(0, String::len);
        let replaced = self.replaced.iter().map(|listed| size_of::<Listed>() + listed.card.len()).sum::<usize>();
        self.card.len() + agent + reason + replaced
    }

    /// Under what its run is listed for it.
    pub(super) fn listed(&self) -> Listed {
        Listed { began: self.recorded.0, card: self.card.clone() }
    }

    /// How many entries have been counted.
    pub fn entries(&self) -> u64 {
        self.levels.iter().sum()
    }

    fn count(&mut self, entry: &LogEntry<'_>, recorded: Timestamp) {
        self.see(entry.timestamp, entry.agent_id.as_deref(), recorded);
        self.clock = self.clock.max(entry.timestamp);
        self.levels[entry.level as usize] += 1;
    }

    fn follow(&mut self, event: &RunEvent<'_>, recorded: Timestamp) {
        self.see(event.timestamp, event.agent_id.as_deref(), recorded);
        if let Some(cost) = event.cost {
            self.cost = Some(add_costs(self.cost.unwrap_or(0.0), cost));
        }
        if event.input_tokens.is_some() || event.output_tokens.is_some() {
            let spent = event.input_tokens.unwrap_or(0).saturating_add(event.output_tokens.unwrap_or(0));
            let tokens = self.tokens.get_or_insert(0);
            *tokens = tokens.saturating_add(spent);
        }
        if event.kind == RunEventKind::Started {
            self.started.get_or_insert(event.timestamp);
        }
        if event.kind != RunEventKind::Usage {
            self.lifecycle = Some(Lifecycle {
                recorded,
                at: event.timestamp,
                kind: LifecycleKind::Known(event.kind),
                exit_code: event.exit_code,
                reason: event.reason.as_ref().map(|reason| bounded(reason.as_str())),
            });
        }
    }

    fn see(&mut self, timestamp: Timestamp, agent: Option<&str>, recorded: Timestamp) {
        self.time = (self.time.0.min(timestamp), self.time.1.max(timestamp));
        if let (None, Some(agent)) = (&self.agent, agent) {
            self.agent = Some((recorded, agent.to_owned()));
        }
    }
}

/// How to infer what no event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inference {
    /// The present.
    pub now: Timestamp,
    /// A run that no event ended counts as over when nothing of it has come for so long.
    pub silence: Duration,
}

/// Adds the parts of a run; `None` if there are none.
///
/// The latest event that began or ended the run decides how it stands: entries that come after its end are counted, and
/// reopen nothing. Where no event says that it began, or that it ended although it has long been silent, the summary is
/// what its records' times suggest, and marked as inferred. That is worked out for each reader and never stored: a record
/// that comes after all shows the run as running again.
pub fn fold_parts(run: &str, parts: &[RunPart], inference: Inference) -> Option<RunSummary> {
    let first = parts.iter().min_by_key(|part| (part.recorded.0, part.partition))?;
    let lifecycles = parts.iter().filter_map(|part| Some((part.lifecycle.as_ref()?, part.partition)));
    let lifecycle = lifecycles.max_by_key(|(event, partition)| (event.recorded, *partition)).map(|(event, _)| event);
    let started = parts.iter().filter_map(|part| part.started).min();
    let start_time = started.or_else(|| parts.iter().map(|part| part.time.0).min())?;
    let end = lifecycle.filter(|event| event.kind.is_end());
    let last_recorded = parts.iter().map(|part| part.recorded.1).max()?;
    let is_silent = end.is_none() && inference.now.since(last_recorded) >= inference.silence;
    let last_seen = parts.iter().map(|part| part.time.1).max()?;
    let end_time = end.map(|event| event.at).or(is_silent.then_some(last_seen));
    let agent = parts.iter().filter_map(|part| part.agent.as_ref()).min();
    let count = |levels: &[usize]| parts.iter().map(|part| levels.iter().map(|l| part.levels[*l]).sum::<u64>()).sum();
    Some(RunSummary {
        run_id: run.to_owned(),
        card_id: first.card.clone(),
        agent_id: agent.map(|(_, agent)| agent.clone()).unwrap_or_default(),
        status: match lifecycle.and_then(|event| event.kind.known()) {
            Some(RunEventKind::Completed) => RunStatus::Completed,
            Some(RunEventKind::Failed) => RunStatus::Failed,
            Some(RunEventKind::Cancelled) => RunStatus::Cancelled,
            Some(RunEventKind::Started | RunEventKind::Usage) | None if is_silent => RunStatus::Completed,
            Some(RunEventKind::Started | RunEventKind::Usage) | None => RunStatus::Running,
        },
        inferred: lifecycle.is_none() || is_silent,
        incomplete: false,
        start_time,
        end_time,
        duration: end_time.map(|end| u64::try_from(end.since(start_time).as_millis()).unwrap_or(u64::MAX)),
        log_count: count(&[0, 1, 2, 3, 4]),
        error_count: count(&[3, 4]),
        warning_count: count(&[2]),
        cost: parts.iter().filter_map(|part| part.cost).reduce(add_costs),
        tokens_used: parts.iter().filter_map(|part| part.tokens).reduce(i64::saturating_add),
        exit_code: end.and_then(|event| event.exit_code),
        reason: match end {
            Some(event) => event.reason.clone(),
            None => is_silent.then(|| format!("no event ended it; silent since {last_recorded}")),
        },
    })
}
