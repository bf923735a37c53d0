//! Runs, counted from the topics.

use std::collections::BTreeMap;

use agentworks_schemas::protocol::{RunStatus, RunSummary};
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Timestamp, TopicPartition};

use super::Told;

/// What the topics hold of a run.
#[derive(Debug, Default)]
pub struct Run {
    /// Its entries, by partition and offset.
    pub entries: Vec<Told>,
    /// What each partition says of it.
    pub parts: BTreeMap<TopicPartition, RunInPartition>,
}

/// What a partition says of a run.
#[derive(Debug)]
pub struct RunInPartition {
    card: String,
    /// The offset of the first record.
    pub first: i64,
    /// The record timestamps of the first and the last.
    recorded: (Timestamp, Timestamp),
    /// The producer's timestamps, of everything.
    times: Vec<Timestamp>,
    levels: BTreeMap<Level, u64>,
    agent: Option<(Timestamp, String)>,
    costs: Vec<f64>,
    tokens: Vec<i64>,
    started: Option<Timestamp>,
    /// The last event that isn't about money.
    life: Option<(Timestamp, RunEvent<'static>)>,
}

impl RunInPartition {
    pub(super) fn new(card: &str, first: i64, recorded: Timestamp) -> Self {
        RunInPartition {
            card: card.to_owned(),
            first,
            recorded: (recorded, recorded),
            times: Vec::new(),
            levels: BTreeMap::new(),
            agent: None,
            costs: Vec::new(),
            tokens: Vec::new(),
            started: None,
            life: None,
        }
    }

    pub(super) fn entry(&mut self, entry: &LogEntry<'_>, recorded: Timestamp) {
        self.see(entry.timestamp, entry.agent_id.as_deref(), recorded);
        *self.levels.entry(entry.level).or_default() += 1;
    }

    pub(super) fn event(&mut self, event: &RunEvent<'_>, recorded: Timestamp) {
        self.see(event.timestamp, event.agent_id.as_deref(), recorded);
        self.costs.extend(event.cost);
        self.tokens.extend(event.input_tokens);
        self.tokens.extend(event.output_tokens);
        match event.kind {
            RunEventKind::Usage => return,
            RunEventKind::Started => drop(self.started.get_or_insert(event.timestamp)),
            RunEventKind::Completed | RunEventKind::Failed | RunEventKind::Cancelled => {}
        }
        self.life = Some((recorded, event.clone().into_owned()));
    }

    fn see(&mut self, at: Timestamp, agent: Option<&str>, recorded: Timestamp) {
        self.recorded.1 = self.recorded.1.max(recorded);
        self.times.push(at);
        if let (None, Some(agent)) = (&self.agent, agent) {
            self.agent = Some((recorded, agent.to_owned()));
        }
    }
}

impl Run {
    /// The card that its first record names.
    pub fn card(&self) -> &str {
        let first = self.parts.iter().min_by_key(|(partition, part)| (part.recorded.0, **partition));
        &first.unwrap().1.card
    }

    /// The summary that readers should give, of a run whose last record is recent.
    pub fn summary(&self, run: &str) -> RunSummary {
        let parts = || self.parts.values();
        let count = |levels: &[Level]| -> u64 {
            parts().flat_map(|part| levels.iter().filter_map(|level| part.levels.get(level))).sum()
        };
        let life = self.parts.iter().filter_map(|(at, part)| Some((part.life.as_ref()?, at)));
        let life = life.max_by_key(|((recorded, _), at)| (*recorded, **at)).map(|((_, event), _)| event);
        let end = life.filter(|event| event.kind.is_end());
        let first_time = parts().flat_map(|part| &part.times).min().copied().unwrap();
        let start_time = parts().filter_map(|part| part.started).min().unwrap_or(first_time);
        let costs: Vec<f64> =
            parts().filter(|part| !part.costs.is_empty()).map(|part| part.costs.iter().sum()).collect();
        let tokens: Vec<i64> = parts().flat_map(|part| part.tokens.iter().copied()).collect();
        RunSummary {
            run_id: run.to_owned(),
            card_id: self.card().to_owned(),
            agent_id: parts().filter_map(|part| part.agent.clone()).min().map(|(_, name)| name).unwrap_or_default(),
            status: match life.map(|event| event.kind) {
                Some(RunEventKind::Completed) => RunStatus::Completed,
                Some(RunEventKind::Failed) => RunStatus::Failed,
                Some(RunEventKind::Cancelled) => RunStatus::Cancelled,
                Some(RunEventKind::Started | RunEventKind::Usage) | None => RunStatus::Running,
            },
            inferred: life.is_none(),
            incomplete: false,
            start_time,
            end_time: end.map(|event| event.timestamp),
            duration: end.map(|event| event.timestamp.millis().saturating_sub(start_time.millis()).max(0) as u64),
            log_count: count(&Level::ALL),
            error_count: count(&[Level::Error, Level::Fatal]),
            warning_count: count(&[Level::Warn]),
            cost: (!costs.is_empty()).then(|| costs.iter().sum()),
            tokens_used: (!tokens.is_empty()).then(|| tokens.iter().sum()),
            exit_code: end.and_then(|event| event.exit_code),
            reason: end.and_then(|event| event.reason.as_deref().map(str::to_owned)),
        }
    }
}
