//! Compares what a surface shows (the topics, a store, a terminal) with the ledger.

use std::collections::{HashMap, HashSet};
use std::fmt;

use agentworks_schemas::{Topic, TopicPartition};

use crate::ledger::{Contents, Line, Outcome};

/// A record that some surface showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The topic and partition that it lies in.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// The producer's id.
    pub id: String,
    /// The [`hash`](crate::ledger::hash) of its canonical body.
    pub hash: u64,
}

/// Holds a surface to the ledger:
///
/// - what was acknowledged is there, at its offset, and once;
/// - what was sent without an acknowledgement is there at most once;
/// - nothing else is there, and nothing is altered;
/// - the records of a card in a topic come in the order of sending.
#[derive(Debug)]
pub struct Checker<'a> {
    by_id: HashMap<&'a str, &'a Line>,
    expected: Vec<&'a Line>,
}

/// How much was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Acknowledged records, all of which were there.
    pub acked: usize,
    /// Records that were there although nobody had acknowledged them to the ledger.
    pub unacked: usize,
}

impl<'a> Checker<'a> {
    /// Expects everything that is in the ledger.
    pub fn new(ledger: &'a Contents) -> Self {
        let expected: Vec<&Line> = ledger.lines().iter().collect();
        Checker { by_id: expected.iter().map(|line| (line.sent.id.as_str(), *line)).collect(), expected }
    }

    /// Expects only what `wanted` says: those of a card, say. Others must not be there.
    pub fn only(mut self, wanted: impl Fn(&Line) -> bool) -> Self {
        self.expected.retain(|line| wanted(line));
        self.by_id.retain(|_, line| wanted(line));
        self
    }

    /// Compares with what was observed, in the order in which it was.
    pub fn check(&self, observed: &[Observed]) -> Result<Checked, Faults> {
        let mut faults = Faults::default();
        let mut seen: HashMap<&str, &Observed> = HashMap::with_capacity(observed.len());
        let mut latest: HashMap<(&str, Topic), &Line> = HashMap::new();
        let mut unacked = 0;
        for one in observed {
            let Some(line) = self.by_id.get(one.id.as_str()) else {
                faults.add(Fault::Foreign(one.clone()));
                continue;
            };
            if let Some(first) = seen.insert(&one.id, one) {
                faults.add(Fault::Doubled(first.clone(), one.clone()));
                continue;
            }
            if one.hash != line.sent.hash {
                faults.add(Fault::Altered(one.clone()));
            }
            match line.outcome {
                Outcome::Acked(partition, offset) => {
                    if partition != one.partition || offset.is_some_and(|offset| offset != one.offset) {
                        faults.add(Fault::Moved((*line).clone(), one.clone()));
                    }
                }
                Outcome::Unknown | Outcome::Failed(_) => unacked += 1,
            }
            let latest = latest.entry((&line.sent.card, line.sent.topic)).or_insert(line);
            if line.sent.n < latest.sent.n {
                faults.add(Fault::Reordered { later: (*latest).clone(), earlier: (*line).clone() });
            } else {
                *latest = line;
            }
        }
        let seen: HashSet<&str> = seen.into_keys().collect();
        let acked = self.expected.iter().filter(|line| matches!(line.outcome, Outcome::Acked(..)));
        for line in acked.clone().filter(|line| !seen.contains(line.sent.id.as_str())) {
            faults.add(Fault::Missing((*line).clone()));
        }
        if faults.total == 0 { Ok(Checked { acked: acked.count(), unacked }) } else { Err(faults) }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was acknowledged and is not there.
    Missing(Line),
    /// It is there twice.
    Doubled(Observed, Observed),
    /// It was never sent, or not to here.
    Foreign(Observed),
    /// Its body is not the one that was sent.
    Altered(Observed),
    /// It is not where Kafka said.
    Moved(Line, Observed),
    /// It comes after one of the same card and topic that was sent later.
    Reordered {
        /// The one that came too early.
        later: Line,
        /// The one that came too late.
        earlier: Line,
    },
}

impl Fault {
    fn name(&self) -> &'static str {
        match self {
            Fault::Missing(_) => "missing",
            Fault::Doubled(..) => "doubled",
            Fault::Foreign(_) => "foreign",
            Fault::Altered(_) => "altered",
            Fault::Moved(..) => "moved",
            Fault::Reordered { .. } => "reordered",
        }
    }
}

/// All differences: their numbers, and the first few of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    total: usize,
    counts: Vec<(&'static str, usize)>,
    shown: Vec<Fault>,
}

/// So many of each kind are shown.
const SHOWN: usize = 8;

impl Faults {
    fn add(&mut self, fault: Fault) {
        self.total += 1;
        let name = fault.name();
        let index = self.counts.iter().position(|(kind, _)| *kind == name).unwrap_or_else(|| {
            self.counts.push((name, 0));
            self.counts.len() - 1
        });
        self.counts[index].1 += 1;
        if self.counts[index].1 <= SHOWN {
            self.shown.push(fault);
        }
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> &[(&'static str, usize)] {
        &self.counts
    }

    /// The first few of each kind.
    pub fn shown(&self) -> &[Fault] {
        &self.shown
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the surface differs from the ledger:")?;
        for (kind, count) in &self.counts {
            write!(f, " {count} {kind}")?;
        }
        for (kind, count) in &self.counts {
            for fault in self.shown.iter().filter(|fault| fault.name() == *kind) {
                write!(f, "\n  {fault}")?;
            }
            if *count > SHOWN {
                write!(f, "\n  … and {} more {kind}", count - SHOWN)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing(line) => write!(f, "missing: {}", Shown(line)),
            Fault::Doubled(first, second) => {
                let (at, again) = (first.partition, second.partition);
                write!(f, "doubled: {} at {at}@{} and {again}@{}", first.id, first.offset, second.offset)
            }
            Fault::Foreign(one) => write!(f, "foreign: {} at {}@{}", one.id, one.partition, one.offset),
            Fault::Altered(one) => write!(f, "altered: {} at {}@{}", one.id, one.partition, one.offset),
            Fault::Moved(line, one) => write!(f, "moved: {}, but is at {}@{}", Shown(line), one.partition, one.offset),
            Fault::Reordered { later, earlier } => {
                write!(f, "reordered: {} comes before {}", Shown(later), Shown(earlier))
            }
        }
    }
}

/// A line of the ledger in words.
struct Shown<'a>(&'a Line);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { sent, outcome } = self.0;
        write!(f, "#{} {} (card {}, run {}", sent.n, sent.id, sent.card, sent.run)?;
        if let Some(sequence) = sent.sequence {
            write!(f, ", sequence {sequence}")?;
        }
        match outcome {
            Outcome::Acked(partition, Some(offset)) => write!(f, ") acknowledged at {partition}@{offset}"),
            Outcome::Acked(partition, None) => write!(f, ") acknowledged in {partition}"),
            Outcome::Unknown => write!(f, ") not acknowledged"),
            Outcome::Failed(error) => write!(f, ") failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_ingest::producer::{DeliveryError, RecordMetadata};
    use agentworks_schemas::Timestamp;
    use agentworks_schemas::topics::partition_of;

    use super::*;
    use crate::fleet::{Fleet, Record};
    use crate::ledger::{Ledger, hash};

    /// A ledger of 200 records, the last ten of which have no acknowledgement, and the topics' contents.
    async fn world() -> (Contents, Vec<Observed>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let fleet = Fleet { cards: 4, ..Fleet::new(3, Timestamp(1_764_670_530_000)) };
        let records: Vec<Record> = fleet.steps().take(200).map(|step| step.record).collect();
        let mut ledger = Ledger::create(&path).unwrap();
        ledger.sent(&records).await.unwrap();
        let mut observed = Vec::new();
        let mut ends: HashMap<TopicPartition, i64> = HashMap::new();
        let mut body = Vec::new();
        for (n, record) in records.iter().enumerate() {
            let partition = TopicPartition::new(record.topic(), partition_of(record.card().as_bytes(), 4));
            let end = ends.entry(partition).or_default();
            record.encode_body(&mut body);
            observed.push(Observed { partition, offset: *end, id: record.id().into(), hash: hash(&body) });
            let result = Ok(RecordMetadata { partition, offset: Some(*end) });
            *end += 1;
            match n {
                0..190 => ledger.results().settled(n as u64, &result),
                190..195 => ledger.results().settled(n as u64, &Err(DeliveryError::TimedOut)),
                _ => {}
            }
        }
        ledger.close().await.unwrap();
        (Contents::read(&path).unwrap(), observed)
    }

    fn counts(ledger: &Contents, observed: &[Observed]) -> Vec<(&'static str, usize)> {
        let faults = Checker::new(ledger).check(observed).unwrap_err();
        assert!(faults.to_string().contains(faults.counts()[0].0), "{faults}");
        faults.counts().to_vec()
    }

    #[tokio::test]
    async fn what_is_right_passes_with_and_without_what_nobody_acknowledged() {
        let (ledger, observed) = world().await;
        assert_eq!(Checker::new(&ledger).check(&observed).unwrap(), Checked { acked: 190, unacked: 10 });
        assert_eq!(Checker::new(&ledger).check(&observed[..190]).unwrap(), Checked { acked: 190, unacked: 0 });
    }

    #[tokio::test]
    async fn every_fault_is_found() {
        let (ledger, observed) = world().await;

        let mut lost = observed.clone();
        lost.remove(17);
        assert_eq!(counts(&ledger, &lost), [("missing", 1)]);

        let mut doubled = observed.clone();
        doubled.insert(120, observed[30].clone());
        assert_eq!(counts(&ledger, &doubled), [("doubled", 1)]);
        let mut doubled = observed.clone();
        doubled.push(observed[199].clone());
        assert_eq!(counts(&ledger, &doubled), [("doubled", 1)], "one without an acknowledgement");

        let mut foreign = observed.clone();
        foreign[0].id = "somebody else's".into();
        assert_eq!(counts(&ledger, &foreign), [("foreign", 1), ("missing", 1)]);

        let mut altered = observed.clone();
        altered[5].hash ^= 1;
        assert_eq!(counts(&ledger, &altered), [("altered", 1)]);

        let mut moved = observed.clone();
        moved[5].offset += 1;
        assert_eq!(counts(&ledger, &moved), [("moved", 1)]);
    }

    #[tokio::test]
    async fn the_order_counts_within_a_card_and_topic_only() {
        let (ledger, observed) = world().await;
        let key = |index: usize| (&ledger.lines()[index].sent.card, ledger.lines()[index].sent.topic);
        let swap = |same: bool| {
            let first = (0..189).find(|first| (key(*first) == key(first + 1)) == same).unwrap();
            let mut swapped = observed.clone();
            swapped.swap(first, first + 1);
            swapped
        };
        assert_eq!(counts(&ledger, &swap(true)), [("reordered", 1)]);
        Checker::new(&ledger).check(&swap(false)).unwrap();
    }

    #[tokio::test]
    async fn a_part_is_held_to_its_part() {
        let (ledger, observed) = world().await;
        let card = ledger.lines()[0].sent.card.clone();
        let checker = || Checker::new(&ledger).only(|line| line.sent.card == card);
        let of_card = |one: &&Observed| checker().by_id.contains_key(one.id.as_str());
        let mine: Vec<Observed> = observed.iter().filter(of_card).cloned().collect();
        assert!(checker().check(&mine).unwrap().acked < 190);
        assert_eq!(checker().check(&observed).unwrap_err().counts(), [("foreign", observed.len() - mine.len())]);
    }
}
