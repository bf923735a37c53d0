//! How often each value of a field was found.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use agentworks_schemas::LogEntry;
use serde::{Deserialize, Serialize};

/// The most values that a part of an answer tells of one field.
pub const MAX_VALUES: usize = 65_536;

/// The longest value that is told as a whole, in bytes: columns have no longer ones.
const MAX_VALUE: usize = 65_530;

/// What is told of a value: its beginning, if it is too long.
pub fn whole(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_VALUE)]
}

/// The fields that have a column of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the entry's own")]
pub enum FacetField {
    Level,
    Source,
    Component,
    Provider,
    Model,
    Card,
    Run,
}

impl FacetField {
    /// All of them.
    pub const ALL: [FacetField; 7] = [
        FacetField::Level,
        FacetField::Source,
        FacetField::Component,
        FacetField::Provider,
        FacetField::Model,
        FacetField::Card,
        FacetField::Run,
    ];

    /// Its name, which is the one in the index, too.
    pub fn name(self) -> &'static str {
        match self {
            FacetField::Level => "level",
            FacetField::Source => "source",
            FacetField::Component => "component",
            FacetField::Provider => "provider",
            FacetField::Model => "model",
            FacetField::Card => "card",
            FacetField::Run => "run",
        }
    }

    /// The entry's value; `None` if it has none.
    pub fn of<'e>(self, entry: &'e LogEntry<'_>) -> Option<&'e str> {
        match self {
            FacetField::Level => Some(entry.level.as_str()),
            FacetField::Source => Some(entry.source.as_str()),
            FacetField::Component => Some(whole(&entry.component)),
            FacetField::Provider => entry.provider.as_deref().map(whole),
            FacetField::Model => entry.model.as_deref().map(whole),
            FacetField::Card => Some(&entry.card_id),
            FacetField::Run => Some(&entry.run_id),
        }
    }
}

impl fmt::Display for FacetField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The values of a field, each with how many entries have it.
///
/// Exact, unless there are more than [`MAX_VALUES`] different ones: the rarest are then left out, and it is told how much
/// that is at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetCounts {
    /// By value.
    pub counts: BTreeMap<String, u64>,
    /// How many entries have a value that is left out.
    pub omitted: u64,
    /// By how much a count may be too low: 0 if it is exact.
    pub error: u64,
}

impl FacetCounts {
    /// The counts of one part, of which the `max` most frequent are kept.
    pub fn new(counts: impl IntoIterator<Item = (String, u64)>, max: usize) -> Self {
        let mut counts: Vec<(String, u64)> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        let (omitted, error) = keep_most(&mut counts, max);
        FacetCounts { counts: counts.into_iter().collect(), omitted, error }
    }

    /// Adds those of another part.
    pub fn add(&mut self, other: FacetCounts) {
        for (value, count) in other.counts {
            *self.counts.entry(value).or_default() += count;
        }
        self.omitted += other.omitted;
        self.error += other.error;
        if self.counts.len() > 2 * MAX_VALUES {
            let kept = FacetCounts::new(std::mem::take(&mut self.counts), MAX_VALUES);
            self.counts = kept.counts;
            self.omitted += kept.omitted;
            self.error += kept.error;
        }
    }

    /// The `n` most frequent values, the most frequent first; of those that are as frequent, by value.
    pub fn top(&self, n: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(value, count)| (value.as_str(), *count)).collect();
        all.sort_unstable_by(most_first);
        all.truncate(n);
        all
    }
}

/// The order of counted values: the most frequent first, of those that are as frequent by value.
fn most_first<T: Ord>((a, n): &(T, u64), (b, m): &(T, u64)) -> Ordering {
    m.cmp(n).then_with(|| a.cmp(b))
}

/// Leaves the `max` most frequent; returns how many entries have the others, and the most of any of those.
fn keep_most(counts: &mut Vec<(String, u64)>, max: usize) -> (u64, u64) {
    if counts.len() <= max {
        return (0, 0);
    }
    counts.sort_unstable_by(most_first);
    let rest = counts.split_off(max);
    (rest.iter().map(|(_, count)| count).sum(), rest.first().map_or(0, |(_, count)| *count))
}

/// Counts values, of which it keeps no more than memory has room for.
#[derive(Debug, Default)]
pub struct Tally {
    counts: HashMap<String, u64>,
    omitted: u64,
    error: u64,
}

impl Tally {
    /// So many entries more that have a value.
    pub fn add(&mut self, value: &str, count: u64) {
        if let Some(known) = self.counts.get_mut(value) {
            *known += count;
            return;
        }
        self.counts.insert(value.to_owned(), count);
        if self.counts.len() > 2 * MAX_VALUES {
            let mut counts = std::mem::take(&mut self.counts).into_iter().collect();
            let (omitted, error) = keep_most(&mut counts, MAX_VALUES);
            self.counts.extend(counts);
            self.omitted += omitted;
            self.error += error;
        }
    }

    /// What was counted.
    pub fn finish(self) -> FacetCounts {
        let mut counts = FacetCounts::new(self.counts, MAX_VALUES);
        counts.omitted += self.omitted;
        counts.error += self.error;
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_most_frequent_stay() {
        let (mut tally, mut whole) = (Tally::default(), FacetCounts::default());
        let values = 3 * MAX_VALUES as u64;
        for number in 0..values {
            tally.add(&number.to_string(), 1 + number % 2);
        }
        tally.add("often", 9);
        let counts = tally.finish();
        assert_eq!(counts.counts.len(), MAX_VALUES);
        assert_eq!(counts.counts.values().sum::<u64>() + counts.omitted, values / 2 * 3 + 9);
        assert_eq!(counts.top(1), [("often", 9)]);
        for part in 0..4u64 {
            let of_part = (0..MAX_VALUES as u64).map(|number| (format!("{part}-{number}"), 1));
            whole.add(FacetCounts::new(of_part, MAX_VALUES));
        }
        assert!(whole.counts.len() <= 2 * MAX_VALUES);
        assert_eq!(whole.counts.len() as u64 + whole.omitted, 4 * MAX_VALUES as u64);
    }

    #[test]
    fn what_is_left_out_is_told() {
        let of = |counts: &[(&str, u64)], max| FacetCounts::new(counts.iter().map(|(v, n)| ((*v).to_owned(), *n)), max);
        let mut counts = of(&[("a", 5), ("b", 2), ("c", 3), ("d", 0), ("e", 2)], 2);
        assert_eq!((counts.omitted, counts.error), (4, 2));
        assert_eq!(counts.top(9), [("a", 5), ("c", 3)]);
        counts.add(of(&[("b", 7), ("c", 2)], 2));
        assert_eq!((counts.omitted, counts.error), (4, 2));
        assert_eq!(counts.top(2), [("b", 7), ("a", 5)]);
    }
}
