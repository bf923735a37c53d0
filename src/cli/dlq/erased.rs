//! What was erased of the letters.

use std::ops::ControlFlow;

use agentworks_kafka::KafkaSettings;
use agentworks_kafka::dead_letter::read::{Found, Letter, read_letters};
use agentworks_processors::erasure::{Erasure, Target};
use agentworks_schemas::codec::{Defaults, Schemas, decode_entry, decode_event};
use agentworks_schemas::{Position, Timestamp, Topic, TopicPartition};
use anyhow::Context;
use serde_json::Value;

/// Whose a letter is, as far as its payload tells: it can be read by now, or it is JSON with these two in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    workspace: Option<String>,
    run: Option<String>,
}

impl Owner {
    pub(super) fn of(settings: &KafkaSettings, letter: &Letter) -> Owner {
        let Some(payload) = letter.payload.as_deref() else { return Owner::default() };
        let defaults = Defaults { timestamp: Timestamp(0), id: "" };
        // Without the key: that it is another than the card may be just what was wrong.
        let decoded = match settings.topics.topic(&letter.origin.topic) {
            Some(Topic::AgentLogs | Topic::SystemLogs) => {
                let decoded = decode_entry(Schemas::builtin(), None, payload, defaults);
                decoded.ok().map(|found| (found.record.workspace_id.to_string(), found.record.run_id.to_string()))
            }
            Some(Topic::RunEvents) => {
                let decoded = decode_event(Schemas::builtin(), None, payload, defaults);
                decoded.ok().map(|found| (found.record.workspace_id.to_string(), found.record.run_id.to_string()))
            }
            None => None,
        };
        if let Some((workspace, run)) = decoded {
            return Owner { workspace: Some(workspace), run: Some(run) };
        }
        let json: Value = serde_json::from_slice(payload).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        Owner { workspace: text("workspaceId"), run: text("runId") }
    }
}

/// What the erasures say of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// None of them covers it.
    Stays,
    /// It lies before one, and nobody can say whether it is of those that were erased.
    Unattributed,
    /// It was erased.
    Erased,
}

/// All that was erased, as it is noted among the letters.
#[derive(Debug, Default)]
pub(super) struct Erasures(Vec<Erasure>);

impl Erasures {
    /// Reads all of the topic. Blocks.
    pub(super) fn read(settings: &KafkaSettings) -> anyhow::Result<Erasures> {
        let (mut erasures, mut fault) = (Erasures::default(), None);
        read_letters(settings, |found| {
            if let Found::Erasure(json) = found {
                fault = fault.take().or(erasures.add(&json).err());
            }
            ControlFlow::Continue(())
        })?;
        fault.map_or(Ok(erasures), Err)
    }

    /// Takes one as it was read.
    pub(super) fn add(&mut self, json: &[u8]) -> anyhow::Result<()> {
        let erasure: Erasure = serde_json::from_slice(json)
            .context("an erasure that is noted in the dead-letter topic can't be read: is this program too old?")?;
        if self.0.iter().all(|known| known.id != erasure.id) {
            self.0.push(erasure);
        }
        Ok(())
    }

    pub(super) fn verdict(&self, settings: &KafkaSettings, letter: &Letter, owner: &Owner) -> Verdict {
        let origin = &letter.origin;
        let Some(topic) = settings.topics.topic(&origin.topic) else { return Verdict::Stays };
        let partition = TopicPartition::new(topic, origin.partition);
        let position = Position { partition, epoch: origin.epoch, offset: origin.offset };
        let covering = self.0.iter().filter(|erasure| erasure.covers(position));
        covering.map(|erasure| of_one(erasure, owner)).max().unwrap_or(Verdict::Stays)
    }
}

/// What an erasure says of a letter that lies before it.
fn of_one(erasure: &Erasure, owner: &Owner) -> Verdict {
    let is_of = |known: &Option<String>, erased: &String| known.as_ref().map(|known| known == erased);
    let is_of_run = match &erasure.target {
        Target::Workspace => Some(true),
        Target::Run(run) => is_of(&owner.run, run),
    };
    match (is_of(&owner.workspace, &erasure.workspace), is_of_run) {
        (Some(true), Some(true)) => Verdict::Erased,
        (Some(false), _) | (_, Some(false)) => Verdict::Stays,
        _ => Verdict::Unattributed,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_kafka::dead_letter::read::{LetterPosition, Origin};
    use agentworks_schemas::{Cursor, Topics};

    use super::*;

    const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

    fn letter(offset: i64, payload: &str) -> Letter {
        Letter {
            position: LetterPosition { partition: 0, offset: 0 },
            written: Timestamp(0),
            origin: Origin { topic: "agent-logs".into(), partition: 0, epoch: 0, offset },
            timestamp: Timestamp(0),
            code: "field".into(),
            reason: "?".into(),
            key: None,
            payload: Some(payload.into()),
            length: payload.len(),
            cut: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_letter_is_erased_by_its_origin_and_its_owner() {
        let settings = KafkaSettings::new("127.0.0.1:9", Topics::default());
        let upto: Cursor = [(LANE, 0, 100)].into_iter().collect();
        let mut erasures = Erasures::default();
        for (workspace, target) in [("gone", Target::Workspace), ("acme", Target::Run("r".into()))] {
            let erasure = Erasure::new(workspace, target, upto.clone(), "tests");
            erasures.add(&serde_json::to_vec(&erasure).unwrap()).unwrap();
        }
        let whole = r#"{"workspaceId":"gone","runId":"x","cardId":"c","message":"m"}"#;
        for (payload, expected) in [
            (whole, Verdict::Erased),
            (r#"{"workspaceId":"gone","level":"loud"}"#, Verdict::Erased),
            (r#"{"workspaceId":"acme","runId":"r"}"#, Verdict::Erased),
            (r#"{"workspaceId":"acme","runId":"other"}"#, Verdict::Stays),
            (r#"{"workspaceId":"acme","runId":7}"#, Verdict::Unattributed),
            (r#"{"workspaceId":"other"}"#, Verdict::Stays),
            (r#"{"runId":"r"}"#, Verdict::Unattributed),
            ("neither this nor that", Verdict::Unattributed),
        ] {
            let letter = letter(99, payload);
            let owner = Owner::of(&settings, &letter);
            assert_eq!(erasures.verdict(&settings, &letter, &owner), expected, "{payload}");
        }
        let later = letter(100, whole);
        assert_eq!(erasures.verdict(&settings, &later, &Owner::of(&settings, &later)), Verdict::Stays);
        assert!(erasures.add(b"{}").is_err());
    }
}
