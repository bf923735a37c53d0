//! What the hub's tests share.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::protocol::{RunStatus, RunSummary};
use agentworks_schemas::{Cursor, Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};

use super::channel::{ChannelId, ViewerId};
use super::core::{Core, HubLimits};
use super::tail::Raw;
use super::watcher::Watcher;
use crate::metrics::Metrics;
use crate::socket::Outbox;

pub(super) const AGENT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };
pub(super) const SYSTEM: TopicPartition = TopicPartition { topic: Topic::SystemLogs, partition: 0 };
pub(super) const EVENTS: TopicPartition = TopicPartition { topic: Topic::RunEvents, partition: 0 };

pub(crate) fn entry<'a>(workspace: &'a str, card: &'a str, run: &'a str, message: &'a str) -> LogEntry<'a> {
    LogEntry {
        id: "id".into(),
        run_id: run.into(),
        card_id: card.into(),
        workspace_id: workspace.into(),
        timestamp: Timestamp(1_764_670_530_123),
        sequence: 0,
        level: Level::Info,
        source: Source::Agent,
        component: "test".into(),
        message: message.into(),
        data: None,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

pub(super) fn event<'a>(workspace: &'a str, card: &'a str, run: &'a str) -> RunEvent<'a> {
    RunEvent {
        id: "id".into(),
        run_id: run.into(),
        card_id: card.into(),
        workspace_id: workspace.into(),
        timestamp: Timestamp(1_764_670_530_123),
        kind: RunEventKind::Started,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        cost: None,
        input_tokens: None,
        output_tokens: None,
        exit_code: None,
        reason: None,
        trace_id: None,
    }
}

/// A run that goes on.
pub(crate) fn summary(run: &str) -> RunSummary {
    RunSummary {
        run_id: run.to_owned(),
        card_id: "card".to_owned(),
        agent_id: String::new(),
        status: RunStatus::Running,
        inferred: false,
        incomplete: false,
        start_time: Timestamp(0),
        end_time: None,
        duration: None,
        log_count: 1,
        error_count: 0,
        warning_count: 0,
        cost: None,
        tokens_used: None,
        exit_code: None,
        reason: None,
    }
}

/// A viewer as its session has it.
#[derive(Debug)]
pub(super) struct TestViewer {
    pub(super) channel: ChannelId,
    pub(super) id: ViewerId,
    pub(super) watcher: Arc<Watcher>,
    pub(super) outbox: Arc<Outbox>,
}

/// A core, and a log that it is fed from.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) core: Core,
    /// The next offset of each partition.
    pub(super) end: Cursor,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(HubLimits::default())
    }

    pub(super) fn with(limits: HubLimits) -> Self {
        let core = Core::new(limits, Schemas::builtin(), Arc::new(Metrics::default()));
        let end = Cursor::from_iter([(AGENT, 0, 0), (SYSTEM, 0, 0)]);
        Bench { core, end, now: Instant::now() }
    }

    pub(super) fn viewer(&mut self, workspace: &str, card: &str) -> TestViewer {
        self.viewer_with_room(workspace, card, 1 << 20)
    }

    pub(super) fn viewer_with_room(&mut self, workspace: &str, card: &str, room: usize) -> TestViewer {
        let outbox = Arc::new(Outbox::new(room));
        let watcher = Arc::new(Watcher::new(Arc::clone(&outbox)));
        let events = Cursor::from_iter([(EVENTS, 0, 0)]);
        let (channel, id) = self.core.watch(workspace, card, (&self.end, &events), Arc::clone(&watcher));
        TestViewer { channel, id, watcher, outbox }
    }

    /// A record on the log that the hub has not seen yet; its offset.
    pub(super) fn append(&mut self, partition: TopicPartition) -> i64 {
        let offset = self.end.get(partition).map_or(0, |(_, next)| next);
        self.end.set(partition, 0, offset + 1);
        offset
    }

    /// Has the hub take an entry, without a flush.
    pub(super) fn take(&mut self, partition: TopicPartition, offset: i64, entry: &LogEntry<'_>, keyed: bool) {
        let mut payload = Vec::new();
        encode_entry(entry, Framing::Avro, &mut payload);
        let key = keyed.then(|| entry.card_id.as_bytes());
        let raw = Raw { offset, timestamp: Timestamp(offset), key, payload: Some(&payload) };
        self.obey();
        assert!(self.core.record(partition, raw, self.now));
    }

    /// An entry goes through the log and the hub to the viewers.
    pub(super) fn entry(&mut self, partition: TopicPartition, entry: &LogEntry<'_>) -> i64 {
        let offset = self.append(partition);
        self.take(partition, offset, entry, true);
        self.core.flush();
        offset
    }

    pub(super) fn event(&mut self, event: &RunEvent<'_>) {
        let mut payload = Vec::new();
        encode_event(event, Framing::Avro, &mut payload);
        let offset = self.append(EVENTS);
        let raw =
            Raw { offset, timestamp: Timestamp(offset), key: Some(event.card_id.as_bytes()), payload: Some(&payload) };
        self.obey();
        assert!(self.core.record(EVENTS, raw, self.now));
    }

    /// As the consumer does. The commands stay for those who look at them.
    fn obey(&mut self) {
        self.core.lanes.values_mut().for_each(|lane| lane.is_assigned = true);
    }
}

/// What a viewer has been sent since the last time: the messages, and the last position.
pub(super) fn received(viewer: &TestViewer) -> (Vec<String>, Option<Cursor>) {
    let mut frames = std::collections::VecDeque::new();
    viewer.outbox.take(&mut frames, usize::MAX);
    viewer.outbox.written(frames.iter().map(|frame| frame.len()).sum());
    let mut messages = Vec::new();
    let mut last = None;
    for frame in frames {
        let value: serde_json::Value = serde_json::from_slice(frame.payload()).unwrap();
        match &value["data"] {
            serde_json::Value::Array(entries) => {
                messages.extend(entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()));
            }
            entry => messages.push(entry["message"].as_str().unwrap().to_owned()),
        }
        last = Some(value["position"].as_str().unwrap().parse().unwrap());
    }
    (messages, last)
}
