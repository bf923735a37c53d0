//! Writing one run: ids and sequence numbers are given here.

use std::fmt;
use std::sync::Arc;

use agentworks_schemas::text::{JsonObject, Text};
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp};
use parking_lot::Mutex;

use super::error::Missed;
use super::ids::Ids;
use super::{Delivery, Producer, Record, Room, SendError};

/// Writes the entries and events of one run. Clones write the same run.
///
/// An entry has its sequence number from the moment in which it goes into the producer's buffer, so the numbers are in the
/// order of the log however many threads write, and an entry that was refused spends none.
#[derive(Clone)]
pub struct RunHandle {
    run: Arc<Run>,
}

struct Run {
    producer: Producer,
    workspace: String,
    card: String,
    id: String,
    next: Mutex<Next>,
}

struct Next {
    sequence: i64,
    ids: Ids,
}

impl RunHandle {
    pub(super) fn new(producer: Producer, workspace: &str, card: &str, id: &str) -> Self {
        let next = Mutex::new(Next { sequence: 0, ids: Ids::new() });
        let run = Run { producer, workspace: workspace.into(), card: card.into(), id: id.into(), next };
        RunHandle { run: Arc::new(run) }
    }

    /// Goes on with a run of which entries were written before: the next one has this sequence number.
    pub fn starting_at(self, sequence: i64) -> Self {
        self.run.next.lock().sequence = sequence;
        self
    }

    /// The sequence number of the next entry.
    pub fn next_sequence(&self) -> i64 {
        self.run.next.lock().sequence
    }

    /// Passes over `count` sequence numbers: the hole says that so many entries were lost before the log.
    pub fn skip(&self, count: i64) {
        self.run.next.lock().sequence += count;
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.run.id
    }

    /// The card's id.
    pub fn card(&self) -> &str {
        &self.run.card
    }

    /// An entry with what every entry has.
    pub fn log<'a>(&'a self, level: Level, source: Source, component: &'a str, message: &'a str) -> EntryBuilder<'a> {
        let created = Timestamp::now();
        let entry = LogEntry {
            id: "".into(),
            run_id: self.run.id.as_str().into(),
            card_id: self.run.card.as_str().into(),
            workspace_id: self.run.workspace.as_str().into(),
            timestamp: created,
            sequence: 0,
            level,
            source,
            component: component.into(),
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
        };
        EntryBuilder { run: self, created, entry }
    }

    /// The event that the run began.
    pub fn started(&self) -> EventBuilder<'_> {
        self.event(RunEventKind::Started)
    }

    /// The event that the run spent money or tokens.
    pub fn usage(&self) -> EventBuilder<'_> {
        self.event(RunEventKind::Usage)
    }

    /// The event that the run ended well.
    pub fn completed(&self) -> EventBuilder<'_> {
        self.event(RunEventKind::Completed)
    }

    /// The event that the run failed.
    pub fn failed<'a>(&'a self, reason: &'a str) -> EventBuilder<'a> {
        self.event(RunEventKind::Failed).reason(reason)
    }

    /// The event that the run was ended from outside.
    pub fn cancelled<'a>(&'a self, reason: &'a str) -> EventBuilder<'a> {
        self.event(RunEventKind::Cancelled).reason(reason)
    }

    fn event(&self, kind: RunEventKind) -> EventBuilder<'_> {
        let event = RunEvent {
            id: "".into(),
            run_id: self.run.id.as_str().into(),
            card_id: self.run.card.as_str().into(),
            workspace_id: self.run.workspace.as_str().into(),
            timestamp: Timestamp::now(),
            kind,
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
        };
        EventBuilder { run: self, event }
    }
}

impl fmt::Debug for RunHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { workspace, card, id, .. } = &*self.run;
        f.debug_struct("RunHandle").field("workspace", workspace).field("card", card).field("run", id).finish()
    }
}

/// An entry on its way to be sent.
#[derive(Clone, Debug)]
#[must_use = "an entry is sent by `send` or `try_send`"]
pub struct EntryBuilder<'a> {
    run: &'a RunHandle,
    created: Timestamp,
    entry: LogEntry<'a>,
}

impl<'a> EntryBuilder<'a> {
    /// When it was written; now if not set.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.entry.timestamp = timestamp;
        self
    }

    /// What else the line says, structured.
    pub fn data(mut self, data: JsonObject<'a>) -> Self {
        self.entry.data = Some(data);
        self
    }

    /// The agent.
    pub fn agent(mut self, id: &'a str) -> Self {
        self.entry.agent_id = Some(id.into());
        self
    }

    /// The model provider and the model.
    pub fn model(mut self, provider: &'a str, model: &'a str) -> Self {
        self.entry.provider = Some(provider.into());
        self.entry.model = Some(model.into());
        self
    }

    /// On whose behalf.
    pub fn user(mut self, id: &'a str) -> Self {
        self.entry.user_id = Some(id.into());
        self
    }

    /// Free labels.
    pub fn tags(mut self, tags: impl IntoIterator<Item = &'a str>) -> Self {
        self.entry.tags = Some(tags.into_iter().map(Text::from).collect());
        self
    }

    /// What ties together the entries of one request.
    pub fn correlation(mut self, id: &'a str) -> Self {
        self.entry.correlation_id = Some(id.into());
        self
    }

    /// OpenTelemetry's trace, and the parent span where there is one.
    pub fn trace(mut self, trace_id: &'a str, parent_span_id: Option<&'a str>) -> Self {
        self.entry.trace_id = Some(trace_id.into());
        self.entry.parent_span_id = parent_span_id.map(Text::from);
        self
    }

    /// Sends it as soon as there is room for it. Dropping the future before it is ready sends nothing.
    pub async fn send(mut self) -> Result<Delivery, SendError> {
        let run = &*self.run.run;
        run.producer.attempt_until_taken(|room| run.attempt(&mut self.entry, self.created, room)).await
    }

    /// Sends it if there is room now, or says [`SendError::Full`].
    pub fn try_send(mut self) -> Result<Delivery, SendError> {
        let run = &*self.run.run;
        run.producer.counted(run.attempt(&mut self.entry, self.created, None))
    }
}

impl Run {
    /// Sends the entry as the next of the run. The lock is held until Kafka's client has it, so that the order of the
    /// numbers is the order of the log.
    fn attempt<'a>(
        &'a self,
        entry: &mut LogEntry<'_>,
        created: Timestamp,
        room: Option<Room<'a>>,
    ) -> Result<Delivery, Missed> {
        let mut next = self.next.lock();
        entry.id = next.id(created);
        entry.sequence = next.sequence;
        let delivery = self.producer.shared.attempt(&Record::Entry(entry), room)?;
        next.sequence += 1;
        Ok(delivery)
    }
}

/// A run event on its way to be sent.
#[derive(Clone, Debug)]
#[must_use = "an event is sent by `send` or `try_send`"]
pub struct EventBuilder<'a> {
    run: &'a RunHandle,
    event: RunEvent<'a>,
}

impl<'a> EventBuilder<'a> {
    /// When it happened; now if not set.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.event.timestamp = timestamp;
        self
    }

    /// The agent that runs.
    pub fn agent(mut self, id: &'a str) -> Self {
        self.event.agent_id = Some(id.into());
        self
    }

    /// The model provider that was paid, and the model that was used.
    pub fn model(mut self, provider: &'a str, model: &'a str) -> Self {
        self.event.provider = Some(provider.into());
        self.event.model = Some(model.into());
        self
    }

    /// On whose behalf.
    pub fn user(mut self, id: &'a str) -> Self {
        self.event.user_id = Some(id.into());
        self
    }

    /// Money spent in this event, in US dollars.
    pub fn cost(mut self, dollars: f64) -> Self {
        self.event.cost = Some(dollars);
        self
    }

    /// Tokens that the model read and wrote in this event.
    pub fn tokens(mut self, input: i64, output: i64) -> Self {
        self.event.input_tokens = Some(input);
        self.event.output_tokens = Some(output);
        self
    }

    /// The exit status of the process that was the run; 128 + n when signal n ended it.
    pub fn exit_code(mut self, code: i32) -> Self {
        self.event.exit_code = Some(code);
        self
    }

    /// Why it ended, in words.
    pub fn reason(mut self, reason: &'a str) -> Self {
        self.event.reason = Some(reason.into());
        self
    }

    /// OpenTelemetry's trace.
    pub fn trace(mut self, trace_id: &'a str) -> Self {
        self.event.trace_id = Some(trace_id.into());
        self
    }

    /// Sends it as soon as there is room for it. Dropping the future before it is ready sends nothing.
    pub async fn send(mut self) -> Result<Delivery, SendError> {
        self.event.id = self.run.run.next.lock().id(Timestamp::now());
        self.run.run.producer.send_event(&self.event).await
    }

    /// Sends it if there is room now, or says [`SendError::Full`].
    pub fn try_send(mut self) -> Result<Delivery, SendError> {
        self.event.id = self.run.run.next.lock().id(Timestamp::now());
        self.run.run.producer.try_send_event(&self.event)
    }
}

impl Next {
    fn id(&mut self, now: Timestamp) -> Text<'static> {
        self.ids.next_text(now).into()
    }
}
