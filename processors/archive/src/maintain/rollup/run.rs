//! What a run did on a day, counted from its entries and events.

use std::collections::BTreeMap;

use agentworks_schemas::text::Text;
use agentworks_schemas::{RunEventKind, Timestamp};
use arrow_array::{Array, RecordBatch};

use crate::decode::{Events, StoredEvent, complete, instants, millis, texts};
use crate::error::ArchiveError;
use crate::rows::RowBuilder;
use crate::schema::EVENTS;

pub(super) const ENTRY_COLUMNS: [&str; 7] =
    ["workspace_id", "card_id", "run_id", "record_time", "timestamp", "level", "agent_id"];

/// Workspace, card, run.
pub(super) type Owner = (String, String, String);
pub(super) type Runs = BTreeMap<Owner, Run>;

/// An event that began or ended a run: recorded, own time, kind, exit code, reason.
type Status = (Timestamp, Timestamp, RunEventKind, Option<i32>, Option<String>);

/// What a run did on a day.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    recorded: Option<(Timestamp, Timestamp)>,
    time: Option<(Timestamp, Timestamp)>,
    levels: [i64; 5],
    /// The agent first named, and when.
    agent: Option<(Timestamp, String)>,
    started: Option<Timestamp>,
    /// The last event that began or ended it.
    status: Option<Status>,
    cost: Option<f64>,
    tokens: [Option<i64>; 2],
}

impl Run {
    fn see(&mut self, recorded: Timestamp, time: Timestamp, agent: Option<&str>) {
        let widen = |range: Option<(Timestamp, Timestamp)>, at: Timestamp| {
            Some(range.map_or((at, at), |(first, last)| (first.min(at), last.max(at))))
        };
        self.recorded = widen(self.recorded, recorded);
        self.time = widen(self.time, time);
        if let Some(agent) = agent
            && self.agent.as_ref().is_none_or(|(first, _)| recorded < *first)
        {
            self.agent = Some((recorded, agent.to_owned()));
        }
    }

    pub(super) fn write(&self, (workspace, card, run): &Owner, row: &mut RowBuilder) {
        for text in [workspace, card, run] {
            row.text(Some(text));
        }
        for range in [self.recorded, self.time] {
            row.instant(range.map(|range| range.0));
            row.instant(range.map(|range| range.1));
        }
        row.long(Some(self.levels.iter().sum()));
        self.levels.iter().for_each(|count| row.long(Some(*count)));
        row.text(self.agent.as_ref().map(|(_, agent)| agent.as_str()));
        row.instant(self.started);
        let status = self.status.as_ref();
        row.text(status.map(|(_, _, kind, ..)| kind.as_str()));
        row.instant(status.map(|(_, at, ..)| *at));
        row.int(status.and_then(|(_, _, _, code, _)| *code));
        row.text(status.and_then(|(.., reason)| reason.as_deref()));
        row.double(self.cost);
        self.tokens.iter().for_each(|tokens| row.long(*tokens));
        row.end();
    }
}

fn owned(rows: &RecordBatch) -> Result<impl Fn(usize) -> Owner + '_, ArchiveError> {
    let (workspaces, cards, runs) = (texts(rows, "workspace_id")?, texts(rows, "card_id")?, texts(rows, "run_id")?);
    Ok(move |row| (workspaces.value(row).into(), cards.value(row).into(), runs.value(row).into()))
}

pub(super) fn count_entries(runs: &mut Runs, rows: &RecordBatch) -> Result<(), ArchiveError> {
    let owner = owned(rows)?;
    let (recorded, times) = (instants(rows, "record_time")?, instants(rows, "timestamp")?);
    let (levels, agents) = (texts(rows, "level")?, texts(rows, "agent_id")?);
    for row in 0..rows.num_rows() {
        let run = runs.entry(owner(row)).or_default();
        run.see(millis(recorded, row), millis(times, row), agents.is_valid(row).then(|| agents.value(row)));
        let level: agentworks_schemas::Level =
            levels.value(row).parse().map_err(|error| ArchiveError::Corrupt(format!("{error}")))?;
        run.levels[level as usize] += 1;
    }
    Ok(())
}

/// Each is held to its hash.
pub(super) fn count_events(runs: &mut Runs, rows: &RecordBatch) -> Result<(), ArchiveError> {
    let rows = complete(rows, &EVENTS.arrow())?;
    let events = Events::new(&rows)?;
    for row in 0..rows.num_rows() {
        let StoredEvent { timestamp: at, event, .. } = events.at(row)?;
        let owner = (event.workspace_id.as_str().into(), event.card_id.as_str().into(), event.run_id.as_str().into());
        let (run, time, kind) = (runs.entry(owner).or_default(), event.timestamp, event.kind);
        run.see(at, time, event.agent_id.as_ref().map(Text::as_str));
        if kind == RunEventKind::Started {
            run.started = Some(run.started.map_or(time, |started| started.min(time)));
        }
        if kind != RunEventKind::Usage && run.status.as_ref().is_none_or(|(last, ..)| *last <= at) {
            run.status = Some((at, time, kind, event.exit_code, event.reason.map(|reason| reason.as_str().to_owned())));
        }
        if let Some(cost) = event.cost {
            *run.cost.get_or_insert(0.0) += cost;
        }
        for (sum, tokens) in run.tokens.iter_mut().zip([event.input_tokens, event.output_tokens]) {
            if let Some(tokens) = tokens {
                *sum = Some(sum.unwrap_or(0).saturating_add(tokens));
            }
        }
    }
    Ok(())
}
