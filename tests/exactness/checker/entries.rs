//! Entries: of every card all, and of some runs.

use std::collections::BTreeMap;
use std::ops::Range;

use agentworks_load::hash;
use agentworks_processors::reader::{LogReader, ReadFilter, ReadItem, Scope, StoredEntry};
use agentworks_schemas::TopicPartition;
use agentworks_schemas::codec::encode_entry_body;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};

use super::{Checker, Faults};
use crate::truth::Told;

/// Offsets of a partition that are held nowhere any more.
pub type Gap = (TopicPartition, Range<i64>);

/// So many runs are read.
const RUNS: usize = 25;

impl Checker {
    pub(super) async fn check_entries(&self, faults: &mut Faults) {
        for ((workspace, card), expected) in &self.truth.cards {
            let scope = Scope::Card { workspace: workspace.clone(), card: card.clone() };
            self.compare(&scope, &format!("card {workspace}/{card}"), &expected.entries, faults).await;
        }
    }

    pub(super) async fn check_run_entries(&self, faults: &mut Faults) {
        let mut random = StdRng::seed_from_u64(self.seed);
        for ((workspace, run), expected) in self.truth.runs.iter().sample(&mut random, RUNS) {
            let scope = self.scope_of_run(workspace, run);
            self.compare(&scope, &format!("run {workspace}/{run}"), &expected.entries, faults).await;
        }
    }

    /// Compares what each tier has of some scopes with what it is to have.
    pub async fn check_scopes(&self, scopes: &[(Scope, Vec<Told>)]) -> Result<(), Faults> {
        let mut faults = Faults::default();
        for (scope, expected) in scopes {
            self.compare(scope, &format!("{scope:?}"), expected, &mut faults).await;
        }
        if faults.0.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// What each tier has of a scope.
    async fn compare(&self, scope: &Scope, surface: &str, expected: &[Told], faults: &mut Faults) {
        for (tier, reader) in [("hot", &self.reader), ("warm", &self.without_hot)] {
            match read(reader, scope).await {
                Ok(found) => {
                    if let Some(difference) = first_difference(expected, &found) {
                        faults.add(format!("{surface} in {tier}: {difference}"));
                    }
                }
                Err(error) => faults.add(format!("{surface} in {tier}: {error}")),
            }
        }
    }

    /// Whether the marks lead to the entries that they should: some ordinals of some runs.
    pub(super) async fn check_marks(&self, faults: &mut Faults) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let with_entries = self.truth.runs.iter().filter(|(_, run)| !run.entries.is_empty());
        for ((workspace, run), expected) in with_entries.sample(&mut random, RUNS) {
            let ordinal = random.random_range(0..expected.entries.len());
            if let Err(difference) = self.check_mark(workspace, run, ordinal).await {
                faults.add(format!("entry {ordinal} of run {workspace}/{run}: {difference}"));
            }
        }
    }

    async fn check_mark(&self, workspace: &str, run: &str, ordinal: usize) -> Result<(), String> {
        let scope = self.scope_of_run(workspace, run);
        let sought = self.reader.seek_ordinal(&scope, ordinal as u64, true).await;
        let (cursor, at) = sought.map_err(|error| error.to_string())?;
        if at != ordinal as u64 {
            return Err(format!("the reader comes to {at}"));
        }
        let end = self.reader.end(&scope).await.map_err(|error| error.to_string())?;
        let mut stream = self.reader.read(scope.clone(), ReadFilter::default(), cursor, end);
        let sought = match stream.recv().await {
            Some(Ok(ReadItem::Entry { entry, .. })) => told(&entry),
            other => return Err(format!("the reader finds {other:?}")),
        };
        // Which one is the nth is for the stream to say: it merges partitions.
        let all = read(&self.reader, &scope).await?;
        match all.get(ordinal) {
            Some(expected) if *expected == sought => Ok(()),
            expected => Err(format!("the stream has {}, sought was {sought}", shown(expected))),
        }
    }

    fn scope_of_run(&self, workspace: &str, run: &str) -> Scope {
        let card = self.truth.runs[&(workspace.to_owned(), run.to_owned())].card().to_owned();
        Scope::Run { workspace: workspace.to_owned(), run: run.to_owned(), card }
    }
}

/// All entries of a scope, in the order of the stream.
pub async fn read(reader: &LogReader, scope: &Scope) -> Result<Vec<Told>, String> {
    let (found, gaps) = read_with_gaps(reader, scope).await?;
    match gaps.first() {
        Some((partition, offsets)) => Err(format!("a gap in {partition}: {offsets:?}")),
        None => Ok(found),
    }
}

/// The same, and what is held nowhere any more.
pub async fn read_with_gaps(reader: &LogReader, scope: &Scope) -> Result<(Vec<Told>, Vec<Gap>), String> {
    let start = reader.start(scope).await.map_err(|error| error.to_string())?;
    let end = reader.end(scope).await.map_err(|error| error.to_string())?;
    let mut stream = reader.read(scope.clone(), ReadFilter::default(), start, end);
    let (mut found, mut gaps) = (Vec::new(), Vec::new());
    while let Some(item) = stream.recv().await {
        match item.map_err(|error| error.to_string())? {
            ReadItem::Entry { entry, .. } => found.push(told(&entry)),
            ReadItem::Gap { partition, from, to, .. } => gaps.push((partition, from..to)),
        }
    }
    Ok((found, gaps))
}

/// What a stored entry tells.
pub fn told(entry: &StoredEntry) -> Told {
    let mut body = Vec::new();
    encode_entry_body(&entry.entry, &mut body);
    let position = entry.position;
    Told {
        partition: position.partition,
        epoch: position.epoch,
        offset: position.offset,
        recorded: entry.timestamp,
        hash: hash(&body),
    }
}

/// The first place where what was found isn't what was expected: each entry once, and by offset within its partition.
/// `expected` is sorted.
pub fn first_difference(expected: &[Told], found: &[Told]) -> Option<String> {
    let mut by_partition: BTreeMap<_, Vec<&Told>> = BTreeMap::new();
    for one in found {
        by_partition.entry(one.partition).or_default().push(one);
    }
    // By partition as in `expected`; within one in the order of finding, so that doubles and disorder show.
    let mut found_in_order = by_partition.into_values().flatten();
    let mut expected_in_order = expected.iter();
    loop {
        let (in_topic, in_store) = (expected_in_order.next(), found_in_order.next());
        if in_topic != in_store {
            // The lesser of the two positions is the one at which a side has nothing, or something else.
            let at = in_topic.into_iter().chain(in_store).map(Told::position).min();
            let at_it = |told: &&Told| Some(told.position()) == at;
            let (topic, store) = (shown(in_topic.filter(at_it)), shown(in_store.filter(at_it)));
            let again =
                if in_store.filter(at_it).is_some_and(|told| expected.contains(told)) { ", once more" } else { "" };
            let (expected, found) = (expected.len(), found.len());
            return Some(format!(
                "the topic has {topic}, the store {store}{again}; of {expected} entries it has {found}"
            ));
        }
        in_topic?;
    }
}

fn shown(told: Option<&Told>) -> String {
    told.map_or("nothing there".to_owned(), Told::to_string)
}
