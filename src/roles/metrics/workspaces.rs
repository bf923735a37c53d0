//! Which workspaces have a label of their own: those with most entries, so many at most.
//!
//! A space-saving sketch (Metwally, Agrawal, El Abbadi: *Efficient computation of frequent and top-k elements in data
//! streams*) counts a bounded number of workspaces. The first that come get a label while there are any left; now and
//! then one that has fallen behind loses its label to one that has clearly overtaken it, so that labels don't flap.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The label that all others share.
pub(super) const OTHER: &str = "other";

/// How many workspaces are counted for each that has a label.
const COUNTED_PER_LABEL: usize = 8;
/// After so many entries labels are given anew, and what was counted before counts half.
const WINDOW: u64 = 100_000;

/// The workspaces' counts and labels.
#[derive(Debug)]
pub(super) struct Workspaces {
    labels: usize,
    counts: HashMap<Arc<str>, Count>,
    named: HashSet<Arc<str>>,
    /// Entries since labels were given.
    since: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    entries: u64,
    /// By how much `entries` may be too many: what the workspace was given that it took the place of.
    excess: u64,
}

impl Count {
    /// How many there were at least.
    fn least(self) -> u64 {
        self.entries - self.excess
    }
}

impl Workspaces {
    pub(super) fn new(labels: usize) -> Self {
        Workspaces { labels, counts: HashMap::new(), named: HashSet::new(), since: 0 }
    }

    /// Counts entries of a workspace. Returns its label.
    pub(super) fn observe(&mut self, workspace: &str, entries: u64) -> Arc<str> {
        self.since += entries;
        let name = self.count(workspace, entries);
        let Some(name) = name else { return OTHER.into() };
        if self.named.len() < self.labels {
            self.named.insert(Arc::clone(&name));
        }
        if self.named.contains(&name) { name } else { OTHER.into() }
    }

    /// Gives labels anew, if it is time. Returns who has lost theirs.
    pub(super) fn settle(&mut self) -> Vec<Arc<str>> {
        let mut lost = Vec::new();
        if self.since < WINDOW {
            return lost;
        }
        self.since = 0;
        let least = |name: &Arc<str>| self.counts.get(name).map_or(0, |count| count.least());
        let mut named: Vec<_> = self.named.iter().map(|name| (least(name), Arc::clone(name))).collect();
        let others = self.counts.keys().filter(|name| !self.named.contains(*name));
        let mut others: Vec<_> = others.map(|name| (least(name), Arc::clone(name))).collect();
        named.sort_unstable();
        others.sort_unstable_by(|a, b| b.cmp(a));
        for ((weak, loser), (strong, winner)) in named.into_iter().zip(others) {
            if strong <= 2 * weak {
                break;
            }
            self.named.remove(&loser);
            self.named.insert(winner);
            lost.push(loser);
        }
        for count in self.counts.values_mut() {
            *count = Count { entries: count.entries / 2, excess: count.excess / 2 };
        }
        lost
    }

    /// Counts in the sketch; `None` if it has no place at all.
    fn count(&mut self, workspace: &str, entries: u64) -> Option<Arc<str>> {
        if let Some((name, _)) = self.counts.get_key_value(workspace) {
            let name = Arc::clone(name);
            self.counts.entry(Arc::clone(&name)).or_default().entries += entries;
            return Some(name);
        }
        let mut excess = 0;
        if self.counts.len() >= self.labels * COUNTED_PER_LABEL {
            let (least, name) = self.counts.iter().map(|(name, count)| (count.entries, name)).min()?;
            let name = Arc::clone(name);
            self.counts.remove(&name);
            excess = least;
        }
        let name: Arc<str> = workspace.into();
        self.counts.insert(Arc::clone(&name), Count { entries: excess + entries, excess });
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_have_labels_until_others_have_clearly_more() {
        let mut workspaces = Workspaces::new(2);
        assert_eq!(&*workspaces.observe("a", 10), "a");
        assert_eq!(&*workspaces.observe("b", 5), "b");
        assert_eq!(&*workspaces.observe("c", 9), OTHER);
        assert!(workspaces.settle().is_empty(), "not yet");
        workspaces.observe("a", WINDOW);
        assert!(workspaces.settle().is_empty(), "c has not twice as many as b");
        workspaces.observe("c", WINDOW);
        assert_eq!(workspaces.settle(), [Arc::from("b")]);
        assert_eq!(&*workspaces.observe("c", 1), "c");
        assert_eq!(&*workspaces.observe("b", 1), OTHER);
        assert_eq!(&*workspaces.observe("a", 1), "a");
    }

    #[test]
    fn any_number_of_workspaces_takes_bounded_memory_and_labels() {
        let mut workspaces = Workspaces::new(3);
        let mut labels = HashSet::new();
        for round in 0..50 {
            for n in 0..1000 {
                workspaces.observe(&format!("small-{round}-{n}"), 1);
            }
            for big in ["x", "y", "z"] {
                workspaces.observe(big, 2_000);
            }
            workspaces.settle();
            assert!(workspaces.counts.len() <= 3 * COUNTED_PER_LABEL && workspaces.named.len() <= 3);
        }
        labels.extend(["x", "y", "z"].map(|big| workspaces.observe(big, 1)));
        assert_eq!(labels, ["x", "y", "z"].map(Arc::from).into(), "those with most have their own");
    }

    #[test]
    fn without_labels_all_are_others() {
        let mut workspaces = Workspaces::new(0);
        assert_eq!(&*workspaces.observe("a", WINDOW), OTHER);
        assert!(workspaces.settle().is_empty());
    }
}
