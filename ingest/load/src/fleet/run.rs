//! One simulated run: scenes of a few lines each, from its beginning to its end.

use std::collections::VecDeque;
use std::time::Duration;

use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use serde_json::{Value, json};
use uuid::Builder;

use super::talk;
use super::{Mix, Record};

type Random = Xoshiro256PlusPlus;

/// How a run will end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Completed,
    Failed,
    Cancelled,
}

/// A run between two of its steps.
#[derive(Debug)]
pub(super) struct Run {
    workspace: String,
    card: String,
    id: String,
    agent: String,
    user: String,
    trace: String,
    model: usize,
    started: Timestamp,
    sequence: i64,
    /// How many entries there are to be before the end begins.
    remaining: usize,
    ending: Ending,
    /// What has been thought of but not said yet.
    next: VecDeque<Draft>,
    ended: bool,
}

#[derive(Debug)]
enum Draft {
    Line(Line),
    Event(Event),
}

#[derive(Debug)]
struct Line {
    level: Level,
    source: Source,
    component: &'static str,
    message: String,
    data: Option<Value>,
    tags: &'static [&'static str],
}

#[derive(Debug)]
struct Event {
    kind: RunEventKind,
    cost: Option<f64>,
    tokens: Option<(i64, i64)>,
    exit_code: Option<i32>,
    reason: Option<&'static str>,
}

fn line(level: Level, source: Source, component: &'static str, message: impl Into<String>) -> Line {
    Line { level, source, component, message: message.into(), data: None, tags: &[] }
}

fn event(kind: RunEventKind) -> Event {
    Event { kind, cost: None, tokens: None, exit_code: None, reason: None }
}

impl Line {
    fn data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    fn tags(mut self, tags: &'static [&'static str]) -> Self {
        self.tags = tags;
        self
    }
}

/// A UUIDv7 whose random bits come from the seed.
fn uuid(random: &mut Random, now: Timestamp) -> String {
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random.random()).into_uuid().to_string()
}

impl Run {
    pub(super) fn new(workspace: &str, card: &str, entries: usize, now: Timestamp, random: &mut Random) -> Self {
        let ending = match random.random_range(0..100) {
            0..80 => Ending::Completed,
            80..95 => Ending::Failed,
            _ => Ending::Cancelled,
        };
        let mut run = Run {
            workspace: workspace.into(),
            card: card.into(),
            id: uuid(random, now),
            agent: format!("agent-{}", random.random_range(1..=40)),
            user: format!("user-{}", random.random_range(1..=15)),
            trace: format!("{:032x}", random.random::<u128>()),
            model: random.random_range(0..talk::MODELS.len()),
            started: now,
            sequence: 0,
            remaining: entries,
            ending,
            next: VecDeque::new(),
            ended: false,
        };
        run.begin(random);
        run
    }

    /// The next step; `None` once the run has ended.
    pub(super) fn step(&mut self, now: Timestamp, mix: &Mix, random: &mut Random) -> Option<Record> {
        if self.next.is_empty() {
            match (self.remaining, self.ended) {
                (_, true) => return None,
                (0, false) => self.end(now, random),
                _ => self.scene(mix, random),
            }
        }
        let draft = self.next.pop_front()?;
        let id = uuid(random, now);
        Some(match draft {
            Draft::Line(line) => Record::Entry(self.entry(id, now, line)),
            Draft::Event(event) => Record::Event(self.event(id, now, event)),
        })
    }

    fn say(&mut self, line: Line) {
        self.remaining = self.remaining.saturating_sub(1);
        self.next.push_back(Draft::Line(line));
    }

    fn tell(&mut self, event: Event) {
        self.next.push_back(Draft::Event(event));
    }

    fn begin(&mut self, random: &mut Random) {
        self.tell(event(RunEventKind::Started));
        let (provider, model, ..) = talk::MODELS[self.model];
        let scheduled = format!("Run scheduled on {} with {provider}/{model}, asked for by {}", self.agent, self.user);
        self.say(line(Level::Info, Source::Orchestrator, "scheduler", scheduled));
        self.say(line(Level::Info, Source::System, "runner", talk::system_line(random)));
        self.say(line(Level::Info, Source::Agent, "planner", talk::plan(random)).tags(&["plan"]));
    }

    fn end(&mut self, now: Timestamp, random: &mut Random) {
        self.ended = true;
        let took = now.since(self.started);
        let summary = json!({"entries": self.sequence, "durationMs": took.as_millis() as u64});
        match self.ending {
            Ending::Completed => {
                let done = format!("Done. {}", talk::thought(random));
                self.say(line(Level::Info, Source::Agent, "planner", done).data(summary));
                self.tell(Event { exit_code: Some(0), ..event(RunEventKind::Completed) });
            }
            Ending::Failed => {
                self.say(line(Level::Error, Source::Agent, "executor", talk::stack_trace(random)).tags(&["exception"]));
                let given_up = "Giving up after 3 attempts";
                self.say(line(Level::Fatal, Source::Orchestrator, "supervisor", given_up).data(summary));
                self.tell(Event { exit_code: Some(1), reason: Some(given_up), ..event(RunEventKind::Failed) });
            }
            Ending::Cancelled => {
                let message = "Cancelled by the user; the work so far is kept on its branch";
                self.say(line(Level::Warn, Source::Orchestrator, "supervisor", message).data(summary));
                let reason = Some("cancelled by the user");
                self.tell(Event { exit_code: Some(143), reason, ..event(RunEventKind::Cancelled) });
            }
        }
    }

    fn scene(&mut self, mix: &Mix, random: &mut Random) {
        let weights = [mix.thoughts, mix.tools, mix.models, mix.languages, mix.warnings, mix.errors, mix.system];
        let mut point = random.random_range(0..weights.iter().sum::<u32>().max(1));
        let scene = weights.iter().position(|weight| {
            let here = point < *weight;
            point = point.saturating_sub(*weight);
            here
        });
        match scene {
            Some(1) => self.tool_call(random),
            Some(2) => self.model_call(random),
            Some(3) => self.say(line(Level::Info, Source::Agent, "planner", talk::other_language(random))),
            Some(4) => {
                let attempt = json!({"attempt": random.random_range(1..=3), "waitMs": random.random_range(200..8000)});
                self.say(line(Level::Warn, Source::Agent, "executor", talk::warning(random)).data(attempt));
            }
            Some(5) => {
                self.say(line(Level::Error, Source::Agent, "executor", talk::stack_trace(random)).tags(&["exception"]));
                self.say(line(Level::Info, Source::Agent, "planner", talk::thought(random)));
            }
            Some(6) => self.say(line(Level::Debug, Source::System, "runner", talk::system_line(random))),
            _ => self.say(line(Level::Info, Source::Agent, "planner", talk::thought(random))),
        }
    }

    fn tool_call(&mut self, random: &mut Random) {
        let tool = talk::pick(random, &talk::TOOLS);
        let path = talk::path(random);
        let call = format!("call_{:012x}", random.random::<u64>() >> 16);
        let arguments = json!({
            "tool": tool, "callId": &call,
            "arguments": {"path": &path, "limit": random.random_range(1..500), "followRedirects": true},
        });
        self.say(line(Level::Debug, Source::Agent, "tools", format!("{tool} {path}")).data(arguments));

        let failed = random.random_range(0..12) == 0;
        let status = if failed { *talk::pick(random, &[&404, &429, &500, &503]) } else { 200 };
        let result = json!({
            "tool": tool, "callId": &call, "status": status,
            "durationMs": random.random_range(3..9000), "bytes": random.random_range(80..2_000_000),
            "result": {"path": &path, "lines": random.random_range(1..4000), "preview": talk::thought(random)},
        });
        let (level, message) = match failed {
            true => (Level::Warn, format!("{tool} failed with status {status}")),
            false => (Level::Info, format!("{tool} finished")),
        };
        self.say(line(level, Source::Agent, "tools", message).data(result));
    }

    fn model_call(&mut self, random: &mut Random) {
        let (provider, model, read, written) = talk::MODELS[self.model];
        let tokens: (i64, i64) = (random.random_range(800..60_000), random.random_range(50..3_000));
        let cost = (tokens.0 as f64 * read + tokens.1 as f64 * written) / 1e6;
        let duration = Duration::from_millis(random.random_range(400..25_000));
        let usage = json!({
            "inputTokens": tokens.0, "outputTokens": tokens.1, "costUsd": cost,
            "durationMs": duration.as_millis() as u64, "stopReason": "tool_use",
            "requestId": format!("req_{:016x}", random.random::<u64>()),
        });
        let message = format!("{provider}/{model} answered in {:.1} s", duration.as_secs_f64());
        self.say(line(Level::Info, Source::Provider, "completions", message).data(usage));
        self.tell(Event { cost: Some(cost), tokens: Some(tokens), ..event(RunEventKind::Usage) });
        self.say(line(Level::Info, Source::Agent, "planner", talk::thought(random)));
    }

    fn entry(&mut self, id: String, now: Timestamp, line: Line) -> LogEntry<'static> {
        let sequence = self.sequence;
        self.sequence += 1;
        let (provider, model, ..) = talk::MODELS[self.model];
        let asked = line.source == Source::Provider;
        LogEntry {
            id: id.into(),
            run_id: self.id.clone().into(),
            card_id: self.card.clone().into(),
            workspace_id: self.workspace.clone().into(),
            timestamp: now,
            sequence,
            level: line.level,
            source: line.source,
            component: line.component.into(),
            message: line.message.into(),
            data: line.data.and_then(|data| JsonObject::parse(data.to_string())),
            agent_id: (line.source == Source::Agent).then(|| self.agent.clone().into()),
            provider: asked.then(|| provider.into()),
            model: asked.then(|| model.into()),
            user_id: (line.source == Source::Orchestrator).then(|| self.user.clone().into()),
            tags: (!line.tags.is_empty()).then(|| line.tags.iter().map(|tag| (*tag).into()).collect()),
            correlation_id: None,
            parent_span_id: None,
            trace_id: Some(self.trace.clone().into()),
        }
    }

    fn event(&self, id: String, now: Timestamp, event: Event) -> RunEvent<'static> {
        let (provider, model, ..) = talk::MODELS[self.model];
        let paid = event.kind == RunEventKind::Usage;
        RunEvent {
            id: id.into(),
            run_id: self.id.clone().into(),
            card_id: self.card.clone().into(),
            workspace_id: self.workspace.clone().into(),
            timestamp: now,
            kind: event.kind,
            agent_id: Some(self.agent.clone().into()),
            provider: paid.then(|| provider.into()),
            model: paid.then(|| model.into()),
            user_id: Some(self.user.clone().into()),
            cost: event.cost,
            input_tokens: event.tokens.map(|(input, _)| input),
            output_tokens: event.tokens.map(|(_, output)| output),
            exit_code: event.exit_code,
            reason: event.reason.map(Into::into),
            trace_id: Some(self.trace.clone().into()),
        }
    }
}
