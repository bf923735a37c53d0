//! What a client was shown, held to what the topics held.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;

use agentworks_schemas::TopicPartition;
use serde::{Deserialize, Serialize};

/// An account isn't refuted better by more faults than these.
const MAX_FAULTS: usize = 8;

/// What a client was shown of its card, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub card: String,
    /// The numbers of the entries.
    pub seen: Vec<u64>,
    pub gaps: Vec<GapSeen>,
    /// How often it has connected.
    pub connections: u32,
    /// How often it was told that it lags.
    pub lags: u32,
    /// By code, how often it was disconnected; 0 where nothing was said.
    pub closes: BTreeMap<u16, u32>,
    /// What no client should be sent.
    pub faults: Vec<String>,
}

/// A `gap` frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapSeen {
    /// After how many entries it came.
    pub after: usize,
    pub partition: TopicPartition,
    pub from: i64,
    pub to: i64,
}

/// What the topics held of a card: where the entry of each number lay.
pub type Card = HashMap<u64, (TopicPartition, i64)>;

/// Where logs began after each time that retention took something, by partition.
pub type Starts = BTreeMap<TopicPartition, BTreeSet<i64>>;

/// An account that holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub entries: usize,
    /// Entries that it was told are gone.
    pub gone: usize,
}

/// What is wrong with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Holds an account to the truth: in every partition the client was shown all entries, once and in their order, except
/// for those that it was told are gone; it was told so of nothing that it was shown, and only up to where a log began.
pub fn check(account: &Account, truth: &Card, starts: &Starts) -> Result<Checked, Faults> {
    let mut faults = account.faults.clone();
    let mut last: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut gone: Vec<(TopicPartition, Range<i64>)> = Vec::new();
    let mut gaps = account.gaps.iter().peekable();
    for index in 0..=account.seen.len() {
        while let Some(gap) = gaps.next_if(|gap| gap.after == index) {
            let GapSeen { partition, from, to, .. } = *gap;
            if !starts.get(&partition).is_some_and(|starts| starts.contains(&to)) || from >= to {
                faults.push(format!("after {index} entries: a gap {partition} {from}..{to}, where no log began"));
            }
            if last.get(&partition).is_some_and(|last| *last >= from) {
                faults.push(format!("after {index} entries: a gap {partition} {from}..{to} over what was shown"));
            }
            gone.push((partition, from..to));
        }
        let Some(number) = account.seen.get(index) else { break };
        let Some((partition, offset)) = truth.get(number) else {
            faults.push(format!("entry {index} has number {number}, which the card has not"));
            continue;
        };
        let before = last.insert(*partition, *offset);
        if before.is_some_and(|before| before >= *offset) {
            faults.push(format!("entry {index} is {partition}@{offset}, after @{}", before.unwrap_or_default()));
        }
        if is_gone(&gone, *partition, *offset) {
            faults.push(format!("entry {index} is {partition}@{offset}, which was said to be gone"));
        }
    }
    let seen: BTreeSet<_> = account.seen.iter().collect();
    let unseen = truth.iter().filter(|(number, _)| !seen.contains(number)).map(|(_, place)| *place);
    let (lost, missing): (Vec<_>, Vec<_>) = unseen.partition(|(partition, offset)| is_gone(&gone, *partition, *offset));
    if let Some((partition, offset)) = missing.iter().min() {
        faults.push(format!("{} entries are missing, first {partition}@{offset}", missing.len()));
    }
    faults.truncate(MAX_FAULTS);
    if faults.is_empty() { Ok(Checked { entries: seen.len(), gone: lost.len() }) } else { Err(Faults(faults)) }
}

fn is_gone(gone: &[(TopicPartition, Range<i64>)], partition: TopicPartition, offset: i64) -> bool {
    gone.iter().any(|(other, range)| *other == partition && range.contains(&offset))
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::Topic;

    use super::*;

    fn lane(number: i32) -> TopicPartition {
        TopicPartition::new(Topic::AgentLogs, number)
    }

    /// Ten entries, those with even numbers in one partition and the others in another, at every second offset.
    fn truth() -> Card {
        (0..10).map(|number| (number, (lane(number as i32 % 2), number as i64 * 2))).collect()
    }

    fn account(seen: &[u64], gaps: &[(usize, i32, Range<i64>)]) -> Account {
        let gap = |(after, number, range): &(usize, i32, Range<i64>)| GapSeen {
            after: *after,
            partition: lane(*number),
            from: range.start,
            to: range.end,
        };
        Account { seen: seen.to_vec(), gaps: gaps.iter().map(gap).collect(), ..Account::default() }
    }

    fn verdict(account: &Account) -> Result<Checked, String> {
        let starts = Starts::from([(lane(0), BTreeSet::from([9, 13]))]);
        check(account, &truth(), &starts).map_err(|faults| faults.to_string())
    }

    #[test]
    fn all_entries_in_the_order_of_each_partition() {
        for seen in [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 3, 0, 5, 2, 7, 4, 9, 6, 8]] {
            assert_eq!(verdict(&account(&seen, &[])), Ok(Checked { entries: 10, gone: 0 }));
        }
    }

    #[test]
    fn what_is_gone_is_told_exactly() {
        let left = [0, 1, 3, 5, 6, 7, 8, 9];
        assert_eq!(verdict(&account(&left, &[(1, 0, 1..9)])), Ok(Checked { entries: 8, gone: 2 }));
        // Told again after a further loss.
        let left = [0, 1, 3, 5, 7, 8, 9];
        assert_eq!(verdict(&account(&left, &[(1, 0, 1..9), (1, 0, 1..13)])), Ok(Checked { entries: 7, gone: 3 }));
    }

    #[test]
    fn faults_are_found() {
        let refuted = |seen: &[u64], gaps: &[(usize, i32, Range<i64>)], words: &str| {
            let verdict = verdict(&account(seen, gaps));
            assert!(verdict.as_ref().is_err_and(|faults| faults.contains(words)), "{words}: {verdict:?}");
        };
        refuted(&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[], "1 entries are missing, first agent-logs[1]@18");
        refuted(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9], &[], "after @18");
        refuted(&[0, 1, 4, 3, 2, 5, 6, 7, 8, 9], &[], "is agent-logs[0]@4, after @8");
        refuted(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 77], &[], "number 77");
        refuted(&[0, 1, 3, 5, 6, 7, 8, 9], &[(1, 0, 1..8)], "where no log began");
        refuted(&[0, 1, 3, 5, 6, 7, 8, 9], &[(1, 1, 1..9)], "where no log began");
        refuted(&[0, 1, 3, 5, 6, 7, 8, 9], &[(1, 0, 0..9)], "over what was shown");
        refuted(&[0, 1, 2, 3, 5, 6, 7, 8, 9], &[(1, 0, 1..9)], "said to be gone");
    }
}
