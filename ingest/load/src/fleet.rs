//! Simulated fleets of agents.

mod run;
mod talk;
mod zipf;

use std::ops::RangeInclusive;
use std::time::Duration;

use agentworks_schemas::{LogEntry, RunEvent, Timestamp, Topic, codec};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use run::Run;
use zipf::Zipf;

/// A fleet: a number of cards, on each of which one run follows the other.
///
/// What it says is a function of these fields alone.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Where all that looks random comes from.
    pub seed: u64,
    /// When the first step happens; the steps' timestamps and ids count from here.
    pub start: Timestamp,
    /// The workspace of all entries.
    pub workspace: String,
    /// How many cards there are.
    pub cards: usize,
    /// How many runs a card has, one after the other; without end if `None`.
    pub runs_per_card: Option<usize>,
    /// Steps (entries and events) per second, on average; between two of them passes as long as between two arrivals of a
    /// Poisson process.
    pub rate: f64,
    /// How unequal the cards are: the k-th speaks with the weight `1 / k^skew`. All the same at 0, as words in a text at 1.
    pub skew: f64,
    /// How many entries a run has, about.
    pub run_length: RangeInclusive<usize>,
    /// What the runs are made of.
    pub mix: Mix,
}

/// How often each kind of scene happens, relative to the others. A scene has one or two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// An agent thinks aloud.
    pub thoughts: u32,
    /// An agent calls a tool and has its result, with structured data.
    pub tools: u32,
    /// A model answers; with it goes a run event that says what it cost.
    pub models: u32,
    /// Somebody talks in another language than English.
    pub languages: u32,
    /// Something is slow, limited or tried again.
    pub warnings: u32,
    /// An exception with its stack trace.
    pub errors: u32,
    /// The machine says something: on `system-logs`.
    pub system: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Mix { thoughts: 20, tools: 30, models: 20, languages: 4, warnings: 5, errors: 2, system: 8 }
    }
}

impl Fleet {
    /// 50 cards without end at 1,000 steps a second, as unequal as words in a text, with runs of 50 to 500 entries.
    pub fn new(seed: u64, start: Timestamp) -> Self {
        Fleet {
            seed,
            start,
            workspace: "default".into(),
            cards: 50,
            runs_per_card: None,
            rate: 1000.0,
            skew: 1.0,
            run_length: 50..=500,
            mix: Mix::default(),
        }
    }

    /// The id of a card, by its index.
    pub fn card(&self, index: usize) -> String {
        format!("{}-{}", talk::CARDS[index % talk::CARDS.len()], index + 1)
    }

    /// What happens, in order; endless unless [`Fleet::runs_per_card`] is set.
    pub fn steps(&self) -> Steps {
        let random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let cards = (0..self.cards).map(|index| Card { id: self.card(index), run: None, begun: 0 }).collect();
        Steps { zipf: Zipf::new(self.cards, self.skew), fleet: self.clone(), random, cards, at: Duration::ZERO }
    }
}

/// A record of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A log entry.
    Entry(LogEntry<'static>),
    /// A run event.
    Event(RunEvent<'static>),
}

impl Record {
    /// The producer's id.
    pub fn id(&self) -> &str {
        match self {
            Record::Entry(entry) => &entry.id,
            Record::Event(event) => &event.id,
        }
    }

    /// The workspace's id.
    pub fn workspace(&self) -> &str {
        match self {
            Record::Entry(entry) => &entry.workspace_id,
            Record::Event(event) => &event.workspace_id,
        }
    }

    /// The card's id.
    pub fn card(&self) -> &str {
        match self {
            Record::Entry(entry) => &entry.card_id,
            Record::Event(event) => &event.card_id,
        }
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        match self {
            Record::Entry(entry) => &entry.run_id,
            Record::Event(event) => &event.run_id,
        }
    }

    /// The number within the run; run events have none.
    pub fn sequence(&self) -> Option<i64> {
        match self {
            Record::Entry(entry) => Some(entry.sequence),
            Record::Event(_) => None,
        }
    }

    /// The topic that it goes to.
    pub fn topic(&self) -> Topic {
        match self {
            Record::Entry(entry) => Topic::of(entry.source),
            Record::Event(_) => Topic::RunEvents,
        }
    }

    /// Its canonical body, written into `body` in place of what that holds.
    pub fn encode_body(&self, body: &mut Vec<u8>) {
        body.clear();
        match self {
            Record::Entry(entry) => codec::encode_entry_body(entry, body),
            Record::Event(event) => codec::encode_event_body(event, body),
        }
    }
}

/// One thing that happens in a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// How long after the fleet's start.
    pub at: Duration,
    /// What is written to the log.
    pub record: Record,
}

/// The steps of a fleet; see [`Fleet::steps`].
#[derive(Debug)]
pub struct Steps {
    fleet: Fleet,
    random: Xoshiro256PlusPlus,
    zipf: Zipf,
    /// The cards that still have something to say.
    cards: Vec<Card>,
    at: Duration,
}

#[derive(Debug)]
struct Card {
    id: String,
    run: Option<Run>,
    /// How many runs it has begun.
    begun: usize,
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let Steps { fleet, random, zipf, cards, at } = self;
        while !cards.is_empty() {
            let index = zipf.draw(random);
            let card = &mut cards[index];
            let now = Timestamp(fleet.start.millis() + at.as_millis() as i64);
            if card.run.is_none() {
                if fleet.runs_per_card.is_some_and(|runs| card.begun >= runs) {
                    cards.remove(index);
                    *zipf = Zipf::new(cards.len(), fleet.skew);
                    continue;
                }
                card.begun += 1;
                let entries = random.random_range(fleet.run_length.clone());
                card.run = Some(Run::new(&fleet.workspace, &card.id, entries, now, random));
            }
            let Some(record) = card.run.as_mut().and_then(|run| run.step(now, &fleet.mix, random)) else {
                card.run = None;
                continue;
            };
            let step = Step { at: *at, record };
            // The time to the next arrival, of an exponential distribution.
            let wait = -(1.0 - random.random::<f64>()).ln() / fleet.rate;
            *at += Duration::from_secs_f64(wait.clamp(0.0, 3600.0));
            return Some(step);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use agentworks_schemas::RunEventKind;

    use super::*;

    fn fleet() -> Fleet {
        Fleet { rate: 500.0, ..Fleet::new(7, Timestamp(1_764_670_530_000)) }
    }

    #[test]
    fn the_same_seed_says_the_same_and_another_does_not() {
        let steps: Vec<Step> = fleet().steps().take(2000).collect();
        assert_eq!(steps, fleet().steps().take(2000).collect::<Vec<_>>());
        let other = Fleet { seed: 8, ..fleet() };
        assert_ne!(steps, other.steps().take(2000).collect::<Vec<_>>());
    }

    #[test]
    fn entries_are_as_long_as_real_ones_and_the_log_takes_them() {
        let mut body = Vec::new();
        let (mut bytes, mut entries) = (0, 0);
        for step in fleet().steps().take(20_000) {
            match &step.record {
                Record::Entry(entry) => {
                    codec::check_entry(entry).unwrap();
                    step.record.encode_body(&mut body);
                    bytes += body.len();
                    entries += 1;
                }
                Record::Event(event) => codec::check_event(event).unwrap(),
            }
        }
        let average = bytes / entries;
        assert!((500..580).contains(&average), "{average} bytes on average");
    }

    #[test]
    fn runs_begin_and_end_and_count_without_a_hole() {
        let fleet = Fleet { cards: 8, runs_per_card: Some(3), run_length: 5..=40, ..fleet() };
        let mut runs: HashMap<String, (i64, Vec<RunEventKind>)> = HashMap::new();
        let mut last = Duration::ZERO;
        for step in fleet.steps() {
            assert!(step.at >= last);
            last = step.at;
            let (next, events) = runs.entry(step.record.run().into()).or_default();
            match &step.record {
                Record::Entry(entry) => {
                    assert_eq!(entry.sequence, *next);
                    assert!(!events.last().unwrap().is_end(), "an entry after the end");
                    *next += 1;
                }
                Record::Event(event) => events.push(event.kind),
            }
        }
        assert_eq!(runs.len(), 8 * 3);
        for (entries, events) in runs.values() {
            assert!((5..=50).contains(entries), "{entries}");
            assert_eq!(events[0], RunEventKind::Started);
            assert_eq!(events.iter().filter(|kind| kind.is_end()).count(), 1);
            assert!(events.last().unwrap().is_end());
        }
    }

    #[test]
    fn the_rate_is_kept() {
        let last = fleet().steps().nth(50_000).unwrap();
        assert!((last.at.as_secs_f64() - 100.0).abs() < 3.0, "{:?}", last.at);
    }

    #[test]
    fn some_runs_fail_and_some_lines_are_the_systems() {
        let steps: Vec<Step> = Fleet { run_length: 5..=20, ..fleet() }.steps().take(20_000).collect();
        let has = |wanted: fn(&Record) -> bool| steps.iter().any(|step| wanted(&step.record));
        assert!(has(|record| matches!(record, Record::Event(event) if event.kind == RunEventKind::Failed)));
        assert!(has(|record| matches!(record, Record::Event(event) if event.kind == RunEventKind::Cancelled)));
        assert!(has(|record| matches!(record, Record::Event(event) if event.cost.is_some())));
        assert!(has(|record| record.topic() == Topic::SystemLogs));
        assert!(has(|record| matches!(record, Record::Entry(entry) if !entry.message.is_ascii())));
    }
}
