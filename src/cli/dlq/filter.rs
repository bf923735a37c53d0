//! Which letters.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use agentworks_kafka::KafkaSettings;
use agentworks_kafka::dead_letter::read::{Found, Letter, LetterPosition, Origin, read_letters};
use agentworks_schemas::{Timestamp, Topic};
use clap::Args;

use super::erased::{Erasures, Owner, Verdict};

/// Which letters; all that is given must hold.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// From this topic: agent-logs, system-logs, run-events
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Of this card, which is the record's key
    #[arg(long, visible_alias = "key", value_name = "CARD")]
    card: Option<String>,
    /// Whose reason has this in it, or whose kind of fault is this
    #[arg(long, value_name = "SUBSTRING")]
    reason: Option<String>,
    /// Rejected at this time or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Rejected at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Also those that lie before an erasure, and of which nobody can say whose they are
    #[arg(long)]
    unattributed: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    let parsed = parsed.map_err(|error| format!("not a time such as 2026-01-31T12:00:00Z: {error}"))?;
    Ok(Timestamp(parsed.as_millisecond()))
}

impl Filter {
    pub(super) fn passes(&self, settings: &KafkaSettings, letter: &Letter) -> bool {
        let topic = settings.topics.topic(&letter.origin.topic).map(Topic::as_str);
        let is_of = |wanted: &String| topic == Some(wanted) || letter.origin.topic == *wanted;
        self.topic.as_ref().is_none_or(is_of)
            && self.card.as_ref().is_none_or(|card| letter.key.as_deref() == Some(card.as_bytes()))
            && self.reason.as_ref().is_none_or(|part| letter.reason.contains(part) || letter.code == *part)
            && self.since.is_none_or(|since| letter.written >= since)
            && self.until.is_none_or(|until| letter.written <= until)
    }
}

/// The letters that were chosen, without their payloads, oldest first, each origin once, without what was erased; and what
/// has been redriven.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) letters: Vec<Letter>,
    pub(super) redriven: HashSet<Origin>,
    /// How many were erased.
    erased: usize,
    /// How many lie before an erasure, and may have been.
    unattributed: usize,
}

impl Chosen {
    /// Reads all of the topic. Blocks.
    pub(super) fn read(settings: &KafkaSettings, filter: &Filter) -> anyhow::Result<Chosen> {
        let mut letters = HashMap::<Origin, (Letter, Owner)>::new();
        let (mut erasures, mut fault) = (Erasures::default(), None);
        let mut chosen = Chosen::default();
        read_letters(settings, |found| {
            match found {
                Found::Letter(letter) if filter.passes(settings, &letter) => {
                    // It may have been written more than once; the copies are the same.
                    letters.entry(letter.origin.clone()).or_insert_with(|| {
                        let owner = Owner::of(settings, &letter);
                        (Letter { payload: None, ..*letter }, owner)
                    });
                }
                Found::Redriven(origin) => drop(chosen.redriven.insert(origin)),
                Found::Erasure(json) => fault = fault.take().or(erasures.add(&json).err()),
                Found::Letter(_) | Found::Foreign(_) => {}
            }
            ControlFlow::Continue(())
        })?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        for (letter, owner) in letters.into_values() {
            match erasures.verdict(settings, &letter, &owner) {
                Verdict::Erased => chosen.erased += 1,
                Verdict::Unattributed if !filter.unattributed => chosen.unattributed += 1,
                Verdict::Unattributed | Verdict::Stays => chosen.letters.push(letter),
            }
        }
        chosen.letters.sort_by(|a, b| (a.written, &a.origin).cmp(&(b.written, &b.origin)));
        Ok(chosen)
    }

    /// What was left out because of erasures, a line each.
    pub(super) fn left_out(&self) -> Vec<String> {
        let erased = (self.erased > 0).then(|| format!("{} were erased and are left out", self.erased));
        let unattributed = (self.unattributed > 0).then(|| {
            format!(
                "{} lie before an erasure, and nobody can say whose they are: they are left out; --unattributed takes \
                 them too",
                self.unattributed
            )
        });
        erased.into_iter().chain(unattributed).collect()
    }

    /// Where they lie.
    pub(super) fn positions(&self) -> HashSet<LetterPosition> {
        self.letters.iter().map(|letter| letter.position).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Topics;

    use super::*;

    fn letter() -> Letter {
        Letter {
            position: LetterPosition { partition: 0, offset: 0 },
            written: Timestamp(1_000_000),
            origin: Origin { topic: "x.agent-logs".into(), partition: 0, epoch: 0, offset: 7 },
            timestamp: Timestamp(0),
            code: "json".into(),
            reason: "not JSON: expected value".into(),
            key: Some(b"card-1".to_vec()),
            payload: None,
            length: 3,
            cut: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn all_that_is_given_must_hold() {
        let settings = KafkaSettings::new("127.0.0.1:9", Topics::with_prefix("x."));
        let passes = |filter: Filter| filter.passes(&settings, &letter());
        let some = |text: &str| Some(text.to_owned());
        assert!(passes(Filter::default()));
        assert!(passes(Filter { topic: some("agent-logs"), card: some("card-1"), ..Filter::default() }));
        assert!(passes(Filter { topic: some("x.agent-logs"), reason: some("expected"), ..Filter::default() }));
        assert!(passes(Filter { reason: some("json"), ..Filter::default() }), "the code");
        assert!(!passes(Filter { topic: some("agent-logs"), card: some("card-2"), ..Filter::default() }));
        assert!(!passes(Filter { topic: some("system-logs"), ..Filter::default() }));
        let (before, at) = (Some(Timestamp(999_999)), Some(Timestamp(1_000_000)));
        assert!(passes(Filter { since: at, until: at, ..Filter::default() }));
        assert!(!passes(Filter { until: before, ..Filter::default() }));
        assert_eq!(time("1970-01-01T00:16:40Z").unwrap(), Timestamp(1_000_000));
        assert!(time("yesterday").unwrap_err().contains("2026-01-31T12:00:00Z"));
    }
}
